"""Prices of serving each class that prove most, by column generation over single candidates; for large problems.

The model without its limits is, for prices π_r of serving class r, one problem for each candidate: n_c instances cost
p_c·n_c and carry work worth V_c(n_c), the fractional knapsack of capacity u·n_c over the classes. So no plan costs less
than

L(π) = Σ_r π_r − Σ_c max(0, max_n V_c(n) − p_c·n)

whatever π, where only the G largest terms are subtracted if a plan has at most G groups. π_r = v_r is the bound of
`reduction.py`. Here π are the duals of a master program that covers each class by columns (c, n, x_rc), and that is
given the knapsacks' solutions until it lacks none. What is counted is rounds and simplex iterations, not seconds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from sky_melange.optimizer.limits import limits_of
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solve.reduction import Reduction, class_values, reduction_of
from sky_melange.optimizer.solve.session import Session, c_output_discarded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_MOST_ROUNDS: Final = 90
_MOST_ITERATIONS: Final = 60_000
"""Of the simplex method, over all rounds."""

_MOST_COLUMNS: Final = 60
"""New ones a round: those that promise most."""

_TOLERANCE: Final = 1e-3
_SMOOTHING: Final = 0.3
"""Of the prices with the best bound so far: those of a master that knows few columns swing wildly."""

_DEAREST: Final = 3.0
"""times v_r: what the master pays at most for a class that no column covers. It is doubled where that is too little."""

_SERVERS: Final = 3
"""Candidates that each class keeps in a thinned problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """`values[r]` = π_r, `marginal[c]`: what the least valuable work of candidate c is worth by its load, USD/h.

    `groups`: the most that a plan may have.
    """

    values: tuple[float, ...]
    marginal: tuple[float, ...]
    groups: int
    reduction: Reduction

    def thinned(self, problem: Problem, kept: Sequence[int], detour: float) -> Problem:
        """The candidates `kept`, each with the classes that are worth there at least 1 ÷ `detour` of its other work.

        Every plan of it is one of the whole problem.
        """
        worth = [
            [0.0 if (load := row[c]) is None else self._worth(value / load, c) for c in kept]
            for row, value in zip(problem.loads, self.values, strict=True)
        ]
        least = [min(1 / detour, sorted(row, reverse=True)[:_SERVERS][-1]) for row in worth]
        restricted = problem.restricted_to(kept)
        cases = [
            tuple(
                tuple(load if each >= enough else None for load, each in zip(row, parts, strict=True))
                for row, parts, enough in zip(loads, worth, least, strict=True)
            )
            for loads in restricted.cases
        ]
        return replace(restricted, loads=cases[0], biased=tuple(cases[1:]))

    def _worth(self, value_per_load: float, c: int) -> float:
        """As a part of the least valuable work that candidate c does; where that is worth nothing, all is as good."""
        return value_per_load / self.marginal[c] if self.marginal[c] > 0 else 1.0


def relax(problem: Problem, session: Session, *, spare_s: float = 0.0) -> Relaxation:
    """Bounds on the total, and for each candidate on that of plans with it. Every class must have a server.

    `spare_s` of the session's time are left.
    """
    start_s = time.monotonic()
    search = _Search(problem)
    session.is_late = search.run(start_s + session.left_s - spare_s)
    session.left_s -= time.monotonic() - start_s
    return search.relaxation()


@dataclass(slots=True, kw_only=True)
class _Filled:
    """Of the candidates `chosen`: n ≥ 1 with the largest gain V_c(n) − p_c·n, and the knapsack's classes in order."""

    chosen: NDArray[np.intp]
    gains: Numbers
    instances: Numbers
    order: NDArray[np.intp]
    loads: Numbers
    taken: Numbers
    marginal: Numbers


