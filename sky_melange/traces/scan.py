"""Counts a log: chooses the buckets, runs the expression, and sums up what came back."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from sky_melange.domain.buckets import TokenGrid, part_edges
from sky_melange.domain.router import SizeFit
from sky_melange.domain.trace import (
    CALENDAR_FROM_S,
    REJECTION_MEANINGS,
    Cell,
    Outside,
    RateSummary,
    Rejection,
    TimeUnit,
    TraceOptions,
    TraceSummary,
)
from sky_melange.errors import InputError, Mistake
from sky_melange.traces import numbers
from sky_melange.traces.doubts import doubts_of
from sky_melange.traces.edges import MELANGE, Step, choose, extended, fine_edges, parse_buckets
from sky_melange.traces.engine import Clock, Counted, Example, LogTables, Sizes, Survey, width
from sky_melange.traces.one_model import check_one_model
from sky_melange.traces.rates import summarize
from sky_melange.traces.times import FORMATS, PER_SECOND
from sky_melange.traces.where import parse_where
from sky_melange.untrusted import one_line

_WORDS: Final = {
    TimeUnit.S: "seconds",
    TimeUnit.MS: "milliseconds",
    TimeUnit.US: "microseconds",
    TimeUnit.NS: "nanoseconds",
}
_FIRST_S: Final = 1_420_070_400
_LAST_S: Final = 4_102_444_800
"""2015 and 2100: no log of a language model is older, or so far ahead."""

_LONGEST_S: Final = 10 * 366 * 86_400
_HIGHEST_RPS: Final = 100_000.0
_USUAL_RPS: Final = 100.0

_MAX_WINDOW_S = 7 * 86_400
_LEAST_BYTES_PER_TOKEN, _MOST_BYTES_PER_TOKEN = 0.5, 100.0
_MOST_PARTS = 3_200
_LONGEST_TEXT = 60
_COMPACT = (20_150_101_000_000, 21_000_101_000_000)
_SHOWN = {
    Rejection.TIME_UNREADABLE,
    Rejection.TIME_OUT_OF_RANGE,
    *(Rejection(f"{axis}_{why}") for axis in ("input", "output") for why in ("not_a_number", "not_whole", "negative")),
}
"""Rejections of which an example says what is wrong."""


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
    try:
        parse_where("TRUE" if options.where is None else options.where)
    except InputError as error:
        mistakes.extend(error.mistakes)
    if mistakes:
        raise InputError(mistakes)


def summarize_log(log: LogTables, options: TraceOptions) -> TraceSummary:
    """The summary of a log.

    Raises InputError when it cannot be read, has no valid row, or its times have no known unit.
    """
    seen = _check_traffic(log, options)
    reading = _settle_unit(log, options) if _has_writer(log, options) else None
    grid = _grid(log, options)
    counted = log.count(grid)
    rejected = _rejected(counted, seen)
    if rejected.get(Rejection.TIME_UNIT_UNKNOWN) and options.time_unit is None:
        reading = _settle_unit(log, options)
        counted = log.count(grid)
        rejected = _rejected(counted, seen)
    shown = _examples(log, rejected)
    _check_accepted(log.source, counted, rejected, shown)
    cells = _cells(counted, grid)
    if options.buckets == "extend":
        grid = _trimmed(grid, cells)
    inside = [c for c in cells if c.input_index < len(grid.input_edges) and c.output_index < len(grid.output_edges)]
    fit = None if log.columns[0].bytes is None else _fit(log)
    summary = TraceSummary(
        source=log.source if options.where is None else f"{log.source} where {one_line(options.where)}",
        columns=log.columns[0],
        grid=grid,
        cells=tuple(inside),
        outside=_beyond(cells, inside),
        rejected=rejected,
        zoneless=sum(key.zoneless for key in counted.keys if key.key >= 0),
        rate=_rate(counted, options, log.source),
        time_reading=reading,
        fit=fit,
        input_parts=None if fit is None else _input_parts(log, grid),
    )
    doubts = (*_odd_dates(log, summary, options), *doubts_of(log, counted, summary, by_hour=options.by_hour))
    return dataclasses.replace(summary, notes=(*doubts, *_notes(summary, shown)))


def _odd_dates(log: LogTables, summary: TraceSummary, options: TraceOptions) -> Iterator[str]:
    rate = summary.rate
    if rate is None or options.time_unit is not None or not _is_odd_date(rate.first_s, rate.last_s):
        return
    clock = log.clock()
    if clock.requests and _COMPACT[0] <= clock.lowest and clock.highest < _COMPACT[1]:
        message = (
            f"its times, such as {clock.lowest:.0f}, look like dates (YYYYMMDDhhmmss), not like seconds or "
            "milliseconds: write them as in ISO 8601 (2026-05-01T09:00:00Z), or give their unit with --time-unit"
        )
        raise InputError([Mistake(source=log.source, message=message)])
    if clock.requests:
        yield (
            "Its times are numbers, and read as dates since 1970 they are before 2015 or after 2100. If they count "
            "from the log's start, the rate is wrong: give their unit with --time-unit (time_unit: in a workload)."
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
    finer_grid = TokenGrid(input_edges=finer, output_edges=grid.output_edges[-1:])
    counts = Counter[int]()
    for cell in _cells(log.count(finer_grid), finer_grid):
        if cell.output_index == 0:
            counts[cell.input_index] += cell.requests
    starts = list(accumulate((0, *map(len, edges))))
    return tuple(
        tuple(counts[place] for place in range(start, start + len(row)))
        if any(counts[place] for place in range(start, start + len(row)))
        else ()
        for start, row in zip(starts, edges, strict=False)
    )


def settle(log: LogTables, options: TraceOptions) -> None:
    """For those who read the requests themselves: one model's, and times of a known unit. Raises InputError."""
    _check_traffic(log, options)
    if options.time_unit is None and log.columns[0].time is not None:
        _settle_unit(log, options)


