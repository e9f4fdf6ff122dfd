"""A plan.json -> what a simulation runs: its groups with the profiles of today, and its requests."""

from __future__ import annotations

from pathlib import Path

from sky_melange.domain.buckets import Traffic
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.trace import TraceReference
from sky_melange.domain.workload import Workload
from sky_melange.errors import InputError, MissingDataError, Mistake
from sky_melange.pipeline.profiling import profiles_on
from sky_melange.pipeline.reading import hours_of
from sky_melange.plan_file import PlanDocument
from sky_melange.simulation import DEFAULT_REQUESTS, Fleet, fleet_of
from sky_melange.traces import preset_names, read_requests
from sky_melange.traces.presets import has_requests, preset_requests
from sky_melange.traces.request_log import RequestLog
from sky_melange.workload_file import read_workload


def arrivals_log(workload: Workload, workload_file: Path | None, text: str | None = None) -> RequestLog | None:
    """The requests that `traffic.arrivals` replays; None where they are drawn. `text`: of the file, as it was read.

    Raises InputError for a log that cannot be read, or when the workload that names its columns is not known.
    """
    name = workload.traffic.arrivals.log
    if name is None:
        return None
    if name in preset_names() and has_requests(name):
        return preset_requests(name)
    if workload_file is None or (text is None and not workload_file.is_file()):
        message = f"its requests are those of {name}, and its workload, which says how to read it, is not there"
        raise InputError([Mistake(source=workload.name, message=f"{message}; add --arrivals poisson")])
    asked: list[TraceReference] = []

    def note(reference: TraceReference) -> Traffic:
        asked.append(reference)
        return workload.traffic

    read_workload(workload_file, trace_traffic=note, read_hours=lambda _: hours_of(workload.traffic), text=text)
    if not asked or not asked[0].files:
        message = f"names no trace any more, but its plan replays {name}; plan again"
        raise InputError([Mistake(source=str(workload_file), key="traffic", message=message)])
    return read_requests(asked[0].files, asked[0].options, folder=workload_file.parent)


def workload_file_of(document: PlanDocument) -> Path | None:
    """Where the workload of a plan lies; None: it was planned from no file."""
    name = document.plan.inputs.workload_file
    return None if name is None else document.path.parent / name


def usual_requests(plan: Plan) -> int:
    """As many as decided that the plan holds, and never fewer than any plan is judged by."""
    return DEFAULT_REQUESTS if plan.simulated is None else max(DEFAULT_REQUESTS, plan.simulated.requests)


def planned_fleet(document: PlanDocument) -> tuple[Fleet, tuple[str, ...]]:
    """The fleet, and a sentence for each group whose profile is not the one that was planned with.

    Raises MissingDataError when a group has no profile, InputError for a file of the workload's that cannot be read.
    """
    plan, workload = document.plan, document.workload
    accelerators = sorted({group.accelerator for group in plan.groups})
    known = profiles_on(workload, accelerators, accelerators, _workload_folder(document))
    chosen, warnings = {}, []
    for group in plan.groups:
        own = [profile for profile in known if profile.launched == group.launched]
        if not own:
            raise _missing(group, workload)
        same = next((profile for profile in own if profile.provenance == group.profile), None)
        if same is None:
            warnings.append(
                f"{group.name} was planned with another profile of {group.accelerator} than there is now; plan again."
            )
        chosen[group.name] = same or own[0]
    return fleet_of(plan, workload, chosen), tuple(warnings)


def _workload_folder(document: PlanDocument) -> Path:
    """Files that a workload names are relative to it."""
    return (workload_file_of(document) or document.path).parent


def _missing(group: ReplicaGroup, workload: Workload) -> MissingDataError:
    model = f"{workload.model.profiled_id} ({workload.model.dtype})"
    return MissingDataError(
        f"{group.name}: there is no profile of {model} on {group.accelerator} {group.layout_text} with the engine "
        "settings of the plan; plan again"
    )
