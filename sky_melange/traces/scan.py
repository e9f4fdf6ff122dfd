"""Counts a log: chooses the buckets, runs the expression, and sums up what came back."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from sky_melange.domain.buckets import TokenGrid, part_edges
from sky_melange.domain.router import SizeFit
from sky_melange.domain.trace import (
    REJECTION_MEANINGS,
    Cell,
    LogColumns,
    Outside,
    RateSummary,
    Rejection,
    TraceOptions,
    TraceSummary,
)
from sky_melange.errors import InputError, Mistake
from sky_melange.traces import expression, numbers
from sky_melange.traces.auto_edges import Step, choose
from sky_melange.traces.edges import MELANGE, extended, fine_edges, parse_buckets
from sky_melange.traces.engine import LogTables, Row
from sky_melange.traces.rates import summarize

_MAX_WINDOW_S = 7 * 86_400
_LEAST_BYTES_PER_TOKEN, _MOST_BYTES_PER_TOKEN = 0.5, 100.0
_MOST_PARTS = 3_200


def check_options(options: TraceOptions) -> None:
    """Raises InputError, with every mistake, before anything is read."""
    mistakes = []
    if not 1 <= options.window_s <= _MAX_WINDOW_S:
        mistakes.append(Mistake(source="window", message=f"must be 1 to {_MAX_WINDOW_S} seconds"))
    if not 0 < options.rate_percentile <= 100:
        mistakes.append(Mistake(source="percentile", message="must be above 0 and at most 100"))
    try:
        parse_buckets(options.buckets)
    except InputError as error:
        mistakes.extend(error.mistakes)
    if mistakes:
        raise InputError(mistakes)


def summarize_log(log: LogTables, options: TraceOptions) -> TraceSummary:
    """The summary of a log.

    Raises InputError when it cannot be read, has no valid row, or its times have no known unit.
    """
    columns = check_same_kind(log)
    grid = _grid(log, options)
    rows = log.rows(grid, options.window_s)
    cells = [row for row in rows if row["kind"] == expression.CELL]
    rejected = _rejected(cells)
    accepted = [row for row in cells if row["status"] == 0]
    _check_accepted(log.source, accepted, rejected)
    if options.buckets == "extend":
        grid = _trimmed(grid, accepted)
    zoneless = sum(row["zoneless"] for row in accepted)
    rate = _rate([row for row in rows if row["kind"] == expression.WINDOW], options)
    outside = _outside(accepted, grid)
    fit = None if columns.bytes is None else _fit(log)
    return TraceSummary(
        source=log.source,
        columns=columns,
        grid=grid,
        cells=_cells(accepted, grid),
        outside=outside,
        rejected=rejected,
        zoneless=zoneless,
        rate=rate,
        notes=tuple(_notes(accepted, rejected, outside, grid, zoneless, rate)),
        fit=fit,
        input_parts=None if fit is None else _input_parts(log, grid),
    )


def _fit(log: LogTables) -> SizeFit:
    """Raises InputError where bytes and tokens have nothing to do with each other."""
    sums = log.size_sums()
    n, t, y = sums["requests"], sums["tokens"], sums["bytes"]
    inverses, ratios = sums["inverses"], sums["ratios"]
    envelope, slope = 0.0, y / t if t else 0.0
    spread = inverses * t - n * n
    if spread > 1e-9 * n * n and ratios * t > n * y and inverses * y > n * ratios:
        envelope, slope = (ratios * t - n * y) / spread, (inverses * y - n * ratios) / spread
    if not _LEAST_BYTES_PER_TOKEN <= slope <= _MOST_BYTES_PER_TOKEN:
        message = (
            f"its column of bytes has {slope:.3g} bytes a token over {n:,.0f} requests, which no text has; name "
            "another column (bytes=…), or none"
        )
        raise InputError([Mistake(source=log.source, message=message)])
    squares = sums["squares"] + envelope**2 * inverses + slope**2 * t
    squares += 2 * (envelope * slope * n - envelope * ratios - slope * y)
    error = math.sqrt(3 * max(0.0, squares) / t) / slope
    return SizeFit(
        bytes_per_token=round(slope, 3), envelope_bytes=round(envelope), error_fraction=error, requests=int(n)
    )


def _input_parts(log: LogTables, grid: TokenGrid) -> tuple[tuple[int, ...], ...] | None:
    """By a second scan with finer buckets; None where those would be too many."""
    lows = (0, *grid.input_edges)
    edges = [part_edges(low, high) for low, high in zip(lows, grid.input_edges, strict=False)]
    finer = tuple(edge for row in edges for edge in row)
    if len(finer) > _MOST_PARTS:
        return None
    rows = log.rows(TokenGrid(input_edges=finer, output_edges=grid.output_edges[-1:]), None)
    counts = Counter[int]()
    for row in rows:
        if row["status"] == 0 and row["j"] == 0:
            counts[row["i"]] += row["requests"]
    starts = list(accumulate((0, *map(len, edges))))
    return tuple(
        tuple(counts[place] for place in range(start, start + len(row)))
        if any(counts[place] for place in range(start, start + len(row)))
        else ()
        for start, row in zip(starts, edges, strict=False)
    )


def check_same_kind(log: LogTables) -> LogColumns:
    """The columns of a log. Raises InputError when only some of its files have times."""
    first = log.columns[0]
    if any((columns.time is None) != (first.time is None) for columns in log.columns):
        message = "some of the files have times and some have none; read them apart"
        raise InputError([Mistake(source=log.source, message=message)])
    return first


def _grid(log: LogTables, options: TraceOptions) -> TokenGrid:
    wanted = parse_buckets(options.buckets)
    if isinstance(wanted, TokenGrid):
        return wanted
    if wanted is None:
        return extended()
    fine = fine_edges()
    rows = log.rows(TokenGrid(input_edges=fine, output_edges=fine), None, with_largest=True)
    accepted = [row for row in rows if row["status"] == 0]
    _check_accepted(log.source, accepted, _rejected(rows))
    return choose(_steps(accepted, "i", "input"), _steps(accepted, "j", "output"), wanted)


def _steps(rows: Iterable[Row], index: str, axis: str) -> list[Step]:
    """The marginal of one axis, by rising size."""
    steps: dict[int, Step] = {}
    for row in rows:
        before = steps.get(row[index], Step(requests=0, tokens=0, largest=0))
        steps[row[index]] = Step(
            requests=before.requests + row["requests"],
            tokens=before.tokens + row[f"{axis}_tokens"],
            largest=max(before.largest, row[f"largest_{axis}"]),
        )
    return [steps[key] for key in sorted(steps)]


def _rejected(rows: Iterable[Row]) -> dict[Rejection, int]:
    counts: Counter[int] = Counter()
    for row in rows:
        counts[row["status"]] += row["requests"]
    return {rejection: counts[code] for rejection, code in numbers.CODES.items() if code in counts}


def _check_accepted(source: str, accepted: Sequence[Row], rejected: dict[Rejection, int]) -> None:
    unknown = rejected.get(Rejection.TIME_UNIT_UNKNOWN, 0)
    if unknown:
        message = (
            f"{unknown} times are numbers too small to be seconds since 1970, so their unit cannot be told; give it: "
            "--time-unit s or ms (time_unit: in a workload)"
        )
        raise InputError([Mistake(source=source, message=message)])
    if not accepted:
        why = "; ".join(f"{count} rows: {REJECTION_MEANINGS[name]}" for name, count in rejected.items())
        raise InputError([Mistake(source=source, message=f"holds no valid request ({why or 'it has no rows'})")])


def _trimmed(grid: TokenGrid, accepted: Iterable[Row]) -> TokenGrid:
    """Without the edges that no request needs, but with Mélange's own."""
    rows = list(accepted)
    inputs = max(max(row["i"] for row in rows) + 1, len(MELANGE.input_edges))
    outputs = max(max(row["j"] for row in rows) + 1, len(MELANGE.output_edges))
    return TokenGrid(input_edges=grid.input_edges[:inputs], output_edges=grid.output_edges[:outputs])


