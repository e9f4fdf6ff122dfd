"""Reads a workload with all that it names: traffic counted from a log, the plan that runs already."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from sky_melange.domain.offer import PriceBook
from sky_melange.domain.workload import RunningGroup, Workload
from sky_melange.plan_file import read_plan
from sky_melange.prices import known_accelerators, launchable_clouds, load_snapshot
from sky_melange.traces import preset_names, resolve_traffic
from sky_melange.workload_file import read_workload


def read(path: Path, *, planned: Workload | None = None, text: str | None = None) -> Workload:
    """Reads a workload file, its names of accelerators and clouds checked, and its context limit filled in.

    `planned` stands in for the files that it names: the counts of its log, and the groups that run. `text` is the
    file's where it was read already, as pipes can be once.
    """
    workload = read_workload(
        path,
        text=text,
        known_accelerators=known_accelerators(),
        known_clouds=launchable_clouds(),
        known_presets=preset_names(),
        trace_traffic=lambda reference: resolve_traffic(reference, path.parent) if planned is None else planned.traffic,
    )
    if workload.prices.overrides is not None:
        # Like every path in a workload file it is relative to the file.
        own = replace(workload.prices, overrides=path.parent / workload.prices.overrides)
        workload = replace(workload, prices=own)
    if planned is None:
        workload = _with_running_groups(workload, path.parent)
    elif workload.constraints.keep is not None and planned.constraints.keep is not None:
        keep = replace(workload.constraints.keep, groups=planned.constraints.keep.groups)
        workload = replace(workload, constraints=replace(workload.constraints, keep=keep))
    if workload.model.max_model_len is not None:
        return workload
    grid = workload.traffic.grid
    longest = grid.input_edges[-1] + grid.output_edges[-1]
    return replace(workload, model=replace(workload.model, max_model_len=longest))


def _with_running_groups(workload: Workload, folder: Path) -> Workload:
    """Reads the plan that `constraints.keep` names. Raises InputError when there is none, or it is no plan."""
    keep = workload.constraints.keep
    if keep is None:
        return workload
    document = read_plan(folder / keep.plan)
    groups = tuple(
        RunningGroup(**{field.name: getattr(group, field.name) for field in fields(RunningGroup)})
        for group in document.plan.groups
    )
    return replace(workload, constraints=replace(workload.constraints, keep=replace(keep, groups=groups)))


def embedded_book(workload: Workload) -> PriceBook:
    """The prices that ship with this release, for a workload."""
    return load_snapshot(trust=workload.prices.trust)
