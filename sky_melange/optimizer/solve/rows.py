"""The rows that every program has: what the model is, without the limits of `optimizer/limits/`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pulp

from sky_melange.optimizer.problem import LossCut, Problem
from sky_melange.optimizer.solve.variables import RouterVariables, Variables


def assignment(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_k x_rk = S for every routing class r, where x_rk ÷ S is the share of r sent to kind k (S = 1 in `exact`).

    Where the most traffic is sought, Σ_k x_rk = t: the factor on all traffic.
    """
    for r in range(problem.class_count):
        terms = [(variable, 1) for variable in variables.shares[r] if variable is not None]
        if variables.traffic is None:
            lp.addConstraint(pulp.LpAffineExpression(terms) == variables.slices, f"assign_{r}")
        else:
            lp.addConstraint(pulp.LpAffineExpression([*terms, (variables.traffic, -1)]) == 0, f"assign_{r}")


def utilization(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_r load_rk · x_rk ÷ S ≤ u · Σ_{c∈k} s_c · n_c for every kind k that can serve anything.

    Candidates of one kind have proportional loads; s_c is the strength of an instance (see `Kinds`). In each case of
    the estimates of sizes: the loads of the first, then those of `biased`.
    """
    strength = variables.kinds.strength
    for k, first in enumerate(variables.kinds.first):
        room = [(variables.counts[c], -problem.max_utilization * strength[c]) for c in variables.kinds.members(k)]
        for case, loads in enumerate(problem.cases):
            terms = [(variables.shares[r][k], load / variables.slices) for r, load in problem.loads_on(first, loads)]
            if terms:
                name = f"load_{first}_{case}" if case else f"load_{first}"
                lp.addConstraint(pulp.LpAffineExpression([*terms, *room]) <= 0, name)


def coverage(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_{c can serve r} n_c ≥ 1 + k for every routing class r, with k the instances that may be lost.

    Follows from the other rows in exact arithmetic. At 1e-6 requests/s a class keeps 1e-7 of an instance busy, and the
    load rows would hold within the solver's tolerance with no instance at all.
    """
    for r, row in enumerate(problem.loads):
        terms = [(variables.counts[c], 1) for c, load in enumerate(row) if load is not None]
        lp.addConstraint(pulp.LpAffineExpression(terms) >= 1 + problem.losses, f"cover_{r}")


def links(lp: pulp.LpProblem, variables: Variables, _problem: Problem) -> None:
    """x_rk ≤ S · Σ_{c∈k} n_c: follows for whole numbers, and bounds fractions far better; for large problems."""
    for k, first in enumerate(variables.kinds.first):
        instances = [(variables.counts[c], -variables.slices) for c in variables.kinds.members(k)]
        for r, row in enumerate(variables.shares):
            if row[k] is not None:
                lp.addConstraint(pulp.LpAffineExpression([(row[k], 1), *instances]) <= 0, f"link_{r}_{first}")


def switching(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """d_c ≥ n_c − n⁰_c and d_c ≥ n⁰_c − n_c, so that d_c = |n_c − n⁰_c| where it is charged for.

    n⁰ are the instances of the previous plan (`constraints.keep`); the objective gains s · Σ_c d_c. A candidate that
    does not run yet has d_c = n_c and needs no rows.
    """
    if problem.keep is None:
        return
    for c, before in enumerate(problem.keep.previous):
        if before:
            lp.addConstraint(variables.changed[c] - variables.counts[c] >= -before, f"more_{c}")
            lp.addConstraint(variables.changed[c] + variables.counts[c] >= before, f"fewer_{c}")


def losses(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_c w_c·n_c − T ≥ D for every cut (w, D), where T is the weight of the k heaviest instances there are.

    T = k·θ + Σ_cj b_cj with b_cj + θ ≥ w_c·z_cj for j = 1..k (the dual of choosing k of them), and z_cj = 1 if n_c ≥ j
    (n_c ≤ j − 1 + M_c·z_cj; z_c1 = y_c). D is D·t where the most traffic t is sought. `loss_cuts` are found as the
    solve goes (`solve/losses.py`): a plan that violates none that could be found survives every loss of k instances.
    """
    if not problem.losses or not problem.loss_cuts:
        return
    present = _present(lp, variables, problem)
    for number, cut in enumerate(problem.loss_cuts):
        terms = [(variables.counts[c], weight) for c, weight in enumerate(cut.weights) if weight]
        lost, excesses = _heaviest(lp, problem, cut, present, number)
        terms += [(lost, -problem.losses), *((excess, -1) for excess in excesses)]
        if variables.traffic is not None:
            terms.append((variables.traffic, -cut.demand))
        demand = cut.demand if variables.traffic is None else 0
        lp.addConstraint(pulp.LpAffineExpression(terms) >= demand, f"survive_{number}")


def _heaviest(
    lp: pulp.LpProblem, problem: Problem, cut: LossCut, present: list[list[pulp.LpVariable]], number: int
) -> tuple[pulp.LpVariable, list[pulp.LpVariable]]:
    """θ and the b_cj; with k = 1 there is θ alone."""
    threshold = lp.add_variable(f"lost_{number}", lowBound=0)
    excesses = []
    for c, weight in enumerate(cut.weights):
        for j in range(problem.losses if weight else 0):
            row = pulp.LpAffineExpression([(threshold, 1), (present[c][j], -weight)])
            if problem.losses > 1:
                excess = lp.add_variable(f"lost_{number}_{c}_{j + 1}", lowBound=0)
                excesses.append(excess)
                row += excess
            lp.addConstraint(row >= 0, f"lost_{number}_{c}_{j + 1}")
    return threshold, excesses


def _present(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> list[list[pulp.LpVariable]]:
    """`[c][j - 1]` = z_cj, with the rows that tie it to n_c; those of y_c stand already."""
    weighed = {c for cut in problem.loss_cuts for c, weight in enumerate(cut.weights) if weight}
    present: list[list[pulp.LpVariable]] = []
    for c, used in enumerate(variables.used):
        more = [lp.add_variable(f"z_{c}_{j}", cat=pulp.LpBinary) for j in range(2, problem.losses + 1)]
        present.append([used, *more])
        if c not in weighed:
            continue
        for j, variable in enumerate(more, start=1):
            row = variables.counts[c] - variables.max_counts[c] * variable <= j
            lp.addConstraint(row, f"present_{c}_{j + 1}")
    return present


def charges(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Ties the charges (see `Charges`) to the groups; y_c = 1 where n_c > 0, C candidates.

    A step after k groups: Σ_c y_c ≤ k + (C − k)·z_k. The router: w_c = 1 where c is the plan's only endpoint,
    Σ_c w_c = 1 − router, y_c ≤ w_c + router (for clusters n_c ≤ w_c + M_c·router). Where its price depends on the
    place: Σ_p at_p = router over the prices p, at_p ≤ Σ_{c near p} y_c, and elsewhere ≤ 1 − y_c for every c that has
    a machine near.
    """
    charges, size = problem.charges, problem.candidate_count
    used = variables.used
    if charges.most_groups is not None and size > charges.most_groups:
        lp.addConstraint(pulp.lpSum(used) <= charges.most_groups, "most_groups")
    for groups, step in variables.steps:
        lp.addConstraint(pulp.lpSum(used) - (size - groups) * step <= groups, f"step_{groups}")
    router = variables.router
    if router is None:
        return
    lp.addConstraint(pulp.lpSum(router.only) + router.needed == 1, "only")
    for c in range(size):
        only = router.only[c]
        if charges.instances_are_endpoints:
            lp.addConstraint(variables.counts[c] - only - variables.max_counts[c] * router.needed <= 0, f"only_{c}")
        else:
            lp.addConstraint(used[c] - only - router.needed <= 0, f"only_{c}")
    if router.places:
        _places(lp, variables, problem, router)


def _places(lp: pulp.LpProblem, variables: Variables, problem: Problem, router: RouterVariables) -> None:
    used = variables.used
    places = [place for _, place in router.places]
    lp.addConstraint(pulp.lpSum(places) - router.needed == 0, "router_place")
    for number, (near, place) in enumerate(router.places):
        if near is None:
            for c in (c for members, _ in router.places for c in members or ()):
                lp.addConstraint(place + used[c] <= 1, f"elsewhere_{c}")
        else:
            lp.addConstraint(place - pulp.lpSum(used[c] for c in near) <= 0, f"near_{number}")
    for c in range(problem.candidate_count):
        lp.addConstraint(used[c] - variables.counts[c] <= 0, f"bought_{c}")


def link_groups(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """n_c ≤ M_c · y_c: ties y_c to the use of candidate c; M_c is a count that no optimum needs to exceed."""
    for c in range(problem.candidate_count):
        lp.addConstraint(variables.counts[c] - variables.max_counts[c] * variables.used[c] <= 0, f"used_{c}")


Rows = Callable[[pulp.LpProblem, Variables, Problem], None]

FIRST: Final[dict[str, Rows]] = {"assignment": assignment, "utilization": utilization, "coverage": coverage}
"""Before those of the limits."""

LAST: Final[dict[str, Rows]] = {"switching": switching, "losses": losses, "charges": charges}
"""After them."""
