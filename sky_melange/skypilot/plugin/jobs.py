"""The work of a worker process: text in, text out. The same functions as the command line, and the same bytes.

A workload is planned as if it were a file `workload.yaml` in an empty folder, into `plan` beside it.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from sky_melange import pipeline
from sky_melange.domain.offer import PriceBook
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.profile import Capacity, Profile, Skipped
from sky_melange.domain.spending import Policy
from sky_melange.domain.units import requests_per_usd as per_usd
from sky_melange.domain.units import usd_per_month
from sky_melange.domain.workload import PricePolicy, Workload
from sky_melange.errors import InputError
from sky_melange.plan_file import PlanDocument, read_plan
from sky_melange.prices import current_book
from sky_melange.prices.clouds import enabled_clouds
from sky_melange.prices.names import check_filters
from sky_melange.prices.site import price_site, utc_now
from sky_melange.skypilot.plugin import refuse
from sky_melange.skypilot.plugin.models import CheckRequest, PlanRequest, PolicyRequest, StoreRequest
from sky_melange.skypilot.plugin.refuse import check_plan_document, check_workload_text

_MOST_CELLS: Final = 10_000
"""Over all groups; more than anyone looks at, and a few seconds of work."""

WORKLOAD_FILE: Final = "workload.yaml"
PLAN_FILE: Final = "plan.json"
_POLICY_FILE: Final = "policy.yaml"


def run_job(head: Mapping[str, Any], body: bytes) -> str:
    """The answer to one job: JSON text, or a page of HTML.

    Raises SkyMelangeError, and ValidationError for a body of another form.
    """
    with tempfile.TemporaryDirectory(prefix="sky-melange-") as folder:
        return JOBS[head["kind"]](head, body, Path(folder))


def _plan(head: Mapping[str, Any], body: bytes, folder: Path) -> str:
    request = PlanRequest.model_validate_json(body)
    return _planned(head, request.workload, folder, is_explained=request.explain)


def _planned(head: Mapping[str, Any], text: str, folder: Path, *, is_explained: bool = False) -> str:
    from sky_melange.render import plan_json

    check_workload_text(text, source=WORKLOAD_FILE)
    path = folder / WORKLOAD_FILE
    path.write_bytes(text.encode())
    planned = pipeline.plan_file(
        path,
        is_explained=is_explained,
        book_of=lambda read: _book(read.prices, head, needed=read.candidates.clouds),
        folder=folder / "plan",
        simulator=pipeline.simulator(),
        enabled=enabled_clouds().clouds,
    )
    pipeline.check_budget(planned)
    return plan_json.text(planned.plan, planned.workload)


def _check(head: Mapping[str, Any], body: bytes, folder: Path) -> str:
    request = CheckRequest.model_validate_json(body)
    return _checked(head, _document(_plan_text(request.plan), folder), request.policy, folder)


def _check_stored(head: Mapping[str, Any], body: bytes, folder: Path) -> str:
    policy = PolicyRequest.model_validate_json(head["policy"]).policy
    return _checked(head, _document(body.decode(), folder), policy, folder)


def _checked(head: Mapping[str, Any], document: PlanDocument, policy: object, folder: Path) -> str:
    """As `sky-melange check plan.json --format json` prints it where the plan lies with the files that it renders."""
    from sky_melange.check.plan_file import price_warnings
    from sky_melange.check.report import Asked, Files, Today, check_plan, files_of
    from sky_melange.render.check_report import render_json

    told: list[str] = []
    rules = _policy(policy, folder, told)
    expected = files_of(document)
    wanted = document.workload
    book = _book(replace(wanted.prices, max_age_hours=None, require_clouds=()), head)
    profiles = pipeline.profiles_for(wanted, book, folder)
    today = Today(
        book=book, profiles=profiles, now=utc_now(), offline=bool(head.get("offline")), **_simulated(wanted, folder)
    )
    report = check_plan(
        document,
        Files(expected=expected, found=dict(expected)),
        today,
        Asked(workload=wanted, policy=rules),
        [*price_warnings(document, book), *told],
    )
    return render_json(report)


def _simulated(workload: Workload, folder: Path) -> dict[str, Any]:
    if workload.slo.attainment is None:
        return {}
    try:
        log = pipeline.arrivals_log(workload, folder / WORKLOAD_FILE)
    except InputError:
        # Its log lies where it was planned: what the plan says of itself counts.
        return {}
    return {"simulator": pipeline.simulator(), "log": log}


def _prices(head: Mapping[str, Any], body: bytes, folder: Path) -> str:  # noqa: ARG001
    from sky_melange.render import price_table

    wanted = {name: head.get(name) for name in ("accelerator", "cloud", "region")}
    check_filters(accelerator=wanted["accelerator"], cloud=wanted["cloud"])
    cloud = wanted["cloud"]
    now = utc_now()
    book = _book(PricePolicy(), head, clouds=None if cloud is None else (cloud,))
    part = price_table.select(book, **wanted, spot=head.get("spot"))
    offers = price_table.cheapest(part.offers, everything=bool(head.get("everything")))
    return price_table.to_json(offers, part.quarantined, part, now)


def _describe(head: Mapping[str, Any], body: bytes, folder: Path) -> str:
    """What the store keeps of a plan: its text, what lists show of it, and what its page shows beside it."""
    request = StoreRequest.model_validate_json(body)
    if request.fleet is not None or request.fleet_file is not None:
        return json.dumps({"name": request.name, **_fleet_entry(head, request, folder)}, ensure_ascii=False)
    text = _plan_text(request.plan) if request.workload is None else _planned(head, request.workload, folder)
    document = _document(text, folder)
    entry = {"name": request.name, "plan": text, "summary": _summary(document), **_shown(document, folder)}
    return json.dumps(entry, ensure_ascii=False, allow_nan=False)


def _shown(document: PlanDocument, folder: Path) -> dict[str, Any]:
    """What a plan's page shows beside the plan."""
    from sky_melange.render.plan_report import figures

    return {
        "requests_per_usd": _requests_per_usd(document.plan, document.workload, folder),
        "groups": [{"name": group.name, "planned": group.instances} for group in document.plan.groups],
        "mode": document.workload.launch.mode.value,
        "figures": asdict(figures(document.plan, document.workload)),
    }


