"""A plan at other prices, without solving again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sky_melange.domain.ages import age_hours
from sky_melange.domain.check import PriceAge, PriceChange
from sky_melange.domain.commitments import years_of
from sky_melange.domain.machine import Covered, Machine
from sky_melange.domain.offer import Offer, PriceBook, PriceProvenance
from sky_melange.domain.plan import Cost, GroupCommitment, Overhead, Plan, ReplicaGroup, mean_cost
from sky_melange.domain.price_record import Commitment, PriceKind
from sky_melange.optimizer.overhead import is_overhead_offer
from sky_melange.optimizer.spot import with_fallback


@dataclass(frozen=True, slots=True, kw_only=True)
class Repricing:
    """Prices of each group and overhead machine, in the plan's order; `cost` is None when a group has none.

    `commitments` are of the groups that have some, at what the same term costs today; `groups` of the instances that
    are paid by the hour.

    `cost` is that of all instances, of the busiest hour where the plan has a schedule, and `mean` over its cycle.
    """

    groups: tuple[PriceChange, ...]
    commitments: tuple[PriceChange, ...]
    overhead: tuple[PriceChange, ...]
    ages: tuple[PriceAge, ...]
    cost: Cost | None
    mean: Cost | None

    @property
    def overhead_warnings(self) -> tuple[str, ...]:
        """One sentence on machines beside the replicas that have no price."""
        unknown = [change.name for change in self.overhead if change.today_usd_per_hour is None]
        if not unknown:
            return ()
        return (f"The price of {', '.join(unknown)} is not known: every cost is a lower bound.",)

    def groups_of(self, groups: Sequence[ReplicaGroup]) -> tuple[ReplicaGroup, ...]:
        """The groups at today's prices; where none is known, at the planned one."""
        return _all_priced(groups, self.groups, self.commitments)

    @property
    def paid(self) -> tuple[PriceChange, ...]:
        """Of all that the plan pays for: groups whose instances are all committed are paid by their terms alone."""
        covered = {change.name for change in self.commitments}
        by_the_hour = (change for change in self.groups if change.instances or change.name not in covered)
        return (*by_the_hour, *self.commitments, *self.overhead)


def reprice(plan: Plan, book: PriceBook, now: datetime) -> Repricing:
    """Each machine of the plan, the same in the same place, at the prices of `book`."""
    bought = {group.machine_type for group in plan.groups}
    on_sale: dict[Machine, list[Offer]] = {}
    for offer in book.offers:
        if offer.machine_type in bought:
            on_sale.setdefault(offer.machine, []).append(offer)
    doubted = {item.offer.machine: f"quarantined: {item.rule}: {item.reason}" for item in book.quarantined}
    used = Counter[Machine]()
    for group in plan.groups:
        if group.reserved_instances is not None:
            used[group.machine] += group.instances
    groups = tuple(_group_change(group, used, on_sale, doubted) for group in plan.groups)
    overhead = tuple(_overhead_change(machine, (*book.offers, *book.listed)) for machine in plan.overhead)
    today = replace(plan, groups=_stand_ins(plan.groups, book.offers))
    terms = {(*each.covered, each.kind): each for each in book.commitments}
    commitments = tuple(
        _term_change(group, group.committed, terms)
        for group in plan.groups
        if group.committed is not None and group.committed.instances
    )
    cost = _cost(today, groups, commitments, overhead)
    priced = _all_priced(today.groups, groups, commitments)
    return Repricing(
        groups=groups,
        commitments=commitments,
        overhead=overhead,
        ages=_ages((*groups, *commitments, *overhead), now),
        cost=cost,
        mean=None if cost is None else mean_cost(cost, priced, plan.schedule),
    )


def _stand_ins(groups: Sequence[ReplicaGroup], offers: Sequence[Offer]) -> tuple[ReplicaGroup, ...]:
    """The groups with today's price of the on-demand machines that stand in for spot; where none is known, the planned.

    Groups for which none was planned have none.
    """
    today = with_fallback(groups, offers, {})
    return tuple(
        planned
        if planned.on_demand_price_usd_per_hour is None or now.on_demand_price_usd_per_hour is None
        else replace(planned, on_demand_price_usd_per_hour=now.on_demand_price_usd_per_hour)
        for planned, now in zip(groups, today, strict=True)
    )