def _is_inside(row: Row, grid: TokenGrid) -> bool:
    return bool(row["i"] < len(grid.input_edges) and row["j"] < len(grid.output_edges))


def _cells(accepted: Iterable[Row], grid: TokenGrid) -> tuple[Cell, ...]:
    cells = [
        Cell(
            input_index=row["i"],
            output_index=row["j"],
            requests=row["requests"],
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
        )
        for row in accepted
        if _is_inside(row, grid)
    ]
    return tuple(sorted(cells, key=lambda cell: (cell.input_index, cell.output_index)))


def _outside(accepted: Iterable[Row], grid: TokenGrid) -> Outside:
    rows = [row for row in accepted if not _is_inside(row, grid)]
    return Outside(
        requests=sum(row["requests"] for row in rows),
        input_tokens=sum(row["input_tokens"] for row in rows),
        output_tokens=sum(row["output_tokens"] for row in rows),
    )


def _rate(windows: Sequence[Row], options: TraceOptions) -> RateSummary | None:
    if not windows:
        return None
    return summarize(
        {row["window"]: row["requests"] for row in windows},
        first_s=min(row["first_s"] for row in windows),
        last_s=max(row["last_s"] for row in windows),
        window_s=options.window_s,
        percentile=options.rate_percentile,
    )


def _notes(
    accepted: Sequence[Row],
    rejected: dict[Rejection, int],
    outside: Outside,
    grid: TokenGrid,
    zoneless: int,
    rate: RateSummary | None,
) -> Iterator[str]:
    requests = sum(row["requests"] for row in accepted)
    rows = requests + sum(rejected.values())
    for name, count in rejected.items():
        yield f"{count:,} of {rows:,} rows are not counted: {REJECTION_MEANINGS[name]} ({name})."
    if outside.requests:
        mean_input, mean_output = (round(t / outside.requests) for t in (outside.input_tokens, outside.output_tokens))
        yield (
            f"{outside.requests:,} of {requests:,} requests ({outside.requests / requests:.2%}) are larger than the "
            f"last edges ({grid.input_edges[-1]} in, {grid.output_edges[-1]} out), on average {mean_input} in, "
            f"{mean_output} out: they count in the rate, but are planned at the sizes of the others. --buckets extend "
            "adds buckets for them."
        )
    if 0 < zoneless < requests:
        yield f"{zoneless:,} times name no time zone, unlike the others; they are taken as UTC."
    if rate is None:
        return
    if not rate.complete:
        yield (
            f"The log covers no whole window of {rate.window_s} s, so the rate may be too low; a shorter window helps."
        )
    if rate.planned_rps == 0:
        yield (
            f"{rate.empty:,} of {rate.windows:,} windows of {rate.window_s} s have no request, so percentile "
            f"{rate.percentile:g} of the rate is 0; give a request rate, a longer window or a higher percentile."
        )
