"""The instances of a schedule over its week or day, against the traffic, as SVG or, by matplotlib, as PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final

from sky_melange.domain.hours import DAY, DAYS, WEEK, Schedule
from sky_melange.domain.plan import Plan
from sky_melange.render.simulation_plot import svg

_WIDTH: Final = 800.0
_HEIGHT: Final = 264.0
_LEFT: Final = 36.0
_RIGHT: Final = 48.0
_TOP: Final = 10.0
_BOTTOM: Final = 44.0
_LEAST_OPACITY: Final = 0.15
_DOTS_PER_INCH: Final = 120


def hours_plot(plan: Plan, schedule: Schedule, rates_rps: Sequence[float]) -> str:
    """Groups stacked, the first at the bottom and darkest; `rates_rps` of each hour of the cycle are a line on top."""
    layers = list(_layers(plan, schedule))
    counts = list(zip(*(own for _, own in layers), strict=True))
    most, peak_rps, hours = max(sum(row) for row in counts), max(rates_rps), len(counts)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(hour: float) -> float:
        return _LEFT + width * hour / hours

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
        f'stroke-width="1.5"/><text x="{_LEFT - 6}" y="{_TOP + 8}" text-anchor="end">{most}</text>'
        f'<text x="{_LEFT - 6}" y="{y(0):.1f}" text-anchor="end">0</text>'
        f'<text x="{_WIDTH}" y="{_TOP + 8}" text-anchor="end">{peak_rps:.4g} rps</text>',
        f"Instances by the hour, {schedule.time_zone}: {'; '.join(names)}. Traffic: {min(rates_rps):.4g} to "
        f"{peak_rps:.4g} requests per second.",
    )


def png(plan: Plan, schedule: Schedule, rates_rps: Sequence[float]) -> bytes:
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
