"""Dated records of prices that ship with the package: commitments for 1 and 3 years, and what prices did by week."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from sky_melange.domain.offer import Offer
from sky_melange.domain.price_record import Commitment, PriceChange, PriceKind, PricePoint
from sky_melange.resources import shipped_rows

_RECORDS: Final = ("catalogs", "prices", "records")

_Sale = tuple[str, str, str, int]
"""(region, zone, instance type, accelerators)."""

LEAST_FRACTION: Final = 0.2
"""Of the price on demand: no cloud gives more off for three years, so a lower price is of something else."""


def judged_commitments(commitments: Iterable[Commitment]) -> tuple[tuple[Commitment, ...], tuple[str, ...]]:
    """Those that can be right by the list that they come from, and what is wrong with the others."""
    believed, doubted = [], []
    for item in commitments:
        fraction = item.break_even_fraction
        if LEAST_FRACTION <= fraction <= 1:
            believed.append(item)
            continue
        name = f"{item.cloud}/{item.region}/{item.instance_type}:{item.kind}"
        wrong = "dearer than" if fraction > 1 else f"less than {LEAST_FRACTION:.0%} of"
        doubted.append(
            f"{name}: not used: USD {item.price_usd_per_hour:.4f} per hour is {wrong} the price on demand, USD "
            f"{item.on_demand_usd_per_hour:.4f}, in the same list of {item.as_of}"
        )
    return tuple(believed), tuple(doubted)


def spot_swings() -> tuple[Mapping[str, float], Mapping[str, float]]:
    """By accelerator: how far GCP's spot price of a machine in a region rose and fell at most in the recorded year."""
    rises: dict[str, float] = {}
    falls: dict[str, float] = {}
    for row in shipped_rows(*_RECORDS, "spot_swings.csv"):
        (rises if row["direction"] == "rise" else falls)[row["accelerator"]] = float(row["factor"])
    return rises, falls


def _weekly() -> list[dict[str, str]]:
    return sorted(shipped_rows(*_RECORDS, "weekly.csv"), key=lambda row: row["date"])


@lru_cache(maxsize=1)
def load_commitments() -> tuple[Commitment, ...]:
    """Machines at their price on demand and committed, one entry a term, in the order of cloud, region and machine."""
    found = []
    for row in shipped_rows(*_RECORDS, "commitments.csv"):
        for kind in (PriceKind.COMMIT_1Y, PriceKind.COMMIT_3Y):
            price = row[f"{kind}_usd_per_hour"]
            if price and row["on_demand_usd_per_hour"]:
                found.append(_commitment(row, kind, float(price)))
    return tuple(found)


def _commitment(row: Mapping[str, str], kind: PriceKind, price_usd_per_hour: float) -> Commitment:
    return Commitment(
        cloud=row["cloud"],
        region=row["region"],
        instance_type=row["instance_type"],
        accelerator=row["accelerator"],
        accelerators_per_instance=int(row["count"]),
        kind=kind,
        price_usd_per_hour=price_usd_per_hour,
        on_demand_usd_per_hour=float(row["on_demand_usd_per_hour"]),
        as_of=row["date"],
        source=row["source"],
    )


def price_points(
    accelerator: str, offers: Iterable[Offer], changes: Sequence[PriceChange], now: str
) -> tuple[PricePoint, ...]:
    """The cheapest price of one accelerator by cloud and kind, where it changed, oldest first.

    From the embedded weeks; then from today's offers back through the changes that refreshes saw (newest first).
    """
    points = [
        PricePoint(
            cloud=row["cloud"],
            kind=PriceKind(row["kind"]),
            date=row["date"],
            usd_per_accelerator_hour=float(row["usd_per_accelerator_hour"]),
        )
        for row in _weekly()
        if row["accelerator"] == accelerator
    ]
    points += _seen(accelerator, offers, changes, now)
    return tuple(sorted(points, key=lambda point: (point.cloud, point.kind, point.date)))


def _seen(accelerator: str, offers: Iterable[Offer], changes: Sequence[PriceChange], now: str) -> Iterable[PricePoint]:
    on_sale: dict[tuple[str, bool], dict[_Sale, float]] = defaultdict(dict)
    confirmed: dict[tuple[str, bool], str] = {}
    for offer in offers:
        if offer.accelerator == accelerator and offer.reserved_instances is None:
            market = (offer.cloud, offer.use_spot)
            sale = (offer.region, offer.zone or "", offer.instance_type, offer.accelerators_per_instance)
            on_sale[market][sale] = offer.price_usd_per_hour / offer.accelerators_per_instance
            confirmed[market] = max(confirmed.get(market, ""), offer.provenance.fetched_at)
    for market in sorted(on_sale):
        yield from _cheapest(market, on_sale[market], confirmed[market] or now)
    by_moment: dict[str, list[PriceChange]] = defaultdict(list)
    for change in changes:
        if change.accelerator == accelerator:
            by_moment[change.seen_at].append(change)
    for seen_at, changed in sorted(by_moment.items(), reverse=True):
        for market in sorted({(change.cloud, change.use_spot) for change in changed}):
            here = [change for change in changed if (change.cloud, change.use_spot) == market]
            yield from _cheapest(market, on_sale[market], seen_at)
            for change in here:
                _undo(on_sale[market], change)
            yield from _cheapest(market, on_sale[market], min(change.previous_at for change in here))


def _cheapest(market: tuple[str, bool], prices: Mapping[_Sale, float], date: str) -> Iterable[PricePoint]:
    cloud, use_spot = market
    if prices and date:
        kind = PriceKind.SPOT if use_spot else PriceKind.ON_DEMAND
        yield PricePoint(cloud=cloud, kind=kind, date=date, usd_per_accelerator_hour=min(prices.values()))


def _undo(prices: dict[_Sale, float], change: PriceChange) -> None:
    """The prices as they were before a change; of zones, all."""
    count = change.accelerators_per_instance
    what = (change.instance_type, count)
    same = [sale for sale in prices if sale[0] == change.region and sale[2:] == what]
    for sale in same:
        del prices[sale]
    if change.before_usd_per_hour is not None:
        for sale in same or [(change.region, "", *what)]:
            prices[sale] = change.before_usd_per_hour / count