@dataclass(slots=True)
class _Search:
    problem: Problem
    serves: NDArray[np.bool_] = field(init=False)
    loads: Numbers = field(init=False)
    prices: Numbers = field(init=False)
    least: Numbers = field(init=False)
    groups: int = field(init=False)
    values: Numbers = field(init=False)
    bound: float = -1.0

    def __post_init__(self) -> None:
        import numpy as np

        problem = self.problem
        rows = [[np.nan if load is None else load for load in row] for row in problem.loads]
        loads = np.array(rows, dtype=float).T
        self.serves = np.isfinite(loads)
        self.loads = np.where(self.serves, loads, 1.0)
        self.prices = np.array(problem.prices, dtype=float)
        self.least = np.array(class_values(problem), dtype=float)
        most = [limit.most_groups() for limit in limits_of(problem)]
        known = [each for each in (*most, problem.charges.most_groups) if each is not None]
        self.groups = min([problem.candidate_count, *known])
        self.values = self.least

    def run(self, until_s: float) -> bool:
        """Finds the values with the best bound; whether the clock ended that."""
        import numpy as np

        master = _Master(self.least * _DEAREST, self.groups)
        asked = self.values
        for _ in range(_MOST_ROUNDS):
            filled = self.filled(asked)
            bound = self.bound_of(asked, filled.gains)
            if bound > self.bound:
                self.bound, self.values = bound, asked
            master.add(filled, self.prices)
            values, value, bought = master.solve()
            if value - self.bound <= _TOLERANCE * value:
                if bought <= _TOLERANCE * len(values):
                    break
                master.raise_price()
            if master.iterations > _MOST_ITERATIONS:
                break
            if time.monotonic() > until_s:
                return True
            asked = self.values + (np.maximum(0.0, values) - self.values) * _SMOOTHING
        return False

    def filled(self, values: Numbers, *, all_of_them: bool = False) -> _Filled:
        """Each candidate's best number of instances at these values; without `all_of_them`, where any may gain."""
        import numpy as np

        most = self.problem.max_utilization
        ratios = np.where(self.serves, values / self.loads, 0.0)
        surplus = (np.maximum(0.0, ratios - self.prices[:, None] / most) * self.loads).sum(axis=1)
        chosen = np.flatnonzero((surplus > 0) | all_of_them)
        order = np.argsort(-ratios[chosen], axis=1, kind="stable")
        ratios = np.take_along_axis(ratios[chosen], order, 1)
        loads = np.take_along_axis(np.where(self.serves, self.loads, 0.0)[chosen], order, 1)
        before = np.cumsum(loads, axis=1) - loads
        prices = self.prices[chosen]
        # V is concave: the best n is beside the capacity that takes all that is worth its price.
        enough = np.floor((loads * (ratios * most > prices[:, None])).sum(axis=1) / most + 1e-12)
        gains, instances = np.full(len(chosen), -np.inf), np.ones(len(chosen))
        taken = np.zeros_like(loads)
        for more in (0, 1):
            count = np.maximum(1.0, enough + more)
            into = np.clip((count * most)[:, None] - before, 0.0, loads)
            gain = (into * ratios).sum(axis=1) - prices * count
            better = gain > gains
            gains, instances = np.where(better, gain, gains), np.where(better, count, instances)
            taken = np.where(better[:, None], into, taken)
        last = np.where(taken > 0, ratios, np.inf).min(axis=1, initial=np.inf)
        return _Filled(
            chosen=chosen, gains=gains, instances=instances, order=order, loads=loads, taken=taken, marginal=last
        )

    def bound_of(self, values: Numbers, gains: Numbers) -> float:
        """L(π)."""
        import numpy as np

        return float(values.sum() - np.sort(np.maximum(0.0, gains))[::-1][: self.groups].sum())

    def relaxation(self) -> Relaxation:
        """At the best values."""
        import numpy as np

        filled = self.filled(self.values, all_of_them=True)
        positive = np.sort(np.maximum(0.0, filled.gains))[::-1]
        # Of G groups, one that is not among the best takes the place of the last of them.
        replaced = positive[self.groups - 1] if self.groups <= len(positive) else 0.0
        forced = np.maximum(0.0, replaced - filled.gains)
        bound = self.bound_of(self.values, filled.gains) * (1 - 1e-9)
        return Relaxation(
            values=tuple(self.values.tolist()),
            marginal=tuple(filled.marginal.tolist()),
            groups=self.groups,
            reduction=reduction_of(self.problem, [bound], forced.tolist()),
        )


class _Master:
    """min Σ p_c·n·λ over the columns, each class covered, at most G columns; kept by HiGHS from round to round."""

    def __init__(self, dearest: Numbers, groups: int) -> None:
        import highspy

        with c_output_discarded():
            self._model = highspy.Highs()
        self._model.setOptionValue("output_flag", False)
        self._model.setOptionValue("threads", 1)
        self._model.setOptionValue("random_seed", 0)
        self._classes: Final = len(dearest)
        self._dearest = dearest
        self.iterations = 0
        for _ in dearest:
            self._model.addRow(1.0, highspy.kHighsInf, 0, [], [])
        self._model.addRow(-highspy.kHighsInf, float(groups), 0, [], [])
        for r, price in enumerate(dearest):
            self._model.addCol(float(price), 0.0, highspy.kHighsInf, 1, [r], [1.0])

    def raise_price(self) -> None:
        """Of what no column covers."""
        self._dearest = 2 * self._dearest
        for r, price in enumerate(self._dearest):
            self._model.changeColCost(r, float(price))

    def add(self, filled: _Filled, prices: Numbers) -> None:
        """The columns that gain most."""
        import highspy
        import numpy as np

        best = np.argsort(-filled.gains, kind="stable")[:_MOST_COLUMNS]
        for k in best[filled.gains[best] > 0]:
            classes = np.flatnonzero(filled.taken[k] > 0)
            rows = np.append(filled.order[k, classes], self._classes).astype(np.int32)
            shares = np.append(filled.taken[k, classes] / filled.loads[k, classes], 1.0)
            price = float(prices[filled.chosen[k]] * filled.instances[k])
            self._model.addCol(price, 0.0, highspy.kHighsInf, len(rows), rows, shares)

    def solve(self) -> tuple[Numbers, float, float]:
        """(the duals of the classes, the cost, how many classes no column covers)."""
        import numpy as np

        with c_output_discarded():
            self._model.run()
        info, solution = self._model.getInfo(), self._model.getSolution()
        self.iterations += max(0, info.simplex_iteration_count)
        duals = np.array(solution.row_dual[: self._classes])
        return duals, float(info.objective_function_value), float(sum(solution.col_value[: self._classes]))
