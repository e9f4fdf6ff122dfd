"""`sky-melange up`."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sky_melange.cli.fleet import MACHINES, ROUTER, of_each_plan
from sky_melange.cli.launch_folder import confirm, connect, is_answerable, read_launch, say, secret_values
from sky_melange.cli.options import format_option
from sky_melange.cli.plan_folder import held
from sky_melange.cli.shared_machines import end_old, shared_addresses, up_machines, up_router
from sky_melange.domain.front_door import ROUTER_PURPOSE
from sky_melange.domain.hours import Scaling
from sky_melange.domain.launch_files import PROJECT_CONFIG_FILE
from sky_melange.domain.plan import CONTROLLER_PURPOSE
from sky_melange.domain.scaling import most_usd_per_hour, scaling_of
from sky_melange.errors import InputError, Mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sky_melange.domain.plan import Overhead, ReplicaGroup
    from sky_melange.skypilot.launch.launch import Launch
    from sky_melange.skypilot.launch.steps import Step

POLL_S = 10.0


def _check_fleet(folder: Path, given: Mapping[str, Any]) -> None:
    """As `sky-melange check`, of what the plans share; each plan is checked when its turn comes."""
    from sky_melange.api import check
    from sky_melange.cli.check import fleet_errors
    from sky_melange.cli.fleet import raise_of_all
    from sky_melange.plan_file.fleet import read_fleet_plan, read_member_plans

    if given["workload"] is not None:
        raise InputError([Mistake(source="--workload", message="is of one plan; leave it out for a fleet")])
    for plan in read_member_plans(read_fleet_plan(folder)):
        _refuse_without_trust(plan.path)
    errors, _ = fleet_errors(folder, lambda path: check(path, offline=given["offline"]))
    raise_of_all(errors)


def _refuse_without_trust(plan: Path) -> None:
    """Raises InputError where machines would be paid for on which no engine starts."""
    from sky_melange.plan_file import read_plan
    from sky_melange.profiles.loading import lacks_trust

    workload = read_plan(plan).workload
    if lacks_trust(workload):
        message = (
            f"engines start {workload.model.id} only if they may run code of its repository: read it, write "
            "`trust_remote_code: true` and plan again"
        )
        raise InputError([Mistake(source=str(plan), key="launch.trust_remote_code", message=message)])


@click.command(name="up", epilog="Example: sky-melange up plan --dry-run")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print the steps and their cost; ask SkyPilot nothing, start nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before spending.")
@click.option("--offline", is_flag=True, help="Check the plan against cached or embedded prices only.")
@click.option("--workload", type=click.Path(path_type=Path), help="The workload file, where it names files beside it.")
@click.option("--adopt", is_flag=True, help="Take over services and clusters of these names that run already.")
@click.option(
    "--timeout-minutes",
    type=click.FloatRange(min=0.0, max=10_000),
    default=60.0,
    show_default=True,
    help="How long to wait for the engines to answer.",
)
@format_option
@of_each_plan(
    "folder", stops=True, first=_check_fleet, before={MACHINES: up_machines}, after={ROUTER: up_router, "": end_old}
)
def command(
    *,
    folder: Path,
    dry_run: bool,
    yes: bool,
    offline: bool,
    workload: Path | None,
    adopt: bool,
    timeout_minutes: float,
    output_format: str,
) -> None:
    """Launch the plan in FOLDER through SkyPilot: every replica group, then the router; then end what is not in it.

    Run it again to resume after a failure, or after a new plan in the same folder: groups that are as planned are
    left alone, the others are replaced, new before old. Refuses (exit code 3) when `sky-melange check` fails. Prints
    where the groups and the router answer, and writes it to endpoints.env; launch.json keeps what was started.
    """
    from sky_melange.skypilot.launch.ready import Patience
    from sky_melange.skypilot.launch.report import launch_json
    from sky_melange.skypilot.launch.up import bring_up, planned_steps

    with held(folder, is_needed=not dry_run):
        launch = read_launch(folder)
        _refuse_without_trust(folder)
        _check(folder, workload, offline=offline)
        if dry_run:
            steps = planned_steps(launch, None, adopt=adopt)
            if output_format == "json":
                click.echo(json.dumps(launch_json(launch, steps, None), indent=2))
            else:
                _show(launch, steps, print_line=click.echo)
            return
        launch = replace(launch, secrets=secret_values(launch), shared=shared_addresses(launch))
        if not is_answerable(yes=yes):
            # Before SkyPilot is asked, which starts an API server where none runs.
            _show(launch, planned_steps(launch, None, adopt=adopt), print_line=say)
            confirm("", yes=False)
        cloud = connect(launch.files.get(PROJECT_CONFIG_FILE, ""))
        steps = planned_steps(launch, cloud, adopt=adopt)
        _show(launch, steps, print_line=say)
        if any(step.action != "keep" for step in steps):
            confirm(f"Spend USD {launch.plan.cost.total_usd_per_hour:.4f} per hour{_at_worst(launch)}?", yes=yes)
        patience = Patience(timeout_s=timeout_minutes * 60, poll_s=POLL_S, now_s=time.monotonic, sleep=time.sleep)
        addresses = bring_up(launch, cloud, steps, patience)
        if output_format == "json":
            click.echo(json.dumps(launch_json(launch, steps, addresses), indent=2))
            return
        for name, address in addresses.items():
            click.echo(f"{name}={address}")


def _check(folder: Path, workload: Path | None, *, offline: bool) -> None:
    """As `sky-melange check`. Its report goes to stderr: stdout is for the addresses."""
    from sky_melange.api import check
    from sky_melange.cli.check import raise_failed

    report = check(folder, workload=workload, offline=offline)
    for warning in report.warnings:
        say(f"Warning: {warning}")
    raise_failed(report, is_explained=False)


def _show(launch: Launch, steps: Sequence[Step], *, print_line: Callable[[str], None]) -> None:
    """The steps and what they cost: the answer of a dry run, and progress of any other."""
    cost = launch.plan.cost
    machines = {group.name: _machines(group) for group in launch.plan.groups}
    beside = {machine.purpose: machine for machine in launch.plan.overhead}
    if CONTROLLER_PURPOSE in beside:
        machines[CONTROLLER_PURPOSE] = _machine(beside[CONTROLLER_PURPOSE])
    for step in steps:
        # A group may be several clusters; its cost is shown once.
        group = "" if step.unit is None else machines.pop(step.unit.group, "")
        if step.unit is not None and step.kind.value == "router" and ROUTER_PURPOSE in beside:
            group = _machine(beside[ROUTER_PURPOSE])
        shown = f"  {group}" if group else ""
        print_line(
            f"{step.action.value:7} {step.kind.value:8} {step.name}{shown}{f'  ({step.why})' if step.why else ''}"
        )
    if CONTROLLER_PURPOSE in machines and any(step.kind.value == "service" and step.unit for step in steps):
        print_line(f"SkyPilot starts the SkyServe controller where none runs: {machines[CONTROLLER_PURPOSE]}")
    print_line(
        f"The plan costs USD {cost.total_usd_per_hour:.4f} per hour: {cost.replicas_usd_per_hour:.4f} for replicas, "
        f"{cost.overhead_usd_per_hour:.4f} beside them{_at_worst(launch)}. "
        "While groups are replaced, old and new both cost."
        f"{_shared(launch)}"
    )
    scaling, schedule = scaling_of(launch.plan, launch.workload), launch.plan.schedule
    if schedule is not None and scaling is Scaling.SCHEDULE:
        print_line(
            "That is its busiest hour, with which every group starts. Run "
            f"`sky-melange scale {shlex.quote(str(launch.folder))}` every few minutes from then on: by the hours it "
            f"costs USD {schedule.usd_per_hour:.4f} per hour on average."
        )
    elif schedule is not None and scaling is Scaling.AUTOSCALE:
        most_usd = most_usd_per_hour(launch.plan.groups, cost, schedule)
        print_line(
            "That is its busiest hour: SkyServe starts with the fewest instances and follows the traffic, up to USD "
            f"{most_usd:.4f} per hour."
        )


def _shared(launch: Launch) -> str:
    part = sum(group.cost_usd_per_hour for group in launch.plan.groups if group.part is not None)
    return f" {part:.4f} of it is the plan's share of machines that the fleet has launched." if part else ""


def _machines(group: ReplicaGroup) -> str:
    """`2 × g6.xlarge (1 × L4) on aws us-east-1 at USD 0.8048: USD 1.6096 per hour`."""
    from sky_melange.render.skypilot_yaml import summary

    bought = group.committed
    terms = ""
    if bought is not None and bought.instances:
        terms = f", {bought.instances} committed at {bought.price_usd_per_hour:.4f}"
    return f"{summary(group)} at USD {group.price_usd_per_hour:.4f}{terms}: USD {group.cost_usd_per_hour:.4f} per hour"


def _machine(machine: Overhead) -> str:
    price = machine.price_usd_per_hour
    cost = "at a price that is not known" if price is None else f"USD {price:.4f} per hour"
    return f"{machine.instance_type or 'any small machine'} on {machine.cloud} {machine.region}: {cost}"


def _at_worst(launch: Launch) -> str:
    """Where spot is planned: what it costs while on-demand machines stand in for all of it."""
    cost = launch.plan.cost
    if cost.worst_case_usd_per_hour <= cost.total_usd_per_hour:
        return ""
    return f", at worst {cost.worst_case_usd_per_hour:.4f} while on-demand machines stand in for spot"
