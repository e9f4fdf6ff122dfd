"""Changes of a workload that make every bucket servable, each tried with the profiles before it is named."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sky_melange.domain.candidate import Candidate
from sky_melange.domain.machine import CloudFeatures
from sky_melange.domain.offer import Offer, Quarantined
from sky_melange.domain.profile import Capacity
from sky_melange.domain.units import s_to_ms
from sky_melange.domain.workload import RoutingPolicy, Workload
from sky_melange.optimizer.candidates import ProfileCapacities, build_candidates
from sky_melange.optimizer.model import Model
from sky_melange.optimizer.problem import routing_classes
from sky_melange.optimizer.why.infeasible import is_servable, unserved_classes

_LOOSEST: Final = 64.0
"""Times a target: beyond that it is another service."""

_TARGETS: Final = ("tpot", "ttft", "ntpot")
_MOST_QUARANTINED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a workload is matched with: `capacities(workload)` looks its buckets and targets up in the profiles."""

    capacities: Callable[[Workload], Sequence[ProfileCapacities]]
    offers: Sequence[Offer]
    clouds: Mapping[str, CloudFeatures]
    quarantined: Sequence[Quarantined] = ()


def remedies(model: Model, around: Surroundings) -> list[str]:
    """In words, as the workload would be written."""
    return [*_targets(model, around), *_settings(model, around), *_trust(model, around)]


def quarantined_reasons(model: Model, around: Surroundings) -> dict[int, list[str]]:
    """For each unserved bucket (by index) the offers that could serve it, were their price believed."""
    found: dict[int, list[str]] = {}
    usable = _usable(model.workload, around)
    for members in unserved_classes(model):
        able = [item for item, candidates in usable if _serves(candidates, members)]
        for item in able[:_MOST_QUARANTINED]:
            text = f"{item.offer.accelerator}: quarantined price: {item.offer.name}: {item.reason}"
            found.setdefault(members[0], []).append(text)
        if len(able) > _MOST_QUARANTINED:
            found[members[0]].append(f"and {len(able) - _MOST_QUARANTINED} more offers with a quarantined price")
    return found


def _usable(workload: Workload, around: Surroundings) -> list[tuple[Quarantined, tuple[Candidate, ...]]]:
    """The quarantined offers that the workload allows, with the candidates that they would be, the cheapest first."""
    capacities = around.capacities(workload)
    built = (
        (item, build_candidates(workload, [item.offer], capacities, around.clouds).candidates)
        for item in around.quarantined
    )
    able = [(item, candidates) for item, candidates in built if candidates]
    return sorted(able, key=lambda pair: (pair[0].offer.price_usd_per_hour, pair[0].offer.sort_key))


def _serves(candidates: Sequence[Candidate], members: Sequence[int]) -> bool:
    return any(all(isinstance(c.capacities[index], Capacity) for index in members) for c in candidates)


def _fits(workload: Workload, around: Surroundings) -> bool:
    buckets = workload.traffic.buckets()
    candidates = build_candidates(workload, around.offers, around.capacities(workload), around.clouds).candidates
    return is_servable(routing_classes(workload.routing, buckets), candidates)


def _targets(model: Model, around: Surroundings) -> Iterator[str]:
    """Each target loosened alone: the least that helps, by bisection to half a percent, rounded up to three digits."""
    for name in _TARGETS:
        now = getattr(model.workload.slo, f"{name}_s")
        if now is None:
            continue

        def fits(value: float, name: str = name) -> bool:
            slo = replace(model.workload.slo, **{f"{name}_s": value})  # type: ignore[arg-type]
            return _fits(replace(model.workload, slo=slo), around)

        if not fits(now * _LOOSEST):
            continue
        low, high = now, now * _LOOSEST
        while high / low > 1.005:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if fits(middle) else (middle, high)
        unit = 10.0 ** (math.floor(math.log10(high)) - 2)
        down = math.floor(high / unit) * unit
        needed = down if down > now and fits(down) else math.ceil(high / unit) * unit
        yield f"raise slo.{name}_ms from {s_to_ms(now):.6g} to {s_to_ms(needed):.6g}"


def _settings(model: Model, around: Surroundings) -> Iterator[str]:
    workload = model.workload
    if workload.routing is not RoutingPolicy.SIZE_AWARE and _fits(
        replace(workload, routing=RoutingPolicy.SIZE_AWARE), around
    ):
        yield "set routing: size_aware, for a front door that knows both sizes of a request"
    policy = workload.profiles
    if not policy.extrapolate and _fits(replace(workload, profiles=replace(policy, extrapolate=True)), around):
        yield "set profiles: {extrapolate: true}, to reckon beyond what was measured"
    held = sorted(
        {c.profile.kv_cache_tokens for c in model.candidates if c.profile.kv_cache_tokens is not None}, reverse=True
    )
    now = workload.model.max_model_len
    if now is not None and held and held[0] < now:
        shorter = replace(workload, model=replace(workload.model, max_model_len=held[0]))
        if _fits(shorter, around):
            yield f"lower model.max_model_len from {now} to {held[0]}"


def _trust(model: Model, around: Surroundings) -> Iterator[str]:
    """The cheapest single quarantined offer that closes the gap."""
    for item, candidates in _usable(model.workload, around):
        if is_servable(model.classes, (*model.candidates, *candidates)):
            yield f"set prices: {{trust: [{item.offer.name}]}}, if you know that price to be right"
            return
