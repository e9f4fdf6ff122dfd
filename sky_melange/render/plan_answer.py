"""The answer of `plan` that fits a screen: what it costs, what to launch, why, what it attains, what deserves doubt."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sky_melange.domain.plan import Plan, mean_cost
from sky_melange.domain.profile import interval_text
from sky_melange.domain.units import s_to_ms
from sky_melange.domain.workload import Slo, Workload
from sky_melange.render.money import dollars, monthly
from sky_melange.render.plan_sentences import KEEP, percent
from sky_melange.render.schedule_text import clock_sentence
from sky_melange.render.text import counted

MOST_WARNINGS: Final = 3
MOST_GROUPS: Final = 8
HEAD: Final = ("Group", "Count", "Each", "Where", "USD/h", "Load", "Requests")
NUMBERS: Final = (1, 4, 5, 6)

_SAME: Final = 1e-9
PRICES_IN_DOUBT: Final = "Prices in doubt"
_PRICE_DOUBT: Final = re.compile(r"Prices? of (?P<what>[^\s:/]+)")
_SAME_WORDS: Final = 3
"""Warnings of groups that go on with the same words are of one kind."""


def headline(plan: Plan) -> str:
    """What it costs, to the worst case where that is more."""
    cost = mean_cost(plan.cost, plan.groups, plan.schedule)
    total, worst = cost.total_usd_per_hour, cost.worst_case_usd_per_hour
    if worst <= total * (1 + _SAME):
        mean = "" if plan.schedule is None else " on average"
        return f"{plan.name}: USD {dollars(total)} per hour{mean}, {monthly(total)} per month"
    return (
        f"{plan.name}: USD {dollars(total)} to {dollars(worst)} per hour, {monthly(total)} to {monthly(worst)} per "
        "month (the most while on-demand machines stand in for all spot machines)"
    )


def lead(plan: Plan, workload: Workload) -> str:
    """What for, and what stands behind the total."""
    rate_rps = workload.traffic.request_rate_rps
    rate = f"{rate_rps:,.4f}".rstrip("0").rstrip(".") if rate_rps >= 1 else f"{rate_rps:.4g}"
    instances, groups = sum(group.instances for group in plan.groups), len(plan.groups)
    upto = "" if plan.schedule is None else "up to "
    chosen = f" in {workload.model.dtype}, chosen for its cost," if workload.model.dtypes else ""
    return (
        f"{workload.model.id}{chosen} at {upto}{rate} req/s on {upto}{instances:,} "
        f"instance{'s' if instances != 1 else ''} in {groups} group{'s' if groups != 1 else ''}; {proof(plan)}."
    )


def proof(plan: Plan) -> str:
    """What stands behind the total."""
    if plan.simulated is not None:
        found = "the cheapest found that holds in simulation"
    elif plan.schedule is not None and plan.status == "optimal":
        found = f"proven within {_gap(plan).removeprefix('gap ')} of the cheapest schedule"
    else:
        found = "proven cheapest" if plan.status == "optimal" else f"not proven cheapest, {_gap(plan)}"
    found += "" if plan.switching is None else ", counting the charge for changes"
    unpriced = [machine.purpose for machine in plan.overhead if machine.price_usd_per_hour is None]
    return found + (f", without the {' and the '.join(unpriced)}, whose price is not known" if unpriced else "")


def _gap(plan: Plan) -> str:
    return "gap not known" if plan.mip_gap is None else f"gap {plan.mip_gap:.2%}"


def verdict(plan: Plan, workload: Workload | None = None) -> str:
    """What a schedule saves against the same traffic around the clock; without one, how the mix compares."""
    return _of_the_mix(plan) if plan.schedule is None else clock_sentence(plan, plan.schedule, workload)


def _of_the_mix(plan: Plan) -> str:
    """One sentence: what the mix saves against the best single type, or that one type is enough.

    Claims only what is proven: a plan that the solver did not finish is the best found, not the best.
    """
    types = sorted({group.accelerator for group in plan.groups})
    costs = [(a.total_usd_per_hour, a.label) for a in plan.alternatives if a.total_usd_per_hour is not None]
    others = [cost for cost, label in costs if [label] != types]
    proven, total = plan.status == "optimal", plan.cost.total_usd_per_hour
    if proven and plan.switching is not None and costs and min(costs)[0] < total - _SAME:
        best, label = min(costs)
        return f"{label} alone would cost {dollars(best)}: what it saves is less than the charge for changes ({KEEP})."
    if len(types) == 1:
        beside = f"; the next type alone costs {dollars(min(others))}" if others else ""
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
    if total >= best:
        return f"One type alone is no dearer than this mix: {label} costs {dollars(best)}. Give the solver more time."
    lead_in = "A mix is best" if proven else "The best plan found is a mix"
    return f"{lead_in}: {1 - total / best:.1%} less than the best single type ({label} alone, {dollars(best)})."


def attained(plan: Plan, slo: Slo) -> str:
    """Which share of the requests meets the targets, and by how much slower engines would change that."""
    found = plan.simulated
    if found is None:
        if slo.attainment is None:
            return "Targets hold on average in steady state; single requests were not simulated."
        return f"Not simulated: whether {slo.attainment * 100:.6g}% of the requests meet the targets."
    tails = [
        f"p99 {name} {s_to_ms(spread.p99):.4g} ms"
        for name, spread in (("TPOT", found.tpot_s), ("TTFT", found.ttft_s))
        if spread is not None
    ]
    tails += [f"{each.name}: {percent(each.attainment)} within" for each in found.percentiles]
    more = ""
    if found.slower_usd_per_hour is None:
        more = ", and no plan was found that holds then"
    elif found.slower_usd_per_hour:
        more = f", and a plan that holds then costs USD {dollars(found.slower_usd_per_hour)} per hour more"
    busiest, worst = ("", "") if plan.schedule is None else (" of the busiest hour", " in the worst hour")
    return (
        f"{percent(found.attainment)} of {found.requests:,} simulated requests{busiest} meet every target "
        f"({', '.join(tails)}); with engines {found.slower_fraction:.0%} slower "
        f"{percent(found.slower_attainment)}{worst}{more}."
    )


def group_rows(plan: Plan, most: int = MOST_GROUPS) -> Iterator[tuple[str, ...]]:
    """Under HEAD, a line each: the `most` dearest groups in the plan's order, what is left out, what is beside them."""
    dearest = sorted(plan.groups, key=lambda group: -group.cost_usd_per_hour)[:most]
    for group in plan.groups:
        if group in dearest:
            place = " ".join(filter(None, (group.cloud, group.zone or group.region, group.instance_type)))
            yield (
                group.name,
                f"{group.instances:,}",
                ("spot " if group.use_spot else "") + counted(group.gpus_text, group.accelerator),
                place,
                dollars(group.cost_usd_per_hour),
                f"{group.utilization:.0%}",
                f"{plan.request_fraction(group.name):.1%}",
            )
    rest = [group for group in plan.groups if group not in dearest]
    if rest:
        share = plan.request_fraction(*(group.name for group in rest))
        cost = math.fsum(group.cost_usd_per_hour for group in rest)
        count = f"{sum(group.instances for group in rest):,}"
        yield f"{len(rest):,} more (-v)", count, "", "", dollars(cost), "", f"{share:.1%}"
    for machine in plan.overhead:
        price = "unknown" if machine.price_usd_per_hour is None else dollars(machine.price_usd_per_hour)
        where = " ".join(filter(None, (machine.cloud, machine.region, machine.instance_type)))
        yield machine.purpose, "1", "", where, price, "", ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    """A warning, how much money it is about, and the one group that it names; "" where there is not just one."""

    text: str
    usd_per_hour: float
    group: str


