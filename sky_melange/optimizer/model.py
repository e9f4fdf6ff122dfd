"""A workload matched with what can be bought, ready to be solved: once, or again with something changed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sky_melange.domain.buckets import Bucket, Traffic
from sky_melange.domain.candidate import Candidate, Rejected
from sky_melange.domain.machine import CloudFeatures, Deployment
from sky_melange.domain.offer import Offer
from sky_melange.domain.price_record import Commitment
from sky_melange.domain.profile import Skipped
from sky_melange.domain.size_estimate import Part, SizeEstimates, capacity_of, size_estimates
from sky_melange.domain.workload import Constraints, RoutingPolicy, Workload
from sky_melange.errors import MissingDataError
from sky_melange.optimizer.candidates import CandidateSet, ProfileCapacities, build_candidates
from sky_melange.optimizer.limits import LIMITS
from sky_melange.optimizer.overhead import OverheadMachines, overhead_machines
from sky_melange.optimizer.problem import Keep, Loads, Problem, RoutingClasses, routing_classes
from sky_melange.optimizer.why.infeasible import describe_rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`problem` is in the numbers of `candidates`, and of `classes` of `buckets`.

    `machines` are what a plan may need beside its replicas, `offers` all that is sold. `utilizations`: the part of its
    capacity that each candidate may use, found by simulation; the loads of `problem` are shares of that then. None:
    `constraints.max_utilization`.
    """

    workload: Workload
    buckets: tuple[Bucket, ...]
    classes: RoutingClasses
    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]
    problem: Problem
    machines: OverheadMachines
    offers: tuple[Offer, ...]
    utilizations: tuple[float, ...] | None = None

    def under(self, policy: RoutingPolicy) -> Problem:
        """The problem under another routing policy."""
        classes = routing_classes(policy, self.buckets)
        estimates = size_estimates(self.workload, policy)
        changed = build_problem(self.workload, self.buckets, classes, self.candidates, estimates)
        mine = self.problem
        changed = replace(changed, max_cost_usd_per_hour=mine.max_cost_usd_per_hour, charges=mine.charges)
        return changed if self.utilizations is None else changed.used_to(self.utilizations)

    def with_traffic(self, traffic: Traffic) -> Model:
        """The same for other traffic in the same buckets."""
        workload = replace(self.workload, traffic=traffic)
        problem = build_problem(workload, self.buckets, self.classes, self.candidates)
        problem = replace(problem, charges=self.problem.charges)
        problem = problem if self.utilizations is None else problem.used_to(self.utilizations)
        return replace(self, workload=workload, problem=problem)

    def used_to(self, utilizations: Sequence[float]) -> Model:
        """The same where each candidate may use this part of its capacity, instead of `constraints.max_utilization`."""
        before = self.utilizations or (1.0,) * len(self.candidates)
        problem = self.problem.used_to([now / then for now, then in zip(utilizations, before, strict=True)])
        return replace(self, problem=problem, utilizations=tuple(utilizations))

    def within(self, max_cost_usd_per_hour: float | None) -> Model:
        """The same with a limit on the total cost."""
        return replace(self, problem=replace(self.problem, max_cost_usd_per_hour=max_cost_usd_per_hour))

    def in_hours(self, number: int, rate_rps: float) -> Model:
        """The same for hours of this rate, with the sizes of one set (0 where there are none)."""
        traffic = self.workload.traffic
        busiest_rps = (traffic.request_rate_rps,) if traffic.hours is None else traffic.hours.busiest_rps
        workload = replace(self.workload, traffic=traffic.within(number, rate_rps))
        problem = self.problem.of_sizes(number).at_traffic(rate_rps / busiest_rps[number])
        return replace(self, workload=workload, buckets=workload.traffic.buckets(), problem=problem)

    def at_traffic(self, factor: float) -> Model:
        """The same for `factor` times the traffic."""
        traffic = self.workload.traffic
        rates = tuple(tuple(rate * factor for rate in row) for row in traffic.rates_rps)
        workload = replace(self.workload, traffic=replace(traffic, rates_rps=rates))
        return replace(
            self, workload=workload, buckets=workload.traffic.buckets(), problem=self.problem.at_traffic(factor)
        )


def build_model(  # noqa: PLR0913, PLR0917 - what there is to choose from
    workload: Workload,
    offers: Iterable[Offer],
    profiles: Sequence[ProfileCapacities],
    clouds: Mapping[str, CloudFeatures],
    doubted: Iterable[Offer] = (),
    listed: Iterable[Offer] = (),
    commitments: Iterable[Commitment] = (),
) -> Model:
    """Every candidate there is. Raises MissingDataError when no offer can run the model.

    `listed`: further offers that machines beside the replicas may be; `commitments` as in `build_candidates`. When one
    of the `doubted` offers could, the model has no candidates instead: then their prices are why.
    """
    offers = tuple(offers)
    buckets = workload.traffic.buckets()
    found = build_candidates(workload, offers, profiles, clouds, commitments)
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


