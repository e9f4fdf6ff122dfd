"""No replica carries more than its allowed load."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sky_melange.domain.plan import Plan, ReplicaGroup, Route, max_concurrency
from sky_melange.domain.profile import Skipped
from sky_melange.domain.size_estimate import capacity_of, size_estimates
from sky_melange.domain.workload import Workload
from sky_melange.optimizer.limits.shapes import BuiltIn
from sky_melange.optimizer.problem import GroupCapacities, Limit, Problem

TOLERANCE: Final = 1e-5
"""Relative: shares are stored with twelve decimals, and the solver's own tolerance is 1e-6."""

_STEP: Final = 0.001


class _Steps(Sequence[tuple[float, Problem]]):
    """Utilisations above the problem's, by thousandths up to 1; a problem is made when it is looked at."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._first = math.floor(problem.max_utilization / _STEP) + 1

    def __len__(self) -> int:
        return max(0, round(1 / _STEP) - self._first + 1)

    def __getitem__(self, index: int) -> tuple[float, Problem]:  # type: ignore[override]
        fraction = (self._first + index) * _STEP
        return fraction, replace(self._problem, max_utilization=fraction, loss_cuts=())


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxUtilization(BuiltIn):
    """`constraints.max_utilization` (`Problem.max_utilization`), where it is below 1."""

    name: str = "constraints.max_utilization"
    fraction: float

    @classmethod
    def set_in(cls, problem: Problem) -> Iterator[Limit]:
        if problem.max_utilization < 1:
            yield cls(fraction=problem.max_utilization)

    def setting(self) -> str:
        return f"{self.fraction:g}"

    @staticmethod
    def violations(plan: Plan, workload: Workload, capacities: GroupCapacities) -> Iterator[str]:
        """No group carries more than its replicas sustain within it, on buckets that it can serve.

        In the busiest hour of each set of sizes. What a group states is of the one that asks most of it; a view of one
        set alone (`verify.in_period`) states nothing of its own.
        """
        buckets = workload.traffic.buckets()
        situations = workload.traffic.in_busiest_hours()
        routed = {(route.input_tokens, route.output_tokens): route for route in plan.routing}
        estimates = size_estimates(workload)
        shares = [_shares(routed.get((bucket.input_tokens, bucket.output_tokens))) for bucket in buckets]
        for group in plan.groups:
            yield from _allowed(group, workload)
            loads = [[0.0] * estimates.cases for _ in situations]
            in_flight = [0.0] * len(situations)
            for part in estimates.parts:
                share = shares[part.taken_for].get(group.name, 0.0)
                if share == 0:
                    continue
                capacity = capacity_of(part, capacities[group.name])
                if isinstance(capacity, Skipped):
                    label = buckets[part.bucket].label
                    taken = "" if part.taken_for == part.bucket else f" as if it were {buckets[part.taken_for].label}"
                    yield f"{group.name} is sent bucket {label}{taken}, which it cannot serve: {capacity.detail}"
                    continue
                for number, situation in enumerate(situations):
                    load = situation[part.bucket].rate_rps * share / capacity.request_rate_rps
                    for case, fraction in enumerate(part.fractions):
                        loads[number][case] += load * fraction
                    in_flight[number] += load * part.fractions[0] * capacity.concurrency
            first = [busy[0] for busy in loads]
            utilization = max(first) / group.replicas if group.replicas else math.inf
            is_simulated = group.max_utilization is not None
            running = max(
                max_concurrency(each, busy, is_simulated=is_simulated)
                for each, busy in zip(in_flight, first, strict=True)
            )
            is_stated = len(workload.traffic.size_sets) != 1
            # One more or less is the rounding of shares.
            if is_stated and abs(group.max_concurrency - running) > 1:
                yield f"{group.name} runs {group.max_concurrency} requests at once, recomputed {running}"
            most = max(map(max, loads))
            limit = workload.constraints.utilization_limit if group.max_utilization is None else group.max_utilization
            if most > 0 and most > group.replicas * limit * (1 + TOLERANCE):
                used = most / group.replicas if group.replicas else math.inf
                where = "" if most == max(first) else ", where all estimates of sizes are off"
                yield f"{group.name} is used to {used:.4f} of its {group.replicas} replicas, over {limit:g}{where}"
            elif is_stated and not math.isclose(
                utilization if group.replicas else 0.0, group.utilization, abs_tol=1e-6
            ):
                yield f"{group.name} states a utilisation of {group.utilization:g}, recomputed {utilization:g}"

    def bound(self) -> float:
        return self.fraction

    def looser(self, problem: Problem) -> Sequence[tuple[float, Problem]]:
        return _Steps(problem)

    def without(self, problem: Problem) -> Problem:
        return replace(problem, max_utilization=1.0)


def _allowed(group: ReplicaGroup, workload: Workload) -> Iterator[str]:
    """What a simulation allowed a group is within the workload's limit."""
    found, limit = group.max_utilization, workload.constraints.max_utilization
    if found is not None and workload.slo.attainment is None:
        yield f"{group.name} has a max_utilization of its own, but the targets are of means"
    if found is not None and limit is not None and found > limit * (1 + TOLERANCE):
        yield f"{group.name} may be used to {found:g}, over constraints.max_utilization {limit:g}"


def _shares(route: Route | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, share in () if route is None else route.shares:
        found[name] = found.get(name, 0.0) + share
    return found
