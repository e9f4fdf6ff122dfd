"""`sky-melange validate`: hold a plan folder against SkyPilot's own schema, task, service check and optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from sky_melange.domain.fleet import SharedMachine
from sky_melange.domain.machine import Machine
from sky_melange.domain.offer import Offer
from sky_melange.domain.own_gpus import OWN_CLOUDS
from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.scaling import ReplicaPolicy
from sky_melange.domain.workload import LaunchMode
from sky_melange.plan_file import PlanDocument
from sky_melange.plan_file.fleet import FleetDocument
from sky_melange.render.skypilot_yaml import replica_policies
from sky_melange.skypilot.engine_flags import engine_checks, gpu_check
from sky_melange.skypilot.launch_files import read_launch_files, read_texts
from sky_melange.skypilot.offline import observe_offline
from sky_melange.skypilot.seed_catalogs import offer_of, seed_catalogs
from sky_melange.skypilot.verdict import Check, GroupVerdict, judge, judge_mode

DEFAULT_TIMEOUT_S: Final = 60.0


def validate_plan(
    document: PlanDocument, offers: Sequence[Offer] | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> tuple[GroupVerdict, ...]:
    """One verdict per replica group of the plan, in its order, on the file beside it.

    SkyPilot reads every launch file and picks machines for it, offline, in a temporary home, from catalogs seeded
    with the plan's machines and decoys around them. With `offers`, their prices are what the catalogs hold, so a
    plan with another price fails.

    Raises InputError for a launch file that cannot be read, MissingDataError without SkyPilot, CheckFailedError after
    `timeout_s`. Needs no credentials and writes nothing outside a temporary folder.
    """
    plan, workload = document.plan, document.workload
    yamls = read_launch_files(document)
    policies = replica_policies(plan, workload)
    return _verdicts(plan.whole_groups, yamls, policies, workload.launch.mode, offers, timeout_s)


def validate_machines(
    document: FleetDocument,
    plans: Sequence[PlanDocument],
    offers: Sequence[Offer] | None = None,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> tuple[GroupVerdict, ...]:
    """The same of the launch files of machines that the workloads of a fleet share."""
    machines = document.plan.machines
    yamls = read_texts(document.path, [(machine.name, machine.file) for machine in machines])
    groups = [_as_group(machine, plans) for machine in machines]
    verdicts = _verdicts(groups, yamls, {}, LaunchMode.CLUSTER, offers, timeout_s)
    return tuple(
        replace(verdict, checks=(*verdict.checks, gpu_check(machine.engines, text)))
        for verdict, machine, text in zip(verdicts, machines, yamls, strict=True)
    )


def _as_group(machine: SharedMachine, plans: Sequence[PlanDocument]) -> ReplicaGroup:
    """The whole machine as what SkyPilot is asked for."""
    engine = machine.engines[0]
    groups = (group for plan in plans if plan.plan.name == engine.workload for group in plan.plan.groups)
    group = next(group for group in groups if group.name == engine.group)
    return replace(
        group,
        name=machine.name,
        file=machine.file,
        instances=1,
        accelerators_per_instance=machine.accelerators_per_instance,
        price_usd_per_hour=machine.price_usd_per_hour,
        disk_gb=machine.disk_gb,
        part=None,
    )


def _verdicts(
    groups: Sequence[ReplicaGroup],
    yamls: Sequence[str],
    policies: Mapping[str, ReplicaPolicy],
    mode: LaunchMode,
    offers: Sequence[Offer] | None,
    timeout_s: float,
) -> tuple[GroupVerdict, ...]:
    if not groups:
        return ()
    own = sorted({(group.cloud, group.region) for group in groups if group.cloud in OWN_CLOUDS})
    catalogs = seed_catalogs([offer_of(group) for group in groups], offers)
    observations = observe_offline(catalogs=catalogs, own=own, yamls=yamls, timeout_s=timeout_s)
    on_sale = None if offers is None else frozenset(offer.machine for offer in offers)
    return tuple(
        GroupVerdict(
            group=group.name,
            file=group.file,
            checks=(
                *judge(group, observation, policies.get(group.name)),
                judge_mode(mode, observation),
                *_offer_checks(group, on_sale),
                *engine_checks(text),
            ),
        )
        for group, observation, text in zip(groups, observations, yamls, strict=True)
    )


def _offer_checks(group: ReplicaGroup, on_sale: frozenset[Machine] | None) -> tuple[Check, ...]:
    if on_sale is None:
        return ()
    if group.price.is_own:
        where = "candidates.own" if group.price.is_of_own_gpus else "prices.overrides"
        return (Check(name="offer", passed=True, detail=f"by your own list ({where})"),)
    known = group.machine in on_sale
    spot = "spot " if group.use_spot else ""
    machine = f"{spot}{group.instance_type} with {group.accelerators_per_instance} x {group.catalog_accelerator}"
    place = "/".join(filter(None, (group.cloud, group.region, group.zone)))
    detail = f"the price book {'has' if known else 'does not have'} {machine} in {place}"
    return (Check(name="offer", passed=known, detail=detail),)
