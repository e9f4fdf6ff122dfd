"""Two accelerators beside each other, for people and programs: requests per dollar by request size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from sky_melange.domain.comparison import Better, Comparison, PricedGrid
from sky_melange.domain.profile import Skipped, SkipReason
from sky_melange.render.heat_map import amount, price_text
from sky_melange.render.profile_table import SYMBOLS, dump, head, origin, targets, title
from sky_melange.render.text import new_table, to_text

_NAMES = ("A", "B")
_STYLES = ("blue", "yellow")
_PLACES = {Better.FIRST: 0, Better.SECOND: 1}
_WORDS = {Better.EQUAL: "same", Better.NEITHER: "–", Better.UNKNOWN: "?"}


def table(comparison: Comparison, *, color: bool) -> str:
    """Both sides with their prices, requests per dollar of each, and which is better by how much."""
    parts: list[Table | str] = []
    for name, side in zip(_NAMES, _sides(comparison), strict=True):
        parts += [f"{name}: {title(side.profile)}", f"   {price_text(side)}", origin(side.profile), ""]
    for name, side in zip(_NAMES, _sides(comparison), strict=True):
        parts += [_grid(side, f"{name}: requests per USD", _per_usd(side)), ""]
    parts += [
        _grid(comparison.first, "More requests per USD, times", _better(comparison)),
        "",
        f"Within {targets(comparison.slo)}, by input tokens (rows) and output tokens (columns); GPUs fully used.",
        "–: cannot be served within the target; ?: outside what the profile covers; only: the other cannot.",
    ]
    return to_text(*parts, color=color)


def json_text(comparison: Comparison) -> str:
    """Profiles, prices and cells; `better` is `first`, `second`, `equal`, `neither` or `unknown`."""
    slo, grid = comparison.slo, comparison.first.grid
    cells = [
        {"input_tokens": inputs, "output_tokens": outputs, **_cell_json(comparison, i, j)}
        for i, inputs in enumerate(grid.input_tokens)
        for j, outputs in enumerate(grid.output_tokens)
    ]
    return dump(
        {
            "slo": {"tpot_s": slo.tpot_s, "ttft_s": slo.ttft_s, "ntpot_s": slo.ntpot_s},
            "first": _side_json(comparison.first),
            "second": _side_json(comparison.second),
            "cells": cells,
        }
    )


def _sides(comparison: Comparison) -> tuple[PricedGrid, PricedGrid]:
    return comparison.first, comparison.second


def _per_usd(side: PricedGrid) -> list[list[Text]]:
    columns = range(len(side.grid.output_tokens))
    return [[_amount(side, i, j) for j in columns] for i in range(len(side.grid.input_tokens))]


def _amount(side: PricedGrid, row: int, column: int) -> Text:
    value = side.requests_per_usd(row, column)
    if isinstance(value, Skipped):
        return Text("?" if value.reason is SkipReason.OUTSIDE_PROFILE else SYMBOLS[value.reason.value])
    return Text(amount(value))


def _better(comparison: Comparison) -> list[list[Text]]:
    grid = comparison.first.grid
    return [
        [_better_cell(comparison, i, j) for j in range(len(grid.output_tokens))] for i in range(len(grid.input_tokens))
    ]


def _better_cell(comparison: Comparison, row: int, column: int) -> Text:
    better, advantage = comparison.better(row, column), comparison.advantage(row, column)
    if better not in _PLACES:
        return Text(_WORDS[better])
    place = _PLACES[better]
    shown = f"only {_NAMES[place]}" if advantage is None else f"{_NAMES[place]} {math.exp(abs(advantage)):.2f}×"
    return Text(shown, style=_STYLES[place])


def _grid(side: PricedGrid, name: str, cells: Sequence[Sequence[Text]]) -> Table:
    found = new_table(expand=False, title=name)
    found.add_column("In \\ out", justify="right")
    for tokens in side.grid.output_tokens:
        found.add_column(str(tokens), justify="right")
    for tokens, row in zip(side.grid.input_tokens, cells, strict=True):
        found.add_row(str(tokens), *row)
    return found


def _side_json(side: PricedGrid) -> dict[str, Any]:
    offer = side.price.offer
    price = {
        "usd_per_hour_per_replica": side.price.usd_per_hour,
        "replicas_per_instance": side.price.replicas_per_instance,
        "offer": offer.name,
        "price_usd_per_hour": offer.price_usd_per_hour,
        "fetched_at": offer.provenance.fetched_at,
    }
    return {**head(side.profile), "price": price}


def _cell_json(comparison: Comparison, row: int, column: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, side in zip(("first", "second"), _sides(comparison), strict=True):
        value = side.requests_per_usd(row, column)
        if isinstance(value, Skipped):
            found[name] = {"skipped": value.reason.value, "detail": value.detail}
        else:
            found[name] = {"requests_per_usd": value}
    return {**found, "better": comparison.better(row, column).value}
