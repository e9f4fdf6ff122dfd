"""Several workloads that share something: complete plans of each at the prices of what is shared, and a choice of them.

The master program chooses among plans p of workload k, with costs v_kp and uses a_jkp of shared limit j:

min Σ_kp v_kp λ_kp   s.t.  Σ_p λ_kp = 1 ∀k   Σ_kp a_jkp λ_kp ≤ b_j ∀j

With fractional λ its duals are prices π_j of a unit of limit j. At those, each workload is a problem of its own, with
prices p_c + Σ_j π_j a_jkc. Where j is the share of all traffic that a place may get, a_jkp is what plan p routes there,
and requests pay π_j. Its optimum w_k is a plan that the master may lack, and

Σ_k w_k − Σ_j π_j b_j

is what no fleet costs less than, whatever π ≥ 0. At the end the master chooses whole plans. What is open then
between cost and bound is closed by the program of all workloads together, where that is small enough.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import pulp

from sky_melange.domain.workload import SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.fleet import (
    NEXT_TO_NOTHING,
    TOO_MUCH,
    FleetProblem,
    FleetSolution,
    SharedLimit,
    SharedShare,
    part_caps,
)
from sky_melange.optimizer.limits.shares import SHARE_TOLERANCE
from sky_melange.optimizer.problem import Problem, Terms
from sky_melange.optimizer.solve.dominance import undominated
from sky_melange.optimizer.solve.losses import survival, with_first_cut
from sky_melange.optimizer.solve.lp import (
    IntegerProgram,
    Labelled,
    build_lp,
    objective_expression,
    read_shares,
    relative_gap,
    split,
    whole,
)
from sky_melange.optimizer.solve.session import Session
from sky_melange.optimizer.solve.solution import Solution
from sky_melange.optimizer.solve.solver import solve, solve_within, widened

_MOST_ROUNDS: Final = 40
_PRICING_GAP: Final = 1e-3
_FLEET_GAP: Final = 5e-3
"""Relative: fleets that are too large for one program are proven to this."""

_SMALL: Final = 6_000
"""Up to so many (class, candidate) pairs of all workloads they are solved as one program, too."""

_AT_ONCE: Final = 4
_ALL: Final = 1e3
"""What all traffic is in units that are bought dearly, as whole GPUs are."""

_SAME: Final = 1e-9
_SPARE: Final = 0.3
_SMOOTHING: Final = 0.5
"""Of the prices with the best bound so far: those of a master that knows few plans swing wildly."""


_Answer = TypeVar("_Answer")


def solve_fleet(problem: FleetProblem, settings: SolverSettings) -> FleetSolution:
    """The plans of the workloads that cost least together.

    Raises InfeasibleError where no plans share what there is, NotOptimalError when the time passes before any is found.
    """
    return _Decomposed(problem, settings).solution()


def as_one_program(problem: FleetProblem, settings: SolverSettings) -> FleetSolution | None:
    """The same by one integer program alone, for comparison; None where its time passes before any plan is found."""
    search = _Decomposed(problem, settings)
    search.together()
    return None if search.best is None else search.answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A complete plan of a workload: its cost, what `keep` charges included, its use of each shared limit and place."""

    solution: Solution
    objective_usd_per_hour: float
    used: tuple[float, ...]


_Prices = tuple[float, ...]
"""π_j, USD/h a unit: of the shared limits, then of the shares of places, whose unit is all traffic."""


