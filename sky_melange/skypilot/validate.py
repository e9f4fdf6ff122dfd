"""`sky-melange validate`: hold a plan folder against SkyPilot's own schema, task, service check and optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sky_melange.domain.machine import Machine
from sky_melange.domain.offer import Offer
from sky_melange.domain.own_gpus import OWN_CLOUDS
from sky_melange.domain.plan import ReplicaGroup
from sky_melange.plan_file import PlanDocument
from sky_melange.render.skypilot_yaml import replica_policies
from sky_melange.skypilot.engine_flags import engine_checks
from sky_melange.skypilot.launch_files import read_launch_files
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
    own = sorted({(group.cloud, group.region) for group in plan.groups if group.cloud in OWN_CLOUDS})
    catalogs = seed_catalogs([offer_of(group) for group in plan.groups], offers)
    observations = observe_offline(catalogs=catalogs, own=own, yamls=yamls, timeout_s=timeout_s)
    policies = replica_policies(plan, workload)
    on_sale = None if offers is None else frozenset(offer.machine for offer in offers)
    return tuple(
        GroupVerdict(
            group=group.name,
            file=group.file,
            checks=(
                *judge(group, observation, policies.get(group.name)),
                judge_mode(workload.launch.mode, observation),
                *_offer_checks(group, on_sale),
                *engine_checks(text),
            ),
        )
        for group, observation, text in zip(plan.groups, observations, yamls, strict=True)
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
