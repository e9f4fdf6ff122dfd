"""The traffic still fits when instances are lost."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.limits import LossCut
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_c w_c·n_c − T ≥ D for every cut (w, D), where T is the weight of the k heaviest instances there are.

    T = k·θ + Σ_cj b_cj with b_cj + θ ≥ w_c·z_cj for j = 1..k (the dual of choosing k of them), and z_cj = 1 if n_c ≥ j
    (n_c ≤ j − 1 + M_c·z_cj; z_c1 = y_c). D is D·t where the most traffic t is sought. `loss_cuts` are found as the
    solve goes (`optimizer.losses`): a plan that violates none that could be found survives every loss of k instances.
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
    """`[c][j - 1]` = z_cj, with the rows that tie it to n_c; those of y_c are added here unless `max_groups` did."""
    weighed = {c for cut in problem.loss_cuts for c, weight in enumerate(cut.weights) if weight}
    present: list[list[pulp.LpVariable]] = []
    for c, used in enumerate(variables.used):
        more = [lp.add_variable(f"z_{c}_{j}", cat=pulp.LpBinary) for j in range(2, problem.losses + 1)]
        present.append([used, *more])
        if c not in weighed:
            continue
        for j, variable in enumerate(present[c]):
            if j or problem.max_groups is None:
                row = variables.counts[c] - variables.max_counts[c] * variable <= j
                lp.addConstraint(row, f"present_{c}_{j + 1}")
    return present
