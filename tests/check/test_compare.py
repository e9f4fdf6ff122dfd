"""`diff`: groups, cost by cause, routing, inputs; every format as a golden file."""

from __future__ import annotations

import json
import math
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from check_cases import CPU, H100, L4, PLAN, PROFILE, SPOT, TRAFFIC, WORKLOAD, group, plan_of
from hypothesis import given
from hypothesis import strategies as st

from sky_melange.check.diff import Side, compare
from sky_melange.domain.hours import Period, Schedule
from sky_melange.domain.plan import InputDigests, Plan, Route
from sky_melange.domain.plan_diff import GroupChangeKind, PlanDiff
from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.workload import Slo, Workload
from sky_melange.extensions import DIFF_FORMATS
from sky_melange.render.diff_words import verdict_line

ENDINGS = {"table": "txt", "json": "json", "markdown": "md", "junit": "xml", "github": "log"}


def diff(new: Plan, workload: Workload = WORKLOAD, old: Plan = PLAN) -> PlanDiff:
    return compare(Side(plan=old, workload=WORKLOAD), Side(plan=new, workload=workload))


def _shared() -> PlanDiff:
    """Half of the bucket ≤100 in × ≤100 out moves to the H100."""
    shares = (("chat-h100", 0.5), ("chat-l4", 0.5))
    return diff(replace(PLAN, routing=(replace(PLAN.routing[0], shares=shares), *PLAN.routing[1:])))


def _other_inputs() -> PlanDiff:
    measured = replace(PROFILE, kind=ProfileKind.MEASURED, source="our own runs")
    plan = plan_of(
        group(L4, 4, profile=measured),
        group(H100, 1),
        inputs=InputDigests(workload="d" * 64, prices="b" * 64, profiles="e" * 64),
    )
    traffic = replace(TRAFFIC, rates_rps=((5.0, 2.0), (1.0, 1.0)))
    routing = tuple(replace(route, rate_rps=5.0) if index == 0 else route for index, route in enumerate(plan.routing))
    wanted = replace(WORKLOAD, slo=Slo(tpot_s=0.04, ttft_s=2.0), traffic=traffic)
    return diff(replace(plan, routing=routing), wanted)


def by_the_clock(usd_per_hour: float) -> Plan:
    """PLAN, of which half of the hours run less."""
    total = PLAN.cost.total_usd_per_hour
    counts = tuple(each.instances for each in PLAN.groups)
    periods = (
        Period(rate_rps=9.0, hours=12, instances=counts, cost_usd_per_hour=total),
        Period(rate_rps=4.0, hours=12, instances=(1,) * len(counts), cost_usd_per_hour=2 * usd_per_hour - total),
    )
    return replace(
        PLAN,
        schedule=Schedule(
            time_zone="UTC",
            period_of_hour=(0,) * 12 + (1,) * 12,
            periods=periods,
            startup_minutes=0.0,
            starts=1,
            usd_per_hour=usd_per_hour,
            fixed_usd_per_hour=total,
        ),
    )


DEARER = replace(H100, price_usd_per_hour=4.29)
CASES: Mapping[str, Callable[[], PlanDiff]] = {
    "same": lambda: diff(PLAN),
    "resized-and-repriced": lambda: diff(plan_of(group(L4, 6), group(DEARER, 2))),
    "added-and-removed": lambda: diff(plan_of(group(SPOT, 9, name="chat-l4-spot"), group(H100, 1))),
    "routing": _shared,
    "inputs": _other_inputs,
    "by-the-clock": lambda: diff(by_the_clock(5.0)),
}


def test_a_month_is_that_of_the_schedule() -> None:
    total = PLAN.cost.total_usd_per_hour
    found = diff(by_the_clock(5.0))
    assert not found.is_empty
    assert f"USD {total:.4f} → 5.0000 per hour on average" in verdict_line(found)
    assert f"{total * 730:,.2f} → 3,650.00 per month" in verdict_line(found)
    assert diff(by_the_clock(5.0), old=by_the_clock(5.0)).is_empty
    assert not diff(by_the_clock(5.5), old=by_the_clock(5.0)).is_empty


