"""The gate's rules: which limit counts, what is not known, what today's profiles and workload change."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import check_cases
import pytest
from check_cases import (
    ASKED,
    BOOK,
    CPU,
    FALLING_BACK,
    H100,
    L4,
    NOW,
    ON_SPOT,
    PLAN,
    PRICE,
    PROFILES,
    SPOT,
    SPOT_PLAN,
    TRAFFIC,
    WORKLOAD,
    Situation,
    book,
    group,
    limited,
    plan_of,
)
from hypothesis import given
from hypothesis import strategies as st

from sky_melange.check.report import Asked, Files, Limits, Today, check_plan, files_of
from sky_melange.check.repricing import reprice
from sky_melange.domain.check import Check, CheckReport, Verdict
from sky_melange.domain.workload import Budget, Launch, Model, PricePolicy, RoutingPolicy, Slo

TOTAL = 4 * 0.8048 + 2.99 + 0.17


def of(report: CheckReport, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


@pytest.mark.parametrize(
    ("argument", "in_workload", "in_plan", "expected"),
    [
        (1.0, 2.0, 3.0, 1.0),
        (None, 2.0, 3.0, 2.0),
        (None, None, 3.0, 3.0),
        (None, None, None, None),
    ],
)
@pytest.mark.parametrize("unit", ["usd_per_hour", "usd_per_month"])
def test_arguments_over_workload_over_plan(
    argument: float | None, in_workload: float | None, in_plan: float | None, expected: float | None, unit: str
) -> None:
    def budget(limit: float | None) -> Budget | None:
        return None if limit is None else Budget(**{unit: limit})

    situation = Situation(
        workload=replace(WORKLOAD, budget=budget(in_plan)),
        asked=Asked(
            workload=replace(WORKLOAD, budget=budget(in_workload)),
            limits=Limits(usd_per_hour=argument) if unit == "usd_per_hour" else Limits(usd_per_month=argument),
        ),
    )
    name = {"usd_per_hour": "budget-total", "usd_per_month": "budget-monthly"}[unit]
    assert of(situation.report(), name).limit == expected


def test_the_age_limit_of_the_workload_counts() -> None:
    wanted = replace(WORKLOAD, prices=PricePolicy(max_age_hours=24.0))
    assert of(Situation(asked=Asked(workload=wanted)).report(), "prices-fresh").verdict is Verdict.FAIL
    kept = Situation(asked=Asked(workload=wanted, limits=Limits(max_age_hours=48.0)))
    assert of(kept.report(), "prices-fresh").verdict is Verdict.PASS


def test_a_price_of_unknown_age_is_too_old() -> None:
    undated = replace(L4, provenance=replace(PRICE, fetched_at=""))
    check = of(Situation(book=book(undated, H100, CPU)).report(), "prices-fresh")
    assert (check.verdict, check.figure) == (Verdict.FAIL, None)
    assert "not known for aws" in check.says


def test_a_cost_at_the_budget_is_within_it() -> None:
    for limit in (TOTAL, math.fsum((4 * 0.8048, 2.99, 0.17))):
        assert of(Situation(asked=limited(usd_per_hour=limit)).report(), "budget-total").verdict is Verdict.PASS
    short = Situation(asked=limited(usd_per_hour=TOTAL - 1e-6))
    assert of(short.report(), "budget-total").verdict is Verdict.FAIL


def test_an_unknown_overhead_fails_under_a_monthly_budget_alone() -> None:
    report = Situation(book=book(L4, H100), asked=Asked(limits=Limits(usd_per_month=6000.0))).report()
    assert [check.name for check in report.failed] == ["budget-overhead"]
    assert of(report, "budget-monthly").is_lower_bound


def test_an_overhead_that_never_had_a_price_is_a_warning_and_a_bound() -> None:
    machine = replace(PLAN.overhead[0], price_usd_per_hour=None, price=None, instance_type="")
    cost = replace(PLAN.cost, overhead_usd_per_hour=0.0, total_usd_per_hour=6.2092, worst_case_usd_per_hour=6.2092)
    report = Situation(plan=replace(PLAN, overhead=(machine,), cost=cost)).report()
    assert report.failed == ()
    assert of(report, "budget-total").is_lower_bound
    assert of(report, "budget-overhead").is_lower_bound
    assert report.warnings == ("The price of SkyServe controller is not known: every cost is a lower bound.",)


def test_an_unknown_price_leaves_no_total() -> None:
    report = Situation(book=book(H100, CPU), asked=limited(max_drift_fraction=0.0)).report()
    assert report.today is None
    assert report.today_units is None
    assert {check.name for check in report.checks if check.verdict is Verdict.SKIPPED} >= {"budget-total", "drift"}
    assert [check.name for check in report.failed] == ["prices-known"]


@pytest.mark.parametrize(("today", "stand_in"), [(1.6, 1.6), (None, 1.5)])
def test_the_worst_case_is_that_of_todays_on_demand_prices(today: float | None, stand_in: float) -> None:
    """Where none is known today, that of the plan."""
    on_demand = [] if today is None else [replace(L4, price_usd_per_hour=today)]
    priced = reprice(FALLING_BACK, book(SPOT, H100, CPU, *on_demand), NOW)
    assert priced.cost is not None
    assert priced.cost.total_usd_per_hour == pytest.approx(FALLING_BACK.cost.total_usd_per_hour)
    worst = FALLING_BACK.cost.total_usd_per_hour + 4 * stand_in
    assert priced.cost.worst_case_usd_per_hour == pytest.approx(worst, abs=1e-12)


def test_the_worst_case_passes_within_the_budget() -> None:
    spot = group(SPOT, 4, name="chat-l4-spot", on_demand_price_usd_per_hour=0.5)
    situation = Situation(plan=plan_of(spot, group(H100, 1), extra_worst_case=2.0), book=book(SPOT, H100, CPU))
    assert of(situation.report(), "budget-worst-case").verdict is Verdict.PASS
    assert of(situation.report(), "budget-monthly-worst-case").verdict is Verdict.PASS


@pytest.mark.parametrize("share", [0.999, 1.0])
def test_a_monthly_budget_holds_the_worst_case_as_an_hourly_one_does(share: float) -> None:
    cost = FALLING_BACK.cost.worst_case_usd_per_hour
    sale = book(SPOT, H100, CPU, replace(L4, price_usd_per_hour=1.5))
    verdicts = [
        of(Situation(plan=FALLING_BACK, book=sale, asked=Asked(limits=limits)).report(), name).verdict
        for name, limits in (
            ("budget-worst-case", Limits(usd_per_hour=cost * share)),
            ("budget-monthly-worst-case", Limits(usd_per_month=cost * 730 * share)),
        )
    ]
    assert verdicts == [Verdict.PASS if share == 1.0 else Verdict.FAIL] * 2


@pytest.mark.parametrize("share", [0.999, 1.0])
def test_a_monthly_budget_is_the_same_at_the_turn_of_a_month(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month is 730 hours, whatever the calendar says: February, leap years, the last second of a year."""
    second = timedelta(seconds=1)
    turns = [datetime(*day, tzinfo=UTC) for day in ((2026, 3, 1), (2028, 2, 29), (2028, 3, 1), (2027, 1, 1))]
    asked = Asked(limits=Limits(usd_per_month=FALLING_BACK.cost.total_usd_per_hour * 730 * share))
    found = []
    for now in (NOW, *(moment for turn in turns for moment in (turn - second, turn))):
        monkeypatch.setattr(check_cases, "NOW", now)
        report = Situation(plan=FALLING_BACK, book=book(SPOT, H100, CPU), asked=asked).report()
        found.append((of(report, "budget-monthly"), of(report, "budget-monthly-worst-case")))
    assert {check.verdict for check, _ in found} == {Verdict.PASS if share == 1.0 else Verdict.FAIL}
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize("limits", [{"usd_per_hour": 1000.0}, {"usd_per_month": 1e6}])
def test_a_worst_case_that_nobody_knows_holds_no_budget(limits: dict[str, float]) -> None:
    """Whether it was never known, or somebody took it out of the plan."""
    found = Situation(
        plan=SPOT_PLAN, workload=ON_SPOT, book=book(SPOT, H100, CPU), asked=Asked(limits=Limits(**limits))
    ).report()
    failed = [check for check in found.checks if check.verdict is Verdict.FAIL and "worst-case" in check.name]
    assert [check.is_lower_bound for check in failed] == [True]
    assert "chat-l4-spot has no known price on demand" in failed[0].says


