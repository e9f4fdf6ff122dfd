"""Reads a catalog file: bytes to rows, by column name, to numbers; every damaged row is accounted for."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

from sky_melange.domain.offer import SkippedRows
from sky_melange.errors import InputError, Mistake
from sky_melange.prices.clouds import ZERO_SPOT_MEANS_NONE

NO_PRICE: Final = "no price"
NO_REGION: Final = "no region: it was on sale nowhere when the list was made"
FRACTION: Final = "a fraction of a GPU"
_NO_COUNT: Final = "an accelerator is named but its count is zero"
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


REQUIRED_COLUMNS: Final[tuple[str, ...]] = ("InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "Region")
OPTIONAL_COLUMNS: Final[tuple[str, ...]] = (
    "vCPUs",
    "MemoryGiB",
    "SpotPrice",
    "AvailabilityZone",
    "SnapshotDate",
)
COMMA_COLUMN: Final = "Generation"
"""Azure writes `V1,V2` unquoted into its last column, so such rows have a field more than the header."""

NO_ROWS: Final = "the catalog has a header and no rows"
PLAIN_MACHINE: Final = "a machine without GPU that no controller or router would use"
FIELD_LIMIT_CHARS: Final = 1_000_000


class CatalogRow(NamedTuple):
    """One row, still text. A named tuple, not a dataclass: some 90,000 are made in a few tenths of a second.

    Empty where the file lacks the column. `price` and `spot_price` are USD per hour for the whole instance (GCP:
    for the host or for the accelerators alone).
    """

    instance_type: str
    accelerator: str
    accelerator_count: str
    price: str
    region: str
    vcpus: str
    memory_gib: str
    spot_price: str
    zone: str
    snapshot_date: str


class SkipTally:
    """Counts rows that are no offer, by reason, with one example each."""

    def __init__(self, cloud: str) -> None:
        self._cloud = cloud
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, reason: str, example: str, rows: int = 1) -> None:
        """Note `rows` rows; the example kept is the alphabetically first, so that the order of rows does not matter."""
        count, first = self._found.get(reason, (0, example))
        self._found[reason] = (count + rows, min(first, example))

    def skipped(self) -> tuple[SkippedRows, ...]:
        """The tally, sorted by reason."""
        return tuple(
            SkippedRows(cloud=self._cloud, reason=reason, rows=rows, example=example)
            for reason, (rows, example) in sorted(self._found.items())
        )


def read_rows(
    text: str, source: str, tally: SkipTally, keep_plain: Callable[[str], bool] | None = None
) -> Iterator[CatalogRow]:
    """Rows of a catalog in file order, whatever the order of its columns.

    `keep_plain` says which instance types without accelerators to keep (None: all); a catalog has tens of thousands
    of them. The others, and rows whose number of fields does not fit the header, go to `tally`. Raises InputError
    when the text is no catalog: no header, a required column missing, or something that is no CSV at all.
    """
    csv.field_size_limit(FIELD_LIMIT_CHARS)
    stream = io.StringIO(text, newline="")
    try:
        header = [name.strip() for name in next(csv.reader(stream), [])]
        order = _order(header, source)
        plain = None if keep_plain is None else _PlainRows(order[0], order[1], keep_plain, tally)
        # Without quotes a line is a row, and those that are left out need not be parsed.
        lines = stream if plain is None or '"' in text else plain.lines_without(stream)
        kept = _fitting(csv.reader(lines), header, plain, tally)
        currency = next((at for at, name in enumerate(header) if name.lower() == "currency"), None)
        if currency is not None:
            kept = _in_usd(kept, currency, order[0], tally)
        pick = itemgetter(*order)
        yield from (CatalogRow(*pick(fields)) for fields in kept)
    except csv.Error as error:
        line = len(text[: stream.tell()].splitlines())
        raise InputError([Mistake(source=source, line=line, message=f"not a CSV file: {error}")]) from error


class _PlainRows:
    """Rows of machines without accelerators: which to keep, and how many were left out.

    Of some 90,000 rows in all catalogs 80,000 are left out.
    """

    def __init__(self, instance_type: int, accelerator: int, keep: Callable[[str], bool], tally: SkipTally) -> None:
        self._instance_type = instance_type
        self._accelerator = accelerator
        self._keep = keep
        self._tally = tally
        self._left_out: dict[str, int] = {}

    def leaves_out(self, fields: Sequence[str]) -> bool:
        """Whether a row is left out; counts it."""
        if fields[self._accelerator]:
            return False
        name = fields[self._instance_type]
        if name in self._left_out:
            self._left_out[name] += 1
        elif self._keep(name):
            return False
        else:
            self._left_out[name] = 1
        return True

    def lines_without(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines of a catalog without quotes, less those of rows that are left out."""
        last = max(self._instance_type, self._accelerator) + 1
        for line in lines:
            fields = line.split(",", last)
            if len(fields) <= last or not self.leaves_out(fields):
                yield line

    def count(self) -> bool:
        """Adds what was left out to the tally; whether there was any."""
        if self._left_out:
            self._tally.add(PLAIN_MACHINE, min(self._left_out), sum(self._left_out.values()))
        return bool(self._left_out)


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


