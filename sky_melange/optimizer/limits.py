"""Limits of a problem as plain numbers: what may be bought, where traffic may go, what must be there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """A limit Σ_c usage[c]·n_c ≤ limit, with its name for messages (`constraints.max_accelerators.H100`)."""

    name: str
    usage: tuple[int, ...]
    limit: int

    def restricted_to(self, kept: Sequence[int]) -> Cap:
        """The same limit over the candidates `kept`."""
        return replace(self, usage=tuple(self.usage[c] for c in kept))


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """A minimum Σ_c supply[c]·n_c ≥ minimum, with its name for messages (`constraints.min_on_demand_replicas`)."""

    name: str
    supply: tuple[int, ...]
    minimum: int

    def restricted_to(self, kept: Sequence[int]) -> Floor:
        """The same minimum over the candidates `kept`."""
        return replace(self, supply=tuple(self.supply[c] for c in kept))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareLimit:
    """A limit on the fraction of all requests (0..1) that goes to the candidates with `members[c]`."""

    name: str
    members: tuple[bool, ...]
    limit_fraction: float

    def restricted_to(self, kept: Sequence[int]) -> ShareLimit:
        """The same limit over the candidates `kept`."""
        return replace(self, members=tuple(self.members[c] for c in kept))


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What runs already: `previous[c]` instances; each instance more or less counts as `usd_per_hour` of cost."""

    previous: tuple[int, ...]
    usd_per_hour: float

    def restricted_to(self, kept: Sequence[int]) -> Keep:
        """The same over the candidates `kept`; what it costs to stop others is `stopping_others_usd_per_hour`."""
        return replace(self, previous=tuple(self.previous[c] for c in kept))

    def stopping_others_usd_per_hour(self, kept: Collection[int]) -> float:
        """USD/h that every plan is charged which has none of the candidates beside `kept`."""
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
