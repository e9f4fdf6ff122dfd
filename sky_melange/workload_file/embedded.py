"""A workload that a plan.json holds, in base units, against the rules of workload.yaml: one home for every range."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from sky_melange.domain.buckets import MOST_CV, Traffic
from sky_melange.domain.hours import MOST_HEADROOM, MOST_WINDOWS, Hours
from sky_melange.domain.units import s_to_ms
from sky_melange.domain.workload import CandidateFilter, Formulation, Objective, Slo, Workload
from sky_melange.workload_file.adapters import adapter_mistakes
from sky_melange.workload_file.convert import spot_of
from sky_melange.workload_file.field_types import MAX_COUNT, MAX_TOKENS
from sky_melange.workload_file.hour_sizes import embedded_size_mistakes
from sky_melange.workload_file.hours import rate_mistakes, zone_fault
from sky_melange.workload_file.messages import rule_text
from sky_melange.workload_file.own_gpus import own_mistakes
from sky_melange.workload_file.report import key_path
from sky_melange.workload_file.schema import WorkloadFile
from sky_melange.workload_file.sections import NO_CLOUD
from sky_melange.workload_file.traffic import MAX_RPS
from sky_melange.workload_file.traffic_checks import part_mistakes

_SUMS_DIFFER: Final = 1e-6
"""By so much, relatively, the sum over the buckets may miss the rate of the busiest hour."""

_SECTIONS: Final = (
    "model",
    "slo",
    "candidates",
    "constraints",
    "budget",
    "prices",
    "profiles",
    "solver",
    "launch",
    "router",
)
_NAMES: Final = {
    **{("slo", f"{name}_s"): f"{name}_ms" for name in ("tpot", "ttft", "ntpot")},
    **{("constraints", f"max_{what}_share_fraction"): f"max_{what}_share" for what in ("cloud", "region", "spot")},
    **{("router", f"size_{what}_fraction"): f"size_{what}" for what in ("error", "bias")},
}
"""(section, field of the domain) -> key of workload.yaml, where they differ."""

_NOT_WRITTEN: Final = {
    ("candidates", "clouds_from"),
    ("constraints", "keep", "groups"),
    ("model", "quantization"),
    ("model", "remote_code"),
    ("model", "dtypes"),
    ("model", "sizes"),
    ("router", "of_fleet"),
    ("solver", "break_ties"),
}
_ANY_TRAFFIC: Final = {
    "request_rate": 1.0,
    "histogram": {"input_tokens": [1], "output_tokens": [1], "weights": [[1.0]]},
}
"""A histogram for the schema's sake: that of the plan has rules of its own, since logs are counted more finely."""


def workload_mistakes(workload: Workload) -> Iterator[tuple[str, str]]:
    """(key within the workload, what is wrong) of everything that no workload.yaml may say."""
    try:
        WorkloadFile.model_validate(_as_file(workload))
    except ValidationError as error:
        for details in error.errors(include_url=False):
            yield key_path(_field_path(details["loc"])), f"{rule_text(details)}, found {str(details['input'])[:60]!r}"
    yield from _several_keys(workload)
    yield from _traffic(workload.traffic)


def _as_file(workload: Workload) -> dict[str, object]:
    file: dict[str, object] = {
        "version": 1,
        "name": workload.name,
        "traffic": _ANY_TRAFFIC,
        "routing": workload.routing,
        "objective": workload.objective,
    }
    for section in _SECTIONS:
        values = getattr(workload, section)
        if values is not None:
            file[section] = _plain(values, (section,))
    model, edges = workload.model, workload.traffic.grid
    if (
        edges.input_edges
        and edges.output_edges
        and model.max_model_len == edges.input_edges[-1] + edges.output_edges[-1]
    ):
        # It was filled in, and may be longer than a file may say.
        file["model"] = {**_plain(model, ("model",)), "max_model_len": None}
    return file


def _plain(value: Any, path: tuple[str, ...]) -> Any:
    if dataclasses.is_dataclass(value):
        entries = {}
        for field in dataclasses.fields(value):
            place = (*path, field.name)
            found = getattr(value, field.name)
            if place in _NOT_WRITTEN or (place == ("launch", "secrets") and found is None):
                continue
            name = _NAMES.get((path[0], field.name), field.name)
            if place == ("slo", "attainment") and found is None:
                found = "mean"
            if place == ("candidates", "purchase"):
                found = found or None
            if place == ("candidates", "clouds") and found == ():
                found = NO_CLOUD
            if place == ("slo", "percentiles"):
                entries.update({f"p{each.percent}_{each.latency}_ms": s_to_ms(each.limit_s) for each in found})
                continue
            entries[name] = s_to_ms(found) if name.endswith("_ms") and found is not None else _plain(found, place)
        return entries
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(entry, path) for key, entry in value.items()}
    return [_plain(entry, path) for entry in value] if isinstance(value, tuple) else value


