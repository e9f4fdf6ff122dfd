"""Plots as SVG without scripts or, by matplotlib, as PNG: attainment by rate, latencies, instances by the hour."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from sky_melange.domain.hours import DAY, DAYS, WEEK, Schedule
from sky_melange.domain.plan import Plan
from sky_melange.domain.simulation import Simulation
from sky_melange.domain.units import s_to_ms
from sky_melange.domain.workload import Slo

_HOURS_WIDTH: Final = 800.0
_HOURS_HEIGHT: Final = 264.0
_HOURS_LEFT: Final = 36.0
_RIGHT: Final = 48.0
_TOP: Final = 10.0
_HOURS_BOTTOM: Final = 44.0
_LEAST_OPACITY: Final = 0.15
_DOTS_PER_INCH: Final = 120

_STYLE: Final = (
    "body{font:14px system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#222}"
    "svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#444}"
)
_WIDTH: Final = 800
_HEIGHT: Final = 260
_LEFT: Final = 60
_BOTTOM: Final = 40
_SERIES: Final = "var(--series, #1450a0)"
_TARGET: Final = "var(--target, #c02020)"
_BLUE: Final = "#1450a0"
_RED: Final = "#c02020"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationPlot:
    """`points`: (requests/s, attainment, half of its 95 % interval) by rising rate; `planned`: at the planned rate.

    `required`: the attainment that is asked for, drawn as a line; None: none. Targets in seconds.
    """

    title: str
    points: tuple[tuple[float, float, float], ...]
    planned: Simulation
    required: float | None
    ttft_s: float | None
    tpot_s: float | None


def plot_of(
    points: Iterable[tuple[float, Simulation]], planned: Simulation, slo: Slo, *, title: str, required: float | None
) -> SimulationPlot:
    """`points`: simulations by requests/s, rising."""
    return SimulationPlot(
        title=title,
        points=tuple((rate_rps, found.attainment, found.attainment_error) for rate_rps, found in points),
        planned=planned,
        required=required,
        ttft_s=slo.ttft_s,
        tpot_s=slo.tpot_s,
    )


def page(plot: SimulationPlot) -> str:
    """The page; the same bytes for the same plot."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(plot.title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(_body(plot)) + "\n</body></html>\n"
    )


def hours_plot(plan: Plan, schedule: Schedule, rates_rps: Sequence[float]) -> str:
    """Groups stacked, the first at the bottom and darkest; `rates_rps` of each hour of the cycle are a line on top."""
    layers = list(_layers(plan, schedule))
    counts = list(zip(*(own for _, own in layers), strict=True))
    most, peak_rps, hours = max(sum(row) for row in counts), max(rates_rps), len(counts)
    width, height = _HOURS_WIDTH - _HOURS_LEFT - _RIGHT, _HOURS_HEIGHT - _TOP - _HOURS_BOTTOM

    def x(hour: float) -> float:
        return _HOURS_LEFT + width * hour / hours

    def y(share: float) -> float:
        return _TOP + height * (1.0 - share)

    areas, names = [], []
    for index, (layer, own) in enumerate(layers):
        below = [sum(row[:index]) / most for row in counts]
        above = [sum(row[: index + 1]) / most for row in counts]
        path = _steps(above, x, y) + _steps(below, x, y)[::-1]
        name = escape(f"{layer}: {min(own)} to {max(own)} instances")
        areas.append(
            f'<polygon points="{" ".join(path)}" fill="var(--series, #1450a0)" '
            f'fill-opacity="{_opacity(index, len(layers)):.2f}">'
            f"<title>{name}</title></polygon>"
        )
        names.append(name)
    line = " ".join(_steps([rate / peak_rps for rate in rates_rps], x, y)) if peak_rps else ""
    marks = "".join(
        f'<line x1="{x(hour):.1f}" x2="{x(hour):.1f}" y1="{_TOP}" y2="{y(0):.1f}" stroke="var(--rule, #ddd)"/>'
        f'<text x="{x(hour) + 3:.1f}" y="{y(0) + 16:.1f}">{name}</text>'
        for hour, name in _ticks(hours)
    )
    return svg(
        f'{marks}{"".join(areas)}<polyline points="{line}" fill="none" stroke="var(--ink, #1c2024)" '
        f'stroke-width="1.5"/><text x="{_HOURS_LEFT - 6}" y="{_TOP + 8}" text-anchor="end">{most}</text>'
        f'<text x="{_HOURS_LEFT - 6}" y="{y(0):.1f}" text-anchor="end">0</text>'
        f'<text x="{_HOURS_WIDTH}" y="{_TOP + 8}" text-anchor="end">{peak_rps:.4g} rps</text>',
        f"Instances by the hour, {schedule.time_zone}: {'; '.join(names)}. Traffic: {min(rates_rps):.4g} to "
        f"{peak_rps:.4g} requests per second.",
    )


