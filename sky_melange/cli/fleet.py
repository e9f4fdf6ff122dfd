"""What commands do with a fleet: plan it, write its folder, and do for each of its plans what they do for one."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from sky_melange.cli.plan_folder import check_replaceable, held, write_plan_folder
from sky_melange.domain.fleet import FLEET_FILE, MACHINE_FILE
from sky_melange.domain.launch_files import KEPT_FILES, RECORD_FILE
from sky_melange.errors import CheckFailedError, InputError, Mistake, SkyMelangeError
from sky_melange.render.plan_json import FILE_NAME
from sky_melange.untrusted import mistake, parse_json

if TYPE_CHECKING:
    from sky_melange.pipeline.fleets import PlannedFleet
    from sky_melange.plan_file import PlanDocument
    from sky_melange.plan_file.fleet import FleetDocument


_OWN: Final = (FLEET_FILE, *KEPT_FILES)


def write_fleet_folder(folder: Path, planned: PlannedFleet) -> None:
    """Writes each plan into the folder of its name, files of all together, then fleet.json: these are a fleet then.

    A fleet.json that is older than its plans is refused by every command, so that nothing half-written is launched.
    Raises InputError when the disk refuses, or `folder` holds what no fleet wrote.
    """
    from sky_melange.render import fleet_json, fleet_router_files, render_files, render_fleet_files
    from sky_melange.skypilot.launch.record import read_record

    plans = [(member.plan, member.workload) for member in planned.members]
    names = [plan.name for plan, _ in plans]
    shared = render_fleet_files(planned.plan, plans)
    left = _left_over(folder, names)
    for name in names:
        check_replaceable(folder / name)
    # What runs of another fleet would be lost from sight.
    read_record(folder, planned.plan.name)
    texts = {plan.name: render_files(plan, workload) for plan, workload in plans}
    for name, files in texts.items():
        write_plan_folder(folder / name, name, files)
    with held(folder):
        for name, text in shared.items():
            (folder / name).parent.mkdir(exist_ok=True)
            _write(folder / name, text)
        _write(folder / FLEET_FILE, fleet_json.text(planned.plan, plans))
        for path in left:
            shutil.rmtree(path)
        old = [path.name for path in folder.glob("*.sky.yaml") if _is_of_machine(path)]
        for name in {*old, *fleet_router_files()} - set(shared):
            (folder / name).unlink(missing_ok=True)
        if planned.plan.router_machine is None and "router" not in names and (folder / "router").is_dir():
            (folder / "router").rmdir()


def check_fleet_folder(folder: Path) -> None:
    """Raises InputError where no fleet may be written: before the time of planning is spent."""
    foreign = [
        path.name
        for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if not (path.name in _OWN or path.name.startswith(".") or _is_plan(path) or _is_of_all(path))
    ]
    if foreign:
        listed = ", ".join(foreign[:5]) + (" …" if len(foreign) > 5 else "")
        raise mistake(folder, f"holds files that no plan wrote ({listed}); move them or choose another --out")


def _is_plan(path: Path) -> bool:
    return not path.is_symlink() and path.is_dir() and ((path / FILE_NAME).is_file() or not any(path.iterdir()))


def _is_of_all(path: Path) -> bool:
    """Whether it is a file of what all workloads share: of a machine, or of the router."""
    from sky_melange.render import fleet_router_files

    if path.name == "router":
        found = {f"router/{each.name}" for each in path.iterdir()} if path.is_dir() and not path.is_symlink() else {""}
        return found <= set(fleet_router_files())
    return path.name in fleet_router_files() or _is_of_machine(path)


def _is_of_machine(path: Path) -> bool:
    """Whether it is the launch file of a machine that workloads share, by its name and first line."""
    if MACHINE_FILE.fullmatch(path.name) is None or path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.readline(200).startswith(f"# {path.name.removesuffix('.sky.yaml')}: ".encode())


def _left_over(folder: Path, names: list[str]) -> list[Path]:
    """Folders of workloads that an earlier fleet had. Raises InputError for anything else, or what was launched."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise mistake(folder, "is a link or no folder; choose another --out")
    if not folder.is_dir():
        return []
    left, mistakes = [], []
    for path in sorted(folder.iterdir()):
        if path.name in _OWN or path.name in names or path.name.startswith(".") or _is_of_all(path):
            continue
        if path.is_symlink() or not (path / FILE_NAME).is_file():
            mistakes.append(Mistake(source=str(path), message="is not of a fleet; move it, or choose another --out"))
        elif (path / RECORD_FILE).exists():
            message = f"was launched and is not in the fleet any more: `sky-melange down {path}` first"
            mistakes.append(Mistake(source=str(path), message=message))
        else:
            check_replaceable(path)
            left.append(path)
    if mistakes:
        raise InputError(mistakes)
    return left


def _write(path: Path, text: str) -> None:
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise mistake(path, f"cannot be written: {error.strerror or error}") from error


