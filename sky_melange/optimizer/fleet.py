"""Several workloads that share quotas and machines, as plain numbers; nothing of PuLP."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from sky_melange.domain.candidate import Candidate
from sky_melange.domain.fleet import FleetConstraints, place_named_by
from sky_melange.errors import InputError
from sky_melange.optimizer.limits.accelerators import Cap, is_in
from sky_melange.optimizer.limits.shares import SHARE_TOLERANCE, ShareLimit
from sky_melange.optimizer.problem import Limit, Problem
from sky_melange.optimizer.solve.solution import Proven, Solution

_ENDLESS: Final = 10**6
NEXT_TO_NOTHING: Final = 1e-3
TOO_MUCH: Final = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLimit:
    """Σ_k Σ_c weights[k][c] · n_kc ≤ limit over the candidates c of all workloads k."""

    name: str
    weights: tuple[tuple[int, ...], ...]
    limit: int

    def used_by(self, k: int, counts: Sequence[int]) -> int:
        """What the counts of workload k take of it."""
        return sum(weight * count for weight, count in zip(self.weights[k], counts, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedShare:
    """Σ_k weights[k] · (the part of the requests of workload k that goes to c with members[k][c]) ≤ limit_fraction.

    One `place` of `key`, `fleet.constraints.max_cloud_share` or `max_region_share`. The weights sum to 1.
    """

    key: str
    place: str
    members: tuple[tuple[bool, ...], ...]
    weights: tuple[float, ...]
    limit_fraction: float

    @property
    def name(self) -> str:
        """Of this place."""
        return f"{self.key}.{self.place}"

    def used_by(self, k: int, problem: Problem, shares: Sequence[Sequence[float]]) -> float:
        """What the routing of workload k takes of it."""
        return self.weights[k] * math.fsum(
            weight * share
            for weight, row in zip(problem.weights, shares, strict=True)
            for share, is_member in zip(row, self.members[k], strict=True)
            if is_member
        )

    def own(self, k: int, fraction: float) -> ShareLimit:
        """The limit of workload k which may take so much of it."""
        part = fraction / self.weights[k] if self.weights[k] else 1.0
        # The place is in the name.
        places = (("", self.members[k]),)
        return ShareLimit(name=self.name, places=places, limit_fraction=min(1.0, max(0.0, part)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DividedMachine:
    """A machine that workloads may divide by whole GPUs, as many of it as they need, each paid for as a whole.

    `parts[k][c]`: GPUs that an instance of candidate c of workload k takes; its price is that of these GPUs, so what
    is left to pay is the price of GPUs that nobody takes. `uses[j]`: what such a GPU counts in shared limit j. Parts
    and `gpus` are powers of two: parts that are no more than the GPUs of the machines fit into them.
    """

    name: str
    gpus: int
    usd_per_hour: float
    parts: tuple[tuple[int, ...], ...]
    uses: tuple[int, ...] = ()

    @property
    def usd_per_gpu_hour(self) -> float:
        """Of each of its GPUs."""
        return self.usd_per_hour / self.gpus

    def taken_by(self, k: int, counts: Sequence[int]) -> int:
        """GPUs that the counts of workload k take."""
        return sum(gpus * n for gpus, n in zip(self.parts[k], counts, strict=True))

    def taken(self, counts: Sequence[Sequence[int]]) -> int:
        """GPUs that the counts of all workloads take."""
        return sum(self.taken_by(k, each) for k, each in enumerate(counts))

    def machines(self, counts: Sequence[Sequence[int]]) -> int:
        """How many of it they need."""
        return -(-self.taken(counts) // self.gpus)

    def idle(self, counts: Sequence[Sequence[int]]) -> int:
        """GPUs of these that nobody takes."""
        return self.machines(counts) * self.gpus - self.taken(counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetProblem:
    """The problems of the workloads, each with its own limits, what they share, and the machines that they may divide.

    `problems[k]` keep every shared limit by themselves, too, so that what is true of a workload alone (such as which
    candidates dominate) stays true in the fleet: `of` sees to it. A budget of all together is no part of it: it is held
    against what the cheapest plans cost.
    """

    problems: tuple[Problem, ...]
    shared: tuple[SharedLimit, ...] = ()
    names: tuple[str, ...] = ()
    machines: tuple[DividedMachine, ...] = ()
    shares: tuple[SharedShare, ...] = ()

    @classmethod
    def of(
        cls,
        problems: Sequence[Problem],
        shared: Sequence[SharedLimit],
        names: Sequence[str] = (),
        machines: Sequence[DividedMachine] = (),
        shares: Sequence[SharedShare] = (),
    ) -> FleetProblem:
        """The problem of workloads that do not know yet what they share."""
        limited = tuple(
            replace(
                problem,
                limits=(
                    *problem.limits,
                    *shared_caps(shared, k),
                    *part_caps(machines, k),
                    *share_limits(shares, k, [share.limit_fraction for share in shares]),
                ),
            )
            for k, problem in enumerate(problems)
        )
        return cls(
            problems=limited,
            shared=tuple(shared),
            names=tuple(names),
            machines=tuple(machines),
            shares=tuple(shares),
        )

    def idle_usd_per_hour(self, counts: Sequence[Sequence[int]]) -> float:
        """What GPUs of divided machines cost that no workload takes."""
        return math.fsum(machine.usd_per_gpu_hour * machine.idle(counts) for machine in self.machines)

    def cost(self, counts: Sequence[Sequence[int]]) -> float:
        """USD per hour of all workloads, charges included."""
        costs = (problem.cost(each) for problem, each in zip(self.problems, counts, strict=True))
        return math.fsum((*costs, self.idle_usd_per_hour(counts)))

    def objective(self, counts: Sequence[Sequence[int]]) -> float:
        """What is minimised: the cost, and what running plans charge for changes."""
        costs = (problem.objective(each) for problem, each in zip(self.problems, counts, strict=True))
        return math.fsum((*costs, self.idle_usd_per_hour(counts)))

    def used(self, counts: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """Of each shared limit."""
        idle = self.idle_uses(counts)
        return tuple(
            sum(limit.used_by(k, each) for k, each in enumerate(counts)) + idle[j]
            for j, limit in enumerate(self.shared)
        )

    def idle_uses(self, counts: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """Of each shared limit: what GPUs take of it that no workload takes."""
        return tuple(
            sum(machine.uses[j] * machine.idle(counts) for machine in self.machines) for j in range(len(self.shared))
        )

    def within(self, k: int, left: Sequence[float]) -> Problem:
        """The problem of workload k where so much of each shared limit, then of each place, is left for it."""
        problem = self.problems[k]
        names = {limit.name for limit in self.shared} | {share.name for share in self.shares}
        others = (limit for limit in problem.limits if limit.name not in names)
        return replace(problem, limits=(*others, *left_for(self.shared, self.shares, k, left)))

    def with_parts_at(self, k: int, factor: float) -> Problem:
        """The problem of workload k where parts of machines cost so many times their share: next to nothing, as those
        that somebody else pays for, or too much.
        """
        problem, parts = self.problems[k], {c for each in self.machines for c, gpus in enumerate(each.parts[k]) if gpus}
        prices = enumerate(problem.prices)
        return replace(problem, prices=tuple(price * (factor if c in parts else 1) for c, price in prices))

    def is_within(self, counts: Sequence[Sequence[int]]) -> bool:
        """Whether everything that is shared suffices."""
        return all(used <= limit.limit for used, limit in zip(self.used(counts), self.shared, strict=True))

    def placed(self, solutions: Sequence[Solution]) -> tuple[float, ...]:
        """What each place gets whose share is limited."""
        return tuple(
            math.fsum(
                share.used_by(k, problem, found.shares)
                for k, (problem, found) in enumerate(zip(self.problems, solutions, strict=True))
            )
            for share in self.shares
        )

    def keeps_shares(self, solutions: Sequence[Solution]) -> bool:
        """Whether no place gets more than it may."""
        pairs = zip(self.placed(solutions), self.shares, strict=True)
        return all(used <= share.limit_fraction + SHARE_TOLERANCE for used, share in pairs)


def shared_limits(
    constraints: FleetConstraints, problems: Sequence[Problem], candidates: Sequence[Sequence[Candidate]]
) -> tuple[SharedLimit, ...]:
    """What the workloads share: the limits of the fleet, and capacity of one's own that several of them may use.

    `candidates[k]` of workload k. Raises InputError where two workloads say different numbers of the same capacity.
    """
    return (*_quotas(constraints, candidates), *_own(problems))


def _quotas(constraints: FleetConstraints, candidates: Sequence[Sequence[Candidate]]) -> Iterator[SharedLimit]:
    def limit(name: str, most: int, weight: Callable[[Candidate], int]) -> SharedLimit:
        weights = tuple(tuple(weight(candidate) for candidate in each) for each in candidates)
        return SharedLimit(name=f"fleet.constraints.{name}", weights=weights, limit=most)

    def gpus(candidate: Candidate, accelerator: str, place: str | None = None) -> int:
        offer = candidate.offer
        counts = offer.accelerator == accelerator and (place is None or is_in(candidate, place))
        return offer.accelerators_per_instance if counts else 0

    def vcpus(candidate: Candidate, pattern: str, place: str, most: int) -> int:
        offer = candidate.offer
        if not (is_in(candidate, place) and fnmatchcase(offer.instance_type, pattern)):
            return 0
        # Machines whose size nobody knows are beyond any quota.
        return most + 1 if offer.vcpus is None else math.ceil(offer.vcpus)

    for accelerator, most in sorted(constraints.max_accelerators.items()):
        yield limit(f"max_accelerators.{accelerator}", most, lambda c, a=accelerator: gpus(c, a))  # type: ignore[misc]
    for place, by_accelerator in sorted(constraints.max_accelerators_in.items()):
        for accelerator, most in sorted(by_accelerator.items()):
            name = f"max_accelerators_in.{place}.{accelerator}"
            yield limit(name, most, lambda c, a=accelerator, p=place: gpus(c, a, p))  # type: ignore[misc]
    for place, by_pattern in sorted(constraints.max_vcpus_in.items()):
        for pattern, most in sorted(by_pattern.items()):
            name = f"max_vcpus_in.{place}.{pattern}"
            yield limit(name, most, lambda c, a=pattern, p=place, m=most: vcpus(c, a, p, m))  # type: ignore[misc]


def shared_shares(
    constraints: FleetConstraints, candidates: Sequence[Sequence[Candidate]], parts: Sequence[float]
) -> tuple[SharedShare, ...]:
    """One for each place of any candidate; `parts`: how much of all traffic that of each workload is."""
    return tuple(
        SharedShare(
            key=f"fleet.constraints.{key}",
            place=place,
            members=tuple(tuple(is_in(candidate, place) for candidate in each) for each in candidates),
            weights=tuple(parts),
            limit_fraction=fraction,
        )
        for key, fraction in constraints.shares
        for place in sorted({place_named_by(key, c.offer.cloud, c.offer.region) for each in candidates for c in each})
    )


def _own(problems: Sequence[Problem]) -> Iterator[SharedLimit]:
    found: dict[str, dict[int, Cap]] = {}
    for k, problem in enumerate(problems):
        for limit in problem.limits:
            if isinstance(limit, Cap) and limit.is_shared:
                found.setdefault(limit.name, {})[k] = limit
    for name, by_workload in sorted(found.items()):
        said = sorted({cap.limit for cap in by_workload.values()})
        if len(said) > 1:
            raise InputError(
                f"{name}: workloads of the fleet say that there are {' and '.join(map(str, said))}; say the same in all"
            )
        if len(by_workload) > 1:
            weights = tuple(
                by_workload[k].weights if k in by_workload else (0,) * problem.candidate_count
                for k, problem in enumerate(problems)
            )
            yield SharedLimit(name=name, weights=weights, limit=said[0])


def shared_caps(shared: Sequence[SharedLimit], k: int) -> tuple[Cap, ...]:
    """What the shared limits mean for workload k alone: it has no more of each than there is."""
    return tuple(
        Cap(name=limit.name, weights=limit.weights[k], limit=limit.limit) for limit in shared if any(limit.weights[k])
    )


def share_limits(shares: Sequence[SharedShare], k: int, left: Sequence[float]) -> tuple[ShareLimit, ...]:
    """What is left of each share, as limits of workload k."""
    pairs = zip(shares, left, strict=True)
    return tuple(share.own(k, fraction) for share, fraction in pairs if any(share.members[k]))


def left_for(
    shared: Sequence[SharedLimit], shares: Sequence[SharedShare], k: int, left: Sequence[float]
) -> tuple[Limit, ...]:
    """The limits of workload k where so much of each shared limit, then of each place, is left for it."""
    counts = [replace(limit, limit=round(most)) for limit, most in zip(shared, left, strict=False)]
    return (*shared_caps(counts, k), *share_limits(shares, k, left[len(shared) :]))


def part_caps(machines: Sequence[DividedMachine], k: int, most: Sequence[int] | None = None) -> tuple[Cap, ...]:
    """The GPUs of each machine that workload k may take: as many as it wants, or `most`."""
    limits = [_ENDLESS] * len(machines) if most is None else most
    return tuple(
        Cap(name=f"parts of {machine.name}", weights=machine.parts[k], limit=limit)
        for machine, limit in zip(machines, limits, strict=True)
        if any(machine.parts[k])
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSolution(Proven):
    """`solutions[k]` of workload k, at its own prices. `status` and `mip_gap` as in `Solution`, of the fleet's cost.

    `worth_usd_per_hour[j]`: what one unit more of shared limit j saves , by the prices of what is shared that proved
    the most; 0 where it is not short. `idle_uses[j]`: what GPUs of divided machines take of it that no plan takes.
    """

    solutions: tuple[Solution, ...]
    bound_usd_per_hour: float
    worth_usd_per_hour: tuple[float, ...] = ()
    idle_uses: tuple[int, ...] = ()

    @property
    def counts(self) -> tuple[tuple[int, ...], ...]:
        """`[workload][candidate]`."""
        return tuple(solution.counts for solution in self.solutions)
