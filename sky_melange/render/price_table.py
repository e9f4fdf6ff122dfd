"""Prices for people and programs: the cheapest offer of each kind, or all; and what is not believed."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Final

from sky_melange.domain.ages import age_hours, short_age
from sky_melange.domain.digest import in_order
from sky_melange.domain.offer import Offer, PriceBook, Quarantined
from sky_melange.domain.price_record import Commitment, PricePoint
from sky_melange.render.money import hourly
from sky_melange.render.text import Breakable, csv_text, new_table, to_text

_BARS: Final = "▁▂▃▄▅▆▇█"
_WIDTH: Final = 36
"""Columns of a plot."""

_KEYS: Final = (
    *("cloud", "region", "zone", "instance_type", "accelerator", "catalog_accelerator", "accelerators_per_instance"),
    *("vcpus", "memory_gib", "price_usd_per_hour", "use_spot", "provenance", "reserved_instances", "committed"),
)
_CSV_COLUMNS: Final = (
    "cloud",
    "region",
    "zone",
    "instance_type",
    "accelerator",
    "accelerators_per_instance",
    "use_spot",
    "price_usd_per_hour",
    "price_usd_per_accelerator_hour",
    "source",
    "fetched_at",
    "age_hours",
    "quarantine_rule",
    "quarantine_reason",
    "as_of",
)


def select(
    book: PriceBook,
    *,
    accelerator: str | None = None,
    cloud: str | None = None,
    region: str | None = None,
    spot: bool | None = None,
) -> PriceBook:
    """The part of the book that passes every filter given; machines without accelerators never do."""

    def wanted(offer: Offer) -> bool:
        return (
            offer.accelerators_per_instance > 0
            and (accelerator is None or offer.accelerator == accelerator)
            and (cloud is None or offer.cloud == cloud)
            and (region is None or offer.region == region)
            and (spot is None or offer.use_spot == spot)
        )

    return dataclasses.replace(
        book,
        offers=tuple(offer for offer in book.offers if wanted(offer)),
        quarantined=tuple(item for item in book.quarantined if wanted(item.offer)),
    )


def cheapest(offers: Sequence[Offer], *, everything: bool) -> list[Offer]:
    """By accelerator and price per accelerator; unless `everything`, the cheapest of each accelerator, cloud, kind."""
    ordered = sorted(offers, key=lambda offer: (offer.accelerator, _per_accelerator(offer), offer.sort_key))
    if everything:
        return ordered
    first: dict[tuple[str, str, bool], Offer] = {}
    for offer in ordered:
        first.setdefault((offer.accelerator, offer.cloud, offer.use_spot), offer)
    return list(first.values())


def table(offers: Sequence[Offer], now: datetime, *, color: bool, unconfirmed: Collection[str] = frozenset()) -> str:
    """A table of offers, 100 columns; the age of each price is that at `now`. `unconfirmed` names offers to mark."""
    rich_table = new_table()
    for name, justify in (
        ("Accelerator", "left"),
        ("USD/GPU-h", "right"),
        ("USD/h", "right"),
        ("GPUs", "right"),
        ("Instance type", "left"),
        ("Where", "left"),
        ("Dated", "left"),
        ("Age", "right"),
    ):
        folded = name in {"Instance type", "Where"}
        rich_table.add_column(name, justify=justify, no_wrap=not folded, overflow="fold", ratio=1 if folded else None)  # type: ignore[arg-type]
    for offer in offers:
        rich_table.add_row(
            offer.accelerator + (" spot" if offer.use_spot else ""),
            hourly(_per_accelerator(offer)) + ("\nunconfirmed" if offer.name in unconfirmed else ""),
            hourly(offer.price_usd_per_hour),
            str(offer.accelerators_per_instance),
            Breakable(offer.instance_type),
            Breakable(f"{offer.cloud} {offer.zone or offer.region}"),
            offer.provenance.data_date[:10] or "unknown",
            short_age(age_hours(offer.provenance.data_date, now)),
        )
    return to_text(rich_table, color=color)


def quarantine_table(items: Sequence[Quarantined], *, color: bool) -> str:
    """A table of offers that are not used, each with the rule that it failed and why."""
    rich_table = new_table()
    rich_table.add_column("Offer", overflow="fold", ratio=4)
    rich_table.add_column("USD/h", justify="right")
    rich_table.add_column("Why it is not believed", overflow="fold", ratio=6)
    for item in items:
        reason = f"{item.rule}: {item.reason}"
        rich_table.add_row(Breakable(item.offer.name), hourly(item.offer.price_usd_per_hour), reason)
    return to_text(rich_table, color=color)


def to_json(offers: Sequence[Offer], items: Sequence[Quarantined], book: PriceBook, now: datetime) -> str:
    """Offers, quarantined offers, skipped rows with their reasons, and where the prices come from; ages at `now`."""
    document = {
        "offers": [{**_record(offer, now), "is_unconfirmed": offer.name in book.unconfirmed} for offer in offers],
        "quarantined": [{**_record(item.offer, now), "rule": item.rule, "reason": item.reason} for item in items],
        "skipped_rows": [dataclasses.asdict(skipped) for skipped in book.skipped],
        "notes": [*book.notes, *book.remarks],
        "sources": [
            {**dataclasses.asdict(state), "age_hours": age_hours(state.data_date, now)} for state in book.states
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(offers: Sequence[Offer], items: Sequence[Quarantined], now: datetime) -> str:
    """One row an offer; the quarantine's columns are filled for quarantined ones only. Ages are those at `now`."""
    judged = [*((offer, "", "") for offer in offers), *((item.offer, item.rule, item.reason) for item in items)]
    rows = ([*_cells(offer, now), rule, reason, offer.provenance.as_of] for offer, rule, reason in judged)
    return csv_text(_CSV_COLUMNS, rows)


