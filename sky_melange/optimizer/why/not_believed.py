"""Which prices that are not believed would have changed the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sky_melange.domain.candidate import Candidate
from sky_melange.domain.machine import CloudFeatures
from sky_melange.domain.offer import Quarantined
from sky_melange.domain.profile import ProfileKey
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer import Model, Problem, solve_problem
from sky_melange.optimizer.candidates import ProfileCapacities, build_candidates
from sky_melange.optimizer.model import build_problem
from sky_melange.optimizer.solve.reduction import reduce_problem

_ROUNDS: Final = 3
_SAME_FRACTION: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Prices that would have been in the plan, together, were they believed; how much less the plan would cost.

    Without `items` more prices may be such than were looked into.
    """

    items: tuple[Quarantined, ...]
    saved_usd_per_hour: float


def missed(
    model: Model,
    total_usd_per_hour: float,
    quarantined: Sequence[Quarantined],
    profiles: Sequence[ProfileCapacities],
    clouds: Mapping[str, CloudFeatures],
) -> tuple[Missed, ...]:
    """Puts the offers back as candidates at their prices, and solves again while some of them are used.

    Nothing is missed in silence: an offer whose cost from below is above the plan's cannot be in a cheaper plan, and
    the others are solved for, the cheapest first; what is left after three rounds is mentioned.
    """
    by_name = {item.offer.name: item for item in quarantined}
    offers = [item.offer for item in quarantined]
    added = build_candidates(model.workload, offers, profiles, clouds).candidates
    return tuple(_rounds(model, total_usd_per_hour, _cheapest(model, added), by_name))


def _rounds(
    model: Model, usd_per_hour: float, added: Sequence[Candidate], by_name: Mapping[str, Quarantined]
) -> Iterator[Missed]:
    for _ in range(_ROUNDS):
        added = _promising(model, usd_per_hour, added)
        if not added:
            return
        found = _used(model, usd_per_hour, added)
        if found is None:
            return
        names, cost_usd_per_hour = found
        items = tuple(by_name[name] for name in sorted(names))
        yield Missed(items=items, saved_usd_per_hour=usd_per_hour - cost_usd_per_hour)
        added = [candidate for candidate in added if candidate.offer.name not in names]
    if _promising(model, usd_per_hour, added):
        yield Missed(items=(), saved_usd_per_hour=0.0)


def _cheapest(model: Model, added: Sequence[Candidate]) -> list[Candidate]:
    """The cheapest of each kind, and those that a limit does not let it replace."""
    if model.workload.constraints.keep is not None:
        return list(added)
    limits = _problem(model, added).limits
    found: dict[tuple[object, ...], list[int]] = {}
    for c in sorted(range(len(added)), key=lambda c: (added[c].offer.price_usd_per_hour, added[c].sort_key)):
        offer = added[c].offer
        cheaper = found.setdefault((added[c].profile.key, offer.accelerators_per_instance, offer.use_spot), [])
        if not any(all(limit.may_replace(other, c, 1) for limit in limits) for other in cheaper):
            cheaper.append(c)
    return [added[c] for kind in found.values() for c in kind]


def _promising(model: Model, usd_per_hour: float, added: Sequence[Candidate]) -> list[Candidate]:
    """Those of which a cheaper plan is not ruled out by the bound of `reduction`."""
    if not added:
        return []
    problem = _problem(model, (*model.candidates, *added))
    kept = reduce_problem(problem).keep(usd_per_hour)
    first = len(model.candidates)
    return [added[index - first] for index in kept if index >= first]


def _used(model: Model, usd_per_hour: float, added: Sequence[Candidate]) -> tuple[set[str], float] | None:
    """The names of the offers in a cheaper plan, and what it costs in total; None where there is no such plan."""
    candidates = (*model.candidates, *added)
    problem = replace(_problem(model, candidates), keep=None)
    try:
        solution = solve_problem(problem, replace(model.workload.solver, break_ties=False))
    except (InfeasibleError, NotOptimalError):
        return None
    counted = zip(candidates[len(model.candidates) :], solution.counts[len(model.candidates) :], strict=True)
    names = {candidate.offer.name for candidate, count in counted if count}
    if not names or solution.cost_usd_per_hour >= usd_per_hour * (1 - _SAME_FRACTION):
        return None
    return names, solution.cost_usd_per_hour


def _problem(model: Model, candidates: Sequence[Candidate]) -> Problem:
    """What a simulation allows a profile holds at whatever price it is sold; one that it has not seen may carry what
    the best one may.
    """
    problem = build_problem(model.workload, model.buckets, model.classes, candidates)
    problem = replace(problem, charges=model.machines.charges(candidates))
    if model.utilizations is None:
        return problem
    known: dict[ProfileKey, float] = {}
    for candidate, part in zip(model.candidates, model.utilizations, strict=True):
        key = candidate.profile.key
        known[key] = max(part, known.get(key, 0.0))
    most = max(known.values(), default=1.0)
    return problem.used_to([known.get(each.profile.key, most) for each in candidates])


def missed_warnings(found: Sequence[Missed], what: str = "the plan") -> Iterator[str]:
    """What was not believed and would have been in a plan, with what would make it believed; `what` was compared."""
    for entry in found:
        for item in entry.items:
            together = f" with {len(entry.items) - 1} other such prices" if len(entry.items) > 1 else ""
            yield (
                f"Price of {item.offer.name} is not believed: {item.offer.price_usd_per_hour:.4f} USD per hour "
                f"({item.rule}: {item.reason}). Believed{together}, it would make {what} "
                f"USD {entry.saved_usd_per_hour:.4f} per hour cheaper: if you know it to be right, set "
                f"prices: {{trust: [{item.offer.name}]}}."
            )
        if not entry.items:
            yield (
                f"Prices that are not believed could make {what} cheaper still; `sky-melange prices --quarantined` "
                "lists them."
            )
