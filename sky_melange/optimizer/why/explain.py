"""Why a plan is what it is. Every figure comes from a solve; each flip point is bracketed by solves on both sides.

oracle.py   "what would the best plan cost if …"
flips.py    the price at which something leaves or enters
rates.py    the request rates at which other types become best
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sky_melange.domain.candidate import Candidate
from sky_melange.domain.engine import layout_text
from sky_melange.domain.explanation import Explanation, Leaving, LimitCost, Measurement, MixRange, NearMiss, Substitute
from sky_melange.errors import NotOptimalError
from sky_melange.optimizer import Optimum
from sky_melange.optimizer.limits import limits_of
from sky_melange.optimizer.limits.budget import MaxCost
from sky_melange.optimizer.model import Model
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solve.reduction import reduce_problem
from sky_melange.optimizer.solve.solution import Solution
from sky_melange.optimizer.why.oracle import Oracle, factor_at, stopping_others, without
from sky_melange.optimizer.why.rates import mixes

_MOST_NEAR_MISSES: Final = 8


def explain(optimum: Optimum) -> Explanation:
    """Explains a plan that is proven optimal; raises NotOptimalError for one that is not."""
    model, solution = optimum.model, optimum.solution
    if solution.status != "optimal":
        raise NotOptimalError("a plan that is not proven cheapest cannot be explained; raise solver.time_limit_s")
    oracle = Oracle(model.workload.solver)
    rate_rps = model.workload.traffic.request_rate_rps
    peak = max(group.utilization for group in optimum.assembled.groups)
    single = next((a for a in optimum.alternatives if a.total_usd_per_hour is not None), None)
    limits = limit_costs(oracle, model.problem)
    offers = tuple(_leaving_offers(oracle, model, solution))
    accelerators = tuple(_leaving_accelerators(oracle, model, solution))
    near_misses = tuple(_near_misses(oracle, model, solution))
    ranges = _mixes(oracle, model)
    measurements = tuple(_measurements(oracle, model, solution))
    return Explanation(
        request_rate_rps=rate_rps,
        headroom_rps=rate_rps * model.problem.max_utilization / peak,
        total_usd_per_hour=solution.cost_usd_per_hour,
        best_single_accelerator=None if single is None else single.label,
        best_single_usd_per_hour=None if single is None else single.total_usd_per_hour,
        policy=model.workload.routing.value,
        size_aware_total_usd_per_hour=optimum.size_aware_total_usd_per_hour,
        limits=limits,
        offers=offers,
        accelerators=accelerators,
        near_misses=near_misses,
        mixes=ranges,
        solves=oracle.solves,
        measurements=measurements,
    )


def limit_costs(oracle: Oracle, problem: Problem) -> tuple[LimitCost, ...]:
    """The total of the best plan without each limit that is set, and without a charge for changes.

    The budget is none: a plan is explained at the traffic that it is for.
    """
    return tuple(
        LimitCost(
            name=limit.name,
            value=limit.setting(),
            cost_without_usd_per_hour=_cost(oracle, limit.without(problem)),
        )
        for limit in limits_of(problem)
        if not isinstance(limit, MaxCost)
    )


def _cost(oracle: Oracle, problem: Problem) -> float | None:
    try:
        found = oracle.best(problem)
    except NotOptimalError:
        return None
    return None if found is None else problem.cost(found.counts)


def _leaving_offers(oracle: Oracle, model: Model, solution: Solution) -> list[Leaving]:
    """Each offer of the plan: all layouts of it share its price."""
    used = {model.candidates[c].offer.name: c for c, count in enumerate(solution.counts) if count}
    return [
        _leaving(oracle, model, solution, name, _same_offer(model, c), model.problem.prices[c])
        for name, c in sorted(used.items())
    ]


def _leaving_accelerators(oracle: Oracle, model: Model, solution: Solution) -> list[Leaving]:
    used = {model.candidates[c].offer.accelerator for c, count in enumerate(solution.counts) if count}
    return [_leaving(oracle, model, solution, name, _same_accelerator(model, name), None) for name in sorted(used)]


def _leaving(
    oracle: Oracle, model: Model, solution: Solution, label: str, some: Collection[int], price: float | None
) -> Leaving:
    problem = model.problem
    try:
        rest, left = without(problem, some)
        substitute = oracle.best(rest)
        if substitute is None:
            return Leaving(label=label, price_usd_per_hour=price, factor=None, without=None)
        target = rest.objective(substitute.counts) + stopping_others(problem, left)
        # At today's prices the plan itself is the best that uses them, so the first step needs no solve.
        spent = sum(problem.prices[c] * solution.counts[c] for c in some)
        if spent <= 0:
            # Already paid for: no factor makes it dearer.
            return Leaving(
                label=label, price_usd_per_hour=price, factor=None, without=_substitute(model, left, rest, substitute)
            )
        start = (target - problem.objective(solution.counts) + spent) / spent
        factor = factor_at(oracle, problem, some, target, max(1.0, start))
    except NotOptimalError:
        return Leaving(label=label, price_usd_per_hour=price, factor=None, without=None, is_proven=False)
    return Leaving(
        label=label,
        price_usd_per_hour=price,
        factor=factor,
        without=_substitute(model, left, rest, substitute),
    )


def _substitute(model: Model, left: Sequence[int], rest: Problem, found: Solution) -> Substitute:
    bought = [(_label(model.candidates[c]), count) for c, count in zip(left, found.counts, strict=True) if count]
    return Substitute(cost_usd_per_hour=rest.cost(found.counts), instances=tuple(sorted(bought)))


def _near_misses(oracle: Oracle, model: Model, solution: Solution) -> list[NearMiss]:
    """The most promising offer outside the plan of each accelerator, at most eight."""
    target = model.problem.objective(solution.counts)
    found = []
    for c in _most_promising(model, solution):
        offer = model.candidates[c].offer
        enters: float | None = None
        is_proven = True
        try:
            factor = factor_at(oracle, model.problem, _same_offer(model, c), target)
            enters = None if factor is None else factor * offer.price_usd_per_hour
        except NotOptimalError:
            is_proven = False
        found.append(
            NearMiss(
                label=offer.name,
                accelerator=offer.accelerator,
                price_usd_per_hour=offer.price_usd_per_hour,
                enters_at_usd_per_hour=enters,
                is_proven=is_proven,
            )
        )
    return found


def _measurements(oracle: Oracle, model: Model, solution: Solution) -> list[Measurement]:
    """The accelerators of the plan and those nearest to it that are planned slower than predicted, the dearest first.

    With latencies so many times shorter a replica carries at least so many times the requests within its targets.
    """
    used = [c for c, count in enumerate(solution.counts) if count]
    names = [model.candidates[c].offer.accelerator for c in (*used, *_most_promising(model, solution))]
    total = model.problem.cost(solution.counts)
    found = []
    for name in dict.fromkeys(names):
        some = _same_accelerator(model, name)
        factors = {c: model.candidates[c].profile.provenance.slower_by for c in some}
        slower_by = max(factors.values())
        if slower_by > 1.0:
            parts = [factors.get(c, 1.0) for c in range(len(model.candidates))]
            cost = _cost(oracle, model.problem.used_to(parts))
            # The plan itself still serves then, so that nothing gets dearer.
            saves = None if cost is None else max(0.0, total - cost)
            found.append(Measurement(accelerator=name, slower_by=slower_by, saves_usd_per_hour=saves))
    return sorted(found, key=lambda each: (-(each.saves_usd_per_hour or 0.0), each.accelerator))


def _most_promising(model: Model, solution: Solution) -> list[int]:
    """By the least relative loss that using one instance causes (`reduction`), one an accelerator."""
    used = {model.candidates[c].offer.name for c, count in enumerate(solution.counts) if count}
    surcharges = reduce_problem(model.problem).surcharges
    useful = [c for c in range(len(model.candidates)) if model.problem.loads_on(c)]
    ranked = sorted(useful, key=lambda c: (surcharges[c] / max(model.problem.prices[c], 1e-9), c))
    first: dict[str, int] = {}
    for c in ranked:
        offer = model.candidates[c].offer
        if offer.name not in used and model.problem.prices[c] > 0:
            first.setdefault(offer.accelerator, c)
    return list(first.values())[:_MOST_NEAR_MISSES]


def _mixes(oracle: Oracle, model: Model) -> tuple[MixRange, ...]:
    names = [candidate.offer.accelerator for candidate in model.candidates]
    try:
        return mixes(oracle, model.problem, names, model.workload.traffic.request_rate_rps)
    except NotOptimalError:
        return ()


def _same_offer(model: Model, c: int) -> list[int]:
    name = model.candidates[c].offer.name
    return [other for other, candidate in enumerate(model.candidates) if candidate.offer.name == name]


def _same_accelerator(model: Model, accelerator: str) -> list[int]:
    return [c for c, candidate in enumerate(model.candidates) if candidate.offer.accelerator == accelerator]


def _label(candidate: Candidate) -> str:
    key = candidate.profile.key
    layout = layout_text(key.tensor_parallel, key.layout, key.engine)
    return candidate.offer.name + (f" ({layout.replace('TP', 'tensor parallel')})" if layout != "TP 1" else "")