def _order(header: list[str], source: str) -> list[int]:
    """Positions of the fields of CatalogRow in a row."""
    missing = [name for name in REQUIRED_COLUMNS if name not in header]
    if missing:
        found = ", ".join(header)[:80] or "nothing"
        message = f"no price catalog: the header lacks {', '.join(missing)} (found {found})"
        raise InputError([Mistake(source=source, line=1, message=message)])
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        message = f"no price catalog: the header repeats {', '.join(repeated)}"
        raise InputError([Mistake(source=source, line=1, message=message)])
    positions = {name: position for position, name in enumerate(header)}
    # An absent optional column reads the empty field that _fitting appends to every row.
    return [positions.get(name, len(header)) for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)]


def _fitting(
    reader: Iterator[list[str]], header: list[str], plain: _PlainRows | None, tally: SkipTally
) -> Iterator[list[str]]:
    """Rows with the fields of the header and an empty one after them, less those that `plain` leaves out."""
    width = len(header)
    width_with_comma = width + 1 if header[-1] == COMMA_COLUMN else width
    found = False
    for fields in reader:
        if len(fields) == width:
            fields.append("")
        elif not fields:
            continue
        elif len(fields) == width_with_comma:
            fields[width] = ""
        else:
            tally.add(f"the row has not the {width} fields of the header", ",".join(fields)[:60])
            found = True
            continue
        found = True
        if plain is None or not plain.leaves_out(fields):
            yield fields
    found = (plain is not None and plain.count()) or found
    if not found:
        tally.add(NO_ROWS, "", rows=0)


def _in_usd(rows: Iterator[list[str]], currency: int, instance_type: int, tally: SkipTally) -> Iterator[list[str]]:
    """Rows whose prices are in US dollars; a catalog with a column for the currency may hold others."""
    for fields in rows:
        stated = fields[currency].strip().upper()
        if stated in ("", "USD"):
            yield fields
        else:
            tally.add(f"priced in {stated[:8]}, not in USD", fields[instance_type])


def _priced(row: CatalogRow, zero_is_none: bool) -> PricedRow | str:
    """The row in numbers, or why it is not an offer. Raises ValueError for text that is not a number."""
    if row.accelerator.startswith(TPU_PREFIX):
        return TPU
    count = _number(row.accelerator_count) or 0.0
    if row.accelerator and count == 0:
        return _NO_COUNT
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
        raise ValueError(f"{text!r} is not an amount")
    return number


def _example(row: CatalogRow) -> str:
    return f"{row.region}/{row.instance_type or row.accelerator}"
