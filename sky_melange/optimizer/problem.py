"""The optimisation problem as plain numbers, and what a limit of the plan is; nothing of PuLP."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, Self

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.candidate import Candidate
from sky_melange.domain.plan import Plan
from sky_melange.domain.profile import Capacity, Skipped
from sky_melange.domain.workload import RoutingPolicy, Workload
from sky_melange.optimizer.charges import Charges

RoutingClasses = tuple[tuple[int, ...], ...]
"""Buckets (by index) that the front door cannot distinguish, and which therefore share one set of weights."""

GroupCapacities = Mapping[str, Sequence[Capacity | Skipped]]
"""What ONE replica of each group (by name) sustains on each of `Traffic.buckets()`, then of `SizeEstimates.strays`."""

Terms = Sequence[tuple[object, float]]
"""Σ factor · variable. A variable of the program is opaque to a limit; a plain number stands for itself."""


class Program(Protocol):
    """What a limit sees of the program: an integer program, or one whose counts are fixed and are plain numbers."""

    @property
    def counts(self) -> Sequence[object]:
        """n_c: instances of candidate c."""

    @property
    def whole(self) -> Terms:
        """What all shares of the traffic sum to."""

    def used(self) -> Sequence[object]:
        """y_c: 1 where n_c > 0, else 0."""

    def routed_to(self, members: Sequence[bool]) -> Terms:
        """The part of all requests, in units of `whole`, that goes to candidates with `members[c]`."""

    def cost(self) -> Terms:
        """The total, USD per hour."""

    def variable(self, name: str) -> object:
        """A new variable ≥ 0 that may be fractional. Names come from indices, never from user text."""

    def at_most(self, name: str, terms: Terms, bound: float) -> None:
        """Adds the row Σ ≤ bound. `#` in a name becomes the number of the row, counted by name."""

    def at_least(self, name: str, terms: Terms, bound: float) -> None:
        """Adds the row Σ ≥ bound."""


class Limit(Protocol):
    """A limit of the plan: one record, from which everything that must know of limits takes it.

    Subclass it in a file of `optimizer/limits/` and name it in `LIMITS`. Methods with a body here have defaults that
    are right for every limit: the solve may be slower than it could be, never wrong.
    """

    __slots__ = ()

    name: str
    """As the workload writes it: `constraints.max_groups`."""

    is_minimum: ClassVar[bool] = False
    """Whether it asks for instances, instead of limiting them."""

    @classmethod
    def of(cls, workload: Workload, candidates: Sequence[Candidate]) -> Iterator[Self]:
        """The limits of this kind that a workload sets, in the numbers of its candidates."""

    @classmethod
    def set_in(cls, problem: Problem) -> Iterator[Limit]:
        """Those that are numbers of the problem itself, not among its `limits`."""
        return iter(())

    def restricted_to(self, kept: Sequence[int]) -> Self:
        """The same over the candidates `kept`, in that order."""

    def rows(self, program: Program) -> None:
        """Adds its rows to the program."""

    def setting(self) -> str:
        """Its value, as the workload writes it."""

    def text(self) -> str:
        """What it is called in messages."""
        return f"{self.name} = {self.setting()}"

    @staticmethod
    def violations(plan: Plan, workload: Workload, capacities: GroupCapacities) -> Iterator[str]:
        """How a finished plan breaks the limits of this kind: from the plan alone, without the solver or a problem."""

    def may_replace(self, one: int, other: int, copies: int) -> bool:
        """Whether every plan that keeps this limit still does with each `other` replaced by so many `copies` of `one`.

        True lets the solver drop `other` where `one` is cheaper.
        """
        return False

    def counts_alike(self, one: int, other: int) -> bool:
        """Whether traffic may move between these candidates as far as this limit is concerned."""
        return False

    def most_instances(self, c: int) -> int | None:
        """No plan has more instances of c; None: this limit does not say."""
        return None

    def most_groups(self) -> int | None:
        """No plan has more groups; None: this limit does not say."""
        return None

    def extra_instances(self, c: int) -> int:
        """Instances of c that it may ask for on top of those that the traffic needs."""
        return 1000

    def bound(self) -> float | None:
        """The number that it sets; None: it is no number, and is not relaxed."""
        return None

    def measure(self, program: Program) -> Terms:
        """The quantity that is at most (of a minimum at least) `bound`; may add rows and variables of its own."""
        return ()

    def needed(self, measured: float) -> float:
        """The setting that allows a measured quantity."""
        return round(measured)

    def looser(self, problem: Problem) -> Sequence[tuple[float, Problem]]:
        """(setting, the problem with it), ever looser: for limits that are relaxed by trying, having no `measure`."""
        return ()

    def without(self, problem: Problem) -> Problem:
        """The problem that lacks this limit."""
        return replace(problem, limits=tuple(limit for limit in problem.limits if limit != self))

    def in_the_way(self, problem: Problem, counts: Sequence[int], c: int, *, breaks: bool) -> Iterator[str]:
        """What forbids one more instance of c; `breaks`: its rows do not hold then."""
        if breaks:
            yield self.text()


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What runs already: `previous[c]` instances; each instance more or less counts as `usd_per_hour` of cost."""

    previous: tuple[int, ...]
    usd_per_hour: float

    def restricted_to(self, kept: Sequence[int]) -> Keep:
        """The same over the candidates `kept`; what it costs to stop others is `stopping_others_usd_per_hour`."""
        return replace(self, previous=tuple(self.previous[c] for c in kept))

    def stopping_others_usd_per_hour(self, kept: Collection[int]) -> float:
        """USD/h that every plan is charged which has only the candidates `kept`."""
        return self.usd_per_hour * sum(before for c, before in enumerate(self.previous) if c not in kept)

    def penalty(self, counts: Sequence[int]) -> float:
        """USD/h that a plan of these counts is charged for its changes: s · Σ_c |n_c − previous_c|."""
        return self.usd_per_hour * sum(abs(n - before) for n, before in zip(counts, self.previous, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCut:
    """A condition that every plan meets which still serves all traffic after losing any k instances.

    For weights w ≥ 0 with w_c·load_rc ≥ π_r and any loss of k instances, u·Σ_c w_c·(n_c − lost_c) ≥ Σ_r π_r
    (weak duality of the linear program over the shares). `weights[c]` are u·w_c and `demand` is Σ_r π_r; `lost[c]` is
    the loss that led to it.
    """

    weights: tuple[float, ...]
    demand: float
    lost: tuple[int, ...]

    def restricted_to(self, kept: Sequence[int]) -> LossCut:
        """The same condition over the candidates `kept`."""
        return replace(self, weights=tuple(self.weights[c] for c in kept), lost=tuple(self.lost[c] for c in kept))


Loads = tuple[tuple[float | None, ...], ...]
"""`[class][candidate]`, instances kept fully busy; None: cannot serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Sets: routing classes r, candidates c.

    `loads[r][c]`: instances of c that all of class r would keep fully busy, Σ_{b∈r} λ_b ÷ μ_bc; None when c cannot
    serve some bucket of r. With a front door that estimates sizes, r are the requests that it takes for those of r, and
    `biased[k]` are the loads where all estimates are off by as much as they may be: a plan holds in each of these cases
    (but not where instances are lost as well). Where sizes differ by the hour, `loads` are those of the busiest hour of
    the first of `sizes` sets, and `biased` go on with the cases of the others. `prices[c]`: USD per hour an instance.
    `replicas[c]`: replicas of one.
    `weights[r]`: fraction of all requests in class r, wanted by limits on shares. `max_cost_usd_per_hour`: of the
    total. `losses`: instances, whichever, that the plan must be able to lose and still serve all traffic; `loss_cuts`
    are conditions known to follow from that. `charges`: what is paid beside the replicas. `limits`: all others; see
    `limits_of`.
    """

    loads: Loads
    prices: tuple[float, ...]
    replicas: tuple[int, ...]
    max_utilization: float = 1.0
    limits: tuple[Limit, ...] = ()
    weights: tuple[float, ...] = ()
    max_cost_usd_per_hour: float | None = None
    losses: int = 0
    loss_cuts: tuple[LossCut, ...] = ()
    keep: Keep | None = None
    charges: Charges = field(default_factory=Charges)
    biased: tuple[Loads, ...] = ()
    sizes: int = 1

    @property
    def cases(self) -> tuple[Loads, ...]:
        """The loads in every case that a plan must carry."""
        return (self.loads, *self.biased)

    @property
    def on_average(self) -> Problem:
        """The same where all estimates of sizes are right on average."""
        each = len(self.cases) // self.sizes
        return replace(self, biased=self.cases[each::each])

    def of_sizes(self, number: int) -> Problem:
        """The same for one of the sets of sizes alone."""
        if self.sizes == 1:
            return self
        each = len(self.cases) // self.sizes
        loads, *biased = self.cases[number * each : (number + 1) * each]
        return replace(self, loads=loads, biased=tuple(biased), sizes=1, loss_cuts=())

    @property
    def class_count(self) -> int:
        """Number of routing classes."""
        return len(self.loads)

    @property
    def candidate_count(self) -> int:
        """Number of candidates."""
        return len(self.prices)

    def loads_on(self, c: int, loads: Loads | None = None) -> list[tuple[int, float]]:
        """(class, load in instances) of the classes that candidate c can serve; `loads`: of another case."""
        return [(r, load) for r, row in enumerate(loads or self.loads) if (load := row[c]) is not None]

    def restricted_to(self, kept: Sequence[int]) -> Problem:
        """The same problem with the candidates `kept` only, in that order."""
        return replace(
            self,
            loads=tuple(tuple(row[c] for c in kept) for row in self.loads),
            biased=tuple(tuple(tuple(row[c] for c in kept) for row in loads) for loads in self.biased),
            prices=tuple(self.prices[c] for c in kept),
            replicas=tuple(self.replicas[c] for c in kept),
            limits=tuple(limit.restricted_to(kept) for limit in self.limits),
            loss_cuts=tuple(cut.restricted_to(kept) for cut in self.loss_cuts),
            keep=None if self.keep is None else self.keep.restricted_to(kept),
            charges=self.charges.restricted_to(kept),
        )

    def at_traffic(self, factor: float) -> Problem:
        """The same problem for `factor` times the traffic."""
        return replace(
            self,
            loads=_times(self.loads, factor),
            biased=tuple(_times(loads, factor) for loads in self.biased),
            loss_cuts=tuple(replace(cut, demand=cut.demand * factor) for cut in self.loss_cuts),
        )

    def times(self, *factors: Sequence[float]) -> Problem:
        """The same where the loads of candidate c are `factors[c]` of what they were; or those of each set of sizes."""
        each = len(self.cases) // len(factors)
        loads, *biased = (
            tuple(
                tuple(
                    [None if load is None else load * part for load, part in zip(row, factors[k // each], strict=True)]
                )
                for row in case
            )
            for k, case in enumerate(self.cases)
        )
        return replace(self, loads=loads, biased=tuple(biased), loss_cuts=())

    def used_to(self, fractions: Sequence[float]) -> Problem:
        """The same where the most that candidate c may carry is `fractions[c]` of what it was: its loads grow."""

        def grown(loads: Loads) -> Loads:
            return tuple(
                tuple([None if load is None else load / part for load, part in zip(row, fractions, strict=True)])
                for row in loads
            )

        return replace(
            self,
            loads=grown(self.loads),
            biased=tuple(grown(loads) for loads in self.biased),
            max_utilization=1.0,
            loss_cuts=(),
        )

    def replica_cost(self, counts: Sequence[int]) -> float:
        """Σ_c p_c · n_c, USD per hour, summed without rounding error."""
        return math.fsum(price * count for price, count in zip(self.prices, counts, strict=True))

    def cost(self, counts: Sequence[int]) -> float:
        """The total, USD per hour: replicas, and the charges beside them."""
        return self.replica_cost(counts) + self.charges.usd_per_hour(counts)

    def objective(self, counts: Sequence[int]) -> float:
        """What is minimised: the total, and what `keep` charges for changes; USD per hour."""
        return self.cost(counts) + (0.0 if self.keep is None else self.keep.penalty(counts))


def _times(loads: Loads, factor: float) -> Loads:
    return tuple(tuple(None if load is None else load * factor for load in row) for row in loads)


def routing_classes(policy: RoutingPolicy, buckets: Sequence[Bucket]) -> RoutingClasses:
    """Groups the buckets that a policy must route alike: the whole meaning of a routing policy.

    `size_aware`: every bucket alone. `input_aware`: buckets of one input edge together. `blind`: all together.
    """
    classes: dict[tuple[int, ...], list[int]] = {}
    for index, bucket in enumerate(buckets):
        classes.setdefault(_seen_by(policy, bucket), []).append(index)
    return tuple(tuple(members) for _, members in sorted(classes.items()))


def _seen_by(policy: RoutingPolicy, bucket: Bucket) -> tuple[int, ...]:
    """What the front door knows of a request in this bucket."""
    match policy:
        case RoutingPolicy.SIZE_AWARE:
            return (bucket.input_index, bucket.output_index)
        case RoutingPolicy.INPUT_AWARE:
            return (bucket.input_index,)
        case RoutingPolicy.BLIND:
            return ()
