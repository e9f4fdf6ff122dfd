"""What is paid beside the replicas depends on which groups there are."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import RouterVariables, Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
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
