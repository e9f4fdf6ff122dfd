"""Spot groups: what they may cost, how often they are taken back, and what is started meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from sky_melange import pipeline
from sky_melange.domain.machine import InterruptionBand
from sky_melange.domain.offer import Offer
from sky_melange.domain.router import RouterKind, RouterSettings
from sky_melange.domain.workload import Budget, CandidateFilter, Launch, LaunchMode, SpotUse, Workload
from sky_melange.optimizer.spot import spot_warnings, with_fallback
from sky_melange.optimizer.verify import verify
from sky_melange.render import render_files
from sky_melange.resources import interruption_bands

BAND = InterruptionBand(least_fraction=0.05, most_fraction=0.1, fetched_at="2025-07-28")


@pytest.fixture
def workload(make_workload: Any) -> Workload:
    return make_workload(  # type: ignore[no-any-return]
        candidates=CandidateFilter(spot=SpotUse.ALLOW), router=RouterSettings(kind=RouterKind.NONE)
    )


@pytest.fixture
def offers(make_offer: Any, cpu_offer: Any) -> list[Offer]:
    """One L4 type on spot in two zones and on demand, and a dearer H100."""
    return [
        make_offer("L4", 0.25, use_spot=True, zone="us-east-1a"),
        make_offer("L4", 0.2, use_spot=True, zone="us-east-1b"),
        make_offer("L4", 0.8),
        make_offer("H100", 9.0),
        cpu_offer(0.1),
    ]


@pytest.fixture
def planner(make_profile: Any, make_book: Any) -> Callable[..., pipeline.Planned]:
    def plan(workload: Workload, offers: list[Offer]) -> pipeline.Planned:
        profiles = [make_profile("L4"), make_profile("H100", speed=4.0)]
        return pipeline.make_plan(workload, make_book(*offers), profiles, workload_digest="0")

    return plan


def test_the_worst_case_is_all_of_spot_and_all_of_its_on_demand_twin(
    workload: Workload, offers: list[Offer], planner: Any
) -> None:
    plan = planner(workload, offers).plan
    (group,) = plan.groups
    assert (group.use_spot, group.zone) == (True, "us-east-1b")
    assert group.on_demand_price_usd_per_hour == 0.8
    cost = plan.cost
    assert cost.replicas_usd_per_hour == pytest.approx(0.2 * group.instances)
    assert cost.worst_case_usd_per_hour == pytest.approx(cost.total_usd_per_hour + 0.8 * group.instances)


@pytest.mark.parametrize(("key", "unit", "hours"), [("usd_per_hour", "hour", 1), ("usd_per_month", "month", 730)])
def test_a_worst_case_over_the_budget_is_said_when_the_plan_is_made(
    workload: Workload, offers: list[Offer], planner: Any, key: str, unit: str, hours: float
) -> None:
    cost = planner(workload, offers).plan.cost

    def said(limit: float) -> list[str]:
        plan = planner(replace(workload, budget=Budget(**{key: limit * hours})), offers).plan
        return [warning for warning in plan.warnings if "worst case" in warning and "`check`" in warning]

    (warning,) = said((cost.total_usd_per_hour + cost.worst_case_usd_per_hour) / 2)
    assert f"USD {cost.worst_case_usd_per_hour * hours:.4f} per {unit}" in warning
    assert f"budget.{key}" in warning
    assert said(cost.worst_case_usd_per_hour) == []
    # Over budget altogether: `check_budget` refuses the plan with that figure.
    assert said(cost.total_usd_per_hour / 2) == []


def test_an_unknown_on_demand_price_is_said_and_not_counted(
    workload: Workload, offers: list[Offer], planner: Any
) -> None:
    plan = planner(workload, [offer for offer in offers if offer.price_usd_per_hour != 0.8]).plan
    (group,) = plan.groups
    assert group.on_demand_price_usd_per_hour is None
    assert plan.cost.worst_case_usd_per_hour == plan.cost.total_usd_per_hour
    assert any("at a price that is not known and not in the worst case" in warning for warning in plan.warnings)
    refused = f"What stands in for spot in {group.name} has no known price"
    assert not any(refused in warning for warning in plan.warnings)
    # `check` and `up` refuse what may cost more than the budget, or nobody knows what.
    budgeted = planner(
        replace(workload, budget=Budget(usd_per_hour=1000)), [o for o in offers if o.price_usd_per_hour != 0.8]
    )
    assert any(refused in warning for warning in budgeted.plan.warnings)


def test_a_cluster_starts_nothing_instead(workload: Workload, offers: list[Offer], planner: Any) -> None:
    plan = planner(replace(workload, launch=Launch(mode=LaunchMode.CLUSTER)), offers).plan
    assert plan.cost.worst_case_usd_per_hour == plan.cost.total_usd_per_hour
    assert any("nothing stands in meanwhile" in warning for warning in plan.warnings)


def test_the_worst_case_is_verified(workload: Workload, offers: list[Offer], planner: Any) -> None:
    planned = planner(workload, offers)
    by_zone = {(c.offer.instance_type, c.offer.zone): c.capacities for c in planned.candidates}
    capacities = {group.name: by_zone[group.instance_type, group.zone] for group in planned.plan.groups}
    assert verify(planned.plan, workload, capacities) == ()
    wrong = replace(planned.plan, cost=replace(planned.plan.cost, worst_case_usd_per_hour=1.0))
    assert any("cost.worst_case_usd_per_hour is 1.0" in violation for violation in verify(wrong, workload, capacities))


def test_the_file_asks_skyserve_for_the_fallback_that_is_priced(
    workload: Workload, offers: list[Offer], planner: Any
) -> None:
    planned = planner(workload, offers)
    (group,) = planned.plan.groups
    service = yaml.safe_load(render_files(planned.plan, workload)[group.file])["service"]
    assert service["replica_policy"] == {
        "min_replicas": group.instances,
        "max_replicas": group.instances,
        "dynamic_ondemand_fallback": True,
    }
    assert "replicas" not in service


def test_bands_are_stated_with_their_date_and_absence_is_said(
    workload: Workload, offers: list[Offer], planner: Any
) -> None:
    groups = planner(workload, offers).plan.groups
    known = with_fallback(groups, offers, {("aws", "us-east-1", "l4.x1"): BAND})
    (sentence,) = spot_warnings(known, falls_back=True)
    assert "5% to 10% of such machines were taken back within a month (aws, 2025-07-28)" in sentence
    (unknown,) = spot_warnings(with_fallback(groups, offers, {}), falls_back=True)
    assert "How often it is taken back is not known" in unknown


def test_plans_without_spot_are_left_alone(make_workload: Any, offers: list[Offer], planner: Any) -> None:
    planned = planner(make_workload(router=RouterSettings(kind=RouterKind.NONE)), offers)
    assert with_fallback(planned.plan.groups, offers, {}) == planned.plan.groups
    assert list(spot_warnings(planned.plan.groups, falls_back=True)) == []


def test_the_embedded_bands(repository: Path) -> None:
    bands = interruption_bands()
    assert len(bands) > 400
    allowed = {(0.0, 0.05), (0.05, 0.1), (0.1, 0.15), (0.15, 0.2), (0.2, 1.0)}
    assert {(band.least_fraction, band.most_fraction) for band in bands.values()} <= allowed
    assert {cloud for cloud, _, _ in bands} == {"aws"}
    text = (repository / "catalogs" / "spot_interruptions.csv").read_text(encoding="utf-8").splitlines()
    assert text[1:] == sorted(text[1:])
    # From the recording: r = 4 (over 20 %) for p5.48xlarge on Linux in us-east-1, r = 0 for p5en.48xlarge.
    assert bands["aws", "us-east-1", "p5.48xlarge"].least_fraction == 0.2
    assert bands["aws", "us-east-1", "p5en.48xlarge"].most_fraction == 0.05
