"""A plan for people: what to launch, what it costs, and what one type alone would cost. Fits 100 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.table import Table
from rich.text import Text

from sky_melange.domain.plan import Alternative, Plan, ReplicaGroup
from sky_melange.domain.profile import ProfileError
from sky_melange.domain.unit_costs import unit_costs
from sky_melange.domain.workload import Workload
from sky_melange.render.money import hourly, monthly
from sky_melange.render.plan_sentences import KEEP, missing_sentences, plan_sentences, price_doubts, simulated_sentences
from sky_melange.render.text import NO_BREAK, Breakable, counted, new_table, to_text
from sky_melange.render.unit_text import unit_line

_SAME_COST: Final = 1e-9


GROUP_HEAD: Final = ("Group", "Count", "Each", "USD/h each", "USD/h", "Load", "Requests")
GROUP_NUMBERS: Final = (1, 3, 4, 5, 6)
TYPE_HEAD: Final = ("Type", "Instances", "GPUs", "USD/h", "USD/month", "Against the plan")
TYPE_NUMBERS: Final = (1, 2, 3, 4)


def render(plan: Plan, workload: Workload, *, color: bool) -> str:
    """The text; `color` adds terminal codes."""
    doubts = [f"- {warning}" for warning in price_doubts(plan)]
    return to_text(
        *(Text(sentence, style="bold") for sentence in missing_sentences(plan)),
        Text(headline(plan, workload), style="bold"),
        *(Text(sentence) for sentence in answer(plan, workload)),
        "",
        _groups(plan),
        "",
        _alternatives(plan),
        "",
        # Doubts about prices are part of the answer: whoever reads the total must see them.
        *(Text(line) for line in (["Prices in doubt:", *doubts, ""] if doubts else [])),
        Text("Taken for granted:"),
        *(Text(f"- {assumption}") for assumption in plan.assumptions),
        color=color,
    )


def answer(plan: Plan, workload: Workload) -> Iterator[str]:
    """What the headline means, in sentences."""
    yield unit_line(unit_costs(plan.cost.total_usd_per_hour, workload.traffic))
    yield verdict(plan)
    yield from simulated_sentences(plan)
    yield from plan_sentences(plan, workload)


def headline(plan: Plan, workload: Workload) -> str:
    """What is launched, and what it costs."""
    total = plan.cost.total_usd_per_hour
    instances = sum(group.instances for group in plan.groups)
    return (
        f"{plan.name}: {workload.model.id} at {workload.traffic.request_rate_rps:,.10g} req/s on {instances:,} "
        f"instance{'s' if instances != 1 else ''} in {len(plan.groups)} group{'s' if len(plan.groups) != 1 else ''}: "
        f"USD {hourly(total)} per hour, {monthly(total)} per month ({proof(plan)})."
    )


def proof(plan: Plan) -> str:
    """What stands behind the total."""
    if plan.simulated is not None:
        found = "the cheapest found that holds in simulation"
    else:
        found = "proven cheapest" if plan.status == "optimal" else f"not proven cheapest, {_gap(plan)}"
    found += "" if plan.switching is None else ", counting the charge for changes"
    unpriced = [machine.purpose for machine in plan.overhead if machine.price_usd_per_hour is None]
    return found + (f", without the {' and the '.join(unpriced)}, whose price is not known" if unpriced else "")


def _gap(plan: Plan) -> str:
    return "gap not known" if plan.mip_gap is None else f"gap {plan.mip_gap:.2%}"


def verdict(plan: Plan) -> str:
    """One sentence: what the mix saves against the best single type, or that one type is enough.

    Claims only what is proven: a plan that the solver did not finish is the best found, not the best.
    """
    types = sorted({group.accelerator for group in plan.groups})
    costs = [(a.total_usd_per_hour, a.label) for a in plan.alternatives if a.total_usd_per_hour is not None]
    others = [cost for cost, label in costs if [label] != types]
    proven = plan.status == "optimal"
    if proven and plan.switching is not None and costs and min(costs)[0] < plan.cost.total_usd_per_hour - _SAME_COST:
        best, label = min(costs)
        return f"{label} alone would cost {hourly(best)}: what it saves is less than the charge for changes ({KEEP})."
    if len(types) == 1:
        beside = f"; the next type alone costs {hourly(min(others))}" if others else ""
        if proven:
            loads = "" if plan.simulated is None else " at the loads that hold"
            claim = (
                f"No mix of the candidates is cheaper{loads}"
                if plan.switching is None
                else "That counts the charge for changes"
            )
            return f"One type is best: {types[0]}. {claim}{beside}."
        return f"The best plan found has one type: {types[0]}. A cheaper mix is not ruled out{beside}."
    if not costs:
        return "A mix is needed: no single type can carry the traffic alone."
    best, label = min(costs)
    total = plan.cost.total_usd_per_hour
    if total >= best:
        return f"One type alone is no dearer than this mix: {label} costs {hourly(best)}. Give the solver more time."
    lead = "A mix is best" if proven else "The best plan found is a mix"
    return (
        f"{lead}: USD {hourly(total)} per hour in total, {1 - total / best:.1%} less than the best single type "
        f"({label} alone, {hourly(best)})."
    )


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
            f"{_request_share(plan, group):.1%}",
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
    dated = group.price.data_date or "of unknown date"
    return (
        f"{spot}{group.instance_type}\n{place}, {counted(group.accelerators_per_instance, group.accelerator)}{layout}\n"
        f"price {dated}\nthroughput {group.profile.kind}, {error_text(group.profile.error)}"
        f"{_slower(group.profile.slower_by)}"
    )


def _slower(factor: float) -> str:
    """The pessimistic end that the plan rests on."""
    return "" if factor <= 1.0 else f",\nplanned {factor - 1:.0%} slower than predicted"


def error_text(error: ProfileError | None) -> str:
    """Of the request rate, which is what a plan is made of; else of TPOT."""
    rate = None if error is None else error.request_rate_fraction
    fraction = rate if error is None or rate is not None else error.tpot_fraction
    return "error unknown" if fraction is None else f"±{fraction:.0%}{' TPOT' if rate is None else ''}"


def _request_share(plan: Plan, group: ReplicaGroup) -> float:
    total = sum(route.routed_rps for route in plan.routing)
    return sum(route.routed_rps * dict(route.shares).get(group.name, 0.0) for route in plan.routing) / total


def types_title(plan: Plan) -> str:
    """Above TYPE_HEAD."""
    loads = "" if plan.simulated is None else ", at the loads of the plan, not simulated"
    return f"One type alone (in total, with controller and router{loads})"


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
    total = plan.cost.total_usd_per_hour
    extra = cost - total
    if abs(extra) <= _SAME_COST * max(1.0, total):
        against = "the plan"
    else:
        # Of capacity that is paid for already no price is a multiple.
        against = f"{extra / total:+.1%}" if total > 0 else f"USD {hourly(extra)} more"
    note = "; ".join(filter(None, (against, alternative.note)))
    return str(alternative.instances), str(alternative.accelerators), hourly(cost), monthly(cost), note