def build_problem(
    workload: Workload,
    buckets: Sequence[Bucket],
    classes: RoutingClasses,
    candidates: Sequence[Candidate],
    estimates: SizeEstimates | None = None,
) -> Problem:
    """The problem; `buckets` are those with traffic, in the order of `Candidate.capacities`.

    `estimates`: those under another routing policy than the workload's.
    """
    estimates = estimates or size_estimates(workload)
    limits = workload.constraints
    total_rps = sum(bucket.rate_rps for bucket in buckets)
    situations = _situations(workload, buckets)
    loads, *biased = (case for each in situations for case in _loads(candidates, classes, each, estimates))
    return Problem(
        loads=loads,
        biased=tuple(biased),
        sizes=len(situations),
        prices=tuple(candidate.offer.price_usd_per_hour for candidate in candidates),
        replicas=tuple(candidate.replicas_per_instance for candidate in candidates),
        max_utilization=limits.utilization_limit,
        limits=tuple(limit for kind in LIMITS.values() for limit in kind.of(workload, candidates)),
        weights=_weights(classes, buckets, estimates, total_rps),
        losses=limits.tolerate_replica_losses,
        keep=_keep(limits, candidates),
    )


_SELDOM = 1e-6
"""Of its requests in all hours: a set of sizes that has none of a bucket is planned with so many."""


def _situations(workload: Workload, buckets: Sequence[Bucket]) -> list[Sequence[Bucket]]:
    """The requests of the busiest hour of each set of sizes; what is divided by loads needs some in every bucket."""
    found = workload.traffic.in_busiest_hours()
    if len(found) == 1 and not workload.traffic.size_sets:
        return [buckets]
    return [
        [
            replace(one, rate_rps=max(one.rate_rps, every.rate_rps * _SELDOM))
            for one, every in zip(each, buckets, strict=True)
        ]
        for each in found
    ]


def _loads(
    candidates: Sequence[Candidate], classes: RoutingClasses, buckets: Sequence[Bucket], estimates: SizeEstimates
) -> tuple[Loads, ...]:
    """Σ λ_b · fraction ÷ μ_bc in instances over the parts that are taken for class r, in each case.

    None where the candidate cannot serve one of them.
    """
    of = _class_of(classes)
    by_class: list[list[Part]] = [[] for _ in classes]
    for part in estimates.parts:
        by_class[of[part.taken_for]].append(part)
    columns: dict[tuple[int, int], list[tuple[float | None, ...]]] = {}
    for candidate in candidates:
        key = (id(candidate.capacities), candidate.replicas_per_instance)
        if key not in columns:
            columns[key] = [_class_loads(candidate, parts, buckets, estimates.cases) for parts in by_class]
    chosen = [columns[id(candidate.capacities), candidate.replicas_per_instance] for candidate in candidates]
    return tuple(
        tuple(tuple(column[r][case] for column in chosen) for r in range(len(classes)))
        for case in range(estimates.cases)
    )


def _class_loads(
    candidate: Candidate, parts: Sequence[Part], buckets: Sequence[Bucket], cases: int
) -> tuple[float | None, ...]:
    sums = [0.0] * cases
    capacities = (*candidate.capacities, *candidate.strays)
    for part in parts:
        capacity = capacity_of(part, capacities)
        if isinstance(capacity, Skipped):
            return (None,) * cases
        load = buckets[part.bucket].rate_rps / (capacity.request_rate_rps * candidate.replicas_per_instance)
        for case, fraction in enumerate(part.fractions):
            sums[case] += load * fraction
    return tuple(sums)


def _weights(
    classes: RoutingClasses, buckets: Sequence[Bucket], estimates: SizeEstimates, total_rps: float
) -> tuple[float, ...]:
    """The fraction of all requests that is taken for each class."""
    of = _class_of(classes)
    sums = [0.0] * len(classes)
    for part in estimates.parts:
        sums[of[part.taken_for]] += buckets[part.bucket].rate_rps * part.fractions[0]
    return tuple(each / total_rps for each in sums)


def _class_of(classes: RoutingClasses) -> dict[int, int]:
    return {index: r for r, members in enumerate(classes) for index in members}


def _keep(limits: Constraints, candidates: Sequence[Candidate]) -> Keep | None:
    """Previous groups that are no candidates now have to go whatever the plan, so they do not enter.

    Where the same machine is sold twice, reserved and at its list price, the reserved ones are taken to run first.
    """
    if limits.keep is None:
        return None
    left = Counter[Deployment]()
    for group in limits.keep.groups:
        left[group.deployment] += group.instances
    previous = [0] * len(candidates)
    for c in sorted(range(len(candidates)), key=lambda c: (candidates[c].offer.reserved_instances is None, c)):
        reserved = candidates[c].offer.reserved_instances
        running = left[candidates[c].deployment]
        previous[c] = running if reserved is None else min(running, reserved)
        left[candidates[c].deployment] -= previous[c]
    return Keep(previous=tuple(previous), usd_per_hour=limits.keep.switching_usd_per_hour)
