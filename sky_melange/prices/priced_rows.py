"""Catalog rows with their text turned into numbers, or skipped with the reason."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from sky_melange.prices.catalog_csv import CatalogRow, SkipTally
from sky_melange.prices.clouds import ZERO_SPOT_MEANS_NONE

NO_PRICE: Final = "no price"
NO_REGION: Final = "no region: it was on sale nowhere when the list was made"
FRACTION: Final = "a fraction of a GPU"
NO_COUNT: Final = "an accelerator is named but its count is zero"
TPU: Final = "a TPU and not a GPU"
TPU_PREFIX: Final = "tpu-"


class PricedRow(NamedTuple):
    """One machine (or, on GCP, one set of accelerators) in one zone of a region.

    Prices are USD per hour, None when the catalog states none. `accelerators` is 0 for a machine without accelerators.
    `detail` says how the price came to be where it is not simply the catalog's.
    """

    region: str
    zone: str
    instance_type: str
    accelerator: str
    accelerators: int
    vcpus: float | None
    memory_gib: float | None
    price: float | None
    spot_price: float | None
    snapshot_date: str
    detail: str = ""


def priced_rows(rows: Iterable[CatalogRow], cloud: str, tally: SkipTally) -> Iterator[PricedRow]:
    """Rows with a region and at least one price, in file order; the others go to `tally`."""
    zero_is_none = cloud in ZERO_SPOT_MEANS_NONE
    for row in rows:
        try:
            priced = _priced(row, zero_is_none)
        except ValueError as error:
            tally.add(f"not a number: {str(error)[:60]}", _example(row))
            continue
        if isinstance(priced, str):
            tally.add(priced, _example(row))
        else:
            yield priced


def _priced(row: CatalogRow, zero_is_none: bool) -> PricedRow | str:
    """The row in numbers, or why it is no offer. Raises ValueError for text that is no number."""
    if row.accelerator.startswith(TPU_PREFIX):
        return TPU
    count = _number(row.accelerator_count) or 0.0
    if row.accelerator and count == 0:
        return NO_COUNT
    if count != int(count):
        return FRACTION
    if not row.region:
        return NO_REGION
    price, spot_price = _number(row.price), _number(row.spot_price)
    if spot_price == 0 and zero_is_none:
        spot_price = None
    if price is None and spot_price is None:
        return NO_PRICE
    return PricedRow(
        row.region,
        row.zone,
        row.instance_type,
        row.accelerator,
        int(count) if row.accelerator else 0,
        _number(row.vcpus),
        _number(row.memory_gib),
        price,
        spot_price,
        row.snapshot_date,
    )


def _number(text: str) -> float | None:
    """A finite number of at least 0, None for an empty field. Raises ValueError naming any other text."""
    if not text:
        return None
    number = float(text)
    if number < 0 or not math.isfinite(number):
        raise ValueError(f"{text!r} is no amount")
    return number


def _example(row: CatalogRow) -> str:
    return f"{row.region}/{row.instance_type or row.accelerator}"