@dataclass(slots=True)
class _Decomposed:
    fleet: FleetProblem
    settings: SolverSettings
    session: Session = field(init=False)
    kept: list[tuple[int, ...]] = field(init=False)
    """Candidates that no other dominates; dominance minds the shared limits, so their prices do not change it."""

    columns: list[list[_Column]] = field(init=False)
    bound: float = 0.0
    best: tuple[_Column, ...] | None = None
    worth: _Prices = field(init=False)

    def __post_init__(self) -> None:
        self.session = Session(self.settings)
        self.kept = [undominated(self.fleet.with_parts_at(k, NEXT_TO_NOTHING)) for k in range(len(self.fleet.problems))]
        self.columns = [[] for _ in self.fleet.problems]
        self.worth = (0.0,) * len(self.rights)

    def solution(self) -> FleetSolution:
        """The whole search."""
        try:
            alone = self.of_all(lambda k: solve(self.fleet.problems[k], self.settings))
        except InfeasibleError:
            self.check_enough(range(len(self.fleet.shared)))
            raise self.impossible() from None
        for k, found in enumerate(alone):
            self.add(k, found)
        self.bound = math.fsum(
            problem.objective(found.counts) * (1 - found.mip_gap)
            for problem, found in zip(self.fleet.problems, alone, strict=True)
        )
        first = tuple(columns[0] for columns in self.columns)
        is_within = self.is_within(first)
        if not is_within:
            self.add_spread()
        if self.fleet.machines:
            return self.divided()
        if is_within:
            self.best = first
            return self.answer()
        self.price()
        if self.best is None:
            self.add_frugal()
            self.price()
        if self.best is None or (self.gap > self.settings.mip_gap and self.pairs <= _SMALL):
            self.together()
        if self.best is None:
            raise NotOptimalError(self.session.too_late())
        self.best = self.settled(self.best)
        return self.answer()

    def divided(self) -> FleetSolution:
        """Where machines may be divided: one program, of what plans take that pay for parts, do not, or have none.

        A price of GPUs that nobody takes says nothing of parts: only whole machines cost, so no duals lead to plans.
        """
        if self.pairs > _SMALL:
            proven = self.bound
            for k, members in enumerate(self.of_all(self.promising)):
                self.kept[k] = tuple(c for c in self.kept[k] if c in members)
            self.together()
            # Of the few candidates alone.
            self.bound = proven
        else:
            self.together()
        if self.best is None:
            raise NotOptimalError(self.session.too_late())
        self.best = self.settled_in_parts(self.best)
        return self.answer()

    def promising(self, k: int) -> set[int]:
        """Candidates that workload k takes where parts cost their share, next to nothing, or too much."""
        used = [each.solution.counts for each in self.columns[k]]
        for factor in (NEXT_TO_NOTHING, TOO_MUCH):
            with contextlib.suppress(InfeasibleError, NotOptimalError):
                used.append(solve(self.fleet.with_parts_at(k, factor), self.settings).counts)
        return {c for counts in used for c, count in enumerate(counts) if count}

    def settled_in_parts(self, best: Sequence[_Column]) -> tuple[_Column, ...]:
        """Each plan with its ties settled and its loads spread, in no more GPUs of divided machines than it has."""
        chosen = list(best)
        for k in range(len(chosen)):
            counts = [each.solution.counts for each in chosen]
            used = (*self.fleet.used(counts), *self.fleet.placed([each.solution for each in chosen]))
            left = [right - taken + own for right, taken, own in zip(self.rights, used, chosen[k].used, strict=True)]
            caps = part_caps(self.fleet.machines, k, [each.taken_by(k, counts[k]) for each in self.fleet.machines])
            names = {cap.name for cap in caps}
            limits = [limit for limit in self.fleet.within(k, left).limits if limit.name not in names]
            problem = replace(self.fleet.with_parts_at(k, NEXT_TO_NOTHING), limits=(*limits, *caps))
            try:
                found = self.column(k, solve(problem, self.settings))
            except (InfeasibleError, NotOptimalError):
                continue
            changed = [found if other == k else each for other, each in enumerate(chosen)]
            if self.is_within(changed) and self.cost_of(changed) <= self.cost_of(chosen) * (1 + _SAME):
                chosen[k] = found
        return tuple(chosen)

    @property
    def rights(self) -> tuple[float, ...]:
        """b_j."""
        limits = (float(limit.limit) for limit in self.fleet.shared)
        return (*limits, *(share.limit_fraction for share in self.fleet.shares))

    def is_within(self, chosen: Sequence[_Column]) -> bool:
        """Whether plans, one of each workload, keep to all that is shared."""
        solutions = [each.solution for each in chosen]
        return self.fleet.is_within([each.counts for each in solutions]) and self.fleet.keeps_shares(solutions)

    @property
    def pairs(self) -> int:
        """(class, candidate) of all workloads."""
        return sum(
            len(kept) * problem.class_count for kept, problem in zip(self.kept, self.fleet.problems, strict=True)
        )

    @property
    def cost(self) -> float:
        """Of the best choice so far, with what `keep` charges."""
        return math.inf if self.best is None else self.cost_of(self.best)

    def cost_of(self, chosen: Sequence[_Column]) -> float:
        """The same of any choice."""
        return self.fleet.objective([each.solution.counts for each in chosen])

    @property
    def gap(self) -> float:
        """How much less than it any fleet may cost, relative."""
        return 1.0 if self.best is None else relative_gap(self.cost, self.bound)

    def settled(self, best: Sequence[_Column]) -> tuple[_Column, ...]:
        """Each plan the best for what the others leave it: proven, its ties settled."""
        chosen = list(best)
        settings = replace(self.settings, time_limit_s=max(self.session.left_s, self.settings.time_limit_s / 10))
        for k in range(len(chosen)):
            # What it has is its own, whatever rounding says of the others.
            left = [
                max(right - self.used_by_others(chosen, k, j), chosen[k].used[j]) for j, right in enumerate(self.rights)
            ]
            try:
                found = solve(self.fleet.within(k, left), settings)
            except (InfeasibleError, NotOptimalError):
                continue
            if self.fleet.problems[k].objective(found.counts) <= chosen[k].objective_usd_per_hour * (1 + _SAME):
                chosen[k] = self.column(k, found)
        return tuple(chosen)

    def answer(self) -> FleetSolution:
        """The best choice."""
        best = self.best or ()
        gap = self.gap
        proven = gap <= 2 * max(self.settings.mip_gap, 1e-6)
        return FleetSolution(
            solutions=tuple(each.solution for each in best),
            cost_usd_per_hour=self.fleet.cost([each.solution.counts for each in best]),
            bound_usd_per_hour=self.bound,
            status="optimal" if proven else "feasible",
            mip_gap=gap,
            worth_usd_per_hour=self.worth[: len(self.fleet.shared)],
            idle_uses=self.fleet.idle_uses([each.solution.counts for each in best]),
        )

    @staticmethod
    def used_by_others(best: Sequence[_Column], k: int, j: int) -> float:
        """What plans but that of workload k use of a shared limit."""
        return sum(each.used[j] for other, each in enumerate(best) if other != k)

    def add(self, k: int, found: Solution) -> bool:
        """Whether the plan is new: other counts, or others of its requests in a place whose share is limited."""
        made = self.column(k, found)
        if any(
            found.counts == column.solution.counts
            and all(abs(one - other) <= SHARE_TOLERANCE for one, other in zip(made.used, column.used, strict=True))
            for column in self.columns[k]
        ):
            return False
        self.columns[k].append(made)
        return True

    def column(self, k: int, found: Solution) -> _Column:
        """The plan with what it costs and uses."""
        problem = self.fleet.problems[k]
        return _Column(
            solution=replace(found, cost_usd_per_hour=problem.cost(found.counts)),
            objective_usd_per_hour=problem.objective(found.counts),
            used=(
                *(limit.used_by(k, found.counts) for limit in self.fleet.shared),
                *(share.used_by(k, problem, found.shares) for share in self.fleet.shares),
            ),
        )

    def at(self, k: int, prices: _Prices, *, proven: bool = False) -> tuple[Solution, float]:
        """(a plan of workload k at these prices, what any of its plans costs there at least: w_k).

        Where places have prices, these are put on machines there, as if all in one place served alike: that is fast,
        and finds plans, but bounds nothing, unless `proven` is asked for.
        """
        problem = self.fleet.problems[k].restricted_to(self.kept[k])
        extra = (
            math.fsum(price * limit.weights[k][c] for price, limit in zip(prices, self.fleet.shared, strict=False))
            for c in self.kept[k]
        )
        own = zip(problem.prices, extra, strict=True)
        of_places = prices[len(self.fleet.shared) :]
        dearer = [1.0] * len(self.kept[k]) if proven else self.dearer(k, of_places)
        priced = replace(
            problem, prices=tuple(price * factor + more for (price, more), factor in zip(own, dearer, strict=True))
        )
        settings = replace(self.settings, mip_gap=max(self.settings.mip_gap, _PRICING_GAP), break_ties=False)
        session = Session(settings, time_limit_s=self.session.left_s)
        if proven and any(of_places):
            (found,), least = self.jointly({k: priced}, session, prices)
            return found, least
        found = solve_within(priced, session)
        least = -math.inf if any(of_places) else priced.objective(found.counts) * (1 - found.mip_gap)
        return widened(self.fleet.problems[k], self.kept[k], found), least

    def dearer(self, k: int, prices: _Prices) -> list[float]:
        """By how much machines of workload k are dearer where all of its requests would pay these prices of places."""
        cost = self.columns[k][0].objective_usd_per_hour
        pairs = [(share, price * share.weights[k]) for share, price in zip(self.fleet.shares, prices, strict=True)]
        return [
            1.0 + (math.fsum(paid for share, paid in pairs if share.members[k][c]) / cost if cost else 0.0)
            for c in self.kept[k]
        ]

    def all_at(self, prices: _Prices, *, proven: bool = False) -> list[tuple[Solution, float]]:
        """`at` of each workload."""
        return self.of_all(lambda k: self.at(k, prices, proven=proven))

    def of_all(self, solved: Callable[[int], _Answer]) -> list[_Answer]:
        """Of each workload, some at once: which, and how many, makes no difference to the answers."""
        start_s = time.monotonic()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(solved, range(len(self.fleet.problems))))
        self.session.left_s -= time.monotonic() - start_s
        return answers

    def add_frugal(self) -> None:
        """Plans that use little of the limits that are short. Raises InfeasibleError as `check_enough` does."""
        used = self.fleet.used([columns[0].solution.counts for columns in self.columns])
        short = [j for j, limit in enumerate(self.fleet.shared) if used[j] > limit.limit]
        self.check_enough(short)
        for j in short:
            units = tuple(self.dear if i == j else 0.0 for i in range(len(self.rights)))
            for k, (plan, _) in enumerate(self.all_at(units)):
                self.add(k, plan)

    def add_spread(self) -> None:
        """Plans that keep to the shares of places by themselves: together they do, too."""

        def spread(k: int) -> Solution | None:
            problem = self.fleet.problems[k]
            own = [replace(s.own(k, 1.0), limit_fraction=s.limit_fraction) for s in self.fleet.shares]
            names = {limit.name for limit in own}
            kept = (limit for limit in problem.limits if limit.name not in names)
            try:
                return solve(replace(problem, limits=(*kept, *own)), replace(self.settings, break_ties=False))
            except (InfeasibleError, NotOptimalError):
                return None

        for k, found in enumerate(self.of_all(spread) if self.fleet.shares else ()):
            if found is not None:
                self.add(k, found)

    @property
    def dear(self) -> float:
        """A price of a unit beside which the cost of a plan is nothing."""
        return 1e3 * max(1.0, *(price for problem in self.fleet.problems for price in problem.prices))

    def check_enough(self, limits: Iterable[int]) -> None:
        """Raises InfeasibleError where the least that each workload needs of a limit is more than there is together."""
        endless = [*([1e9] * len(self.fleet.shared)), *([1.0] * len(self.fleet.shares))]
        lines = []
        for j in limits:
            limit, dear = self.fleet.shared[j], self.dear

            def least(k: int, limit: SharedLimit = limit, dear: float = dear) -> int:
                problem = self.fleet.within(k, endless)
                pairs = zip(problem.prices, limit.weights[k], strict=True)
                priced = replace(problem, prices=tuple(price + dear * weight for price, weight in pairs))
                found = solve(priced, replace(self.settings, break_ties=False))
                return math.ceil(limit.used_by(k, found.counts) * (1 - found.mip_gap) - 1e-6)

            needed = self.of_all(least)
            if sum(needed) > limit.limit:
                names = self.fleet.names or [f"workload {k + 1}" for k in range(len(needed))]
                each = ", ".join(f"{name} {count}" for name, count in zip(names, needed, strict=True))
                lines.append(f"{limit.name}: {sum(needed)} are needed ({each}), {limit.limit} are there")
        if lines:
            raise InfeasibleError("\n".join(["the workloads need more than they share:", *lines]))

    def impossible(self) -> InfeasibleError:
        """What to say where no plans keep to what is shared: by how much the shares of places are too small."""
        lines = []
        for key in dict.fromkeys(share.key for share in self.fleet.shares):
            limit = next(share.limit_fraction for share in self.fleet.shares if share.key == key)
            least = self.least_share(key)
            if least is not None and least > limit + SHARE_TOLERANCE:
                needed = math.ceil(least * 1e4 - 1e-2) / 1e4
                lines.append(
                    f"{key} = {limit:g} cannot be met: with these candidates some place gets at least {needed:g} of "
                    f"the traffic; write {needed:g}, or add places (candidates.clouds, candidates.regions)"
                )
        if lines:
            return InfeasibleError("\n".join(lines))
        names = dict.fromkeys([limit.name for limit in self.fleet.shared] + [share.key for share in self.fleet.shares])
        return InfeasibleError(f"no plans of the workloads keep to all that they share: {', '.join(names)}")

    def least_share(self, key: str) -> float | None:
        """The least that the place with most gets, whatever the cost and other places' shares; None: not found."""
        lp = pulp.LpProblem("sky_melange_share", pulp.LpMinimize)
        unlimited = [*(limit.limit for limit in self.fleet.shared), *([1.0] * len(self.fleet.shares))]
        problems = {k: self.fleet.within(k, unlimited).restricted_to(kept) for k, kept in enumerate(self.kept)}
        parts = self.parts(lp, problems)
        self.add_shared(lp, parts)
        level = lp.add_variable("level", lowBound=0)
        for number, share in enumerate(share for share in self.fleet.shares if share.key == key):
            routed = self.routed(parts, share, 1.0)
            lp.addConstraint(split([*routed, (level, -1.0)])[0] <= 0, f"place_{number}")
        lp.setObjective(level)
        try:
            outcome = self.session.solve(lp)
        except NotOptimalError:
            return None
        return None if outcome.status in {"infeasible", "unknown"} else float(level.varValue or 0.0)

    def price(self) -> None:
        """Adds plans until the master lacks none that would change its choice, or a choice of them is good enough."""
        best_prices: _Prices | None = None
        wanted = max(self.settings.mip_gap, _FLEET_GAP)
        prices = self.worth
        # For a proof, which takes longer where places have prices, and for a search by other means.
        spare_s = self.session.left_s * _SPARE if self.fleet.shares else 0.0
        for _ in range(_MOST_ROUNDS):
            prices, value = self.master()
            asked = prices
            if best_prices is not None:
                pairs = zip(best_prices, prices, strict=True)
                asked = tuple(best + (now - best) * _SMOOTHING for best, now in pairs)
            is_new, rose = self.price_at(asked)
            if rose:
                best_prices = self.worth = asked
            if not is_new and asked != prices:
                is_new, rose = self.price_at(prices)
                if rose:
                    best_prices = self.worth = prices
            if relative_gap(value, self.bound) <= wanted or not is_new:
                self.master(whole_plans=True)
                if self.gap <= wanted or not is_new:
                    break
            if self.session.left_s <= spare_s:
                if self.session.left_s > 0:
                    self.master(whole_plans=True)
                break
        if self.gap > wanted and any(prices[len(self.fleet.shared) :]):
            with contextlib.suppress(NotOptimalError):
                is_new, rose = self.price_at(prices, proven=True)
                self.worth = prices if rose else self.worth
                if is_new:
                    self.master(whole_plans=True)

    def price_at(self, prices: _Prices, *, proven: bool = False) -> tuple[bool, bool]:
        """(whether any plan is new, whether the bound rose)."""
        answers = self.all_at(prices, proven=proven)
        is_new = [self.add(k, found) for k, (found, _) in enumerate(answers)]
        paid = math.fsum(price * right for price, right in zip(prices, self.rights, strict=True))
        bound = math.fsum(least for _, least in answers) - paid
        rose = bound > self.bound
        self.bound = max(self.bound, bound)
        return any(is_new), rose

    def master(self, *, whole_plans: bool = False) -> tuple[_Prices, float]:
        """The prices of what is shared, and the cost, at the best mix of the plans that are known.

        `whole_plans`: instead the best choice of one each, which becomes `best` where it keeps to what is there.
        """
        lp = pulp.LpProblem("sky_melange_fleet", pulp.LpMinimize)
        category = pulp.LpBinary if whole_plans else pulp.LpContinuous
        chosen = [
            [lp.add_variable(f"plan_{k}_{p}", lowBound=0, cat=category) for p in range(len(columns))]
            for k, columns in enumerate(self.columns)
        ]
        flat = [
            (variable, column)
            for variables, columns in zip(chosen, self.columns, strict=True)
            for variable, column in zip(variables, columns, strict=True)
        ]
        # Short of plans that keep to what is there, what lacks is bought dearly.
        dear = 10 * max(1.0, *(column.objective_usd_per_hour for _, column in flat))
        over = [lp.add_variable(f"over_{j}", lowBound=0) for j in range(len(self.rights))]
        costs = [(o, dear if j < len(self.fleet.shared) else dear * _ALL) for j, o in enumerate(over)]
        costs += [(variable, column.objective_usd_per_hour) for variable, column in flat]
        lp.setObjective(pulp.LpAffineExpression(costs))
        for k, variables in enumerate(chosen):
            lp.addConstraint(pulp.lpSum(variables) == 1, f"one_{k}")
        for j, right in enumerate(self.rights):
            used = [(variable, float(column.used[j])) for variable, column in flat if column.used[j]]
            lp.addConstraint(pulp.LpAffineExpression([*used, (over[j], -1)]) <= right, f"shared_{j}")
        if whole_plans:
            self.session.solve(lp, gap=0.0)
            self.choice(chosen)
            return self.worth, self.cost
        self.session.solve_linear(lp)
        by_name = {constraint.name: constraint.pi for constraint in lp.constraints()}
        prices = tuple(max(0.0, -float(by_name[f"shared_{j}"] or 0.0)) for j in range(len(over)))
        return prices, float(pulp.value(lp.objective))

    def choice(self, chosen: Sequence[Sequence[pulp.LpVariable]]) -> None:
        """Reads the whole plans of the master."""
        picked = tuple(
            columns[max(range(len(columns)), key=lambda p, variables=variables: variables[p].varValue or 0.0)]  # type: ignore[misc]
            for variables, columns in zip(chosen, self.columns, strict=True)
        )
        cost = math.fsum(column.objective_usd_per_hour for column in picked)
        if self.is_within(picked) and cost < self.cost * (1 - _SAME):
            self.best = picked

    def together(self) -> None:
        """One program of all workloads."""
        problems = {k: problem.restricted_to(self.kept[k]) for k, problem in enumerate(self.fleet.problems)}
        try:
            found, bound = self.jointly(problems, self.session)
        except NotOptimalError:
            return
        self.bound = max(self.bound, bound)
        picked = tuple(self.column(k, each) for k, each in enumerate(found))
        if self.cost_of(picked) < self.cost * (1 - _SAME):
            self.columns = [[column] for column in picked]
            self.best = picked

    def jointly(
        self, problems: Mapping[int, Problem], session: Session, prices: _Prices | None = None
    ) -> tuple[list[Solution], float]:
        """(a plan of each of these workloads, what their plans cost at least), with cuts until losses are survived.

        Within what is shared; or at `prices` of places, where what else is shared is in the prices of candidates.
        """
        problems = {k: with_first_cut(problem) for k, problem in problems.items()}
        bound = 0.0
        for _ in range(_MOST_ROUNDS):
            found, least = self.solved_together(problems, session, prices)
            bound = max(bound, least)
            cuts = {
                k: survival(problem, each.counts, session)
                for (k, problem), each in zip(problems.items(), found, strict=True)
                if problem.losses
            }
            if not any(each.cuts for each in cuts.values()):
                solutions = [
                    replace(each, contingencies=cuts[k].contingencies if k in cuts else ())
                    for k, each in zip(problems, found, strict=True)
                ]
                wide = zip(problems, solutions, strict=True)
                return [widened(self.fleet.problems[k], self.kept[k], each) for k, each in wide], bound
            problems = {
                k: replace(problem, loss_cuts=(*problem.loss_cuts, *cuts[k].cuts)) if k in cuts else problem
                for k, problem in problems.items()
            }
        raise NotOptimalError(session.too_late())

    def solved_together(
        self, problems: Mapping[int, Problem], session: Session, prices: _Prices | None
    ) -> tuple[list[Solution], float]:
        """The same with the cuts that there are."""
        lp = pulp.LpProblem("sky_melange_together", pulp.LpMinimize)
        parts = self.parts(lp, problems)
        base = math.fsum(problem.charges.base_usd_per_hour for problem in problems.values())
        objective = pulp.lpSum(objective_expression(problems[k], part.variables) for k, part in parts.items())
        if prices is None:
            objective += self.add_shared(lp, parts)
            for j, share in enumerate(self.fleet.shares):
                lp.addConstraint(split(self.routed(parts, share, 1.0))[0] <= share.limit_fraction, f"place_{j}")
            if self.bound > base:
                lp.addConstraint(objective >= self.bound * (1 - _SAME) - base, "bound")
        else:
            pairs = zip(prices[len(self.fleet.shared) :], self.fleet.shares, strict=True)
            objective += split([term for price, share in pairs for term in self.routed(parts, share, price)])[0]
        lp.setObjective(objective)
        outcome = session.solve(lp)
        if outcome.status == "infeasible":
            raise (
                self.impossible()
                if self.fleet.shares
                else InfeasibleError("the workloads cannot share what there is: no counts keep to all limits together")
            )
        if outcome.status == "unknown":
            raise NotOptimalError(session.too_late())
        found = []
        for k, part in parts.items():
            problem = problems[k]
            counts = whole([variable.varValue for variable in part.counts])
            shares = read_shares(problem, part.variables, counts)
            cost = problem.cost(counts)
            found.append(Solution(counts=counts, shares=shares, cost_usd_per_hour=cost, status="feasible", mip_gap=1.0))
        return found, (outcome.bound or 0.0) + base

    def parts(self, lp: pulp.LpProblem, problems: Mapping[int, Problem]) -> dict[int, IntegerProgram]:
        """The programs of these workloads in one."""
        return {
            k: build_lp(problem, self.session.slices, part_of=Labelled(lp, str(k))) for k, problem in problems.items()
        }

    def routed(self, parts: Mapping[int, IntegerProgram], share: SharedShare, price: float) -> Terms:
        """`price` times what goes to a place."""
        return [
            (variable, price * share.weights[k] * weight / part.variables.slices)
            for k, part in parts.items()
            for variable, weight in part.routed_to([share.members[k][c] for c in self.kept[k]])
        ]

    def add_shared(self, lp: pulp.LpProblem, parts: Mapping[int, IntegerProgram]) -> pulp.LpAffineExpression:
        """Adds the shared limits; what GPUs of divided machines cost that nobody takes."""
        unused = [self.unused(lp, list(parts.values()), number) for number in range(len(self.fleet.machines))]
        for j, limit in enumerate(self.fleet.shared):
            terms = [
                (part.counts[position], limit.weights[k][c])
                for k, part in parts.items()
                for position, c in enumerate(self.kept[k])
                if limit.weights[k][c]
            ]
            terms += [(idle, machine.uses[j]) for machine, idle in zip(self.fleet.machines, unused, strict=True)]
            if terms:
                lp.addConstraint(pulp.LpAffineExpression(terms) <= limit.limit, f"shared_{j}")
        return pulp.lpSum(each.usd_per_gpu_hour * idle for each, idle in zip(self.fleet.machines, unused, strict=True))

    def unused(self, lp: pulp.LpProblem, parts: Sequence[IntegerProgram], number: int) -> pulp.LpVariable:
        """Adds how many of a machine are bought; its GPUs that no workload takes."""
        machine = self.fleet.machines[number]
        bought = lp.add_variable(f"machines_{number}", lowBound=0, cat=pulp.LpInteger)
        idle = lp.add_variable(f"idle_{number}", lowBound=0)
        terms = [
            (part.counts[position], machine.parts[k][c])
            for k, part in enumerate(parts)
            for position, c in enumerate(self.kept[k])
            if machine.parts[k][c]
        ]
        lp.addConstraint(
            pulp.LpAffineExpression([*terms, (idle, 1), (bought, -machine.gpus)]) == 0, f"divided_{number}"
        )
        return idle
