"""What plans share, counted from the finished plans alone: nothing of the solver, nothing of its limits."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from sky_melange.domain.fleet import FleetConstraints, SharedMachine, machine_place, place_shares
from sky_melange.domain.machine import Machine
from sky_melange.domain.own_gpus import OwnGpus
from sky_melange.domain.plan import Plan, ReplicaGroup

_TOLERANCE: Final = 1e-6


def fleet_violations(
    plans: Sequence[Plan],
    constraints: FleetConstraints,
    vcpus: Mapping[str, float],
    own: Collection[OwnGpus] = (),
    machines: Sequence[SharedMachine] = (),
    alone_usd_per_hour: Sequence[float] = (),
) -> Iterator[str]:
    """How plans break together what they share.

    `vcpus` of one instance by `machine_place`; absent: not known. `own`: the GPUs that any of the workloads names.
    `machines`: those that the plans have parts of, which count as a whole. `alone_usd_per_hour`: what each workload
    costs alone, by which its requests count.
    """
    yield from _machine_violations(plans, machines)
    groups: list[_Bought] = [group for plan in plans for group in plan.groups if group.part is None]
    groups += machines
    for accelerator, most in constraints.max_accelerators.items():
        used = _gpus(groups, accelerator)
        if used > most:
            yield f"{used} × {accelerator} are planned, fleet.constraints.max_accelerators allows {most}"
    for place, by_accelerator in constraints.max_accelerators_in.items():
        for accelerator, most in by_accelerator.items():
            used = _gpus([group for group in groups if _is_in(group, place)], accelerator)
            if used > most:
                limit = "fleet.constraints.max_accelerators_in"
                yield f"{used} × {accelerator} are planned in {place}, {limit} allows {most}"
    for place, by_pattern in constraints.max_vcpus_in.items():
        for pattern, most in by_pattern.items():
            fitting = [group for group in groups if _is_in(group, place) and fnmatchcase(group.instance_type, pattern)]
            sizes = [vcpus.get(machine_place(group.machine)) for group in fitting]
            if None in sizes:
                yield f"the vCPUs of machines that fit {pattern!r} in {place} are not known"
                continue
            total = sum(_count(group) * size for group, size in zip(fitting, sizes, strict=True) if size is not None)
            if total > most:
                yield (
                    f"{total:g} vCPUs of {pattern} are planned in {place}, fleet.constraints.max_vcpus_in allows {most}"
                )
    for gpus in dict.fromkeys(own):
        used = _gpus(
            [group for group in groups if (group.cloud, group.region) == (gpus.cloud, gpus.place)], gpus.accelerator
        )
        if used > gpus.gpus:
            yield f"{used} × {gpus.accelerator} are planned on {gpus.infra}, which has {gpus.gpus}"
    yield from _beyond_shares(plans, constraints, alone_usd_per_hour)
    yield from _beyond_losses(plans, constraints.tolerated_losses)
    yield from _beyond_reserved([group for plan in plans for group in plan.groups])


_Bought = ReplicaGroup | SharedMachine


def _count(bought: _Bought) -> int:
    return bought.instances if isinstance(bought, ReplicaGroup) else 1


def _machine_violations(plans: Sequence[Plan], machines: Sequence[SharedMachine]) -> Iterator[str]:
    """Every part of every plan is on one machine, on GPUs of its own, and all parts together pay for the machines."""
    parts = {(plan.name, group.name): group for plan in plans for group in plan.groups if group.part is not None}
    found, prices = Counter[tuple[str, str]](), defaultdict[Machine, list[float]](list)
    for each in machines:
        prices[each.machine].append(each.price_usd_per_hour)
        gpus = [gpu for engine in each.engines for gpu in engine.gpus]
        if len(set(gpus)) != len(gpus) or not set(gpus) <= set(range(each.accelerators_per_instance)):
            yield f"engines of {each.name} have the GPUs {sorted(gpus)}, it has {each.accelerators_per_instance}"
        if len({engine.port for engine in each.engines}) != len(each.engines):
            yield f"engines of {each.name} have the same port"
        if not each.engines:
            yield f"{each.name} has no engines"
        for engine in each.engines:
            found[engine.workload, engine.group] += 1
            group = parts.get((engine.workload, engine.group))
            if group is None:
                yield f"{each.name} runs {engine.group} of {engine.workload}, and no plan has such a part"
            elif group.machine != each.machine:
                yield f"{engine.group} is planned on {group.machine}, and runs on {each.name}, another machine"
            elif len(engine.gpus) != group.accelerators_per_instance:
                yield f"{engine.group} is planned on {group.gpus_text} GPUs, and runs on {len(engine.gpus)}"
    for key, group in parts.items():
        if found[key] != group.instances:
            yield f"{group.instances} parts of {group.name} are planned, {found[key]} are on shared machines"
    for machine, costs in prices.items():
        paid = math.fsum(group.cost_usd_per_hour for group in parts.values() if group.machine == machine)
        if not math.isclose(paid, math.fsum(costs), rel_tol=1e-9):
            yield f"parts of {machine} cost USD {paid:.6f} per hour, the machines {math.fsum(costs):.6f}"


def _beyond_shares(
    plans: Sequence[Plan], constraints: FleetConstraints, alone_usd_per_hour: Sequence[float]
) -> Iterator[str]:
    for share in place_shares(plans, constraints, alone_usd_per_hour):
        if share.total > share.limit_fraction + _TOLERANCE:
            yield f"{share.name} gets {share.total:.4%} of the traffic, {share.limit_fraction:.4%} are allowed"


def _beyond_losses(plans: Sequence[Plan], losses: int) -> Iterator[str]:
    """All that the fleet loses may be of one plan: each has a routing for every such loss (`ToleratedLosses`)."""
    for plan in plans if losses else ():
        fewest = min((sum(gone for _, gone in each.lost) for each in plan.contingencies), default=0)
        if fewest < losses:
            yield f"{plan.name} tolerates {fewest} losses, fleet.constraints.tolerate_replica_losses is {losses}"


def _beyond_reserved(groups: Sequence[ReplicaGroup]) -> Iterator[str]:
    reserved, used_of = {}, Counter[Machine]()
    for group in groups:
        if group.reserved_instances is not None:
            reserved[group.machine] = group.reserved_instances
            used_of[group.machine] += group.instances
    for machine, most in reserved.items():
        if used_of[machine] > most:
            yield f"{used_of[machine]} × {machine} are planned at the price of reserved capacity, {most} are reserved"


def _gpus(groups: Sequence[_Bought], accelerator: str) -> int:
    return sum(_count(group) * group.accelerators_per_instance for group in groups if group.accelerator == accelerator)


def _is_in(group: _Bought, place: str) -> bool:
    return place in (group.cloud, f"{group.cloud}/{group.region}")
