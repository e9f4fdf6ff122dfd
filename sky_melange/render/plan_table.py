"""A plan for people: the answer on one screen, and all of it where that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sky_melange.domain.plan import Alternative, Plan, ReplicaGroup
from sky_melange.domain.profile import ProfileError, interval_text
from sky_melange.domain.unit_costs import unit_costs
from sky_melange.domain.workload import Workload
from sky_melange.render import explain_table
from sky_melange.render import plan_answer as answer
from sky_melange.render.foreign_text import escape, fenced, folded, table, within
from sky_melange.render.money import hourly, monthly, unit_line
from sky_melange.render.plan_answer import (
    HEAD,
    MOST_WARNINGS,
    NUMBERS,
    PRICES_IN_DOUBT,
    attained,
    headline,
    lead,
    more_warnings,
    verdict,
    warnings,
)
from sky_melange.render.plan_answer import group_rows as group_lines
from sky_melange.render.plan_sentences import (
    SCENARIO_HEAD,
    SCENARIO_NUMBERS,
    commitment_sentences,
    emission_sentence,
    missing_sentences,
    plan_sentences,
    scenario_rows,
    simulated_sentences,
)
from sky_melange.render.schedule_text import PERIOD_HEAD, PERIOD_NUMBERS, as_run, period_rows, period_title, picture
from sky_melange.render.text import NO_BREAK, WIDTH, Breakable, counted, new_table, to_text

MOST_CHARACTERS: Final = 60_000
"""A comment takes 65,536."""

_SAME_COST: Final = 1e-9
_MOST_LINES: Final = 2
_OF_PRICES: Final = 4
_SHORTEST: Final = 80
_CUT: Final = " … (-v)"
_HIDDEN_BELOW: Final = {2: 60, 3: 70, 5: 50, 6: 90}
"""Column of HEAD -> the least width of a terminal that has room for it."""

GROUP_HEAD: Final = ("Group", "Count", "Each", "USD/h each", "USD/h", "Load", "Requests")
GROUP_NUMBERS: Final = (1, 3, 4, 5, 6)
TYPE_HEAD: Final = ("Type", "Instances", "GPUs", "USD/h", "USD/month", "Against the plan")
TYPE_NUMBERS: Final = (1, 2, 3, 4)


def render(plan: Plan, workload: Workload, *, color: bool, width: int = WIDTH, is_verbose: bool = False) -> str:
    """The text; `color` adds terminal codes. `is_verbose`: with all that plan.json says."""
    return to_text(*_answer(plan, workload, width, is_verbose=is_verbose), color=color, width=width)


def render_markdown(plan: Plan, workload: Workload) -> str:
    """The text; what nobody acts on is folded."""
    lines = [f"**{escape(sentence)}**  " for sentence in missing_sentences(plan)]
    lines += [f"**{escape(answer.headline(plan))}**", ""]
    sentences = (
        answer.lead(plan, workload),
        answer.verdict(plan, workload),
        answer.attained(plan, workload.slo),
        *plan_sentences(plan, workload),
    )
    lines += [text for sentence in sentences for text in (escape(sentence), "")]
    lines += [*table(answer.HEAD, map(_plain, answer.group_rows(plan)), right=answer.NUMBERS), ""]
    doubts = answer.warnings(plan)
    lines += [text for doubt in doubts[: answer.MOST_WARNINGS] for text in (f"⚠️ {escape(doubt)}", "")]
    if len(doubts) > answer.MOST_WARNINGS:
        lines += [answer.more_warnings(len(doubts) - answer.MOST_WARNINGS, "below"), ""]
    rows = [[" · ".join(_plain(cell.splitlines())) for cell in row] for row in (*group_rows(plan), total_row(plan))]
    units = unit_line(unit_costs(plan.mean_usd_per_hour, workload.traffic))
    said = [f"- {escape(sentence)}" for sentence in (units, *simulated_sentences(plan))]
    lines += [*folded("Groups", [*table(GROUP_HEAD, rows, right=GROUP_NUMBERS), "", *said]), ""]
    if plan.warnings:
        lines += [
            *folded(f"Warnings ({len(plan.warnings)})", [f"- {escape(warning)}" for warning in plan.warnings]),
            "",
        ]
    if plan.explanation is not None:
        lines += [*folded("Why", fenced(explain_table.render(plan.explanation, color=False).splitlines())), ""]
    schedule = as_run(plan, workload)
    if schedule is not None:
        rows = [list(row) for row in period_rows(plan, schedule)]
        lines += [f"{period_title(schedule)}:", "", *table(PERIOD_HEAD, rows, right=PERIOD_NUMBERS), ""]
        lines += [*fenced(list(picture(schedule))), ""]
    lines += [text for sentence in commitment_sentences(plan) for text in (escape(sentence), "")]
    if plan.commitments is not None:
        lines += [*table(SCENARIO_HEAD, map(list, scenario_rows(plan)), right=SCENARIO_NUMBERS), ""]
    types = table(TYPE_HEAD, type_rows(plan), right=TYPE_NUMBERS)
    lines += [*folded(types_title(plan), types), ""]
    lines += folded("Taken for granted", [f"- {escape(assumption)}" for assumption in plan.assumptions])
    return within(lines, MOST_CHARACTERS)


def _answer(plan: Plan, workload: Workload, width: int, *, is_verbose: bool) -> Iterator[RenderableType]:
    yield from (Text(sentence, style="bold") for sentence in missing_sentences(plan))
    yield Text(headline(plan), style="bold")
    yield Text(lead(plan, workload))
    yield ""
    yield _groups(plan) if is_verbose else _lines(plan, width)
    yield ""
    yield Text(verdict(plan, workload))
    full = list(simulated_sentences(plan)) if is_verbose else []
    yield from map(Text, full or [attained(plan, workload.slo)])
    yield from (Text(sentence) for sentence in plan_sentences(plan, workload))
    yield from _hours(plan, workload)
    yield from _commitments(plan)
    if is_verbose:
        yield from _details(plan, workload)
        return
    doubts = warnings(plan)
    # Doubts are part of the answer: whoever reads the total must see them.
    if doubts:
        yield ""
    for doubt in doubts[:MOST_WARNINGS]:
        lines = _OF_PRICES if doubt.startswith(PRICES_IN_DOUBT) else _MOST_LINES
        yield Text(shortened(f"! {doubt}", max(width, _SHORTEST) * lines))
    if len(doubts) > MOST_WARNINGS:
        yield Text(more_warnings(len(doubts) - MOST_WARNINGS, "with -v"))


def _details(plan: Plan, workload: Workload) -> Iterator[RenderableType]:
    yield Text(unit_line(unit_costs(plan.mean_usd_per_hour, workload.traffic)))
    if plan.emissions is not None:
        yield Text(emission_sentence(plan))
    yield from ("", _alternatives(plan), "")
    for title, lines in (("Warnings:", plan.warnings), ("Taken for granted:", plan.assumptions)):
        if lines:
            yield Text(title)
        yield from (Text(f"- {line}") for line in lines)


def _hours(plan: Plan, workload: Workload) -> Iterator[RenderableType]:
    """The periods and the picture of a schedule."""
    schedule = as_run(plan, workload)
    if schedule is None:
        return
    table = new_table(title=period_title(schedule), expand=False)
    for place, name in enumerate(PERIOD_HEAD):
        table.add_column(name, justify="right" if place in PERIOD_NUMBERS else "left")
    for row in period_rows(plan, schedule):
        table.add_row(*(Breakable(cell) if place not in PERIOD_NUMBERS else cell for place, cell in enumerate(row)))
    yield from ("", table)
    if not schedule.is_even:
        yield ""
        yield from (Text(line) for line in picture(schedule))


def _commitments(plan: Plan) -> Iterator[RenderableType]:
    """What is bought for a term, with its downside."""
    sentences = list(commitment_sentences(plan))
    if not sentences:
        return
    yield ""
    yield from map(Text, sentences)
    rows = list(scenario_rows(plan))
    if rows:
        table = new_table(expand=False)
        for place, name in enumerate(SCENARIO_HEAD):
            table.add_column(name, justify="right" if place in SCENARIO_NUMBERS else "left")
        for row in rows:
            table.add_row(*row)
        yield from ("", table)


def shortened(text: str, most: int) -> str:
    """At most so many characters, cut between words; the rest is shown with -v."""
    if len(text) <= most:
        return text
    return text[: most - len(_CUT)].rpartition(" ")[0].rstrip(",;:(") + _CUT


def _lines(plan: Plan, width: int) -> Table:
    """One line a group; narrow terminals show fewer columns, never part of a figure."""
    table = new_table(expand=True)
    rows = list(group_lines(plan))
    shown = [place for place in range(len(HEAD)) if place not in _HIDDEN_BELOW or width >= _HIDDEN_BELOW[place]]
    for place in shown:
        is_wide = HEAD[place] == "Where"
        table.add_column(
            HEAD[place],
            justify="right" if place in NUMBERS else "left",
            no_wrap=place > 0,
            overflow="ellipsis" if is_wide else "fold",
            ratio=1 if is_wide else None,
        )
    for row in rows:
        table.add_row(*(Breakable(row[place]) if place == 0 else row[place].replace(NO_BREAK, " ") for place in shown))
    return table


def group_rows(plan: Plan) -> Iterator[tuple[str, ...]]:
    """Under GROUP_HEAD: the groups, then what is launched beside them."""
    for group in plan.groups:
        yield (
            group.name,
            str(group.instances),
            _each(group),
            hourly(group.price_usd_per_hour),
            hourly(group.cost_usd_per_hour),
            f"{group.utilization:.0%}",
            f"{plan.request_fraction(group.name):.1%}",
        )
    for machine in plan.overhead:
        price = "not known" if machine.price_usd_per_hour is None else hourly(machine.price_usd_per_hour)
        where = f"{machine.instance_type or 'machine'}\n{machine.cloud} {machine.region}"
        yield machine.purpose, "1", where, price, price, "", ""


def total_row(plan: Plan) -> tuple[str, ...]:
    """Under the groups."""
    instances = sum(group.instances for group in plan.groups)
    return "Total", str(instances), "", "", hourly(plan.cost.total_usd_per_hour), "", ""


def _groups(plan: Plan) -> Table:
    table = new_table(show_footer=True)
    for place, (name, total) in enumerate(zip(GROUP_HEAD, total_row(plan), strict=True)):
        if place in GROUP_NUMBERS:
            table.add_column(name, footer=total, justify="right")
        else:
            table.add_column(name, footer=total, overflow="fold", ratio=1 if name == "Each" else None)
    for group, count, each, *figures in group_rows(plan):
        table.add_row(Breakable(group), count, Breakable(each), *figures)
    return table


def _each(group: ReplicaGroup) -> str:
    spot = "spot " if group.use_spot else ""
    place = " ".join(filter(None, (group.cloud, group.zone or group.region)))
    layout = (
        f", {counted(group.replicas_per_instance, group.layout_text.replace('TP ', f'TP{NO_BREAK}'))}"
        if group.accelerators_per_instance > 1 or group.layout_text != "TP 1"
        else ""
    )
    dated = "as stated" if group.price.is_of_own_gpus else group.price.data_date or "of unknown date"
    return (
        f"{spot}{group.instance_type}\n{place}, {counted(group.gpus_text, group.accelerator)}{layout}\n"
        f"price {dated}\nthroughput {group.profile.kind}, {error_text(group.profile.error)}"
        f"{_slower(group.profile.slower_by)}"
    )


def _slower(factor: float) -> str:
    """The pessimistic end that the plan rests on."""
    return "" if factor <= 1.0 else f",\nplanned {factor - 1:.0%} slower than predicted"


def error_text(error: ProfileError | None) -> str:
    """Of the request rate, which is what a plan is made of; else of TPOT."""
    rate = None if error is None else error.request_rate_within
    interval = rate if error is None or rate is not None else error.tpot_within
    return "error unknown" if interval is None else f"{interval_text(interval)}{' TPOT' if rate is None else ''}"


def types_title(plan: Plan) -> str:
    """Above TYPE_HEAD."""
    loads = "" if plan.simulated is None else ", at the loads of the plan, not simulated"
    hours = "" if plan.schedule is None else ", around the clock"
    return f"One type alone{hours} (in total, with controller and router{loads})"


def type_rows(plan: Plan) -> Iterator[tuple[str, ...]]:
    """Under TYPE_HEAD."""
    for alternative in plan.alternatives:
        yield alternative.label, *_alternative_cells(plan, alternative)


def _alternatives(plan: Plan) -> Table:
    table = new_table(title=types_title(plan), expand=False)
    for place, name in enumerate(TYPE_HEAD):
        table.add_column(name, justify="right" if place in TYPE_NUMBERS else "left")
    table.columns[-1].overflow = "fold"
    for row in type_rows(plan):
        table.add_row(*row)
    return table


def _alternative_cells(plan: Plan, alternative: Alternative) -> tuple[str, str, str, str, str]:
    cost = alternative.total_usd_per_hour
    if cost is None:
        return "-", "-", "-", "-", alternative.note
    total = plan.mean_usd_per_hour
    extra = cost - total
    if abs(extra) <= _SAME_COST * max(1.0, total):
        against = "the plan"
    else:
        # Of capacity that is paid for already no price is a multiple.
        against = f"{extra / total:+.1%}" if total > 0 else f"USD {hourly(extra)} more"
    note = "; ".join(filter(None, (against, alternative.note)))
    return str(alternative.instances), str(alternative.accelerators), hourly(cost), monthly(cost), note


def _plain(cells: Iterable[str]) -> list[str]:
    return [cell.replace(NO_BREAK, " ") for cell in cells]