def _check_traffic(log: LogTables, options: TraceOptions) -> Survey:
    _common_columns(log)
    seen = log.survey()
    check_one_model(log.source, log.columns[0].model, seen, options)
    return seen


def _has_writer(log: LogTables, options: TraceOptions) -> bool:
    """Whether the unit of the times is known from the format alone, and so has to be held against the data."""
    first = log.columns[0]
    return options.time_unit is None and first.time is not None and first.time_unit is not TimeUnit.AUTO


def _settle_unit(log: LogTables, options: TraceOptions) -> str | None:
    first = log.columns[0]
    unit, note = _choose_unit(
        log.clock(), first.time_unit, layout=first.layout, window_s=options.window_s, source=log.source
    )
    log.set_unit(unit)
    return note


def _common_columns(log: LogTables) -> None:
    first = log.columns[0]
    if any((columns.time is None) != (first.time is None) for columns in log.columns):
        message = "some of the files have times and some have none; read them apart"
        raise InputError([Mistake(source=log.source, message=message)])


def _grid(log: LogTables, options: TraceOptions) -> TokenGrid:
    wanted = parse_buckets(options.buckets)
    if isinstance(wanted, TokenGrid):
        return wanted
    if wanted is None:
        return extended()
    inputs, outputs = log.sizes()
    if not len(inputs.tokens):
        return MELANGE
    return choose(_steps(inputs), _steps(outputs), wanted)


def _steps(sizes: Sizes) -> list[Step]:
    """Sizes within 3 % of each other as one step."""
    import numpy as np

    which = np.searchsorted(np.array(fine_edges()), sizes.tokens)
    starts = np.flatnonzero(np.diff(which, prepend=-1))
    requests, tokens = (np.add.reduceat(part, starts) for part in (sizes.requests, sizes.tokens * sizes.requests))
    largest = sizes.tokens[np.append(starts[1:], len(which)) - 1]
    steps = zip(requests.tolist(), tokens.tolist(), largest.tolist(), strict=True)
    return [Step(requests=count, tokens=total, largest=most) for count, total, most in steps]


def _rejected(counted: Counted, seen: Survey) -> dict[Rejection, int]:
    counts = {-key.key: key.requests for key in counted.keys if key.key < 0}
    for code, count in seen.aside.items():
        counts[code] = counts.get(code, 0) + count
    return {rejection: counts[code] for rejection, code in numbers.CODES.items() if code in counts}


