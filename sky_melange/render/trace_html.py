"""A counted log as one HTML page without scripts or outside references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Final

from sky_melange.domain.trace import REJECTION_MEANINGS, RateSummary, TraceSummary
from sky_melange.render.trace_report import DAYS, hours_line, moment, rate_lines, rates_by_day

_STYLE: Final = (
    "body{font:14px system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .5em;text-align:right;font-variant-numeric:"
    "tabular-nums}th{font-weight:600}caption{text-align:left;font-weight:600;padding:.25em 0}.dark{color:#fff}"
)
_CHART_WIDTH: Final = 960
_CHART_HEIGHT: Final = 200


def page(summary: TraceSummary) -> str:
    """The page; the same bytes for the same summary."""
    title = escape(f"{summary.source}: request sizes and rate")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(_body(summary)) + "\n</body></html>\n"
    )


def _body(summary: TraceSummary) -> Iterator[str]:
    yield f"<h1>{escape(summary.source)}</h1>"
    yield (
        f"<p>{summary.requests:,} requests ({escape(summary.columns.layout)}): {summary.requests_inside:,} in the "
        f"buckets, {summary.outside.requests:,} larger than the last edges; {summary.rows_rejected:,} rows not "
        "counted.</p>"
    )
    if summary.rejected:
        items = (
            f"<li>{count:,} × <code>{name}</code>: {escape(REJECTION_MEANINGS[name])}</li>"
            for name, count in summary.rejected.items()
        )
        yield f"<ul>{''.join(items)}</ul>"
    yield from (f"<p>{escape(note)}</p>" for note in summary.notes)
    yield _heat_map(summary)
    if summary.rate is None:
        yield "<p>The log has no times, so no rate.</p>"
        return
    yield from (f"<p>{escape(line)}</p>" for line in rate_lines(summary.rate))
    yield _chart(summary.rate)
    if summary.rate.hour_of_week is not None:
        caption = "Mean requests/s by hour of the week, UTC; empty where the log says nothing"
        yield _week(dict(zip(DAYS, summary.rate.hour_of_week, strict=True)), caption)
    if summary.rate.hours is not None:
        yield _week(rates_by_day(summary.rate.hours), escape(hours_line(summary.rate.hours)))


def _heat_map(summary: TraceSummary) -> str:
    most = max((cell.requests for cell in summary.cells), default=1)
    head = "".join(f"<th>≤{edge}</th>" for edge in summary.grid.output_edges)
    rows = (
        f"<tr><th>≤{edge}</th>{''.join(_cell(count, count / most, f'{count:,}') for count in row)}</tr>"
        for edge, row in zip(summary.grid.input_edges, summary.counts(), strict=True)
    )
    caption = "Requests by input tokens (rows) and output tokens (columns)"
    return f"<table><caption>{caption}</caption><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _cell(value: float | None, share: float, shown: str) -> str:
    """A cell whose colour grows with the square root of its share, so that small ones are still seen."""
    if not value:
        return f"<td>{'' if value is None else '0'}</td>"
    strength = share**0.5
    dark = ' class="dark"' if strength > 0.6 else ""
    return f'<td{dark} style="background:rgba(20,80,160,{strength:.3f})">{shown}</td>'


def _chart(rate: RateSummary) -> str:
    highest = max(value for _, value in rate.over_time) or 1.0
    width = _CHART_WIDTH / len(rate.over_time)
    bars = (
        f'<rect x="{index * width:.2f}" y="{_CHART_HEIGHT * (1 - value / highest):.2f}" width="{width:.2f}" '
        f'height="{_CHART_HEIGHT * value / highest:.2f}"><title>{moment(rate, start)}: {value:.4g}/s</title></rect>'
        for index, (start, value) in enumerate(rate.over_time)
    )
    planned_rps = rate.planned_rps if rate.hours is None else rate.hours.peak_rps
    line = _CHART_HEIGHT * (1 - min(1.0, planned_rps / highest))
    return (
        f"<p>Rate over time, 0 to {highest:.4g} requests/s; the line is the rate planned for.</p>"
        f'<svg viewBox="0 0 {_CHART_WIDTH} {_CHART_HEIGHT}" width="100%" role="img" fill="#1450a0">{"".join(bars)}'
        f'<line x1="0" x2="{_CHART_WIDTH}" y1="{line:.2f}" y2="{line:.2f}" stroke="#c02020" stroke-width="2"/></svg>'
    )


def _week(week: Mapping[str, tuple[float | None, ...]], caption: str) -> str:
    highest = max((value for day in week.values() for value in day if value is not None), default=0.0) or 1.0
    head = "".join(f"<th>{hour:02d}</th>" for hour in range(24))
    rows = (
        f"<tr><th>{name}</th>{''.join(_cell(v, (v or 0.0) / highest, f'{v or 0.0:.3g}') for v in day)}</tr>"
        for name, day in week.items()
    )
    return f"<table><caption>{caption}</caption><tr><th></th>{head}</tr>{''.join(rows)}</table>"
