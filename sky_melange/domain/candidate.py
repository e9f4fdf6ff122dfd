"""What can be bought, matched with what it sustains."""

from __future__ import annotations

from dataclasses import dataclass

from sky_melange.domain.machine import Deployment
from sky_melange.domain.offer import Offer
from sky_melange.domain.profile import Capacity, Profile, Skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An offer × a replica layout: `replicas_per_instance` engines of `profile.key.tensor_parallel` GPUs each.

    `capacities[bucket]` is what ONE REPLICA sustains on each bucket with traffic (the order of `Traffic.buckets()`),
    or why it cannot serve it; `strays[stray]` the same of `SizeEstimates.strays`.
    """

    offer: Offer
    profile: Profile
    replicas_per_instance: int
    capacities: tuple[Capacity | Skipped, ...]
    strays: tuple[Capacity | Skipped, ...] = ()

    @property
    def deployment(self) -> Deployment:
        """The machine and layout, whatever they cost: as `RunningGroup.deployment`."""
        key = self.profile.key
        return self.offer.machine, key.tensor_parallel, key.engine, key.layout

    @property
    def sort_key(self) -> tuple[object, ...]:
        """A total order that does not depend on the order of the inputs."""
        key = self.profile.key
        layout = (key.tensor_parallel, key.layout, key.engine)
        return (self.offer.accelerator, self.offer.accelerators_per_instance, *layout, *self.offer.sort_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """The least memory of a machine, beside that of its GPUs, in which engines load a model."""

    gib: float = 0.0
    gib_per_gpu: float = 0.0

    def of(self, gpus: int) -> float:
        """On a machine with so many GPUs."""
        return round(self.gib + gpus * self.gib_per_gpu, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Offers that never became candidates, counted by reason."""

    reason: str
    offers: int
    example: str
