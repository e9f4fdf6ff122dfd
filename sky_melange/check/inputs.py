"""What changed between the inputs of two plans: the workload, and the profiles of the groups that both have."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from sky_melange.domain.buckets import Traffic
from sky_melange.domain.hours import Hours
from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.plan_diff import InputChange
from sky_melange.domain.workload import Workload

_TABLES: Final = (
    "traffic.rates_rps",
    "traffic.mean_tokens",
    "traffic.hours.rates_rps",
    "traffic.hours.windows_rps",
    "traffic.hours.sizes",
)
"""Compared by bucket or hour, not by position: a new edge moves every position."""


def workload_changes(old: Workload, new: Workload) -> tuple[InputChange, ...]:
    """Every key that differs, in the order of the fields, then the traffic by bucket."""
    before, after = dict(_flat(old, "")), dict(_flat(new, ""))
    return (
        *_changes(before, after),
        *_traffic_changes(old.traffic, new.traffic),
        *_hours_changes(old.traffic.hours, new.traffic.hours),
    )


def profile_changes(pairs: Iterable[tuple[ReplicaGroup, ReplicaGroup]]) -> tuple[InputChange, ...]:
    """What each group's throughput rests on, where that differs; keys begin with the group's new name."""
    found: list[InputChange] = []
    for old, new in pairs:
        for name in ("profile", "engine_version", "engine_args"):
            before = dict(_flat(getattr(old, name), f"{new.name}.{name}"))
            after = dict(_flat(getattr(new, name), f"{new.name}.{name}"))
            found += _changes(before, after)
    return tuple(found)


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[InputChange]:
    return [
        InputChange(key=key, old=before.get(key), new=after.get(key))
        for key in dict.fromkeys((*before, *after))
        if before.get(key) != after.get(key)
    ]


def _traffic_changes(old: Traffic, new: Traffic) -> Iterator[InputChange]:
    """The total rate, and how many buckets have another rate, another share of the requests, or other sizes."""
    # Sums over buckets: other shares of the same rate differ in the last digits.
    if not math.isclose(old.request_rate_rps, new.request_rate_rps, rel_tol=1e-12):
        yield InputChange(
            key="traffic.request_rate", old=f"{old.request_rate_rps:g} req/s", new=f"{new.request_rate_rps:g} req/s"
        )
    before = {(b.input_tokens, b.output_tokens): b for b in old.buckets()}
    after = {(b.input_tokens, b.output_tokens): b for b in new.buckets()}
    moved = 0.5 * sum(
        abs(
            (before[key].rate_rps / old.request_rate_rps if key in before else 0.0)
            - (after[key].rate_rps / new.request_rate_rps if key in after else 0.0)
        )
        for key in {*before, *after}
    )
    if moved > 1e-9:
        yield InputChange(key="traffic.sizes", note=f"{moved:.2%} of the requests have another size")
    sizes = [
        key
        for key in before.keys() & after.keys()
        if (before[key].planned_input_tokens, before[key].planned_output_tokens)
        != (after[key].planned_input_tokens, after[key].planned_output_tokens)
    ]
    if sizes:
        yield InputChange(key="traffic.planned_sizes", note=f"{len(sizes)} buckets are planned at another size")


def _hours_changes(old: Hours | None, new: Hours | None) -> Iterator[InputChange]:
    """How many hours have another rate, and the mean over the cycle; what differs of their sizes."""
    if old is not None and new is not None and old.sizes != new.sizes:
        was, now = (", ".join(f"{each.name} ({len(each.hours)} h)" for each in hours.sizes) for hours in (old, new))
        note = "some hours have other sizes, or are in another set" if was == now else ""
        yield InputChange(key="traffic.hours.sizes", old=was or None, new=now or None, note=note)
    if old is None or new is None or old.rates_rps == new.rates_rps:
        return
    if len(old.rates_rps) != len(new.rates_rps):
        was, now = (f"{len(hours.rates_rps)} hours" for hours in (old, new))
        yield InputChange(key="traffic.hours", old=was, new=now)
        return
    other = sum(before != now for before, now in zip(old.rates_rps, new.rates_rps, strict=True))
    means = f"{old.mean_rps:.4g} req/s on average when planned, {new.mean_rps:.4g} now"
    yield InputChange(key="traffic.hours", note=f"{other} of {len(old.rates_rps)} hours have another rate; {means}")


def _flat(value: object, key: str) -> Iterator[tuple[str, str]]:
    """(`slo.tpot_s`, `0.04`) for each leaf; what is None or empty is absent."""
    if key in _TABLES or value is None or value in ((), "", {}):
        return
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _flat(getattr(value, field.name), f"{key}.{field.name}" if key else field.name)
    elif isinstance(value, Mapping):
        for name, item in sorted(value.items()):
            yield from _flat(item, f"{key}.{name}")
    elif isinstance(value, tuple):
        yield key, ", ".join(_item(item) for item in value)
    else:
        yield key, f"{value:g}" if isinstance(value, float) else str(value)


def _item(value: object) -> str:
    """One item of a list, on one line."""
    if isinstance(value, tuple):
        return "=".join(_item(item) for item in value)
    if dataclasses.is_dataclass(value):
        return " ".join(f"{name}={text}" for name, text in _flat(value, ""))
    return f"{value:g}" if isinstance(value, float) else str(value)
