"""Machines that workloads of a fleet may divide by whole GPUs: parts of them as candidates, and where engines run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sky_melange.domain.engine import PORT
from sky_melange.domain.fleet import FleetConstraints, SharedEngine, SharedMachine
from sky_melange.domain.machine import Machine, MachinePart
from sky_melange.domain.offer import Offer
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.workload import LaunchMode, Workload
from sky_melange.optimizer import DividedMachine, Model, SharedLimit
from sky_melange.pipeline.answering import modelled
from sky_melange.pipeline.planning import Prepared


def hindrance(workload: Workload) -> str | None:
    """Why engines of a workload run on machines of their own; None: they may share one."""
    constraints, candidates = workload.constraints, workload.candidates
    for is_so, why in (
        (workload.launch.mode is LaunchMode.SERVE, "SkyServe runs it: write `launch: {mode: cluster}`"),
        (constraints.tolerate_replica_losses > 0, "constraints.tolerate_replica_losses counts whole machines"),
        (constraints.keep is not None, "constraints.keep counts whole machines"),
        (not candidates.by_the_hour, "candidates.purchase wants commitments alone, which are for whole machines"),
    ):
        if is_so:
            return why
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Divided:
    """Workloads with parts of machines among their candidates, and these machines; `offers` in their order."""

    ready: tuple[Prepared, ...]
    machines: tuple[DividedMachine, ...]
    offers: tuple[Offer, ...]

    def with_uses(self, shared: Sequence[SharedLimit]) -> tuple[DividedMachine, ...]:
        """The machines with what a GPU of each that nobody takes counts in the shared limits."""
        return tuple(
            replace(machine, uses=tuple(_use(machine, limit) for limit in shared)) for machine in self.machines
        )

    def price_of(self, machine: Machine) -> float:
        """USD per hour of a whole one."""
        return next(offer.price_usd_per_hour for offer in self.offers if offer.machine == machine)


def _use(machine: DividedMachine, limit: SharedLimit) -> int:
    """The most that one GPU of a part counts."""
    pairs = (
        (gpus, weight)
        for parts, weights in zip(machine.parts, limit.weights, strict=True)
        for gpus, weight in zip(parts, weights, strict=True)
    )
    return max((-(-weight // gpus) for gpus, weight in pairs if gpus), default=0)


def divided(ready: Sequence[Prepared], constraints: FleetConstraints) -> Divided | None:
    """The workloads with parts of machines among their candidates; None: no machine may be divided among two."""
    able: defaultdict[Offer, set[int]] = defaultdict(set)
    sizes: defaultdict[Offer, set[int]] = defaultdict(set)
    for k, each in enumerate(ready):
        if hindrance(each.workload) is None:
            for candidate in each.model.candidates:
                gpus = candidate.profile.key.tensor_parallel
                if _is_divisible(candidate.offer) and gpus < candidate.offer.accelerators_per_instance:
                    able[candidate.offer].add(k)
                    sizes[candidate.offer] |= {gpus} if _is_power_of_two(gpus) else set()
    offers = _cheapest(able, by_place=_counts_places(ready, constraints))
    parts = {offer: [part_of(offer, gpus) for gpus in sorted(sizes[offer])] for offer in offers}
    sold = {part.name: number for number, offer in enumerate(offers) for part in parts[offer]}
    if not sold:
        return None
    changed = tuple(
        _with_parts(each, [part for offer in offers if k in able[offer] for part in parts[offer]])
        for k, each in enumerate(ready)
    )
    machines = tuple(
        DividedMachine(
            name=offer.name,
            gpus=offer.accelerators_per_instance,
            usd_per_hour=offer.price_usd_per_hour,
            parts=tuple(
                tuple(
                    candidate.offer.accelerators_per_instance if sold.get(candidate.offer.name) == number else 0
                    for candidate in each.model.candidates
                )
                for each in changed
            ),
        )
        for number, offer in enumerate(offers)
    )
    return Divided(ready=changed, machines=machines, offers=offers)


def _is_divisible(offer: Offer) -> bool:
    """Paid by the hour, on demand, as many as the cloud has, and of 2, 4, 8 … GPUs: parts of 1, 2, 4 … fill it."""
    is_plain = offer.committed is None and offer.reserved_instances is None and not offer.use_spot
    return is_plain and offer.accelerators_per_instance > 1 and _is_power_of_two(offer.accelerators_per_instance)


def _is_power_of_two(count: int) -> bool:
    return count & (count - 1) == 0


def _counts_places(ready: Sequence[Prepared], constraints: FleetConstraints) -> bool:
    own = [each.workload.constraints for each in ready]
    return bool(constraints.max_accelerators_in or constraints.max_vcpus_in or constraints.shares) or any(
        each.max_accelerators_in
        or each.max_cloud_share_fraction is not None
        or each.max_region_share_fraction is not None
        for each in own
    )


def _cheapest(able: Mapping[Offer, set[int]], *, by_place: bool) -> tuple[Offer, ...]:
    """Of machines that serve the same workloads alike, the cheapest; where limits count places, one in each."""
    best: dict[object, Offer] = {}
    for offer in sorted(able, key=lambda offer: (offer.price_usd_per_hour, offer.sort_key)):
        place = (offer.cloud, offer.region) if by_place else None
        kind = (offer.accelerator, offer.accelerators_per_instance, frozenset(able[offer]), place)
        if len(able[offer]) > 1:
            best.setdefault(kind, offer)
    return tuple(sorted(best.values(), key=lambda offer: offer.sort_key))


def part_of(offer: Offer, gpus: int) -> Offer:
    """So many GPUs of a machine, with their share of all that it has."""
    fraction = gpus / offer.accelerators_per_instance
    return replace(
        offer,
        accelerators_per_instance=gpus,
        vcpus=None if offer.vcpus is None else offer.vcpus * fraction,
        memory_gib=None if offer.memory_gib is None else offer.memory_gib * fraction,
        price_usd_per_hour=offer.price_usd_per_hour * fraction,
        part=MachinePart(accelerators=offer.accelerators_per_instance, price_fraction=fraction),
    )


def _with_parts(ready: Prepared, parts: Sequence[Offer]) -> Prepared:
    if not parts:
        return ready
    book = replace(ready.book, offers=(*ready.book.offers, *parts))
    return replace(ready, model=modelled(ready.workload, book, ready.selection.profiles, ready.able))


def charged(model: Model, k: int, machines: Sequence[DividedMachine], counts: Sequence[Sequence[int]]) -> Model:
    """The model of workload k where parts of the machines that these counts need cost their share of what is paid."""
    candidates, prices = list(model.candidates), list(model.problem.prices)
    for machine in machines:
        taken = machine.taken(counts)
        for c, gpus in enumerate(machine.parts[k] if taken else ()):
            if gpus:
                fraction = machine.machines(counts) * gpus / taken
                prices[c] = machine.usd_per_hour * fraction
                part = MachinePart(accelerators=machine.gpus, price_fraction=fraction)
                offer = replace(candidates[c].offer, price_usd_per_hour=prices[c], part=part)
                candidates[c] = replace(candidates[c], offer=offer)
    problem = replace(model.problem, prices=tuple(prices))
    return replace(model, candidates=tuple(candidates), problem=problem)


def shared_machines(fleet: str, plans: Sequence[Plan], found: Divided | None) -> tuple[SharedMachine, ...]:
    """The machines on which the parts of all plans are: the larger parts first, which leaves no gap between them."""
    parts: defaultdict[Machine, list[tuple[int, int, ReplicaGroup]]] = defaultdict(list)
    for k, plan in enumerate(plans):
        for group in plan.groups:
            if group.part is not None:
                each = (-group.accelerators_per_instance, k, group)
                parts[group.machine] += [each] * group.instances
    machines: list[SharedMachine] = []
    for machine, engines in sorted(parts.items(), key=lambda each: str(each[0])):
        price = machine_price(engines[0][2], found, machine)
        filled: list[list[tuple[int, ReplicaGroup]]] = []
        room = 0
        for size, k, group in sorted(engines, key=lambda each: (*each[:2], each[2].name)):
            if room == 0:
                filled.append([])
                room = machine.count
            filled[-1].append((k, group))
            room += size
        machines += [_machine(engines, plans, machine, price) for engines in filled]
    names = _names(fleet, machines)
    return tuple(replace(each, name=name, file=f"{name}.sky.yaml") for name, each in zip(names, machines, strict=True))


def machine_price(group: ReplicaGroup, found: Divided | None, machine: Machine) -> float:
    """As listed, where it is known."""
    return group.machine_usd_per_hour if found is None else found.price_of(machine)


def _machine(
    engines: Sequence[tuple[int, ReplicaGroup]], plans: Sequence[Plan], machine: Machine, price: float
) -> SharedMachine:
    group = engines[0][1]
    first, listed = 0, []
    for number, (k, each) in enumerate(engines):
        gpus = tuple(range(first, first + each.accelerators_per_instance))
        listed.append(SharedEngine(workload=plans[k].name, group=each.name, gpus=gpus, port=PORT + number))
        first += len(gpus)
    return SharedMachine(
        name="",
        cloud=machine.cloud,
        region=machine.region,
        zone=machine.zone,
        instance_type=machine.instance_type,
        accelerator=group.accelerator,
        catalog_accelerator=machine.accelerator,
        accelerators_per_instance=machine.count,
        use_spot=machine.use_spot,
        price_usd_per_hour=price,
        price=group.price,
        disk_gb=sum({k: each.disk_gb for k, each in engines}.values()),
        engines=tuple(listed),
        file="",
    )


def _names(fleet: str, machines: Sequence[SharedMachine]) -> list[str]:
    """`both-shared-h100-x8`, numbered where there are several."""
    bases = [
        f"{fleet}-shared-{machine.accelerator.lower()}-x{machine.accelerators_per_instance}" for machine in machines
    ]
    return [
        base if bases.count(base) == 1 else f"{base}-{bases[: number + 1].count(base)}"
        for number, base in enumerate(bases)
    ]
