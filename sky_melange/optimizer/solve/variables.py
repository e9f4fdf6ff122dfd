"""The variables of the model. Names come from indices: PuLP maps `-` and `_` alike, so user text would collide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pulp

from sky_melange.optimizer.limits import limits_of
from sky_melange.optimizer.problem import Keep, Limit, Problem

_SAME: Final = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """Candidates that carry load alike: the same layout in machines of other sizes, places and prices.

    Their loads are proportional, so traffic need only be divided among kinds; within one it goes where the instances
    are. That is what keeps the model small: hundreds of offers are a dozen kinds. `of[c]` is the kind of candidate c,
    `first[k]` the candidate whose loads are the kind's.

    `strength[c]`: instances of `first[of[c]]` that one instance of c is worth.
    """

    of: tuple[int, ...]
    first: tuple[int, ...]
    strength: tuple[float, ...]

    def members(self, k: int) -> list[int]:
        """The candidates of a kind, rising."""
        return [c for c, kind in enumerate(self.of) if kind == k]


def kinds_of(problem: Problem, *, merged: bool = True) -> Kinds:
    """Kinds by proportional loads that all limits count alike; `merged` False: each candidate is its own.

    Shares in slices cannot be divided further, so there each candidate stays alone.
    """
    if not merged:
        size = problem.candidate_count
        return Kinds(of=tuple(range(size)), first=tuple(range(size)), strength=(1.0,) * size)
    found: dict[tuple[object, ...], list[int]] = {}
    of: list[int] = []
    first: list[int] = []
    strength: list[float] = []
    rows = [row for loads in problem.cases for row in loads]
    for c in range(problem.candidate_count):
        column = [row[c] for row in rows]
        scale = next((load for load in column if load is not None), 1.0)
        shape = tuple(None if load is None else round(load / scale, 9) for load in column)
        alike = (
            k
            for k in found.get(shape, [])
            if all(limit.counts_alike(first[k], c) for limit in problem.limits)
            and _are_proportional(rows, first[k], column, scale)
        )
        kind = next(alike, None)
        if kind is None:
            kind = len(first)
            first.append(c)
            found.setdefault(shape, []).append(kind)
        of.append(kind)
        reference = next((load for row in problem.loads if (load := row[first[kind]]) is not None), 1.0)
        strength.append(reference / scale)
    return Kinds(of=tuple(of), first=tuple(first), strength=tuple(strength))


def _are_proportional(
    rows: Sequence[Sequence[float | None]], first: int, column: Sequence[float | None], scale: float
) -> bool:
    pairs = [(row[first], load) for row, load in zip(rows, column, strict=True)]
    reference = next((load for load, _ in pairs if load is not None), 1.0)
    return all(
        ours is not None and theirs is not None and abs(ours * scale - theirs * reference) <= _SAME * ours * scale
        for ours, theirs in pairs
        if ours is not None or theirs is not None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterVariables:
    """`needed` is 1 where there is more than one endpoint; `only[c]` where c is the one, 0 where it cannot be.

    `places`: (candidates whose region has a machine at one price, 1 where the router is there); None: no candidate's.
    Empty where the price is the same everywhere, or nowhere known to differ.
    """

    needed: pulp.LpVariable
    only: tuple[pulp.LpVariable | int, ...]
    places: tuple[tuple[tuple[int, ...] | None, pulp.LpVariable], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """`counts[c]` = n_c instances; `shares[r][k]` = x_rk, None where kind k cannot serve r; `used[c]` = y_c.

    The share of class r that goes to kind k (see `Kinds`) is x_rk ÷ `slices`. y_c is 1 if n_c > 0. `max_counts[c]` is
    an n_c that no optimum needs to exceed. `changed[c]` = d_c: how many more or fewer than in the running plan.
    `traffic` is the factor t on all traffic where it is maximised, None where the traffic is given. `steps` are
    (groups, z): z is 1 where there are more groups than that.
    """

    counts: tuple[pulp.LpVariable, ...]
    shares: tuple[tuple[pulp.LpVariable | None, ...], ...]
    used: tuple[pulp.LpVariable, ...]
    kinds: Kinds
    slices: int
    max_counts: tuple[int, ...]
    changed: tuple[pulp.LpVariable, ...] = ()
    traffic: pulp.LpVariable | None = None
    steps: tuple[tuple[int, pulp.LpVariable], ...] = ()
    router: RouterVariables | None = None


def make_variables(
    lp: pulp.LpProblem,
    problem: Problem,
    slices: int | None,
    *,
    most_traffic: float | None = None,
    merged: bool = True,
) -> Variables:
    """Adds the variables to `lp`.

    `slices` None: continuous shares (the exact formulation); otherwise integer multiples of 1/slices.
    `most_traffic`: the traffic is a variable up to this factor; exact formulation only. `merged` False: shares are of
    candidates, not of kinds.
    """
    kinds = kinds_of(problem, merged=merged and slices is None)
    scale = 1 if slices is None else slices
    category = pulp.LpContinuous if slices is None else pulp.LpInteger
    max_share = scale if most_traffic is None else most_traffic
    limits = limits_of(problem)
    max_counts = tuple(_max_count(problem, limits, c, most_traffic) for c in range(problem.candidate_count))
    counts = tuple(
        lp.add_variable(f"n_{c}", lowBound=0, upBound=bound, cat=pulp.LpInteger) for c, bound in enumerate(max_counts)
    )
    return Variables(
        counts=counts,
        shares=tuple(
            tuple(
                None if row[c] is None else lp.add_variable(f"x_{r}_{c}", lowBound=0, upBound=max_share, cat=category)
                for c in kinds.first
            )
            for r, row in enumerate(problem.loads)
        ),
        kinds=kinds,
        used=tuple(lp.add_variable(f"y_{c}", cat=pulp.LpBinary) for c in range(problem.candidate_count)),
        slices=scale,
        max_counts=max_counts,
        changed=() if problem.keep is None else _changed(lp, counts, problem.keep),
        traffic=None if most_traffic is None else lp.add_variable("traffic", lowBound=0, upBound=most_traffic),
        steps=tuple(
            (groups, lp.add_variable(f"step_{groups}", cat=pulp.LpBinary))
            for groups, _ in problem.charges.steps
            if groups < problem.candidate_count
        ),
        router=_router(lp, problem),
    )


def cost_terms(problem: Problem, variables: Variables) -> list[tuple[pulp.LpVariable, float]]:
    """The total but for the charge that every plan pays, USD/h."""
    terms = list(zip(variables.counts, problem.prices, strict=True))
    extra = dict(problem.charges.steps)
    terms += [(step, extra[groups]) for groups, step in variables.steps]
    if variables.router is not None and problem.charges.router is not None:
        charge = problem.charges.router
        near = charge.near_usd_per_hour
        terms += [
            (place, charge.elsewhere_usd_per_hour if members is None else charge.usd_per_hour(members))
            for members, place in variables.router.places
        ]
        if not variables.router.places:
            terms.append((variables.router.needed, charge.usd_per_hour(range(len(near)))))
    return terms


def _router(lp: pulp.LpProblem, problem: Problem) -> RouterVariables | None:
    charge, size = problem.charges.router, problem.candidate_count
    if charge is None or (size == 1 and not problem.charges.instances_are_endpoints):
        return None
    able = [all(row[c] is not None for row in problem.loads) for c in range(size)]
    levels: dict[float | None, list[int]] = {}
    for c, price in enumerate(charge.near_usd_per_hour):
        levels.setdefault(price, []).append(c)
    return RouterVariables(
        needed=lp.add_variable("router", cat=pulp.LpBinary),
        only=tuple(lp.add_variable(f"only_{c}", lowBound=0, upBound=1) if able[c] else 0 for c in range(size)),
        places=tuple(
            (None if price is None else tuple(members), lp.add_variable(f"router_{number}", lowBound=0, upBound=1))
            for number, (price, members) in enumerate(levels.items())
        )
        if len(levels) > 1
        else (),
    )


def _changed(lp: pulp.LpProblem, counts: Sequence[pulp.LpVariable], keep: Keep) -> tuple[pulp.LpVariable, ...]:
    """d_c; where nothing runs yet that is n_c itself."""
    return tuple(
        lp.add_variable(f"d_{c}", lowBound=0) if before else counts[c] for c, before in enumerate(keep.previous)
    )


def _max_count(problem: Problem, limits: Sequence[Limit], c: int, most_traffic: float | None) -> int:
    """Enough instances of c to carry all that it can serve, and for what limits ask for; or what they allow.

    With `keep`, those that run already may stay.
    """
    load = max(math.fsum(row[c] or 0.0 for row in loads) for loads in problem.cases) * (most_traffic or 1.0)
    enough = math.ceil(load / problem.max_utilization) + 1 + sum(limit.extra_instances(c) for limit in limits)
    if problem.keep is not None:
        enough = max(enough, problem.keep.previous[c])
    allowed = [most for limit in limits if (most := limit.most_instances(c)) is not None]
    if problem.max_cost_usd_per_hour is not None and problem.prices[c] > 0:
        allowed.append(math.floor(problem.max_cost_usd_per_hour / problem.prices[c] * (1 + 1e-9)))
    return min(enough, *allowed) if allowed else enough