Run = TypeVar("Run", bound=Callable[..., None])
Hooks = Mapping[str, Callable[[Path, "Mapping[str, Any]"], None]]
"""By the name that stands for a plan's: MACHINES, ROUTER, or "", whose work has no heading and no answer."""

MACHINES: Final = "shared machines"
ROUTER: Final = "router of all"


def of_each_plan(
    argument: str,
    *,
    stops: bool = False,
    first: Callable[[Path, Mapping[str, Any]], None] | None = None,
    only: Callable[[PlanDocument], bool] | None = None,
    nothing: str = "has no plans",
    before: Hooks = MappingProxyType({}),
    after: Hooks = MappingProxyType({}),
) -> Callable[[Run], Run]:
    """A command that takes the folder of a plan takes that of a fleet, too: see `for_each_plan`.

    `first` is done before, with the folder of the fleet and what the command was given. `only`: plans that it is for;
    `nothing`: the error where a fleet has none of these.
    `before`, `after`: the same for the machines that the workloads share and for their router, around the plans.
    """

    def wrapped(run: Run) -> Run:
        @functools.wraps(run)
        def command(**given: Any) -> None:
            from sky_melange.plan_file.fleet import is_fleet_folder

            if not is_fleet_folder(given[argument]):
                run(**given)
                return
            folder = given[argument].parent if given[argument].name == FLEET_FILE else given[argument]
            output_format = given.get("output_format", "table")
            if first is not None:
                first(folder, given)
            for_each_plan(
                folder,
                lambda each: run(**{**given, argument: each}),
                output_format=output_format,
                stops=stops,
                only=only,
                nothing=nothing,
                before={name: functools.partial(do, folder, given) for name, do in before.items()},
                after={name: functools.partial(do, folder, given) for name, do in after.items()},
            )

        return cast("Run", command)

    return wrapped


def for_each_plan(
    folder: Path,
    run: Callable[[Path], None],
    *,
    output_format: str,
    stops: bool = False,
    only: Callable[[PlanDocument], bool] | None = None,
    nothing: str = "has no plans",
    before: Mapping[str, Callable[[], None]] = MappingProxyType({}),
    after: Mapping[str, Callable[[], None]] = MappingProxyType({}),
) -> None:
    """Does for each plan of a fleet what `run` does for the folder of one.

    What `run` prints comes under the plan's name; as JSON it is one object, by name; what workloads share has
    keys of its own. `stops`: at the first error; otherwise all are done, and the error is that of all. Raises
    InputError before anything is done where a plan is not the one that the fleet was made of.
    """
    from sky_melange.plan_file.fleet import read_fleet_plan, read_member_plans

    document = read_fleet_plan(folder)
    plans = read_member_plans(document)
    errors: list[tuple[str, SkyMelangeError]] = []
    answers: dict[str, object] = {}
    done: list[tuple[str, Callable[[], None]]] = [
        (member.name, functools.partial(run, each))
        for member, each, plan in zip(document.plan.members, document.folders, plans, strict=True)
        if only is None or only(plan)
    ]
    wanted = _shared_by(document)
    done[:0] = [(name, do) for name, do in before.items() if name in wanted]
    done += [(name, do) for name, do in after.items() if name in wanted]
    if not done:
        raise mistake(document.path, nothing)
    for name, do in done:
        heard = io.StringIO()
        try:
            with contextlib.redirect_stdout(heard) if output_format == "json" else _under(name):
                do()
        except SkyMelangeError as error:
            errors.append((name or document.plan.name, error))
        if name:
            answers[name] = parse_json(heard.getvalue(), name) if heard.getvalue().strip() else None
        if errors and stops:
            break
    if output_format == "json":
        keys = {MACHINES: "machines", ROUTER: "router"}
        shared = {key: answers.pop(name) for name, key in keys.items() if name in answers}
        answer = {"fleet": document.plan.name, **shared, "plans": answers}
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    raise_of_all(errors)


def _shared_by(document: FleetDocument) -> set[str]:
    """What the workloads share, or shared when it was launched."""
    from sky_melange.skypilot.launch.record import read_record
    from sky_melange.skypilot.launch.units import UnitKind

    fleet = document.plan
    started = [entry.kind for entry in read_record(document.path.parent, fleet.name).started.values()]
    is_routed = fleet.router_machine is not None or UnitKind.ROUTER in started
    has_machines = bool(fleet.machines) or UnitKind.CLUSTER in started
    return {name for name, is_there in ((MACHINES, has_machines), (ROUTER, is_routed), ("", bool(started))) if is_there}


@contextlib.contextmanager
def _under(name: str) -> Iterator[None]:
    if name:
        click.echo(f"{name}:")
    yield
    if name:
        click.echo("")


def raise_of_all(errors: list[tuple[str, SkyMelangeError]]) -> None:
    """One error of all, of the kind of the first; of a check that failed where kinds differ."""
    if not errors:
        return
    kinds = {type(error) for _, error in errors}
    kind = kinds.pop() if len(kinds) == 1 else CheckFailedError
    raise kind("\n".join(f"{name}: {error}" for name, error in errors))
