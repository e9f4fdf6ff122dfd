"""A fleet as one HTML page: what all cost together, who costs what, what is shared, whether each keeps its promise."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Final

from sky_melange.domain.fleet import FleetPlan
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.render import fleet_json, plan_report
from sky_melange.render import fleet_table as words
from sky_melange.render.money import hourly, monthly
from sky_melange.render.plan_report import Bar
from sky_melange.render.plan_sentences import missing_sentences
from sky_melange.render.templates import template_environment

_TEMPLATE: Final = "fleet_report.html.j2"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFigures:
    """What a page says of a fleet first, as texts. Rows are under `fleet_table.MEMBER_HEAD` and `SHARED_HEAD`."""

    title: str
    monthly: str
    hourly: str
    mean: str
    proof: str
    missing: list[str]
    sentences: list[str]
    member_rows: list[tuple[str, ...]]
    shared_rows: list[tuple[str, ...]]
    warnings: list[str]


def figures(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> FleetFigures:
    """Of the fleet; `plans` in the order of the members."""
    count = f"{len(plans)} workload{'s' if len(plans) != 1 else ''}"
    return FleetFigures(
        title=f"{fleet.name}: {count} on one budget",
        monthly=monthly(fleet.mean_usd_per_hour),
        hourly=hourly(fleet.mean_usd_per_hour),
        mean="" if fleet.mean_usd_per_hour == fleet.usd_per_hour else " on average over the hours",
        proof=words.proof(fleet, plans).capitalize() + ".",
        missing=list(dict.fromkeys(sentence for plan, _ in plans for sentence in missing_sentences(plan))),
        sentences=list(words.sentences(fleet)),
        member_rows=list(words.member_rows(fleet, plans)),
        shared_rows=list(words.shared_rows(fleet)),
        warnings=list(fleet.warnings),
    )


def page(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]], *, today: date, folder: str) -> str:
    """The page; `plans` in the order of the members, `folder` is where they lie. Same arguments, same bytes."""
    return (
        template_environment(is_html=True)
        .get_template(_TEMPLATE)
        .render(
            **asdict(figures(fleet, plans)),
            costs=list(_costs(fleet)),
            member_head=words.MEMBER_HEAD,
            member_numbers=words.MEMBER_NUMBERS,
            shared_head=words.SHARED_HEAD,
            shared_numbers=words.SHARED_NUMBERS,
            plans=[
                {
                    "name": plan.name,
                    "title": f"{plan_report.served(workload)}.",
                    "shown": plan_report.figures(plan, workload),
                    "risks": plan_report.risks(plan),
                    "command": f"sky-melange report {shlex.quote(f'{folder}/{plan.name}')}",
                }
                for plan, workload in plans
            ],
            digest=str(fleet_json.document(fleet, plans)["fleet_plan_sha256"])[:12],
            today=today.isoformat(),
        )
    )


def _costs(fleet: FleetPlan) -> Iterator[Bar]:
    """Each workload to one scale, with what it would cost by itself."""
    most = max((member.mean_usd_per_hour for member in fleet.members), default=0.0) or 1.0
    for member in fleet.members:
        cost, alone = member.mean_usd_per_hour, member.alone_usd_per_hour
        yield Bar(
            name=member.name,
            percent=plan_report.part(cost, most),
            value=hourly(cost),
            note="" if alone is None else hourly(alone),
            is_ours=True,
        )
