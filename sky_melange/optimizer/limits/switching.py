"""What runs already is worth keeping."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sky_melange.domain.machine import Deployment
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.optimizer.limits.shapes import BuiltIn
from sky_melange.optimizer.problem import GroupCapacities, Limit, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRunning(BuiltIn):
    """`constraints.keep` (`Problem.keep`): no limit of what may be bought, but a charge for each change."""

    name: str = "constraints.keep"
    usd_per_hour: float

    @classmethod
    def set_in(cls, problem: Problem) -> Iterator[Limit]:
        if problem.keep is not None:
            yield cls(usd_per_hour=problem.keep.usd_per_hour)

    def setting(self) -> str:
        return f"USD {self.usd_per_hour:g} per instance changed"

    @staticmethod
    def violations(plan: Plan, workload: Workload, capacities: GroupCapacities) -> Iterator[str]:
        """The changes stated are those between the running plan and this one."""
        keep = workload.constraints.keep
        if keep is None:
            return
        if plan.switching is None:
            yield "constraints.keep names a running plan, but the changes against it are not stated"
            return
        before, now = Counter[Deployment](), Counter[Deployment]()
        for running in keep.groups:
            before[running.deployment] += running.instances
        for group in plan.groups:
            now[group.deployment] += group.instances
        started, stopped = (now - before).total(), (before - now).total()
        stated = (plan.switching.started_instances, plan.switching.stopped_instances)
        if stated != (started, stopped):
            yield f"stated are {stated[0]} instances started and {stated[1]} stopped, there are {started} and {stopped}"
        charged = keep.switching_usd_per_hour * (started + stopped)
        if not math.isclose(plan.switching.charged_usd_per_hour, charged, rel_tol=1e-9, abs_tol=1e-9):
            stated_usd = plan.switching.charged_usd_per_hour
            yield f"the changes are charged USD {stated_usd!r} per hour, they come to {charged!r}"

    def without(self, problem: Problem) -> Problem:
        return replace(problem, keep=None)