def test_drift_within_the_limit_passes() -> None:
    cheaper = replace(L4, region="us-east-2", price_usd_per_hour=0.4)
    situation = Situation(book=book(L4, H100, CPU, cheaper), asked=limited(max_drift_fraction=0.6))
    check = of(situation.report(), "drift")
    assert check.verdict is Verdict.PASS
    assert check.figure == pytest.approx(1 - (6 * 0.4 + 0.17) / TOTAL, abs=0.05)


def test_drift_that_cannot_be_searched_fails_with_the_reason() -> None:
    wanted = replace(WORKLOAD, slo=Slo(tpot_s=0.001))
    report = Situation(asked=replace(limited(max_drift_fraction=0.1), workload=wanted)).report()
    check = of(report, "drift")
    assert (check.verdict, check.figure) == (Verdict.FAIL, None)
    assert check.details


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"slo": Slo(tpot_s=0.001)}, "which it cannot serve"),
        ({"routing": RoutingPolicy.BLIND}, "the workload asks for blind"),
        ({"name": "other"}, "name chat, the workload says other"),
        ({"model": Model(id="example/other", dtype="bfloat16", max_model_len=2000)}, "model.id"),
        ({"launch": Launch(engine_args=("--enforce-eager",))}, "launch.engine_args (none)"),
        ({"traffic": replace(TRAFFIC, rates_rps=((40.0, 2.0), (1.0, 1.0)))}, "over 0.9"),
    ],
)
def test_another_workload_is_not_served(changes: dict[str, object], fragment: str) -> None:
    wanted = replace(WORKLOAD, **changes)  # type: ignore[arg-type]
    check = of(Situation(asked=replace(ASKED, workload=wanted)).report(), "serves")
    assert check.verdict is Verdict.FAIL
    assert any(fragment in line for line in check.details), check.details


