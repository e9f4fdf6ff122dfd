"""A workload matched with what can be bought, ready to be solved: once, or again with something changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.candidate import Candidate, Rejected
from sky_melange.domain.cloud import CloudFeatures
from sky_melange.domain.offer import Offer
from sky_melange.domain.size_estimate import size_estimates
from sky_melange.domain.workload import RoutingPolicy, Workload
from sky_melange.errors import MissingDataError
from sky_melange.optimizer.build import build_problem
from sky_melange.optimizer.candidates import CandidateSet, ProfileCapacities, build_candidates
from sky_melange.optimizer.infeasible import describe_rejected
from sky_melange.optimizer.overhead import OverheadMachines, overhead_machines
from sky_melange.optimizer.problem import Problem, RoutingClasses, routing_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`problem` is in the numbers of `candidates`, and of `classes` of `buckets`.

    `machines` are what a plan may need beside its replicas, `offers` all that is sold.
    """

    workload: Workload
    buckets: tuple[Bucket, ...]
    classes: RoutingClasses
    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]
    problem: Problem
    machines: OverheadMachines
    offers: tuple[Offer, ...]

    def under(self, policy: RoutingPolicy) -> Problem:
        """The problem under another routing policy."""
        classes = routing_classes(policy, self.buckets)
        estimates = size_estimates(self.workload, policy)
        changed = build_problem(self.workload, self.buckets, classes, self.candidates, estimates)
        mine = self.problem
        return replace(changed, max_cost_usd_per_hour=mine.max_cost_usd_per_hour, charges=mine.charges)

    def within(self, max_cost_usd_per_hour: float | None) -> Model:
        """The same with a limit on the total cost."""
        return replace(self, problem=replace(self.problem, max_cost_usd_per_hour=max_cost_usd_per_hour))

    def at_traffic(self, factor: float) -> Model:
        """The same for `factor` times the traffic."""
        traffic = self.workload.traffic
        rates = tuple(tuple(rate * factor for rate in row) for row in traffic.rates_rps)
        workload = replace(self.workload, traffic=replace(traffic, rates_rps=rates))
        return replace(
            self, workload=workload, buckets=workload.traffic.buckets(), problem=self.problem.at_traffic(factor)
        )


def build_model(
    workload: Workload,
    offers: Iterable[Offer],
    profiles: Sequence[ProfileCapacities],
    clouds: Mapping[str, CloudFeatures],
    doubted: Iterable[Offer] = (),
    listed: Iterable[Offer] = (),
) -> Model:
    """Every candidate there is. Raises MissingDataError when no offer can run the model.

    `listed`: further offers that machines beside the replicas may be. When one of the `doubted` offers could, the model
    has no candidates instead: then their prices are why.
    """
    offers = tuple(offers)
    buckets = workload.traffic.buckets()
    found = build_candidates(workload, offers, profiles, clouds)
    if not found.candidates and not build_candidates(workload, doubted, profiles, clouds).candidates:
        raise _nothing_to_choose_from(found)
    classes = routing_classes(workload.routing, buckets)
    machines = overhead_machines(workload, [*offers, *listed], clouds)
    problem = build_problem(workload, buckets, classes, found.candidates)
    return Model(
        workload=workload,
        buckets=buckets,
        classes=classes,
        candidates=found.candidates,
        rejected=found.rejected,
        problem=replace(problem, charges=machines.charges(found.candidates)),
        machines=machines,
        offers=offers,
    )


def traffic_rounded_down(request_rate_rps: float, factor: float) -> float:
    """A factor a little smaller, at which the rate has six digits: a plan is not made for 41.18309417 requests/s.

    The millionth taken off first is the solver's tolerance.
    """
    rate = request_rate_rps * factor * (1 - 1e-6)
    unit = 10.0 ** (math.floor(math.log10(rate)) - 5)
    return math.floor(rate / unit) * unit / request_rate_rps


def _nothing_to_choose_from(found: CandidateSet) -> MissingDataError:
    if not found.rejected:
        return MissingDataError("no price is known for any of candidates.clouds")
    return MissingDataError(f"no priced offer can run this workload:\n{describe_rejected(found.rejected)}")