def _body(plot: SimulationPlot) -> Iterator[str]:
    yield f"<h1>{escape(plot.title)}</h1>"
    yield (
        "<p>Share of requests within all targets, by request rate. The upright line is the planned rate; bars are 95 % "
        "confidence intervals.</p>"
    )
    yield curve(plot)
    for name, bins, target in _histograms(plot):
        most = f", the last bar holds what is longer than {s_to_ms(bins[-1][0]):.4g} ms" if bins else ""
        yield f"<p>{name} at the planned rate, requests by ms{most}; the upright line is the target.</p>"
        yield _histogram(bins, target)


def _histograms(plot: SimulationPlot) -> Iterator[tuple[str, tuple[tuple[float, int], ...], float | None]]:
    yield "TPOT", plot.planned.histogram_tpot_s, plot.tpot_s
    yield "TTFT", plot.planned.histogram_ttft_s, plot.ttft_s


def curve(plot: SimulationPlot) -> str:
    """Attainment by rate, as SVG; the page around it may set its colours (--series, --target, --rule)."""
    top = max(rate for rate, _, _ in plot.points)
    low = _floor(plot)

    def x(rate: float) -> float:
        return _LEFT + (_WIDTH - _LEFT) * rate / top

    def y(share: float) -> float:
        return (_HEIGHT - _BOTTOM) * (1.0 - (max(share, low) - low) / (1.0 - low)) + 6

    line = " ".join(f"{x(rate):.1f},{y(share):.1f}" for rate, share, _ in plot.points)
    marks = "".join(
        f'<line x1="{x(rate):.1f}" x2="{x(rate):.1f}" y1="{y(min(1.0, share + error)):.1f}" '
        f'y2="{y(share - error):.1f}" stroke="{_SERIES}"/>'
        f'<circle cx="{x(rate):.1f}" cy="{y(share):.1f}" r="3" fill="{_SERIES}">'
        f"<title>{rate:.4g} req/s: {share:.3%}</title></circle>"
        for rate, share, error in plot.points
    )
    planned = x(plot.planned.request_rate_rps)
    ticks = "".join(
        f'<text x="{x(rate):.1f}" y="{_HEIGHT - 14}" text-anchor="middle">{rate:.4g}</text>'
        for rate, _, _ in plot.points[::2]
    )
    levels = "".join(
        f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y(level):.1f}" y2="{y(level):.1f}" stroke="var(--rule, #ddd)"/>'
        f'<text x="{_LEFT - 6}" y="{y(level) + 4:.1f}" text-anchor="end">{level:.0%}</text>'
        for level in (low, (1 + low) / 2, 1.0)
    )
    if plot.required is not None and plot.required > low:
        levels += _across(y(plot.required))
    return svg(
        f'{levels}{_upright(planned)}<polyline points="{line}" fill="none" stroke="{_SERIES}" stroke-width="2"/>{marks}'
        f'{ticks}<text x="{_WIDTH}" y="{_HEIGHT}" text-anchor="end">requests/s</text>',
        "Share of requests within all targets, by requests per second: "
        + ", ".join(f"{share:.1%} at {rate:.4g}" for rate, share, _ in plot.points),
    )


def _floor(plot: SimulationPlot) -> float:
    """Where the axis begins: at a round share below the lowest, so that the high ones can be distinguished."""
    lowest = min(share for _, share, _ in plot.points)
    return 0.0 if lowest < 0.5 else 0.5 if lowest < 0.9 else 0.9


def _histogram(bins: Sequence[tuple[float, int]], target: float | None) -> str:
    if not bins:
        return "<p>No request was served.</p>"
    width_s = bins[1][0] - bins[0][0] if len(bins) > 1 else bins[0][0] or 1.0
    top = max(bins[-1][0] + width_s, target or 0.0)
    most = max(count for _, count in bins)

    def x(seconds: float) -> float:
        return _LEFT + (_WIDTH - _LEFT) * seconds / top

    bars = "".join(
        f'<rect x="{x(low):.1f}" y="{(_HEIGHT - _BOTTOM) * (1 - count / most) + 6:.1f}" '
        f'width="{max(1.0, x(low + width_s) - x(low) - 1):.1f}" height="{(_HEIGHT - _BOTTOM) * count / most:.1f}" '
        f'fill="{_SERIES}">'
        f"<title>{s_to_ms(low):.4g} ms: {count:,}</title></rect>"
        for low, count in bins
    )
    ticks = "".join(
        f'<text x="{x(top * part):.1f}" y="{_HEIGHT - 14}" text-anchor="middle">{s_to_ms(top * part):.4g}</text>'
        for part in (0.0, 0.25, 0.5, 0.75)
    )
    line = "" if target is None else _upright(x(target))
    return svg(f'{bars}{line}{ticks}<text x="{_WIDTH}" y="{_HEIGHT}" text-anchor="end">ms</text>', "Requests by ms")


