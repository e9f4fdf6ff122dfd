"""Reads a workload with all that it names: traffic counted from a log, the plan that runs already."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from sky_melange.domain.buckets import Traffic
from sky_melange.domain.hours import DAY, Hours
from sky_melange.domain.offer import PriceBook
from sky_melange.domain.workload import ANY_DTYPE, AUTO_DTYPE, CloudsFrom, Launch, Model, RunningGroup, Workload
from sky_melange.plan_file import read_plan
from sky_melange.prices import embedded_regions, known_accelerators, launchable_clouds, load_snapshot, usual_clouds
from sky_melange.traces import preset_names, read_hours, resolve_traffic
from sky_melange.workload_file import Reading, read_workload

ConfigOf = Callable[[str], Mapping[str, Any] | None]
"""Model id -> the config.json of its page, from a cache or from the network; None where there is none."""


Tell = Callable[[tuple[Reading, ...]], None]
"""Takes what a file says that is not read as it is spelled."""


def read(  # noqa: PLR0913 - what a caller may know
    path: Path,
    *,
    planned: Workload | None = None,
    text: str | None = None,
    config_of: ConfigOf | None = None,
    tell: Tell | None = None,
    dtype: str | None = None,
    enabled: Collection[str] | None = None,
) -> Workload:
    """Reads a workload file, its names of accelerators and clouds checked, its context limit and dtype filled in.

    `planned` stands in for the files that it names: the counts of its log, the groups that run, the model's config.
    `text` is the file's where it was read already, as pipes can be once. `config_of` looks for the config.json of a
    model for which the workload names none. `tell` gets what is not read as it is spelled. `dtype` is the choice where
    there is one; None, or none of them: the first. `enabled` are the clouds that SkyPilot has enabled, which count
    where the file states none; None: not known.
    """
    workload = read_workload(
        path,
        text=text,
        known_accelerators=known_accelerators(),
        known_clouds=launchable_clouds(),
        known_presets=preset_names(),
        known_regions=embedded_regions,
        tell=tell,
        trace_traffic=lambda reference: resolve_traffic(reference, path.parent) if planned is None else planned.traffic,
        read_hours=lambda reference: (
            read_hours(reference, path.parent) if planned is None else hours_of(planned.traffic)
        ),
    )
    workload = _with_clouds(workload, enabled)
    if planned is not None:
        workload = with_clouds_of(workload, planned)
    if workload.prices.overrides is not None:
        # Like every path in a workload file it is relative to the file.
        own = replace(workload.prices, overrides=path.parent / workload.prices.overrides)
        workload = replace(workload, prices=own)
    wanted = planned.model.dtype if dtype is None and planned is not None else dtype
    workload = replace(workload, model=_chosen(workload.model, wanted, path, planned, config_of))
    workload = replace(workload, launch=_with_secrets(workload))
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


def _with_clouds(workload: Workload, enabled: Collection[str] | None) -> Workload:
    """With the clouds that count where the file states none, among them those that it names regions of."""
    wanted = workload.candidates
    if wanted.clouds_from is CloudsFrom.STATED:
        return workload
    is_known = bool(enabled) or (enabled is not None and bool(wanted.own))
    clouds = set(enabled or ()) if is_known else set(usual_clouds())
    clouds_from = CloudsFrom.ENABLED if is_known else CloudsFrom.USUAL
    wanted = replace(wanted, clouds=tuple(sorted(clouds | set(wanted.regions))), clouds_from=clouds_from)
    return replace(workload, candidates=wanted)


def with_clouds_of(workload: Workload, planned: Workload) -> Workload:
    """Where the file states no clouds, those that were planned with: each machine may have enabled others."""
    wanted, then = workload.candidates, planned.candidates
    if wanted.clouds_from is CloudsFrom.STATED or (then.clouds_from is CloudsFrom.STATED and then.clouds is not None):
        return workload
    return replace(workload, candidates=replace(wanted, clouds=then.clouds, clouds_from=then.clouds_from))


def hours_of(planned: Traffic) -> tuple[Hours, tuple[str, ...]]:
    """What stands in for the file of `traffic.hours`: the hours of a plan, which has no even ones, and its notes."""
    hours = planned.hours or Hours(rates_rps=(planned.request_rate_rps,) * DAY)
    hours = replace(hours, sizes=())
    notes = (note.partition("Hours: ") for note in planned.notes)
    return hours, tuple(text for before, found, text in notes if found and not before)


def _chosen(
    model: Model, wanted: str | None, file: Path, planned: Workload | None, config_of: ConfigOf | None
) -> Model:
    """The model at one of the dtypes that it may have; each is that of a checkpoint, or is made of 16 bits."""
    from sky_melange.profiles.checkpoint import SIXTEEN_BITS

    def at(dtype: str) -> Model:
        one = replace(model, id=model.checkpoints.get(dtype, model.id), dtype=dtype)
        return _known(one, file, planned, config_of)

    if not model.dtypes:
        return at(model.dtype)
    if model.dtypes == (ANY_DTYPE,):
        own = _known(replace(model, dtype=AUTO_DTYPE), file, planned, config_of)
        made = ("fp8",) if own.dtype in SIXTEEN_BITS else ()
        names = tuple(dict.fromkeys((own.dtype, *made, *sorted(model.checkpoints))))
    else:
        names = model.dtypes
    # A dtype that no checkpoint has is told whichever is chosen.
    found = {name: at(name) for name in names}
    return replace(found[wanted if wanted in found else names[0]], dtypes=names)


def _known(model: Model, file: Path, planned: Workload | None, config_of: ConfigOf | None) -> Model:
    """The model with its checkpoint's dtype and sizes; what its page said then, where a plan was made with that."""
    from sky_melange.profiles.checkpoint import noted, resolved

    page = None
    if model.config is None and planned is not None and planned.model.id == model.id:
        page = noted(planned.model)
    elif model.config is None and config_of is not None:
        page = config_of(model.id)
    return resolved(model, file, page)


def _with_secrets(workload: Workload) -> Launch:
    """Where the file names no secrets: those without which the model cannot be downloaded."""
    from sky_melange.profiles.loading import needed_secrets

    launch = workload.launch
    return launch if launch.secrets is not None else replace(launch, secrets=needed_secrets(workload.model))


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