def _fleet_entry(head: Mapping[str, Any], request: StoreRequest, folder: Path) -> dict[str, Any]:
    """The same of a fleet, with that of each of its plans by name (`parts`)."""
    from sky_melange.render.fleet_report import figures

    text = _planned_fleet(head, request, folder) if request.fleet is None else _plan_text(request.fleet)
    fleet, plans = refuse.fleet_documents(text, folder)
    pairs = [(plan.plan, plan.workload) for plan in plans]
    summaries = [_summary(plan) for plan in plans]
    dates = [each["priced_at"] for each in summaries]
    worst = math.fsum(each["worst_case_usd_per_hour"] for each in summaries) + fleet.plan.beside_usd_per_hour
    return {
        "plan": text,
        "summary": {
            "model": ", ".join(dict.fromkeys(each["model"] for each in summaries)),
            "usd_per_hour": fleet.plan.mean_usd_per_hour,
            "usd_per_month": usd_per_month(fleet.plan.mean_usd_per_hour),
            "worst_case_usd_per_hour": worst,
            "priced_at": min(dates) if all(dates) else None,
            "groups": sum(each["groups"] for each in summaries),
            "replicas": sum(each["replicas"] for each in summaries),
            "workloads": len(plans),
        },
        "requests_per_usd": None,
        "groups": [],
        "mode": "fleet",
        "figures": None,
        "fleet_figures": asdict(figures(fleet.plan, pairs)),
        "parts": {plan.plan.name: _shown(plan, folder) for plan in plans},
    }


def _planned_fleet(head: Mapping[str, Any], request: StoreRequest, folder: Path) -> str:
    """As `sky-melange plan fleet.yaml --format json` prints it, of files that are all in the request."""
    from sky_melange.pipeline.fleets import check_budgets, plan_fleet
    from sky_melange.render import fleet_json

    path = refuse.write_fleet_files(request.fleet_file or "", request.workloads or {}, folder)
    planned = plan_fleet(
        path,
        book_of=lambda read: _book(read.prices, head, needed=read.candidates.clouds),
        folder=folder / "plan",
        simulator=pipeline.simulator(),
        enabled=enabled_clouds().clouds,
    )
    check_budgets(planned)
    return fleet_json.with_plans(planned.plan, [(member.plan, member.workload) for member in planned.members])


def _report(head: Mapping[str, Any], body: bytes, folder: Path) -> str:
    """The page of `sky-melange report --no-simulate`."""
    from sky_melange.render import fleet_report, plan_report

    if head.get("is_fleet"):
        fleet, plans = refuse.fleet_documents(body.decode(), folder)
        pairs = [(plan.plan, plan.workload) for plan in plans]
        return fleet_report.page(fleet.plan, pairs, today=utc_now().date(), folder="fleet")
    document = _document(body.decode(), folder)
    return plan_report.page(document.plan, document.workload, today=utc_now().date(), folder="plan")


