"""The instances of a schedule over its week or day, against the traffic, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def hours_plot(plan: Plan, schedule: Schedule, rates_rps: Sequence[float]) -> str:
    """Groups stacked, the first at the bottom and darkest; `rates_rps` of each hour of the cycle are a line on top."""
    counts = [schedule.periods[period].instances for period in schedule.period_of_hour]
    most, peak_rps, hours = max(sum(row) for row in counts), max(rates_rps), len(counts)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(hour: float) -> float:
        return _LEFT + width * hour / hours

    def y(share: float) -> float:
        return _TOP + height * (1.0 - share)

    areas, names = [], []
    for index, group in enumerate(plan.groups):
        below = [sum(row[:index]) / most for row in counts]
        above = [sum(row[: index + 1]) / most for row in counts]
        path = _steps(above, x, y) + _steps(below, x, y)[::-1]
        opacity = max(_LEAST_OPACITY, 0.6 * (1.0 - index / len(plan.groups)))
        own = [row[index] for row in counts]
        name = escape(f"{group.name}: {min(own)} to {max(own)} instances")
        areas.append(
            f'<polygon points="{" ".join(path)}" fill="var(--series, #1450a0)" fill-opacity="{opacity:.2f}">'
            f"<title>{name}</title></polygon>"
        )
        names.append(name)
    line = " ".join(_steps([rate / peak_rps for rate in rates_rps], x, y)) if peak_rps else ""
    ticks = [(day * DAY, DAYS[day][:3]) for day in range(hours // DAY)]
    if hours != WEEK:
        ticks = [(hour, f"{hour:02d}:00") for hour in range(0, hours, 6)]
    marks = "".join(
        f'<line x1="{x(hour):.1f}" x2="{x(hour):.1f}" y1="{_TOP}" y2="{y(0):.1f}" stroke="var(--rule, #ddd)"/>'
        f'<text x="{x(hour) + 3:.1f}" y="{y(0) + 16:.1f}">{name}</text>'
        for hour, name in ticks
    )
    return svg(
        f'{marks}{"".join(areas)}<polyline points="{line}" fill="none" stroke="var(--ink, #1c2024)" '
        f'stroke-width="1.5"/><text x="{_LEFT - 6}" y="{_TOP + 8}" text-anchor="end">{most}</text>'
        f'<text x="{_LEFT - 6}" y="{y(0):.1f}" text-anchor="end">0</text>'
        f'<text x="{_WIDTH}" y="{_TOP + 8}" text-anchor="end">{peak_rps:.4g} rps</text>',
        f"Instances by the hour, {schedule.time_zone}: {'; '.join(names)}. Traffic: {min(rates_rps):.4g} to "
        f"{peak_rps:.4g} requests per second.",
    )


def _steps(shares: Sequence[float], x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
    points = []
    for hour, share in enumerate(shares):
        points += [f"{x(hour):.1f},{y(share):.1f}", f"{x(hour + 1):.1f},{y(share):.1f}"]
    return points