def _upright(at: float) -> str:
    return (
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{_HEIGHT - _BOTTOM + 6}" stroke="{_TARGET}" stroke-width="2"/>'
    )


def _across(at: float) -> str:
    return f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{at:.1f}" y2="{at:.1f}" stroke="{_TARGET}" stroke-dasharray="4"/>'


def svg(content: str, label: str) -> str:
    """A picture of 800 × 264, with a label for who cannot see it."""
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 4}" role="img" aria-label="{escape(label)}">{content}</svg>'


def png(plot: SimulationPlot) -> bytes:
    """The same by matplotlib, which must be installed (`heat_map_png.require_matplotlib`)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 9), layout="constrained")
    curve, *spreads = figure.subplots(3, 1)
    rates, shares, errors = zip(*plot.points, strict=True)
    curve.errorbar(rates, shares, yerr=errors, color=_BLUE, marker="o", markersize=3)
    curve.axvline(plot.planned.request_rate_rps, color=_RED)
    if plot.required is not None:
        curve.axhline(plot.required, color=_RED, linestyle="--")
    curve.set(title=plot.title, xlabel="requests/s", ylabel="within targets", ylim=(_floor(plot), 1.005))
    for axes, (name, bins, target) in zip(spreads, _histograms(plot), strict=True):
        if len(bins) > 1:
            width = bins[1][0] - bins[0][0]
            axes.bar([s_to_ms(low) for low, _ in bins], [n for _, n in bins], s_to_ms(width), align="edge", color=_BLUE)
        if target is not None:
            axes.axvline(s_to_ms(target), color=_RED)
        axes.set(xlabel=f"{name}, ms", ylabel="requests")
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    return stream.getvalue()


def hours_png(plan: Plan, schedule: Schedule, rates_rps: Sequence[float]) -> bytes:
    """The same by matplotlib, which must be installed (`heat_map_png.require_matplotlib`)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    layers, edges = list(_layers(plan, schedule)), range(schedule.hours + 1)
    # Each hour goes on to the next, and so does the last.
    axes.stackplot(
        edges,
        *([*own, own[-1]] for _, own in layers),
        labels=[f"{name}: {min(own)} to {max(own)}" for name, own in layers],
        colors=[(0.078, 0.314, 0.627, _opacity(index, len(layers))) for index in range(len(layers))],
        step="post",
    )
    axes.set(xlim=(0, schedule.hours), ylim=(0, None), ylabel="instances", xlabel=schedule.time_zone)
    axes.set_title(f"{plan.name}: instances by the hour, and requests/s", parse_math=False)
    axes.set_xticks(*zip(*_ticks(schedule.hours), strict=True))
    traffic = axes.twinx()
    traffic.step(edges, [*rates_rps, rates_rps[-1]], where="post", color="#1c2024", label="requests/s")
    traffic.set(ylim=(0, None), ylabel="requests/s")
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return stream.getvalue()


def _layers(plan: Plan, schedule: Schedule) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and instances in each hour of each group: first those that are committed, then what is paid by the hour."""
    for index, group in enumerate(plan.groups):
        own = [schedule.periods[period].instances[index] for period in schedule.period_of_hour]
        term = 0 if group.committed is None else group.committed.instances
        if term:
            yield f"{group.name}, committed", tuple(min(n, term) for n in own)
        if max(own) > term:
            name = f"{group.name}, by the hour" if term else group.name
            yield name, tuple(max(0, n - term) for n in own)


def _opacity(index: int, layers: int) -> float:
    return max(_LEAST_OPACITY, 0.6 * (1.0 - index / layers))


def _ticks(hours: int) -> list[tuple[int, str]]:
    if hours == WEEK:
        return [(day * DAY, DAYS[day][:3]) for day in range(hours // DAY)]
    return [(hour, f"{hour:02d}:00") for hour in range(0, hours, 6)]


def _steps(shares: Sequence[float], x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
    points = []
    for hour, share in enumerate(shares):
        points += [f"{x(hour):.1f},{y(share):.1f}", f"{x(hour + 1):.1f},{y(share):.1f}"]
    return points