def _examples(log: LogTables, rejected: Mapping[Rejection, int]) -> dict[Rejection, str]:
    """Of rows that hold something else than they should: what, and where."""
    codes = {numbers.CODES[name]: str(name).partition("_")[0] for name in rejected if name in _SHOWN}
    names = {code: name for name, code in numbers.CODES.items()}
    found = log.examples(codes) if codes else []
    return {names[each.code]: _placed(each) for each in found}


def _placed(example: Example) -> str:
    text = f"such as {one_line(example.text)[:_LONGEST_TEXT]!r}"
    return text if example.path is None else f"{text} in {one_line(example.path.rsplit('/', 1)[-1])}:{example.line}"


def _explained(name: Rejection, shown: Mapping[Rejection, str]) -> str:
    """The reason in words, with an example and what was expected."""
    wanted = f"; want {FORMATS}" if name is Rejection.TIME_UNREADABLE else ""
    example = f", {shown[name]}" if name in shown else ""
    return f"{REJECTION_MEANINGS[name]} ({name}){example}{wanted}"


def _check_accepted(
    source: str, counted: Counted, rejected: Mapping[Rejection, int], shown: Mapping[Rejection, str]
) -> None:
    unknown = rejected.get(Rejection.TIME_UNIT_UNKNOWN, 0)
    if unknown:
        message = (
            f"{unknown} times are numbers too small to be seconds since 1970, so their unit cannot be told; give it: "
            "--time-unit s or ms (time_unit: in a workload)"
        )
        raise InputError([Mistake(source=source, message=message)])
    if all(key.key < 0 for key in counted.keys):
        why = "; ".join(f"{count} rows: {_explained(name, shown)}" for name, count in rejected.items())
        raise InputError([Mistake(source=source, message=f"holds no valid request ({why or 'it has no rows'})")])


def _cells(counted: Counted, grid: TokenGrid) -> list[Cell]:
    """By input, then output; an index may lie one beyond the last edge."""
    return [
        Cell(
            input_index=key.key // width(grid),
            output_index=key.key % width(grid),
            requests=key.requests,
            input_tokens=key.input_tokens,
            output_tokens=key.output_tokens,
        )
        for key in counted.keys
        if key.key >= 0
    ]


def _trimmed(grid: TokenGrid, cells: Sequence[Cell]) -> TokenGrid:
    """Without the edges that no request needs, but with Mélange's own."""
    inputs = max(max(cell.input_index for cell in cells) + 1, len(MELANGE.input_edges))
    outputs = max(max(cell.output_index for cell in cells) + 1, len(MELANGE.output_edges))
    return TokenGrid(input_edges=grid.input_edges[:inputs], output_edges=grid.output_edges[:outputs])


def _beyond(cells: Sequence[Cell], inside: Sequence[Cell]) -> Outside:
    """What is in `cells` and not `inside`."""
    requests, input_tokens, output_tokens = (
        sum(getattr(cell, name) for cell in cells) - sum(getattr(cell, name) for cell in inside)
        for name in ("requests", "input_tokens", "output_tokens")
    )
    return Outside(requests=requests, input_tokens=input_tokens, output_tokens=output_tokens)


def _rate(counted: Counted, options: TraceOptions, source: str) -> RateSummary | None:
    if not len(counted.seconds):
        if options.hours is not None:
            raise InputError([Mistake(source=source, message="has no times, so it says nothing of single hours")])
        return None
    return summarize(
        counted.seconds,
        counted.requests,
        window_s=options.window_s,
        percentile=options.rate_percentile,
        hours=options.hours,
        source=source,
    )


