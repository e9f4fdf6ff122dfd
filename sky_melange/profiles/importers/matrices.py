"""Tables of maximum request rates, as Mélange and AIBrix keep them, -> the form `matrix`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

from sky_melange.profiles.importers.reading import Mistakes, quote

_MAX_EDGES: Final = 1000
_MAX_RATE_RPS: Final = 1e6

RateRows = tuple[tuple[float | None, ...], ...]


def rate_rows(value: Any, source: str, key: str, mistakes: Mistakes) -> RateRows:
    """Rows of requests/s of equal length, None where the file says 0 or null; mistakes are noted."""
    if not isinstance(value, list) or not value or not all(isinstance(row, list) and row for row in value):
        mistakes.add(source, "want rows of numbers such as [[2, 1], [5, 2]]", key=key)
        return ()
    if len({len(row) for row in value}) > 1 or max(len(value), len(value[0])) > _MAX_EDGES:
        mistakes.add(source, f"want at most {_MAX_EDGES} rows of equal length", key=key)
        return ()
    return tuple(
        tuple(_rate(cell, source, f"{key}[{i}][{j}]", mistakes) for j, cell in enumerate(row))
        for i, row in enumerate(value)
    )


def _rate(value: Any, source: str, key: str, mistakes: Mistakes) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        mistakes.add(source, f"want a number or null, found {quote(value)}", key=key)
        return None
    if not 0 <= value <= _MAX_RATE_RPS:
        mistakes.add(source, f"want requests/s from 0 to {_MAX_RATE_RPS:g}, found {quote(value)}", key=key)
        return None
    return float(value) or None


def edges(value: Any, source: str, key: str, mistakes: Mistakes) -> tuple[int, ...]:
    """Strictly rising token counts; empty, with the mistake noted, otherwise."""
    whole = isinstance(value, list | tuple) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    if not whole or not value or value[0] < 1 or any(b <= a for a, b in itertools.pairwise(value)):
        mistakes.add(source, "want strictly rising whole numbers of tokens", key=key)
        return ()
    return tuple(value)


def check_shape(
    rows: RateRows,
    first: Sequence[int],
    second: Sequence[int],
    source: str,
    *,
    names: tuple[str, str],
    mistakes: Mistakes,
) -> None:
    """Notes a mistake when the table is not `first` × `second`."""
    if rows and first and second and (len(rows), len(rows[0])) != (len(first), len(second)):
        message = (
            f"the table has {len(rows)} rows × {len(rows[0])} columns, but there are "
            f"{len(first)} {names[0]} × {len(second)} {names[1]} sizes"
        )
        mistakes.add(source, message)