def _group_change(
    group: ReplicaGroup,
    used: Mapping[Machine, int],
    on_sale: Mapping[Machine, Sequence[Offer]],
    doubted: Mapping[Machine, str],
) -> PriceChange:
    offers = on_sale.get(group.machine, ())
    # Reserved capacity and the same machine at its list price are two offers: the plan says which it used.
    listed = [offer for offer in offers if offer.reserved_instances is None]
    kept = [offer for offer in offers if offer.reserved_instances is not None and group.reserved_instances is not None]
    today = min(kept or listed, key=lambda offer: offer.sort_key, default=None)
    problem = "" if today is not None else doubted.get(group.machine, "no price of it is known")
    reserved = None if today is None else today.reserved_instances
    if reserved is not None and used[group.machine] > reserved:
        message = f"{used[group.machine]} are planned at the price of reserved capacity, {reserved} are reserved"
        today, problem = None, message
    spot = "spot " if group.use_spot else ""
    place = " ".join(filter(None, (group.region, group.zone)))
    return PriceChange(
        name=group.name,
        cloud=group.cloud,
        machine=f"{spot}{group.instance_type} ({group.gpus_text} × {group.accelerator}) in {place}",
        instances=group.instances - (0 if group.committed is None else group.committed.instances),
        planned_usd_per_hour=group.price_usd_per_hour,
        today_usd_per_hour=None if today is None else today.price_usd_per_hour * _paid_fraction(group),
        today=None if today is None else today.provenance,
        problem=problem,
    )


def _paid_fraction(group: ReplicaGroup) -> float:
    return 1.0 if group.part is None else group.part.price_fraction


def _term_change(
    group: ReplicaGroup, bought: GroupCommitment, terms: Mapping[tuple[*Covered, PriceKind], Commitment]
) -> PriceChange:
    count = group.accelerators_per_instance
    today = terms.get((*group.covered, bought.kind))
    named = f"{group.instance_type} ({count} × {group.accelerator}) in {group.region}, for {years_of(bought.kind)}"
    return PriceChange(
        name=group.name,
        cloud=group.cloud,
        machine=named,
        instances=bought.instances,
        planned_usd_per_hour=bought.price_usd_per_hour,
        today_usd_per_hour=None if today is None else today.price_usd_per_hour,
        today=None
        if today is None
        else PriceProvenance(source=today.source, detail="", fetched_at=today.as_of, as_of=today.as_of),
        problem="" if today is not None else f"no price of {bought.kind} is known; prices.overrides takes yours",
    )


def _overhead_change(machine: Overhead, offers: Sequence[Offer]) -> PriceChange:
    fitting = [
        offer
        for offer in offers
        if (offer.cloud, offer.region, offer.instance_type) == (machine.cloud, machine.region, machine.instance_type)
        and is_overhead_offer(offer)
    ]
    today = min(fitting, key=lambda offer: (offer.price_usd_per_hour, offer.sort_key), default=None)
    return PriceChange(
        name=machine.purpose,
        cloud=machine.cloud,
        machine=f"{machine.instance_type} in {machine.region}"
        if machine.instance_type
        else "machine of SkyPilot's choice",
        instances=1,
        planned_usd_per_hour=machine.price_usd_per_hour,
        today_usd_per_hour=None if today is None else today.price_usd_per_hour,
        today=None if today is None else today.provenance,
        problem="" if today is not None else "no price of it is known",
    )


def _priced(group: ReplicaGroup, change: PriceChange) -> ReplicaGroup:
    if change.today_usd_per_hour is None or change.today is None:
        return group
    return replace(group, price_usd_per_hour=change.today_usd_per_hour, price=change.today)


def _all_priced(
    groups: Sequence[ReplicaGroup], changes: Sequence[PriceChange], commitments: Sequence[PriceChange]
) -> tuple[ReplicaGroup, ...]:
    terms = {change.name: change.today_usd_per_hour for change in commitments}
    priced = []
    for group, change in zip(groups, changes, strict=True):
        today = _priced(group, change)
        price = terms.get(group.name)
        if group.committed is not None and price is not None:
            today = replace(today, committed=replace(group.committed, price_usd_per_hour=price))
        priced.append(today)
    return tuple(priced)


def _cost(
    plan: Plan, groups: Sequence[PriceChange], commitments: Sequence[PriceChange], overhead: Sequence[PriceChange]
) -> Cost | None:
    if any(change.today_usd_per_hour is None for change in (*groups, *commitments)):
        return None
    machines = [
        replace(machine, price_usd_per_hour=change.today_usd_per_hour)
        for machine, change in zip(plan.overhead, overhead, strict=True)
    ]
    return Cost.of(_all_priced(plan.groups, groups, commitments), machines)


def _ages(changes: Sequence[PriceChange], now: datetime) -> tuple[PriceAge, ...]:
    """One entry a cloud, source and date. What the workload itself states is of today."""
    found = {
        (c.cloud, c.today.source, c.today.fetched_at, c.today.as_of)
        for c in changes
        if c.today is not None and not c.today.is_of_own_gpus
    }
    return tuple(
        PriceAge(
            cloud=cloud,
            source=source,
            fetched_at=fetched_at,
            as_of=as_of,
            age_hours=age_hours(as_of or fetched_at, now),
        )
        for cloud, source, fetched_at, as_of in sorted(found)
    )