def _notes(summary: TraceSummary, shown: Mapping[Rejection, str]) -> Iterator[str]:
    requests, rejected, outside = summary.requests, summary.rejected, summary.outside
    grid, zoneless, rate = summary.grid, summary.zoneless, summary.rate
    rows = requests + summary.rows_rejected
    for name, count in rejected.items():
        yield f"{count:,} of {rows:,} rows are not counted: {_explained(name, shown)}."
    if outside.requests:
        mean_input, mean_output = (round(t / outside.requests) for t in (outside.input_tokens, outside.output_tokens))
        yield (
            f"{outside.requests:,} of {requests:,} requests ({outside.requests / requests:.2%}) are larger than the "
            f"last edges ({grid.input_edges[-1]} in, {grid.output_edges[-1]} out), on average {mean_input} in, "
            f"{mean_output} out: they count in the rate, but are planned at the sizes of the others. --buckets extend "
            "adds buckets for them."
        )
    if summary.columns.unused:
        yield f"These columns are not used, and may matter: {'; '.join(summary.columns.unused)}."
    if 0 < zoneless < requests:
        yield f"{zoneless:,} times name no time zone, unlike the others; they are taken as UTC."
    if rate is None:
        return
    if zoneless == requests and rate.hours is not None and rate.hours.time_zone != "UTC":
        yield f"Its times name no time zone: they are taken as UTC, and counted by {rate.hours.time_zone}."
    if not rate.complete:
        yield (
            f"The log covers no whole window of {rate.window_s} s, so the rate may be too low; a shorter window helps."
        )
    if rate.planned_rps == 0:
        yield (
            f"{rate.empty / rate.windows:.2%} of all windows of {rate.window_s} s have no request, so percentile "
            f"{rate.percentile:g} of the rate is 0; give a request rate, a longer window or a higher percentile."
        )


def _choose_unit(
    clock: Clock, writer: TimeUnit, *, layout: str, window_s: int, source: str
) -> tuple[TimeUnit, str | None]:
    """(the unit, a sentence that says why), where `writer` is what the format's writers use; AUTO: none is known.

    A reading is possible when it does not put the whole log inside one window, nor over ten years, nor more than
    100,000 requests into a second. The writer's reading stands where it is possible, or at least has no unusual rate,
    and the data do not contradict it: what writes milliseconds and smaller writes whole numbers. Fractions are seconds
    where those are the one possible reading. Raises InputError with the rates of all readings where a doubt is left.
    """
    if not clock.requests or clock.lowest >= CALENDAR_FROM_S:
        is_told = clock.requests and writer is not TimeUnit.AUTO
        return (
            TimeUnit.AUTO,
            "Times are dates since 1970: they are too large to count from a start." if is_told else None,
        )
    possible = [unit for unit in _WORDS if _is_possible(clock, unit, window_s)]
    stands = writer in possible or (writer in _WORDS and _rate_of(clock, writer) <= _USUAL_RPS)
    if stands and (writer is TimeUnit.S or not clock.fractions):
        return writer, f"Times are {_WORDS[writer]}: {layout} writes them so."
    if clock.fractions and possible == [TimeUnit.S]:
        return TimeUnit.S, "Times are seconds: they have fractions."
    readings = "; ".join(
        f"{_WORDS[unit]}: {_rate_of(clock, unit):.3g} requests/s over {_span_s(clock, unit):.4g} s"
        for unit in possible or (TimeUnit.S, TimeUnit.MS)
    )
    told = "" if writer is TimeUnit.AUTO else f", though {layout} writes {_WORDS[writer]}"
    message = (
        f"the unit of {clock.requests:,} times is in doubt{told}. They may be {readings}. Give it: --time-unit "
        "s, ms, us or ns (time_unit: in a workload)"
    )
    raise InputError([Mistake(source=source, message=message)])


def _is_odd_date(first_s: int, last_s: int) -> bool:
    """Whether dates are none that a log of requests can have."""
    return first_s >= CALENDAR_FROM_S and (first_s < _FIRST_S or last_s > _LAST_S)


def _is_possible(clock: Clock, unit: TimeUnit, window_s: int) -> bool:
    return window_s <= _span_s(clock, unit) <= _LONGEST_S and _rate_of(clock, unit) <= _HIGHEST_RPS


def _span_s(clock: Clock, unit: TimeUnit) -> float:
    return (clock.highest - clock.lowest) / PER_SECOND[unit]


def _rate_of(clock: Clock, unit: TimeUnit) -> float:
    return clock.requests / max(_span_s(clock, unit), 1 / PER_SECOND[unit])
