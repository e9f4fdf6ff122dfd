"""Why a plan is what it is, for people. Rounding happens here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sky_melange.domain.explanation import ClockValue, Explanation, Leaving, LimitCost, NearMiss, Substitute
from sky_melange.render.money import hourly
from sky_melange.render.plan_sentences import KEEP, free_of_changes
from sky_melange.render.text import WIDTH, Breakable, counted, new_table, to_text

_SAME: Final = 1e-6
_UNPROVEN: Final = "not proven in time"


def render(explanation: Explanation, *, color: bool, width: int = WIDTH) -> str:
    """The text; `color` adds terminal codes."""
    return to_text(*_parts(explanation), color=color, width=width)


def _parts(explanation: Explanation) -> Iterator[RenderableType]:
    yield Text("Why this plan (totals, with controller and router)", style="bold")
    yield from (Text(f"- {sentence}") for sentence in sentences(explanation))
    if explanation.limits:
        yield ""
        yield _limits(explanation)
    yield ""
    yield _leaving(explanation)
    if explanation.near_misses:
        yield ""
        yield _near_misses(explanation)
    if explanation.measurements:
        yield ""
        yield _measurements(explanation)
    yield ""
    yield _mixes(explanation)


def sentences(explanation: Explanation) -> Iterator[str]:
    """What the plan saves, what it still carries, and what its routing costs."""
    cost, single = explanation.total_usd_per_hour, explanation.best_single_usd_per_hour
    is_kept = any(limit.name == KEEP for limit in explanation.limits)
    if single is None:
        yield "No single type can carry the traffic alone."
    elif cost < single * (1 - _SAME):
        yield (
            f"The mix saves {1 - cost / single:.1%} against the best single type: {hourly(cost)} instead of "
            f"{hourly(single)} USD/h for {explanation.best_single_accelerator} alone."
        )
    elif is_kept and cost > single * (1 + _SAME):
        yield (
            f"{explanation.best_single_accelerator} alone would cost {hourly(single)} USD/h, {hourly(cost - single)} "
            f"less: not worth the charge for changes ({KEEP})."
        )
    else:
        yield f"One type is enough: {explanation.best_single_accelerator} alone costs {hourly(single)} USD/h."
    spare = explanation.headroom_rps / explanation.request_rate_rps - 1
    more = f"{spare:.1%} more" if spare >= 0 else f"{-spare:.1%} less"
    yield (
        f"The same instances carry up to {explanation.headroom_rps:.4g} req/s of this traffic ({more}) "
        "within the utilisation limit."
    )
    yield from explanation.other_dtypes
    first = next(iter(explanation.measurements), None)
    if first is not None and first.saves_usd_per_hour:
        yield (
            f"The most valuable profile to measure is that of {first.accelerator}: if it is as fast as predicted, the "
            f"plan costs at least {hourly(first.saves_usd_per_hour)} USD/h less."
        )
    if explanation.clock is not None:
        yield from _of_the_clock(explanation.clock)
    best = explanation.size_aware_total_usd_per_hour
    if is_kept:
        if best is not None and cost > best * (1 + _SAME):
            yield free_of_changes(cost, best)
    elif explanation.policy != "size_aware":
        if best is None:
            yield f"What {explanation.policy} routing costs over size_aware is {_UNPROVEN}."
        elif cost > best * (1 + _SAME):
            more = hourly(cost - best)
            yield f"{explanation.policy} routing costs {more} USD/h more than size_aware ({hourly(best)})."
        else:
            yield f"{explanation.policy} routing costs no more than size_aware would."


def _of_the_clock(clock: ClockValue) -> Iterator[str]:
    """What it is worth to follow the hours, and what more would be worth."""
    fixed, scheduled = clock.fixed_usd_per_hour, clock.scheduled_usd_per_hour
    autoscaled = clock.autoscaled_usd_per_hour
    yield (
        f"By the clock the hours cost {hourly(scheduled)} USD/h on average, {_saving(fixed, scheduled)} the fleet "
        f"around the clock ({hourly(fixed)})."
    )
    if autoscaled is not None:
        yield (
            f"Autoscaled by SkyServe's rules they cost {hourly(autoscaled)}, {_saving(scheduled, autoscaled)} by the "
            f"clock, with {clock.autoscaled_attainment:.2%} of the requests within their targets in a replay of the "
            "hours."
        )
    alike = "" if clock.sizes is None else f" of the sizes {clock.sizes!r}"
    of_others = "" if clock.next_rps is None else f"; the busiest other hour{alike} has {clock.next_rps:.4g}"
    yield f"{clock.busiest_hour} sets the peak with {clock.busiest_rps:.4g} req/s{alike}{of_others}."
    if clock.faster_minutes:
        faster = clock.faster_autoscaled_usd_per_hour
        beside = (
            "" if autoscaled is None or faster is None else f", and {hourly(max(0.0, autoscaled - faster))} autoscaled"
        )
        yield (
            f"If instances started {clock.faster_minutes:g} minutes sooner, that would save "
            f"{hourly(max(0.0, scheduled - clock.faster_scheduled_usd_per_hour))} USD/h by the clock, with the same "
            f"instances in each hour{beside}."
        )
    if clock.nines_attainment is not None:
        wanted = f"{clock.nines_attainment * 100:.10g}% of the requests within their targets"
        if clock.nines_usd_per_hour is None:
            yield f"No fleet was found that keeps {wanted}."
        else:
            more = max(0.0, clock.nines_usd_per_hour - fixed)
            yield f"The next nine, {wanted}, costs {hourly(more)} USD/h more around the clock."


def _saving(before: float, now: float) -> str:
    """`12.3% less than`"""
    return f"{1 - now / before:.1%} less than" if now <= before else f"{now / before - 1:.1%} more than"


def _measurements(explanation: Explanation) -> Table:
    table = new_table(title="What a measurement is worth, if replicas turn out as fast as predicted", expand=False)
    table.add_column("Measure")
    table.add_column("Planned slower by up to", justify="right")
    table.add_column("Then saves at least, USD/h", justify="right")
    for each in explanation.measurements:
        saves = _UNPROVEN if each.saves_usd_per_hour is None else hourly(each.saves_usd_per_hour)
        table.add_row(each.accelerator, f"{each.slower_by - 1:.0%}", saves)
    return table


def _limits(explanation: Explanation) -> Table:
    table = new_table(title="What each constraint costs", expand=False)
    table.add_column("Constraint", overflow="fold")
    table.add_column("Now", justify="right")
    table.add_column("USD/h without it", justify="right")
    table.add_column("Effect")
    for limit in explanation.limits:
        without = limit.cost_without_usd_per_hour
        table.add_row(limit.name, limit.value, "" if without is None else hourly(without), _effect(explanation, limit))
    return table


def _effect(explanation: Explanation, limit: LimitCost) -> str:
    without = limit.cost_without_usd_per_hour
    if without is None:
        return _UNPROVEN
    costs = explanation.total_usd_per_hour - without
    if costs <= _SAME * explanation.total_usd_per_hour:
        return "costs nothing"
    return f"binds: costs {hourly(costs)} USD/h"


def _leaving(explanation: Explanation) -> Table:
    table = new_table(title="When something in the plan gets dearer, or is sold out")
    table.add_column("Offer, or all of a type", overflow="fold", ratio=3)
    table.add_column("USD/h now", justify="right")
    table.add_column("Leaves above", justify="right")
    table.add_column("Without it", overflow="fold", ratio=4)
    table.add_column("USD/h", justify="right")
    for entry in (*explanation.offers, *explanation.accelerators):
        now = "" if entry.price_usd_per_hour is None else hourly(entry.price_usd_per_hour)
        table.add_row(Breakable(_what(entry)), now, _above(entry), Breakable(_instead(entry)), _cost(entry.without))
    return table


def _what(entry: Leaving) -> str:
    return f"all {entry.label}" if entry.price_usd_per_hour is None else entry.label


def _above(entry: Leaving) -> str:
    if not entry.is_proven:
        return _UNPROVEN
    if entry.factor is None:
        return "never"
    price = entry.leaves_at_usd_per_hour
    change = f"{entry.factor - 1:+.1%}"
    return change if price is None else f"{hourly(price)} ({change})"


def _instead(entry: Leaving) -> str:
    if entry.without is None:
        return "no plan" if entry.is_proven else _UNPROVEN
    return ", ".join(counted(count, label) for label, count in entry.without.instances)


def _cost(substitute: Substitute | None) -> str:
    return "" if substitute is None else hourly(substitute.cost_usd_per_hour)


def _near_misses(explanation: Explanation) -> Table:
    table = new_table(title="Nearest to the plan: the price of an instance at which it would enter")
    table.add_column("Type")
    table.add_column("Offer", overflow="fold", ratio=1)
    table.add_column("USD/h now", justify="right")
    table.add_column("Enters below", justify="right")
    for miss in explanation.near_misses:
        table.add_row(miss.accelerator, Breakable(miss.label), hourly(miss.price_usd_per_hour), _below(miss))
    return table


def _below(miss: NearMiss) -> str:
    if not miss.is_proven:
        return _UNPROVEN
    if miss.enters_at_usd_per_hour is None:
        return "not even free"
    return f"{hourly(miss.enters_at_usd_per_hour)} ({miss.enters_at_usd_per_hour / miss.price_usd_per_hour - 1:+.1%})"


def _mixes(explanation: Explanation) -> RenderableType:
    if not explanation.mixes:
        return Text("The request rates at which other types become best were not found in time.")
    table = new_table(title="Types that the cheapest plan can be made of, by request rate", expand=False)
    table.add_column("From req/s", justify="right")
    table.add_column("To req/s", justify="right")
    table.add_column("Types")
    table.add_column("")
    used = {leaving.label for leaving in explanation.accelerators}
    for entry in explanation.mixes:
        is_here = entry.from_rps <= explanation.request_rate_rps <= (entry.changes_at_rps or entry.to_rps)
        types = " + ".join(entry.accelerators)
        note = "one type is enough" if len(entry.accelerators) == 1 else ""
        if is_here:
            note = (
                "this plan" if used == set(entry.accelerators) else f"this plan, with {' + '.join(sorted(used))} alone"
            )
        table.add_row(_rate(entry.from_rps), _rate(entry.to_rps), types, note)
    return table


def _rate(rps: float) -> str:
    """Four digits, never in exponents."""
    digits = 0 if rps >= 1000 else min(12, max(0, 3 - math.floor(math.log10(rps))))
    return f"{rps:,.{digits}f}"
