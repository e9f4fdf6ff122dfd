"""What counts a log: DuckDB inside this process, or a database that Ibis connects to; whether it is of one model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import REJECTION_MEANINGS, LogColumns, TimeUnit, TraceOptions
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.numbers import CODES
from sky_melange.traces.where import columns_of, identifier, is_word, literal, parse_where
from sky_melange.untrusted import one_line

_MOST_SHOWN: Final = 20

MOST_SEEN: Final = 1000
Progress = Callable[[float], None]
"""Told the share of a scan that is done, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCount:
    """The rows of one key: a bucket (`input index · width + output index`), or minus the code of a rejection.

    The sums of tokens are those of a bucket. `zoneless` rows have a date that names no zone.
    """

    key: int
    requests: int
    input_tokens: int
    output_tokens: int
    zoneless: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A log by bucket, and its valid requests and their tokens by second: arrays, the seconds in rising order.

    The arrays are empty where the log has no times.
    """

    keys: tuple[KeyCount, ...]
    seconds: Any
    requests: Any
    input_tokens: Any
    output_tokens: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Two arrays of whole numbers: the sizes of valid requests, in rising order, and how many have each."""

    tokens: Any
    requests: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The rows of one model that are the traffic (`aside` 0), or that are not (the code of the rejection)."""

    model: str | None
    aside: int
    requests: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the rows of a log are. `rows` are the most frequent, at most MOST_SEEN; the rest is of all rows.

    `models` have traffic; `aside` has the rows that are not the traffic, by the code of the rejection.
    """

    rows: tuple[Seen, ...] = ()
    models: int = 0
    kinds: int = 0
    aside: Mapping[int, int] = field(default_factory=dict)

    @staticmethod
    def of(seen: Iterable[Seen]) -> Survey:
        """Of rows that are all there is."""
        rows = sorted(seen, key=lambda each: (-each.requests, each.model or "", each.aside))
        aside = Counter[int]()
        for each in rows:
            aside[each.aside] += each.requests
        return Survey(
            rows=tuple(rows[:MOST_SEEN]),
            models=len({each.model for each in rows if not each.aside}),
            kinds=len(rows),
            aside={code: count for code, count in aside.items() if code},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The times that are numbers: the least, the greatest, how many, and how many have a fraction."""

    lowest: float
    highest: float
    requests: int
    fractions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A text that was rejected (`code`), and where it stands; `path` and `line` None: not found."""

    code: int
    text: str
    path: str | None = None
    line: int | None = None


class LogTables(Protocol):
    """A log as tables, and the means to count them. `source` says in words where it comes from.

    All ways to count raise InputError for what the log or the connection does wrong.
    """

    @property
    def source(self) -> str:
        """For reports."""
        ...

    @property
    def columns(self) -> list[LogColumns]:
        """Of each table: they may differ in name but not in meaning."""
        ...

    def count(self, grid: TokenGrid) -> Counted:
        """Every row of the traffic once. Indices run to the number of edges: that last one holds what lies beyond."""
        ...

    def survey(self) -> Survey:
        """What the rows are that `where` chose; nothing where no column says so."""
        ...

    def clock(self) -> Clock:
        """What the column of times holds, in whatever unit that is."""
        ...

    def first_seconds(self) -> Any:
        """The seconds of the first rows, in the order in which they were written; an array, empty where none is."""
        ...

    def set_unit(self, unit: TimeUnit) -> None:
        """From now on, numbers in the column of times are in this unit."""
        ...

    def examples(self, codes: Mapping[int, str]) -> list[Example]:
        """For each rejection code with its axis (input, output or time), the least text that has it."""
        ...

    def size_sums(self) -> dict[str, float]:
        """The row of `expression.size_sums`; the log has a column of bytes."""
        ...

    def sizes(self) -> tuple[Sizes, Sizes]:
        """The input and the output sizes; none where no row is valid."""
        ...


def width(grid: TokenGrid) -> int:
    """Keys of one input index: an output index each, and one for what lies beyond."""
    return len(grid.output_edges) + 1


@contextmanager
def unfused() -> Iterator[None]:
    """Compile each step as a subquery of its own: Ibis would inline them into each other, megabytes of SQL."""
    import ibis

    before = ibis.options.sql.fuse_selects
    ibis.options.sql.fuse_selects = False
    try:
        yield
    finally:
        ibis.options.sql.fuse_selects = before


def check_one_model(source: str, column: str | None, seen: Survey, options: TraceOptions) -> None:
    """Raises InputError with a table of the models. `column` names them."""
    if seen.models < 2 or column is None:
        return
    if options.where is not None:
        chosen = parse_where(options.where)
        names = {name.casefold() for name in columns_of(chosen)}
        if not names or column.casefold() in names:
            return
    shown = seen.rows[:_MOST_SHOWN]
    lines = [f"{each.requests:>12,} rows {each.tokens:>16,} tokens  {_named(each)}" for each in shown]
    if seen.kinds > len(shown):
        lines.append(f"and {seen.kinds - len(shown):,} more")
    first = next((each.model for each in seen.rows if not each.aside and each.model is not None), "")
    name = column if is_word(column) else identifier(column).replace('"', '\\"')
    message = (
        f"holds the requests of {seen.models:,} models, and a workload is one model's. Choose it, for example: "
        f'--where "{name} = {literal(first)}" (where: in a workload), or --where TRUE if they are one. The log has:\n'
        + "\n".join(lines)
    )
    raise InputError([Mistake(source=source, message=message)])


def _named(seen: Seen) -> str:
    model = "(no model)" if seen.model is None else one_line(seen.model)
    why = {code: REJECTION_MEANINGS[name] for name, code in CODES.items()}.get(seen.aside)
    return model if why is None else f"{model}: {why}"
