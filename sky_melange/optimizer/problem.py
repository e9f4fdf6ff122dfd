"""The optimisation problem as plain numbers: no names of clouds or models, nothing of PuLP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.workload import RoutingPolicy
from sky_melange.optimizer.charges import Charges
from sky_melange.optimizer.limits import Cap, Floor, Keep, LossCut, ShareLimit

__all__ = ["Cap", "Charges", "Floor", "Keep", "LossCut", "Problem", "RoutingClasses", "ShareLimit", "routing_classes"]

RoutingClasses = tuple[tuple[int, ...], ...]
"""Buckets (by index) that the front door cannot tell apart, and which therefore share one set of weights."""


Loads = tuple[tuple[float | None, ...], ...]
"""`[class][candidate]`, instances kept fully busy; None: cannot serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Sets: routing classes r, candidates c.

    `loads[r][c]`: instances of c that all of class r would keep fully busy, Σ_{b∈r} λ_b ÷ μ_bc; None when c cannot
    serve some bucket of r. With a front door that estimates sizes, r are the requests that it takes for those of r, and
    `biased[k]` are the loads where all estimates are off by as much as they may be: a plan holds in each of these cases
    (but not where instances are lost as well). `prices[c]`: USD per hour an instance. `replicas[c]`: replicas of one.
    `weights[r]`: fraction of all requests in class r, wanted for `share_limits`. `max_cost_usd_per_hour`: of the total.
    `losses`: instances, whichever, that the plan must be able to lose and still serve all traffic; `loss_cuts` are
    conditions known to follow from that. `charges`: what is paid beside the replicas.
    """

    loads: Loads
    prices: tuple[float, ...]
    replicas: tuple[int, ...]
    max_utilization: float = 1.0
    min_replicas: int = 0
    max_groups: int | None = None
    caps: tuple[Cap, ...] = ()
    floors: tuple[Floor, ...] = ()
    share_limits: tuple[ShareLimit, ...] = ()
    weights: tuple[float, ...] = ()
    max_cost_usd_per_hour: float | None = None
    losses: int = 0
    loss_cuts: tuple[LossCut, ...] = ()
    keep: Keep | None = None
    charges: Charges = field(default_factory=Charges)
    biased: tuple[Loads, ...] = ()

    @property
    def cases(self) -> tuple[Loads, ...]:
        """The loads in every case that a plan must carry."""
        return (self.loads, *self.biased)

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
            caps=tuple(cap.restricted_to(kept) for cap in self.caps),
            floors=tuple(floor.restricted_to(kept) for floor in self.floors),
            share_limits=tuple(limit.restricted_to(kept) for limit in self.share_limits),
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

    def replica_cost(self, counts: Sequence[int]) -> float:
        """Σ_c p_c · n_c, USD per hour, summed without rounding error."""
        return math.fsum(price * count for price, count in zip(self.prices, counts, strict=True))

    def cost(self, counts: Sequence[int]) -> float:
        """The total, USD per hour: replicas, and the charges beside them."""
        return self.replica_cost(counts) + self.charges.usd_per_hour(counts)

    def objective(self, counts: Sequence[int]) -> float:
        """What is minimised: the total, and what `keep` charges for changes; USD per hour."""
        return self.cost(counts) + (0.0 if self.keep is None else self.keep.penalty(counts))

    @property
    def counts_groups(self) -> bool:
        """Whether the program must know which candidates are used."""
        return self.max_groups is not None or self.charges.depend_on_groups


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
