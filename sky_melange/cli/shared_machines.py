"""What `up`, `status` and `down` do with what the workloads of a fleet share: machines, and a router."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sky_melange.cli import launch_folder
from sky_melange.cli.launch_folder import confirm, environment_secrets, is_answerable, say
from sky_melange.cli.plan_folder import held
from sky_melange.domain.launch_files import ENDPOINTS_FILE
from sky_melange.errors import CheckFailedError, InputError, Mistake
from sky_melange.untrusted import decoded, read_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sky_melange.skypilot.launch.launch import Launch, MachineLaunch
    from sky_melange.skypilot.launch.report import UnitStatus
    from sky_melange.skypilot.launch.steps import Step

POLL_S = 10.0
_MOST_BYTES: Final = 1024 * 1024


def read_machines(folder: Path) -> MachineLaunch:
    """What workloads share by a fleet's folder, and what was started of it. Raises InputError."""
    from sky_melange.plan_file import read_files_beside
    from sky_melange.plan_file.fleet import read_fleet_plan, read_member_plans
    from sky_melange.render import fleet_router_files
    from sky_melange.skypilot.launch.launch import MachineLaunch
    from sky_melange.skypilot.launch.record import read_record

    document = read_fleet_plan(folder)
    shared = [machine.file for machine in document.plan.machines]
    shared += [] if document.plan.router_machine is None else fleet_router_files()
    found = read_files_beside(document.path, shared)
    return MachineLaunch(
        fleet=document.plan,
        plans={plan.plan.name: (plan.plan, plan.workload) for plan in read_member_plans(document)},
        folder=document.path.parent,
        files={name: text or "" for name, text in found.items()},
        record=read_record(document.path.parent, document.plan.name),
        secrets={},
        say=say,
    )


def up_machines(folder: Path, given: Mapping[str, Any]) -> None:
    """Launches them and waits until every engine answers; those that the fleet has no more stay for now."""
    from sky_melange.skypilot.launch.ready import Patience
    from sky_melange.skypilot.launch.up import bring_up_machines, planned_steps

    is_dry, output_format = given["dry_run"], given["output_format"]
    with held(folder, is_needed=not is_dry):
        launch = read_machines(folder)
        addresses: Mapping[str, str] | None = None
        steps = _of_machines(planned_steps(launch, None, adopt=given["adopt"]))
        if not is_dry:
            launch = replace(launch, secrets=_secrets(launch))
            if not is_answerable(yes=given["yes"]):
                _show(launch, steps, is_answer=False)
                confirm("", yes=False)
            cloud = launch_folder.connect()
            steps = _of_machines(planned_steps(launch, cloud, adopt=given["adopt"]))
            _show(launch, steps, is_answer=False)
            cost = sum(machine.price_usd_per_hour for machine in launch.fleet.machines)
            if any(step.action != "keep" for step in steps):
                confirm(f"Spend USD {cost:.4f} per hour for shared machines?", yes=given["yes"])
            patience = Patience(
                timeout_s=given["timeout_minutes"] * 60, poll_s=POLL_S, now_s=time.monotonic, sleep=time.sleep
            )
            addresses = bring_up_machines(launch, cloud, steps, patience)
        if output_format == "json":
            click.echo(json.dumps(_json(launch, steps, addresses), indent=2))
        elif addresses is None:
            _show(launch, steps, is_answer=True)
        for name, address in (addresses or {}).items() if output_format != "json" else ():
            click.echo(f"{name}={address}")


def end_old(folder: Path, given: Mapping[str, Any]) -> None:
    """Takes down what was started and is not in the fleet any more, once no plan sends requests there."""
    from sky_melange.skypilot.launch.launch import remove
    from sky_melange.skypilot.launch.steps import Action
    from sky_melange.skypilot.launch.up import planned_steps

    with held(folder, is_needed=not given["dry_run"]):
        launch = read_machines(folder)
        old = [step for step in planned_steps(launch, None) if step.action is Action.REMOVE]
        if old and not given["dry_run"]:
            remove(launch.record, launch_folder.connect(), old, say)


def _is_router(one: Step | UnitStatus) -> bool:
    return one.kind.value == "router"


def _of_machines(steps: Sequence[Step], *, is_router: bool = False) -> tuple[Step, ...]:
    return tuple(step for step in steps if _is_router(step) is is_router)


