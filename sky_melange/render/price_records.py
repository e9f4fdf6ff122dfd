"""Commitments, and prices over time, for people and programs."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from sky_melange.domain.price_record import Commitment, PricePoint
from sky_melange.render.money import hourly
from sky_melange.render.text import Breakable, csv_text, new_table, to_text

_BARS: Final = "▁▂▃▄▅▆▇█"
_WIDTH: Final = 36
"""Columns of a plot."""


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
