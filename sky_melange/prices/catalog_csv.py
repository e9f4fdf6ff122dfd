"""Reads a catalog file: bytes to rows, by column name, with every damaged row accounted for."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Final, NamedTuple

from sky_melange.domain.offer import SkippedRows
from sky_melange.errors import InputError, Mistake

REQUIRED_COLUMNS: Final[tuple[str, ...]] = ("InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "Region")
OPTIONAL_COLUMNS: Final[tuple[str, ...]] = (
    "vCPUs",
    "MemoryGiB",
    "SpotPrice",
    "AvailabilityZone",
    "GpuInfo",
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
    gpu_info: str
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


def decode(content: bytes, source: str) -> str:
    """UTF-8 text of a catalog, without a byte order mark. Raises InputError naming the line that is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        mistake = Mistake(source=source, line=line, message="not UTF-8 text; fetch the catalog again")
        raise InputError([mistake]) from error


def read_rows(
    text: str, source: str, tally: SkipTally, keep_plain: Callable[[str], bool] | None = None
) -> Iterator[CatalogRow]:
    """Rows of a catalog in file order, whatever the order of its columns.

    `keep_plain` says which instance types without accelerators to keep (None: all); a catalog has tens of thousands
    of them. The others, and rows whose number of fields does not fit the header, go to `tally`. Raises InputError
    when the text is no catalog: no header, a required column missing, or something that is no CSV at all.
    """
    csv.field_size_limit(FIELD_LIMIT_CHARS)
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [name.strip() for name in next(reader, [])]
        order = _order(header, source)
        fitting = _fitting(reader, header, tally)
        currency = next((at for at, name in enumerate(header) if name.lower() == "currency"), None)
        if currency is not None:
            fitting = _in_usd(fitting, currency, order[0], tally)
        kept = fitting if keep_plain is None else _without_plain(fitting, order[0], order[1], keep_plain, tally)
        pick = itemgetter(*order)
        yield from (CatalogRow(*pick(fields)) for fields in kept)
    except csv.Error as error:
        mistake = Mistake(source=source, line=reader.line_num, message=f"not a CSV file: {error}")
        raise InputError([mistake]) from error


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


def _fitting(reader: Iterator[list[str]], header: list[str], tally: SkipTally) -> Iterator[list[str]]:
    """Rows with the fields of the header and an empty one after them."""
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
        yield fields
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


def _without_plain(
    rows: Iterator[list[str]], instance_type: int, accelerator: int, keep: Callable[[str], bool], tally: SkipTally
) -> Iterator[list[str]]:
    """Rows with an accelerator or an instance type to keep; `instance_type` and `accelerator` are positions."""
    left_out: dict[str, int] = {}
    for fields in rows:
        if fields[accelerator]:
            yield fields
            continue
        name = fields[instance_type]
        if name in left_out:
            left_out[name] += 1
        elif keep(name):
            yield fields
        else:
            left_out[name] = 1
    if left_out:
        tally.add(PLAIN_MACHINE, min(left_out), sum(left_out.values()))