def up_router(folder: Path, given: Mapping[str, Any]) -> None:
    """Launches the router of all plans, which are up by now, and waits until it answers for one of them."""
    from sky_melange.skypilot.launch.ready import Patience
    from sky_melange.skypilot.launch.report import steps_json
    from sky_melange.skypilot.launch.up import ROUTER_VARIABLE, bring_up_router, planned_steps, write_endpoints

    is_dry, is_json, address = given["dry_run"], given["output_format"] == "json", None
    with held(folder, is_needed=not is_dry):
        launch = read_machines(folder)
        cloud = None if is_dry else launch_folder.connect()
        steps = _of_machines(planned_steps(launch, cloud, adopt=given["adopt"]), is_router=True)
        if not (is_dry and is_json):
            _show(launch, steps, is_answer=is_dry)
        step = next((step for step in steps if step.unit is not None), None)
        if cloud is not None and step is not None:
            launch = replace(launch, secrets=_router_secrets(launch))
            if step.action != "keep":
                confirm(f"Spend USD {_router_price(launch)} per hour for the router?", yes=given["yes"])
            patience = Patience(
                timeout_s=given["timeout_minutes"] * 60, poll_s=POLL_S, now_s=time.monotonic, sleep=time.sleep
            )
            address = bring_up_router(launch, cloud, step, _plan_addresses(launch), patience)
            shared = {name: value for name, value in _endpoints(folder).items() if name != ROUTER_VARIABLE}
            write_endpoints(folder, {**shared, ROUTER_VARIABLE: address})
    if is_json:
        click.echo(json.dumps({"steps": steps_json(steps), "endpoint": address}, indent=2))
    elif address is not None:
        click.echo(f"{ROUTER_VARIABLE}={address}")


def _plan_addresses(launch: MachineLaunch) -> dict[str, str]:
    """Where every group of every plan answers, as its `up` has written. Raises InputError for one that is missing."""
    from sky_melange.render.router_names import endpoint_variables

    found: dict[str, str] = {}
    for name, (plan, workload) in launch.plans.items():
        known = _endpoints(launch.folder / name)
        for variable in (v for group in plan.groups for v in endpoint_variables(group, workload.launch.mode)):
            if variable not in known:
                message = f"does not say where {variable} is: `sky-melange up {launch.folder}` first"
                raise InputError([Mistake(source=str(launch.folder / name / ENDPOINTS_FILE), message=message)])
            found[variable] = known[variable]
    return found


def _router_secrets(launch: MachineLaunch) -> dict[str, str]:
    from sky_melange.render.router_sky_yaml import router_secrets

    workloads = [workload for _, workload in launch.plans.values()]
    wanted = [name for workload in workloads for name in router_secrets(workload)]
    return environment_secrets(wanted, [workload.launch.api_key_secret for workload in workloads])


def _router_price(launch: MachineLaunch) -> str:
    price = None if launch.fleet.router_machine is None else launch.fleet.router_machine.price_usd_per_hour
    return "an unknown amount" if price is None else f"{price:.4f}"


def status_machines(folder: Path, given: Mapping[str, Any]) -> None:
    """Each engine's port, asked for its health. Raises CheckFailedError where one does not answer."""
    _status(
        folder,
        given,
        "no shared machine was started from here",
        "An engine that has ended starts again with its machine: `sky down NAME`, then `sky-melange up`",
    )


def status_router(folder: Path, given: Mapping[str, Any]) -> None:
    """The router of all. Raises CheckFailedError where it does not run."""
    _status(folder, given, "the router was not started from here", "`sky-melange up` starts it", is_router=True)


def _status(folder: Path, given: Mapping[str, Any], nothing: str, advice: str, *, is_router: bool = False) -> None:
    from sky_melange.skypilot.launch.up import engine_statuses

    launch = read_machines(folder)
    statuses = engine_statuses(launch, launch_folder.connect()) if launch.record.started else ()
    found = [each for each in statuses if _is_router(each) is is_router]
    if given["output_format"] == "json":
        click.echo(json.dumps([each.as_json() for each in found], indent=2))
    else:
        for each in found:
            click.echo(each.line())
    if not found:
        say(f"{folder}: {nothing}; `sky-melange up {folder}` launches what is planned.")
    missing = [each.name for each in found if not each.is_ready]
    if missing:
        raise CheckFailedError(f"not ready: {', '.join(missing)}; see `sky logs`. {advice}")


