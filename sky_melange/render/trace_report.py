"""A counted log for people and programs: the joint distribution, the rate, and what was left out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sky_melange.domain.hours import DAY, Hours, hour_name
from sky_melange.domain.trace import REJECTION_MEANINGS, RateSummary, TraceSummary
from sky_melange.render.text import to_text

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SHADES: Final = " ░▒▓█"
_BARS: Final = "▁▂▃▄▅▆▇█"
_CHART_WIDTH: Final = 80
_MOST_COLUMNS: Final = 8


def text(summary: TraceSummary, *, color: bool) -> str:
    """The report, 100 columns wide."""
    return to_text(*_parts(summary), color=color)


def to_json(summary: TraceSummary) -> str:
    """Everything that was counted; `counts[input bucket][output bucket]`. Stable, keys in a fixed order."""
    rate = summary.rate
    document = {
        "schema_version": 1,
        "source": summary.source,
        "columns": summary.columns.document(),
        "requests": summary.requests,
        "requests_in_buckets": summary.requests_inside,
        "rows_rejected": summary.rows_rejected,
        "rejected": {str(name): count for name, count in summary.rejected.items()},
        "outside_buckets": dataclasses.asdict(summary.outside),
        "times_without_zone": summary.zoneless,
        "histogram": {
            "input_tokens": summary.grid.input_edges,
            "output_tokens": summary.grid.output_edges,
            "counts": summary.counts(),
            "mean_tokens": [
                {
                    "input_bucket": cell.input_index,
                    "output_bucket": cell.output_index,
                    "mean_input_tokens": cell.input_tokens / cell.requests,
                    "mean_output_tokens": cell.output_tokens / cell.requests,
                }
                for cell in summary.cells
            ],
        },
        "time_reading": summary.time_reading,
        "size_fit": None if summary.fit is None else dataclasses.asdict(summary.fit),
        "rate": None if rate is None else dataclasses.asdict(rate),
        "prefix_hits": None if summary.prefix_hits is None else dataclasses.asdict(summary.prefix_hits),
        "notes": summary.notes,
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def moment(rate: RateSummary, second: int) -> str:
    """A time of the log: a date, or seconds since it began."""
    if not rate.has_calendar:
        return f"{second} s"
    return datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def rate_lines(rate: RateSummary) -> Iterator[str]:
    """The rate in sentences."""
    planned = "Planned for" if rate.hours is None else "Over the whole log"
    yield (
        f"{planned} {rate.planned_rps:.4g} requests/s: percentile {rate.percentile:g} of windows of "
        f"{rate.window_s} s from every second on ({rate.empty / rate.windows:.1%} empty)."
    )
    burst = "" if rate.dispersion is None else f", index of dispersion {rate.dispersion:.4g} (1: Poisson arrivals)"
    yield f"Mean {rate.mean_rps:.4g}, peak {rate.peak_rps:.4g} requests/s{burst}."
    yield f"From {moment(rate, rate.first_s)} to {moment(rate, rate.last_s)}."


def hours_line(hours: Hours) -> str:
    """The busiest and the quietest hour, and the mean, in a sentence."""
    rates, cycle = hours.rates_rps, len(hours.rates_rps)
    busiest, quietest = (hour_name(rates.index(pick(rates)), cycle) for pick in (max, min))
    return (
        f"To plan for, requests/s by {hours.time_zone} ({hours.origin}): {hours.peak_rps:.4g} at {busiest}, "
        f"{min(rates):.4g} at {quietest}, {hours.mean_rps:.4g} on average:"
    )


def rates_by_day(hours: Hours) -> dict[str, tuple[float | None, ...]]:
    """Name of the day -> its 24 rates."""
    names = ("Day",) if len(hours.rates_rps) == DAY else DAYS
    return {name: hours.rates_rps[DAY * day : DAY * day + DAY] for day, name in enumerate(names)}


def _parts(summary: TraceSummary) -> Iterator[RenderableType]:
    yield Text(f"{summary.source}: {summary.requests:,} requests ({summary.columns.layout})", style="bold")
    yield Text(
        f"{summary.requests_inside:,} in the buckets, {summary.outside.requests:,} larger than the last edges, "
        f"{summary.rows_rejected:,} rows not counted."
    )
    for name, count in summary.rejected.items():
        yield Text(f"  {count:,} × {name}: {REJECTION_MEANINGS[name]}")
    if summary.prefix_hits is not None:
        yield Text(str(summary.prefix_hits))
    yield _heat_map(summary)
    if summary.rate is None:
        yield Text("The log has no times, so no rate.")
        return
    if summary.time_reading is not None:
        yield Text(summary.time_reading)
    for line in rate_lines(summary.rate):
        yield Text(line)
    yield Text(f"Rate over time, 0 to {_highest(summary.rate):.4g} requests/s:")
    yield Text(_bars(summary.rate))
    if summary.rate.hour_of_week is not None:
        yield Text("Mean requests/s by hour of the week, UTC:")
        yield _week(dict(zip(DAYS, summary.rate.hour_of_week, strict=True)))
    if summary.rate.hours is not None:
        yield Text(hours_line(summary.rate.hours))
        yield _week(rates_by_day(summary.rate.hours))


def _heat_map(summary: TraceSummary) -> RenderableType:
    inputs, outputs = summary.grid.input_edges, summary.grid.output_edges
    if len(outputs) > _MOST_COLUMNS:
        size = f"{len(inputs)} × {len(outputs)} buckets"
        return Text(f"{size}, too wide for a terminal; --report FILE.html draws them.")
    table = Table(
        title="Requests, % (input × output tokens)", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("≤ input", justify="right")
    for edge in outputs:
        table.add_column(f"≤{edge}", justify="right")
    total = summary.requests_inside or 1
    most = max((cell.requests for cell in summary.cells), default=1)
    for edge, row in zip(inputs, summary.counts(), strict=True):
        table.add_row(str(edge), *(_shaded(count, total, most) for count in row))
    return table


def _shaded(count: int, total: int, most: int) -> str:
    if not count:
        return "."
    shade = _SHADES[min(len(_SHADES) - 1, 1 + (len(_SHADES) - 1) * count // (most + 1))]
    share = 100 * count / total
    return f"{'<0.01' if share < 0.01 else f'{share:.2f}'} {shade * 2}"


def _highest(rate: RateSummary) -> float:
    return max(value for _, value in rate.over_time)


def _bars(rate: RateSummary) -> str:
    """At most 80 bars, each the highest of its spans: a peak must not vanish in a chart."""
    values = [value for _, value in rate.over_time]
    per_bar = -(-len(values) // _CHART_WIDTH)
    highest = _highest(rate) or 1.0
    bars = [max(values[start : start + per_bar]) for start in range(0, len(values), per_bar)]
    return "".join(_BARS[min(len(_BARS) - 1, int(value / highest * len(_BARS)))] for value in bars)


def _week(week: Mapping[str, tuple[float | None, ...]]) -> RenderableType:
    """One row a day with the mean rate of the hours that the log covers; of two hours the busier, if many."""
    table = Table(box=None, pad_edge=False)
    hours = [hour for hour in range(24) if any(day[hour] is not None for day in week.values())]
    shown = hours if len(hours) <= 12 else range(0, 24, 2)
    table.add_column("")
    for hour in shown:
        table.add_column(f"{hour:02d}h", justify="right")
    step = 1 if len(hours) <= 12 else 2
    for name, day in week.items():
        if any(value is not None for value in day):
            table.add_row(name, *(_highest_of(day[hour : hour + step]) for hour in shown))
    return table


def _highest_of(values: tuple[float | None, ...]) -> str:
    known = [value for value in values if value is not None]
    return f"{max(known):.3g}" if known else "-"