def _field_path(place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Where plan.json holds what workload.yaml has at `place`."""
    fields = {(section, key): field for (section, field), key in _NAMES.items()}
    return tuple(
        fields.get((str(place[0]), str(part)), part) for part in place if part != "[key]" and not isinstance(part, Enum)
    )


def _several_keys(workload: Workload) -> Iterator[tuple[str, str]]:
    slo, budget, candidates = workload.slo, workload.budget, workload.candidates
    if slo.of_means() == Slo():
        yield "slo", "must set at least one of tpot_s, ttft_s, ntpot_s, percentiles"
    if slo.percentiles and slo.attainment is None:
        yield "slo.percentiles", "are found by simulation, and there is no attainment"
    if budget is not None and budget.limit_usd_per_hour is None:
        yield "budget", "must set usd_per_hour, usd_per_month, or both"
    if workload.objective is Objective.MOST_TRAFFIC:
        if budget is None:
            yield "objective", "most_traffic needs a budget"
        if workload.solver.formulation is Formulation.SLICED:
            yield "solver.formulation", "most_traffic does not support the sliced formulation"
    if candidates.clouds is not None and not set(candidates.regions) <= set(candidates.clouds):
        yield "candidates.regions", "must name clouds of candidates.clouds"
    for name, entries in (
        ("candidates.accelerators", candidates.accelerators),
        ("candidates.clouds", candidates.clouds),
        ("candidates.purchase", candidates.purchase),
        ("launch.secrets", workload.launch.secrets),
        *((f"candidates.regions.{cloud}", regions) for cloud, regions in candidates.regions.items()),
    ):
        if entries is not None and len(set(entries)) < len(entries):
            yield name, "lists an entry twice"
    yield from _purchase(candidates)
    yield from ((f"candidates.own[{index}].{name}", message) for index, name, message in own_mistakes(candidates.own))
    yield from ((f"model.{name}", message) for name, message in adapter_mistakes(workload.model))
    keep = workload.constraints.keep
    for index, group in enumerate(() if keep is None else keep.groups):
        for name in ("instances", "tensor_parallel", "accelerators_per_instance"):
            if not 1 <= getattr(group, name) <= MAX_COUNT:
                yield f"constraints.keep.groups[{index}].{name}", f"must be from 1 to {MAX_COUNT:,}"


def _purchase(candidates: CandidateFilter) -> Iterator[tuple[str, str]]:
    if candidates.purchase and not candidates.commitments:
        yield "candidates.purchase", "must be empty where no commitment is among them"
    elif candidates.purchase and candidates.spot is not spot_of(candidates.purchase):
        yield "candidates.spot", f"is {candidates.spot}, but purchase says {spot_of(candidates.purchase)}"


def _traffic(traffic: Traffic) -> Iterator[tuple[str, str]]:
    for axis in ("input_edges", "output_edges"):
        if any(edge > MAX_TOKENS for edge in getattr(traffic.grid, axis)):
            yield f"traffic.grid.{axis}", f"must be at most {MAX_TOKENS:,}"
    if traffic.request_rate_rps > MAX_RPS * (1 + 1e-9):
        yield "traffic.rates_rps", f"must sum to at most {MAX_RPS:,.0f} requests per second"
    if traffic.input_parts is not None:
        for index, message in part_mistakes(traffic.grid.input_edges, traffic.input_parts):
            yield f"traffic.input_parts{'' if index is None else f'[{index}]'}", message
    if traffic.arrivals.cv > MOST_CV:
        yield "traffic.arrivals.cv", f"must be at most {MOST_CV:g}"
    if traffic.hours is not None:
        yield from _hours(traffic.hours, traffic.request_rate_rps)
        yield from ((f"traffic.{key}", message) for key, message in embedded_size_mistakes(traffic, traffic.hours))
    if not 0 <= traffic.prefix_hit_fraction < 1:
        yield "traffic.prefix_hit_fraction", "must be at least 0 and less than 1"
    for bucket in traffic.buckets():
        i, j = bucket.input_index, bucket.output_index
        mean = None if traffic.mean_tokens is None else traffic.mean_tokens[i][j]
        if mean is not None and not (0 < mean[0] <= bucket.input_tokens and 0 < mean[1] <= bucket.output_tokens):
            yield f"traffic.mean_tokens[{i}][{j}]", f"must be above 0 and within bucket {bucket.label}"


def _hours(hours: Hours, rate_rps: float) -> Iterator[tuple[str, str]]:
    for hour, message in rate_mistakes(hours.rates_rps):
        yield f"traffic.hours.rates_rps{'' if hour is None else f'[{hour}]'}", message
    peak = max(hours.rates_rps, default=0.0)
    if abs(peak - rate_rps) > _SUMS_DIFFER * rate_rps:
        yield "traffic.hours.rates_rps", f"its busiest hour must have the rate of traffic.rates_rps, {rate_rps:g}"
    if len(hours.rates_rps) > 1 and hours.is_even:
        yield "traffic.hours", "must be null where all hours have one rate"
    if hours.headroom_fraction > MOST_HEADROOM:
        yield "traffic.hours.headroom_fraction", f"must be from 0 to {MOST_HEADROOM:g}"
    if len(hours.windows_rps) > MOST_WINDOWS:
        yield "traffic.hours.windows_rps", f"must be at most {MOST_WINDOWS} rates"
    if fault := zone_fault(hours.time_zone):
        yield "traffic.hours.time_zone", fault
