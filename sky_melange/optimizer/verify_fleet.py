"""What plans share, counted from the finished plans alone: nothing of the solver, nothing of its limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from sky_melange.domain.fleet import FleetConstraints, machine_place
from sky_melange.domain.machine import Machine
from sky_melange.domain.own_gpus import OwnGpus
from sky_melange.domain.plan import Plan, ReplicaGroup


def fleet_violations(
    plans: Sequence[Plan],
    constraints: FleetConstraints,
    vcpus: Mapping[str, float],
    own: Collection[OwnGpus] = (),
) -> Iterator[str]:
    """How plans break together what they share.

    `vcpus` of one instance by `machine_place`; absent: not known. `own`: the GPUs that any of the workloads names.
    """
    groups = [group for plan in plans for group in plan.groups]
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
            total = sum(group.instances * size for group, size in zip(fitting, sizes, strict=True) if size is not None)
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
    yield from _beyond_reserved(groups)


def _beyond_reserved(groups: Sequence[ReplicaGroup]) -> Iterator[str]:
    reserved, used_of = {}, Counter[Machine]()
    for group in groups:
        if group.reserved_instances is not None:
            reserved[group.machine] = group.reserved_instances
            used_of[group.machine] += group.instances
    for machine, most in reserved.items():
        if used_of[machine] > most:
            yield f"{used_of[machine]} × {machine} are planned at the price of reserved capacity, {most} are reserved"


def _gpus(groups: Sequence[ReplicaGroup], accelerator: str) -> int:
    return sum(
        group.instances * group.accelerators_per_instance for group in groups if group.accelerator == accelerator
    )


def _is_in(group: ReplicaGroup, place: str) -> bool:
    return place in (group.cloud, f"{group.cloud}/{group.region}")