def down_machines(folder: Path, given: Mapping[str, Any]) -> None:
    """Ends them, after the plans and their routers."""
    _down(folder, given, "no shared machine was started from here")


def down_router(folder: Path, given: Mapping[str, Any]) -> None:
    """Ends the router of all, before the plans."""
    _down(folder, given, "the router was not started from here", is_router=True)


def _down(folder: Path, given: Mapping[str, Any], nothing: str, *, is_router: bool = False) -> None:
    from sky_melange.skypilot.launch.launch import remove
    from sky_melange.skypilot.launch.report import steps_json
    from sky_melange.skypilot.launch.steps import steps_down

    with held(folder, is_needed=not given["dry_run"]):
        launch = read_machines(folder)
        steps = _of_machines(steps_down(launch.record.started), is_router=is_router)
        lines = [f"{step.action.value:7} {step.kind.value:8} {step.name}" for step in steps]
        if not steps:
            say(f"{folder}: {nothing}.")
        elif given["dry_run"]:
            for line in lines if given["output_format"] != "json" else ():
                click.echo(line)
        else:
            for line in lines:
                say(line)
            confirm("End all of these?", yes=given["yes"])
            remove(launch.record, launch_folder.connect(), steps, say)
            if not launch.record.started:
                (folder / ENDPOINTS_FILE).unlink(missing_ok=True)
    if given["output_format"] == "json":
        click.echo(json.dumps({"steps": steps_json(steps), "dry_run": given["dry_run"]}, indent=2))


def _endpoints(folder: Path) -> dict[str, str]:
    """What a folder's endpoints.env says; empty where there is none."""
    path = folder / ENDPOINTS_FILE
    there = path.exists() or path.is_symlink()
    lines = decoded(read_bytes(path, limit_bytes=_MOST_BYTES), str(path)).splitlines() if there else []
    return dict(line.partition("=")[::2] for line in lines)


def shared_addresses(launch: Launch) -> dict[str, str]:
    """Where the engines of a plan answer that run on machines which its fleet has launched. Raises InputError."""
    from sky_melange.render.router_names import endpoint_variables

    mode = launch.workload.launch.mode
    groups = [group for group in launch.plan.groups if group.part is not None]
    wanted = [name for group in groups for name in endpoint_variables(group, mode)]
    if not wanted:
        return {}
    fleet = launch.folder.parent
    known = _endpoints(fleet)
    missing = [name for name in wanted if name not in known]
    if missing:
        message = f"has engines on machines that a fleet shares, and these are not up: `sky-melange up {fleet}` first"
        raise InputError([Mistake(source=str(launch.folder), message=message)])
    return {name: known[name] for name in wanted}


def _secrets(launch: MachineLaunch) -> dict[str, str]:
    sharing = {engine.workload for machine in launch.fleet.machines for engine in machine.engines}
    settings = [workload.launch for name, (_, workload) in launch.plans.items() if name in sharing]
    wanted = [name for each in settings for name in each.all_secrets]
    return environment_secrets(wanted, [each.api_key_secret for each in settings])


def _show(launch: MachineLaunch, steps: Sequence[Step], *, is_answer: bool) -> None:
    from sky_melange.render.shared_machine_yaml import summary

    words = {machine.name: summary(machine) for machine in launch.fleet.machines}
    prices = {machine.name: machine.price_usd_per_hour for machine in launch.fleet.machines}
    for step in steps:
        shown = f"  {words[step.group]}: USD {prices[step.group]:.4f} per hour" if step.group in words else ""
        router, kind = launch.fleet.router_machine, "machine"
        if _is_router(step):
            kind = "router"
            if router is not None:
                where = f"{router.instance_type or 'any small machine'} on {router.cloud} {router.region}".rstrip()
                shown = f"  {where}: USD {_router_price(launch)} per hour"
        line = f"{step.action.value:7} {kind:8} {step.name}{shown}  ({step.why})"
        (click.echo if is_answer else say)(line)


def _json(launch: MachineLaunch, steps: Sequence[Step], addresses: Mapping[str, str] | None) -> dict[str, object]:
    from sky_melange.skypilot.launch.report import steps_json

    return {
        "steps": steps_json(steps),
        "machines_usd_per_hour": {machine.name: machine.price_usd_per_hour for machine in launch.fleet.machines},
        "endpoints": None if addresses is None else dict(addresses),
    }