def commitments_table(commitments: Sequence[Commitment], *, color: bool) -> str:
    """One line a machine, region and term, 100 columns."""
    table = new_table()
    for name in (
        "Accelerator",
        "Term",
        "USD/GPU-h",
        "USD/h",
        "On demand",
        "Break-even",
        "Instance type",
        "Where",
        "As of",
    ):
        numeric = name in {"USD/GPU-h", "USD/h", "On demand", "Break-even"}
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for item in commitments:
        fraction = item.break_even_fraction
        table.add_row(
            f"{item.accelerators_per_instance} × {item.accelerator}",
            item.kind.removeprefix("commit_"),
            hourly(item.price_usd_per_hour / item.accelerators_per_instance),
            hourly(item.price_usd_per_hour),
            hourly(item.on_demand_usd_per_hour),
            f"{fraction:.0%}" if fraction < 1 else "never",
            Breakable(item.instance_type),
            Breakable(f"{item.cloud} {item.region}"),
            item.as_of,
        )
    return to_text(table, color=color)


def commitments_json(commitments: Sequence[Commitment]) -> str:
    """All of them, with the break-even."""
    records = [{**dataclasses.asdict(item), "break_even_fraction": item.break_even_fraction} for item in commitments]
    return json.dumps({"commitments": records}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def commitments_csv(commitments: Sequence[Commitment]) -> str:
    """One row a machine, region and term."""
    names = [field.name for field in dataclasses.fields(Commitment)]
    rows = [[*(getattr(item, name) for name in names), item.break_even_fraction] for item in commitments]
    return csv_text([*names, "break_even_fraction"], rows)


def plot(accelerator: str, points: Sequence[PricePoint], *, color: bool) -> str:
    """One line a cloud and kind: its price over time, drawn from the lowest to the highest of that line."""
    if not points:
        return ""
    start, end = (_day(pick(points, key=lambda point: point.date).date) for pick in (min, max))
    table = new_table()
    table.add_column(f"{accelerator}, USD/GPU-h")
    for name in ("first", "lowest", "highest", "last"):
        table.add_column(name, justify="right")
    table.add_column(f"{start.date()} to {end.date()}", no_wrap=True)
    for (cloud, kind), series in itertools.groupby(points, key=lambda point: (point.cloud, point.kind)):
        line = list(series)
        prices = [point.usd_per_accelerator_hour for point in line]
        figures = (prices[0], min(prices), max(prices), prices[-1])
        table.add_row(f"{cloud} {kind}", *(hourly(price) for price in figures), _bars(line, start, end))
    return to_text(table, color=color)


def points_json(points: Sequence[PricePoint]) -> str:
    """All points."""
    return json.dumps({"points": [dataclasses.asdict(point) for point in points]}, indent=2, allow_nan=False) + "\n"


def points_csv(points: Sequence[PricePoint]) -> str:
    """One row a point."""
    names = [field.name for field in dataclasses.fields(PricePoint)]
    return csv_text(names, [[getattr(point, name) for name in names] for point in points])


def _record(offer: Offer, now: datetime) -> dict[str, object]:
    return {
        "name": offer.name,
        **in_order(dataclasses.asdict(offer), _KEYS),
        "age_hours": age_hours(offer.provenance.data_date, now),
        "price_usd_per_accelerator_hour": _per_accelerator(offer),
    }


def _cells(offer: Offer, now: datetime) -> list[object]:
    age = age_hours(offer.provenance.data_date, now)
    return [
        offer.cloud,
        offer.region,
        offer.zone or "",
        offer.instance_type,
        offer.accelerator,
        offer.accelerators_per_instance,
        str(offer.use_spot).lower(),
        repr(offer.price_usd_per_hour),
        repr(_per_accelerator(offer)),
        offer.provenance.source,
        offer.provenance.fetched_at,
        "" if age is None else f"{age:.3f}",
    ]


def _per_accelerator(offer: Offer) -> float:
    return offer.price_usd_per_hour / offer.accelerators_per_instance


def _bars(line: Sequence[PricePoint], start: datetime, end: datetime) -> str:
    """A letter for each part of the time: the price at its end; blank before the first point."""
    prices = [point.usd_per_accelerator_hour for point in line]
    low, span = min(prices), max(prices) - min(prices)
    drawn = []
    for column in range(_WIDTH):
        moment = start + (end - start) * ((column + 1) / _WIDTH)
        known = [point.usd_per_accelerator_hour for point in line if _day(point.date) <= moment]
        level = 0 if not known or not span else round((known[-1] - low) / span * (len(_BARS) - 1))
        drawn.append(_BARS[level] if known else " ")
    return "".join(drawn).rstrip()


def _day(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
