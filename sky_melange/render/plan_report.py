"""A plan as one HTML page for whoever signs the bill: no scripts, nothing from elsewhere, light, dark and on paper."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from sky_melange.domain.offer import PriceProvenance
from sky_melange.domain.plan import Plan, mean_cost
from sky_melange.domain.unit_costs import unit_costs
from sky_melange.domain.units import s_to_ms
from sky_melange.domain.workload import Slo, Workload
from sky_melange.render import explain_table, launch_steps, plan_json, plots
from sky_melange.render import plan_answer as answer
from sky_melange.render import plan_table as words
from sky_melange.render.money import hourly, monthly, unit_rows
from sky_melange.render.plan_sentences import (
    SCENARIO_HEAD,
    SCENARIO_NUMBERS,
    commitment_sentences,
    emission_sentence,
    missing_sentences,
    percent,
    plan_sentences,
    scenario_rows,
    simulated_sentences,
)
from sky_melange.render.plots import SimulationPlot, hours_plot
from sky_melange.render.schedule_text import as_run
from sky_melange.render.templates import template_environment
from sky_melange.render.text import counted

_TEMPLATE: Final = "report.html.j2"
_MOST_PLACES: Final = 40
"""Rows of a page that people read; more is in plan.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tile:
    name: str
    value: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A row of a chart of costs: its length in percent of the longest."""

    name: str
    percent: str
    value: str
    note: str
    is_ours: bool


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What a page says first, of a plan or a fleet. `sentences`: what else the total rests on, where there is any."""

    __slots__ = ()
    monthly: str
    hourly: str
    proof: str
    missing: tuple[str, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures(Bill):
    """What a person sees first of a plan, on the page and in SkyPilot's dashboard: texts, all of one computation.

    `sentences`: what routing, a hosted API, losses and changes cost.
    """

    when: str
    tiles: tuple[_Tile, ...]
    why: str
    promise: tuple[str, ...]
    commitments: tuple[str, ...]
    beyond: tuple[str, ...]
    """The list price that was compared, and the CO2e."""
    week: str
    """An SVG of the machines by the hour; empty where they never change."""
    carried: tuple[str, ...]
    """The part of all requests that each group gets, in the plan's order."""


def figures(plan: Plan, workload: Workload) -> Figures:
    """The same arguments, the same texts."""
    total = plan.mean_usd_per_hour
    return Figures(
        monthly=monthly(total),
        hourly=hourly(total),
        when="all day and night" if plan.schedule is None else "on average over its hours",
        proof=answer.proof(plan).capitalize() + ".",
        missing=tuple(missing_sentences(plan)),
        tiles=tuple(_tiles(plan, workload)),
        why=answer.verdict(plan, workload),
        sentences=tuple(plan_sentences(plan, workload)),
        promise=tuple(simulated_sentences(plan)) or (_unsimulated(workload.slo),),
        commitments=tuple(commitment_sentences(plan)),
        beyond=(_hosted(plan), emission_sentence(plan)),
        week=_week(plan, workload),
        carried=tuple(f"{plan.request_fraction(group.name):.1%}" for group in plan.groups),
    )


def page(plan: Plan, workload: Workload, *, today: date, folder: str, plot: SimulationPlot | None = None) -> str:
    """The page; `folder` is where the plan lies, `plot` attainment by rate. Same arguments, same bytes."""
    return (
        template_environment(is_html=True)
        .get_template(_TEMPLATE)
        .render(
            title=f"{plan.name}: {served(workload)}",
            shown=figures(plan, workload),
            scenario_head=SCENARIO_HEAD,
            scenario_rows=list(scenario_rows(plan)),
            scenario_numbers=SCENARIO_NUMBERS,
            group_head=words.GROUP_HEAD,
            group_rows=[*words.group_rows(plan), words.total_row(plan)],
            group_numbers=words.GROUP_NUMBERS,
            types_title=words.types_title(plan),
            alternatives=list(_alternatives(plan)),
            place_head=("Input tokens", "Share of requests", *(group.name for group in plan.groups)),
            place_numbers=range(1, 2 + len(plan.groups)),
            places=list(_places(plan)) if len(plan.groups) > 1 else [],
            curve="" if plot is None else plots.curve(plot),
            risks=risks(plan),
            explanation="" if plan.explanation is None else explain_table.render(plan.explanation, color=False),
            unit_rows=unit_rows(unit_costs(plan.mean_usd_per_hour, workload.traffic)),
            price_rows=list(_prices(plan, today)),
            profile_rows=list(_profiles(plan)),
            assumptions=plan.assumptions,
            steps="\n".join(launch_steps(plan, workload, folder=folder).splitlines()[1:]),
            digest=str(plan_json.document(plan, workload)["plan_sha256"])[:12],
            today=today.isoformat(),
        )
    )


def served(workload: Workload) -> str:
    """What the plan is for."""
    return f"{workload.model.id} at {workload.traffic.request_rate_rps:,.6g} requests per second"


def risks(plan: Plan) -> tuple[str, ...]:
    """What to watch."""
    return plan.warnings or ("Nothing was found that deserves doubt.",)


def _week(plan: Plan, workload: Workload) -> str:
    hours, schedule = workload.traffic.hours, as_run(plan, workload)
    return "" if hours is None or schedule is None or schedule.is_even else hours_plot(plan, schedule, hours.rates_rps)


def _tiles(plan: Plan, workload: Workload) -> Iterator[_Tile]:
    slo, found = workload.slo, plan.simulated
    gpus: dict[str, int] = {}
    for group in plan.groups:
        gpus[group.accelerator] = gpus.get(group.accelerator, 0) + group.instances * group.accelerators_per_instance
    clouds = sorted({group.cloud for group in plan.groups})
    machines = sum(group.instances for group in plan.groups)
    yield _Tile(
        name="Rented",
        value=", ".join(f"{count:,} × {name}" for name, count in sorted(gpus.items())),
        note=f"GPUs, in {machines:,} machine{'s' if machines != 1 else ''} at {', '.join(clouds)}",
    )
    hours, rate_rps = workload.traffic.hours, workload.traffic.request_rate_rps
    yield _Tile(
        name="Serves",
        value=f"{'' if hours is None else 'up to '}{rate_rps:,.6g} requests/s",
        note=f"{rate_rps * 86_400:,.0f} a day, if every second is as busy"
        if hours is None
        else f"{hours.mean_rps * 86_400:,.0f} a day, if every second of an hour is as busy as planned",
    )
    if found is not None:
        yield _Tile(name="Keeps its targets for", value=percent(found.attainment), note=f"of requests: {_targets(slo)}")
    else:
        yield _Tile(
            name="Targets", value="on average" if slo.attainment is None else "not simulated", note=_targets(slo)
        )
    units = unit_costs(plan.mean_usd_per_hour, workload.traffic)
    yield _Tile(name="1,000 requests cost", value=f"USD {units.usd_per_1000_requests:.4g}", note="at that rate")
    worst = mean_cost(plan.cost, plan.groups, plan.schedule).worst_case_usd_per_hour
    if worst > plan.mean_usd_per_hour:
        yield _Tile(
            name="At worst",
            value=f"USD {hourly(worst)}",
            note="per hour, while on-demand machines stand in for all spot machines",
        )


def _targets(slo: Slo) -> str:
    """Latency targets for people who do not know the abbreviations."""
    stated = (
        ("the first token within", slo.ttft_s, ""),
        ("then", slo.tpot_s, " a token"),
        ("in all", slo.ntpot_s, " a token"),
    )
    parts = [f"{lead} {s_to_ms(value):,.6g} ms{unit}" for lead, value, unit in stated if value is not None]
    return ", ".join([*parts, *(f"{each} within {s_to_ms(each.limit_s):,.6g} ms" for each in slo.percentiles)])


def _unsimulated(slo: Slo) -> str:
    if slo.attainment is None:
        return "The targets hold on average in steady state. Single requests were not simulated: `attainment: mean`."
    return "The plan was not simulated (--no-simulate): nobody knows how many requests meet the targets."


def _alternatives(plan: Plan) -> Iterator[Bar]:
    """The plan, then each type alone, to one scale."""
    total = plan.mean_usd_per_hour
    costs = [a.total_usd_per_hour for a in plan.alternatives if a.total_usd_per_hour is not None]
    most = max([total, *costs]) or 1.0
    yield Bar(name="The plan", percent=part(total, most), value=hourly(total), note="", is_ours=True)
    for alternative, row in zip(plan.alternatives, words.type_rows(plan), strict=True):
        cost = alternative.total_usd_per_hour
        machines = "" if cost is None else counted(alternative.accelerators or 0, alternative.label)
        yield Bar(
            name=alternative.label,
            percent=part(cost or 0.0, most),
            value="-" if cost is None else hourly(cost),
            note=", ".join(filter(None, (row[-1], machines))),
            is_ours=False,
        )


def part(value: float, most: float) -> str:
    """The length of a bar, percent."""
    return f"{100 * value / most:.1f}"


def _places(plan: Plan) -> Iterator[tuple[str, ...]]:
    """By input bucket: its share of all requests, and of it the share of each group."""
    total = math.fsum(route.routed_rps for route in plan.routing)
    edges = sorted({route.input_tokens for route in plan.routing})
    for edge in edges[:_MOST_PLACES]:
        routes = [route for route in plan.routing if route.input_tokens == edge]
        rate = math.fsum(route.routed_rps for route in routes)
        shares = [
            math.fsum(route.routed_rps * dict(route.shares).get(group.name, 0.0) for route in routes) / rate
            if rate
            else 0.0
            for group in plan.groups
        ]
        yield f"up to {edge:,}", f"{rate / total:.1%}", *(f"{share:.0%}" if share else "" for share in shares)
    if len(edges) > _MOST_PLACES:
        yield f"{len(edges) - _MOST_PLACES:,} more in plan.json", "", *("" for _ in plan.groups)


def _hosted(plan: Plan) -> str:
    if plan.hosted_api is None:
        return "No list price of a hosted API is known for this model."
    price = plan.hosted_api.price
    return f"The list price of {price.provider} ({price.served_as}) is of {price.dated}: {price.source}."


def _prices(plan: Plan, today: date) -> Iterator[tuple[str, ...]]:
    for group in plan.groups:
        spot = "spot " if group.use_spot else ""
        name = f"{spot}{group.cloud} {group.instance_type}, {group.zone or group.region}"
        yield (name, hourly(group.price_usd_per_hour), *_dated(group.price, today))
    for machine in plan.overhead:
        name = f"{machine.purpose}: {machine.cloud} {machine.instance_type or 'machine'}, {machine.region}"
        price = "not known" if machine.price_usd_per_hour is None else hourly(machine.price_usd_per_hour)
        yield (name, price, *_dated(machine.price, today))


def _dated(price: PriceProvenance | None, today: date) -> tuple[str, str, str]:
    """Source, date and age in days."""
    if price is None:
        return "", "not known", "not known"
    if price.is_of_own_gpus:
        return price.source, "as stated", "0"
    return price.source, price.data_date or "not known", _age(price.data_date, today)


def _age(dated: str, today: date) -> str:
    try:
        return f"{max(0, (today - date.fromisoformat(dated[:10])).days):,}"
    except ValueError:
        return "not known"


def _profiles(plan: Plan) -> Iterator[tuple[str, ...]]:
    for group in plan.groups:
        profile = group.profile
        basis = "" if profile.error is None else f"; {profile.error.statistic}: {profile.error.basis}"
        yield (
            group.name,
            profile.kind.value,
            words.error_text(profile.error),
            f"{profile.source}{basis}",
            profile.fetched_at,
        )