def test_less_traffic_is_served() -> None:
    for rates in (((2.0, 1.0), (1.0, 1.0)), ((4.0, 2.0), (0.0, 0.0))):
        wanted = replace(WORKLOAD, traffic=replace(TRAFFIC, rates_rps=rates))
        assert of(Situation(asked=replace(ASKED, workload=wanted)).report(), "serves").verdict is Verdict.PASS


def test_a_bucket_that_was_not_planned_for_is_not_served() -> None:
    planned = replace(WORKLOAD, traffic=replace(TRAFFIC, rates_rps=((4.0, 2.0), (1.0, 0.0))))
    plan = replace(PLAN, routing=PLAN.routing[:3])
    report = Situation(plan=plan, workload=planned, asked=replace(ASKED, workload=WORKLOAD)).report()
    assert any("no route" in line for line in of(report, "serves").details)


def test_without_a_profile_of_its_engine_settings_a_group_serves_nothing() -> None:
    plan = plan_of(group(L4, 4, engine_args=(("block-size", "32"),)), group(H100, 1))
    details = of(Situation(plan=plan).report(), "serves").details
    assert any("L4 TP 1 has these engine settings today" in line for line in details)


def test_slower_profiles_of_today_are_found_out() -> None:
    situation = Situation()
    slower = tuple(
        replace(
            entry,
            form=replace(
                entry.form,
                latencies={k: tuple((n, 2 * a, 2 * b) for n, a, b in v) for k, v in entry.form.latencies.items()},
            ),
        )  # type: ignore[union-attr]
        for entry in PROFILES
    )
    document = situation.document()
    today = Today(book=BOOK, profiles=slower, now=NOW)
    expected = files_of(document)
    report = check_plan(document, Files(expected=expected, found=expected), today)
    assert [check.name for check in report.failed] == ["serves"]


@given(
    prices=st.lists(st.floats(0.001, 500.0), min_size=1, max_size=8),
    counts=st.lists(st.integers(1, 2000), min_size=8, max_size=8),
    later=st.lists(st.floats(0.001, 500.0), min_size=8, max_size=8),
)
def test_money_is_exact(prices: list[float], counts: list[int], later: list[float]) -> None:
    """Totals equal the sum of price × count to 1e-9, and the changes sum to the change of the total."""
    offers = [
        replace(L4, instance_type=f"type-{index}", price_usd_per_hour=price) for index, price in enumerate(prices)
    ]
    plan = plan_of(*(group(offer, counts[i], name=f"g{i}") for i, offer in enumerate(offers)))
    today = [replace(offer, price_usd_per_hour=later[i]) for i, offer in enumerate(offers)]
    priced = reprice(plan, book(*today, CPU), NOW)
    assert priced.cost is not None
    exact = math.fsum([0.17, *(later[i] * counts[i] for i in range(len(prices)))])
    assert priced.cost.total_usd_per_hour == pytest.approx(exact, rel=1e-12, abs=1e-9)
    moved = math.fsum(change.change_usd_per_hour or 0.0 for change in (*priced.groups, *priced.overhead))
    then = math.fsum([0.17, *(prices[i] * counts[i] for i in range(len(prices)))])
    assert moved == pytest.approx(exact - then, abs=1e-9 * max(1.0, exact))