def _summary(document: PlanDocument) -> dict[str, Any]:
    from sky_melange.domain.plan import mean_cost

    plan = document.plan
    cost = mean_cost(plan.cost, plan.groups, plan.schedule)
    dates = [group.price.data_date for group in plan.groups]
    return {
        "model": document.workload.model.id,
        "usd_per_hour": cost.total_usd_per_hour,
        "usd_per_month": usd_per_month(cost.total_usd_per_hour),
        "worst_case_usd_per_hour": cost.worst_case_usd_per_hour,
        "priced_at": min(dates) if all(dates) else None,
        "groups": len(plan.groups),
        "replicas": sum(group.replicas for group in plan.groups),
    }


JOBS: Final[Mapping[str, Callable[[Mapping[str, Any], bytes, Path], str]]] = {
    "plan": _plan,
    "check": _check,
    "check_stored": _check_stored,
    "prices": _prices,
    "describe": _describe,
    "report": _report,
}
"""By kind. Each gets what is to be done, the body of the request, and an empty folder of its own."""


def _book(policy: PricePolicy, head: Mapping[str, Any], **clouds: Any) -> PriceBook:
    return current_book(policy, site=price_site(), now=utc_now(), offline=bool(head.get("offline")), **clouds)


def _plan_text(plan: object) -> str:
    """Of a posted plan.json: its values as `plan` writes them. A NaN stays one: the reader refuses it by its place."""
    return json.dumps(plan, indent=2, ensure_ascii=False) + "\n"


def _document(text: str, folder: Path) -> PlanDocument:
    """Strictly read; its path is the bare file name, as for somebody in the plan's folder."""
    check_plan_document(json.loads(text), source=PLAN_FILE)
    path = folder / PLAN_FILE
    path.write_text(text, encoding="utf-8")
    return replace(read_plan(path), path=Path(PLAN_FILE))


def _policy(policy: object, folder: Path, told: list[str]) -> Policy | None:
    from sky_melange.check.plan_file import policy_in

    if policy is None:
        return None
    path = folder / _POLICY_FILE
    # JSON is YAML where each text is in ASCII.
    path.write_text(json.dumps(policy), encoding="utf-8")
    found: list[str] = []
    rules = policy_in(path, found)
    told += [text.replace(str(path), _POLICY_FILE) for text in found]
    return rules


def _requests_per_usd(plan: Plan, workload: Workload, folder: Path) -> dict[str, Any]:
    """Requests/USD at the planned price; None where a group cannot serve a size, or costs nothing.

    Rows are input buckets, columns output buckets.

    A group without a profile on this server, or a grid of more than MOST_CELLS, has `_requests_per_usd` None and a
    `reason`. `folder`: where profile files of the workload would be; there are none.
    """
    grid = workload.traffic.grid
    accelerators = sorted({group.accelerator for group in plan.groups})
    without_files = replace(workload, profiles=replace(workload.profiles, files=()))
    profiles = pipeline.profiles_on(without_files, accelerators, accelerators, folder)
    cells = len(grid.input_edges) * len(grid.output_edges) * len(plan.groups)
    return {
        "input_edges": list(grid.input_edges),
        "output_edges": list(grid.output_edges),
        "groups": [_group(group, workload, profiles, is_small=cells <= _MOST_CELLS) for group in plan.groups],
    }


def _group(group: ReplicaGroup, workload: Workload, profiles: Sequence[Profile], *, is_small: bool) -> dict[str, Any]:
    described: dict[str, Any] = {"group": group.name, "accelerator": group.accelerator, "requests_per_usd": None}
    if not is_small:
        return {**described, "reason": f"the plan has more than {_MOST_CELLS} cells"}
    profile = next((profile for profile in profiles if profile.launched == group.launched), None)
    if profile is None:
        return {**described, "reason": "this server has no profile of the group's layout and engine settings"}
    (found,) = pipeline.capacities_of(_with_traffic_everywhere(workload), [profile]) or (None,)
    capacities = () if found is None else found.capacities
    columns = len(workload.traffic.grid.output_edges)
    values = [_value(group, capacity) for capacity in capacities]
    rows = [values[start : start + columns] for start in range(0, len(values), columns)]
    return {**described, "requests_per_usd": rows}


def _value(group: ReplicaGroup, capacity: Capacity | Skipped) -> float | None:
    if isinstance(capacity, Skipped) or group.price_usd_per_hour <= 0:
        return None
    return per_usd(capacity.request_rate_rps * group.replicas_per_instance, group.price_usd_per_hour)


def _with_traffic_everywhere(workload: Workload) -> Workload:
    """Some traffic in each bucket, so that each has a capacity."""
    ones = tuple(tuple(1.0 for _ in row) for row in workload.traffic.rates_rps)
    return replace(workload, traffic=replace(workload.traffic, rates_rps=ones))