@pytest.mark.parametrize("kind", DIFF_FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_golden(repository: Path, name: str, kind: str) -> None:
    text = DIFF_FORMATS[kind](CASES[name]())
    path = repository / "tests" / "golden" / "diff" / f"{name}.{ENDINGS[kind]}"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_text(encoding="utf-8")
    if kind == "table":
        assert [line for line in text.splitlines() if len(line) > 100 or "\x1b" in line] == []
    if kind == "junit":
        assert ET.fromstring(text).find("testsuite/testcase/system-out") is not None  # noqa: S314 - our own text
    if kind == "json":
        assert json.loads(text)["changed"] is (name != "same")


def test_a_plan_does_not_differ_from_itself() -> None:
    assert diff(PLAN).is_empty
    assert {change.kind for change in diff(PLAN).groups} == {GroupChangeKind.KEPT}


def test_price_and_count_are_told_apart() -> None:
    changes = {change.name: change for change in diff(plan_of(group(L4, 6), group(DEARER, 2))).groups}
    assert changes["chat-l4"].price_effect_usd_per_hour == 0
    assert changes["chat-l4"].count_effect_usd_per_hour == pytest.approx(2 * 0.8048, abs=1e-12)
    assert changes["chat-h100"].price_effect_usd_per_hour == pytest.approx(1.3, abs=1e-12)
    assert changes["chat-h100"].count_effect_usd_per_hour == pytest.approx(4.29, abs=1e-12)


def test_a_group_is_its_machine_not_its_name() -> None:
    found = diff(plan_of(group(L4, 4, name="chat-l4-aws"), group(H100, 1)))
    assert [change.kind for change in found.groups] == [GroupChangeKind.KEPT, GroupChangeKind.KEPT]
    assert found.routes == ()
    assert "chat-l4 → chat-l4-aws" in " ".join(
        DIFF_FORMATS["github"](diff(plan_of(group(L4, 5, name="chat-l4-aws"), group(H100, 1)))).split()
    )


def test_the_same_name_on_another_machine_is_another_group() -> None:
    elsewhere = replace(H100, region="us-east-1")
    found = diff(plan_of(group(L4, 4), group(elsewhere, 1)))
    assert sorted(change.kind for change in found.groups) == ["added", "kept", "removed"]
    assert found.moved_fraction == pytest.approx(2 / 8)
    assert dict(found.routes[0].old_shares) == {"chat-h100 (gone)": 1.0}


def test_moved_shares_are_weighed_by_requests() -> None:
    found = _shared()
    assert [route.moved_fraction for route in found.routes] == [pytest.approx(0.5)]
    assert found.moved_fraction == pytest.approx(0.5 * 4 / 8)


def test_changed_inputs_are_named() -> None:
    found = _other_inputs()
    keys = {change.key for change in found.workload}
    assert keys == {"slo.tpot_s", "slo.ttft_s", "traffic.request_rate", "traffic.sizes"}
    assert {change.key for change in found.profiles} == {"chat-l4.profile.kind", "chat-l4.profile.source"}
    assert found.workload_file_changed
    assert found.profiles_changed
    assert not found.prices_changed


@given(
    counts=st.lists(st.integers(0, 500), min_size=6, max_size=6),
    later_counts=st.lists(st.integers(0, 500), min_size=6, max_size=6),
    prices=st.lists(st.floats(0.01, 400), min_size=6, max_size=6),
    later_prices=st.lists(st.floats(0.01, 400), min_size=6, max_size=6),
)
def test_the_causes_sum_to_the_change(
    counts: list[int], later_counts: list[int], prices: list[float], later_prices: list[float]
) -> None:
    def plan(numbers: list[int], each: list[float]) -> Plan:
        offers = [replace(L4, instance_type=f"type-{i}", price_usd_per_hour=price) for i, price in enumerate(each)]
        groups = [group(offer, n, name=f"g{i}") for i, (offer, n) in enumerate(zip(offers, numbers, strict=True)) if n]
        return plan_of(*groups, group(CPU, 1, name="always"))

    found = diff(plan(later_counts, later_prices), old=plan(counts, prices))
    causes = (found.price_effect_usd_per_hour, found.count_effect_usd_per_hour, found.overhead_effect_usd_per_hour)
    change = found.new_cost.total_usd_per_hour - found.old_cost.total_usd_per_hour
    assert math.fsum(causes) == pytest.approx(change, abs=1e-9 * max(1.0, found.new_cost.total_usd_per_hour))


def test_plans_without_a_common_bucket_are_compared() -> None:
    routing = (Route(input_tokens=7, output_tokens=7, rate_rps=1.0, shares=(("chat-l4", 1.0),)),)
    assert diff(replace(PLAN, routing=routing)).moved_fraction == 0.0