def warnings(plan: Plan) -> list[str]:
    """The plan's warnings, one sentence a kind, the most expensive first. plan.json has all of them in full.

    Doubts about prices come first, in one sentence that names each cloud: without them the total is not what it seems.
    """
    unique = dict.fromkeys(plan.warnings)
    of_prices = [warning for warning in unique if _PRICE_DOUBT.match(warning)]
    clouds = dict.fromkeys(cloud for warning in of_prices for cloud in _clouds(plan, warning))
    first = [f"{PRICES_IN_DOUBT} ({', '.join(clouds)}): {of_prices[0]}"] if of_prices else []
    kinds: dict[object, list[_Doubt]] = {}
    for warning in (each for each in unique if each not in of_prices):
        doubt = _doubt(plan, warning)
        before, name, after = warning.partition(doubt.group) if doubt.group else (warning, "", "")
        kind = (before, *after.split()[:_SAME_WORDS]) if name else warning
        kinds.setdefault(kind, []).append(doubt)
    dearest = [(max(doubts, key=lambda each: each.usd_per_hour), len(doubts) - 1) for doubts in kinds.values()]
    dearest.sort(key=lambda each: -each[0].usd_per_hour)
    return first + [
        doubt.text.replace(doubt.group, f"{doubt.group} (and {others} more)", 1) if others else doubt.text
        for doubt, others in dearest
    ]


def more_warnings(count: int, where: str) -> str:
    """What stands in place of those that are not shown."""
    return f"{count} more warning{'s' if count != 1 else ''} {where}."


def _doubt(plan: Plan, warning: str) -> _Doubt:
    """The USD per hour that a warning is about: of the groups that it names, else of the whole plan."""
    named = [group for group in plan.groups if re.search(_name_pattern(group.name), warning)]
    cost = math.fsum(group.cost_usd_per_hour for group in named) if named else plan.cost.total_usd_per_hour
    if warning.startswith("The worst case"):
        cost = math.inf
    elif warning.startswith(("Prices are those of", "Overhead: ")):
        cost = 0.0
    if len(named) != 1:
        return _Doubt(text=warning, usd_per_hour=cost, group="")
    group = named[0]
    error, text = group.profile.error, warning
    fraction = None if error is None else error.request_rate_fraction
    within = interval_text(None if error is None else error.request_rate_within)
    if fraction is not None and warning.startswith(f"Throughput of {group.name} is {group.profile.kind},"):
        # By the hours an instance is paid for a part of them.
        cost *= fraction * plan.mean_usd_per_hour / (plan.cost.total_usd_per_hour or 1.0)
        text = (
            f"Throughput of {group.name} is {group.profile.kind} ({within}): measuring it could change the "
            f"bill by about USD {dollars(cost)} per hour (`sky-melange profiles measure`)."
        )
    return _Doubt(text=text, usd_per_hour=cost, group=group.name)


def _clouds(plan: Plan, doubt: str) -> list[str]:
    """The clouds whose prices are in doubt: of the groups that are named, else the one that is, or whose offer is."""
    named = [group.cloud for group in plan.groups if re.search(_name_pattern(group.name), doubt)]
    found = _PRICE_DOUBT.match(doubt)
    return named or ([found["what"]] if found else [])


def _name_pattern(name: str) -> str:
    return rf"(?<![\w-]){re.escape(name)}(?![\w-])"
