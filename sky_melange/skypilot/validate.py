"""`sky-melange validate`: hold a plan folder against SkyPilot's own schema, task, service check and optimizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sky_melange.domain.offer import Offer
from sky_melange.skypilot.engine_flags import engine_checks
from sky_melange.skypilot.launch_files import read_launch_files
from sky_melange.skypilot.listing import Listing
from sky_melange.skypilot.offline import observe_offline
from sky_melange.skypilot.planned import PlannedGroup, PlannedLaunch, Sale, read_planned_launch
from sky_melange.skypilot.seed_catalogs import seed_catalogs
from sky_melange.skypilot.verdict import PRICE_TOLERANCE_USD_PER_HOUR, Check, GroupVerdict, judge, judge_mode

DEFAULT_TIMEOUT_S: Final = 60.0


def validate_plan_folder(
    folder: Path, offers: Sequence[Offer] | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> tuple[GroupVerdict, ...]:
    """One verdict per replica group of `folder`/plan.json, in its order.

    SkyPilot reads every launch file and picks machines for it, offline, in a temporary home, from catalogs seeded
    with the plan's machines and decoys around them. With `offers`, their prices are what the catalogs hold, so a
    plan with another price fails; without, the plan's prices are held against its own total only.

    Raises InputError for a plan.json or launch file that cannot be read, MissingDataError without SkyPilot,
    CheckFailedError after `timeout_s`. Needs no credentials and writes nothing outside a temporary folder.
    """
    launch = read_planned_launch(folder)
    yamls = read_launch_files(folder, launch.groups)
    catalogs = seed_catalogs(launch.groups, offers)
    observations = observe_offline(catalogs=catalogs, yamls=yamls, timeout_s=timeout_s)
    shared = _total_checks(launch)
    sales = None if offers is None else frozenset(Listing.of_offer(offer).sale for offer in offers)
    return tuple(
        GroupVerdict(
            group=group.name,
            file=group.file,
            checks=(
                *judge(group, observation),
                *([] if launch.mode is None else [judge_mode(launch.mode, observation)]),
                *_offer_checks(group, sales),
                *engine_checks(text),
                *shared,
            ),
        )
        for group, observation, text in zip(launch.groups, observations, yamls, strict=True)
    )


def _offer_checks(group: PlannedGroup, sales: frozenset[Sale] | None) -> tuple[Check, ...]:
    if sales is None:
        return ()
    if group.is_own_price:
        return (Check(name="offer", passed=True, detail="by your own list (prices.overrides)"),)
    known = group.sale in sales
    spot = "spot " if group.use_spot else ""
    machine = f"{spot}{group.instance_type} with {group.accelerators_per_instance} x {group.catalog_accelerator}"
    place = "/".join(filter(None, (group.cloud, group.region, group.zone)))
    detail = f"the price book {'has' if known else 'does not have'} {machine} in {place}"
    return (Check(name="offer", passed=known, detail=detail),)


def _total_checks(launch: PlannedLaunch) -> tuple[Check, ...]:
    """The plan's total belongs to its groups: a price or count changed in one place only shows here."""
    if launch.replicas_usd_per_hour is None:
        return ()
    total = math.fsum(group.price_usd_per_hour * group.instances for group in launch.groups)
    passed = abs(total - launch.replicas_usd_per_hour) < PRICE_TOLERANCE_USD_PER_HOUR
    detail = f"the plan says {launch.replicas_usd_per_hour:.4f}, its groups add up to {total:.4f} USD/h"
    return (Check(name="plan_total", passed=passed, detail=detail),)
