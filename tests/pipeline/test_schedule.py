"""Plans by the hours: cheaper than around the clock, verified hour by hour, within budgets, and not to be edited."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sealed import sealed

from sky_melange import pipeline
from sky_melange.check.policies import budget_checks
from sky_melange.check.repricing import reprice
from sky_melange.domain.check import Verdict
from sky_melange.domain.hours import Hours, Scaling
from sky_melange.domain.workload import (
    Budget,
    KeepExisting,
    LaunchMode,
    Objective,
    RunningGroup,
    Slo,
    Workload,
)
from sky_melange.errors import CheckFailedError, InputError
from sky_melange.optimizer import solved
from sky_melange.optimizer.verify import verify
from sky_melange.pipeline.answering import modelled
from sky_melange.pipeline.judging import final_scenario
from sky_melange.pipeline.planning import Planned, make_plan
from sky_melange.pipeline.scheduling import _Hours, startup_minutes
from sky_melange.plan_file import read_plan
from sky_melange.render import plan_answer, plan_json, plan_table
from sky_melange.simulation import fleet_of, simulate

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "quickstart" / "workload.yaml"
PEAK = 192.0
WAVE = tuple((1.2 + math.sin(2 * math.pi * (hour - 8) / 24)) * (1 if hour < 120 else 0.5) / 2.2 for hour in range(168))

Edit = Callable[..., Workload]


@cache
def quickstart() -> Workload:
    return pipeline.read(QUICKSTART)


def hourly(workload: Workload | None = None, *, peak: float = PEAK, wave: tuple[float, ...] = WAVE) -> Workload:
    """The quickstart with hours of a week, by means."""
    workload = workload or replace(quickstart(), slo=replace(quickstart().slo, attainment=None))
    factor = peak / workload.traffic.request_rate_rps
    rates = tuple(tuple(rate * factor for rate in row) for row in workload.traffic.rates_rps)
    hours = Hours(rates_rps=tuple(peak * each / max(wave) for each in wave), time_zone="Europe/Berlin", origin="a wave")
    return replace(workload, traffic=replace(workload.traffic, rates_rps=rates, hours=hours))


def planned(workload: Workload, **options: Any) -> Planned:
    book = pipeline.embedded_book(workload)
    profiles = pipeline.profiles_for(workload, book, QUICKSTART.parent)
    return make_plan(workload, book, profiles, workload_digest="0" * 64, **options)


@cache
def by_means() -> Planned:
    return planned(hourly())


def launch(workload: Workload, **changes: Any) -> Workload:
    return replace(workload, launch=replace(workload.launch, **changes))


def constrained(workload: Workload, **changes: Any) -> Workload:
    return replace(workload, constraints=replace(workload.constraints, **changes))


def written(found: Planned, folder: Path) -> Path:
    path = folder / "plan.json"
    path.write_text(plan_json.text(found.plan, found.workload), encoding="utf-8")
    return path


def test_the_clock_saves_a_third_of_a_wave_and_says_so() -> None:
    plan = by_means().plan
    schedule = plan.schedule
    assert schedule is not None
    fixed = planned(launch(hourly(), scaling=Scaling.FIXED)).plan
    assert fixed.schedule is None
    assert schedule.fixed_usd_per_hour == fixed.cost.total_usd_per_hour
    assert schedule.usd_per_hour < 0.7 * fixed.cost.total_usd_per_hour
    assert plan.status == "optimal"
    assert plan.size_aware_total_usd_per_hour is None, "other fleets are compared by the hour"
    assert schedule.bound_usd_per_hour is not None
    assert schedule.bound_usd_per_hour >= schedule.usd_per_hour * 0.99
    assert [group.instances for group in plan.groups] == list(schedule.periods[0].instances)
    assert sum(period.hours for period in schedule.periods) == 168
    assert any("launch.scaling: fixed plans" in sentence for sentence in plan.assumptions)
    assert any("as launch.scaling: fixed says" in sentence for sentence in fixed.assumptions)


def test_every_hour_is_carried_and_paid(tmp_path: Path) -> None:
    """By hand, from plan.json alone: no module of the package but the reader of capacities."""
    found = by_means()
    document = json.loads(written(found, tmp_path).read_text(encoding="utf-8"))
    schedule, groups = document["schedule"], document["groups"]
    overhead = sum(machine["price_usd_per_hour"] or 0 for machine in document["overhead"])
    cycle, rates = schedule["period_of_hour"], document["workload"]["traffic"]["hours"]["rates_rps"]
    paid, starts = 0.0, 0
    for hour, (period, rate) in enumerate(zip(cycle, rates, strict=True)):
        now, before = (schedule["periods"][number]["instances"] for number in (period, cycle[hour - 1]))
        for group, n, then in zip(groups, now, before, strict=True):
            # The load of the busiest hour, as much less as there is less traffic.
            load = group["utilization"] * group["instances"] * rate / PEAK
            assert load <= n * found.workload.constraints.utilization_limit * (1 + 1e-5)
            paid += group["price_usd_per_hour"] * (n + max(0, n - then) * schedule["startup_minutes"] / 60)
            starts += max(0, n - then)
        paid += overhead
    assert schedule["usd_per_hour"] == pytest.approx(paid / 168, rel=1e-12)
    assert schedule["starts"] == starts


def test_a_plan_with_a_schedule_is_read_back_as_it_was(tmp_path: Path) -> None:
    found = by_means()
    document = read_plan(written(found, tmp_path))
    assert document.plan == found.plan
    assert document.workload.traffic.hours == found.workload.traffic.hours


EDITS = {
    "period_of_hour": lambda s: s["period_of_hour"].__setitem__(0, 0),
    "shorter": lambda s: s["period_of_hour"].pop(),
    "no such period": lambda s: s["period_of_hour"].__setitem__(3, 99),
    "instances": lambda s: s["periods"][-1]["instances"].__setitem__(0, 1 + s["periods"][-1]["instances"][0]),
    "no instance": lambda s: s["periods"][-1]["instances"].__setitem__(0, 0),
    "another group": lambda s: s["periods"][1]["instances"].append(1),
    "more when quiet": lambda s: s["periods"][1]["instances"].__setitem__(0, 99),
    "busiest": lambda s: s["periods"][0]["instances"].__setitem__(0, 99),
    "rate": lambda s: s["periods"][1].__setitem__("rate_rps", 1.0),
    "hours": lambda s: s["periods"][1].__setitem__("hours", 1),
    "cost of an hour": lambda s: s["periods"][1].__setitem__("cost_usd_per_hour", 1.0),
    "attainment": lambda s: s["periods"][1].__setitem__("attainment", 1.0),
    "mean": lambda s: s.__setitem__("usd_per_hour", 1.0),
    "startup": lambda s: s.__setitem__("startup_minutes", 0.0),
    "starts": lambda s: s.__setitem__("starts", 0),
    "time_zone": lambda s: s.__setitem__("time_zone", "UTC"),
    "bound": lambda s: s.__setitem__("bound_usd_per_hour", 1e6),
    "order": lambda s: s["periods"].reverse(),
    "none": lambda s: s["periods"].clear(),
    "no hours": lambda s: s["period_of_hour"].clear(),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_schedule_is_refused(name: str, tmp_path: Path) -> None:
    path = written(by_means(), tmp_path)
    document = json.loads(path.read_text(encoding="utf-8"))
    EDITS[name](document["schedule"])
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")
    with pytest.raises(InputError, match=r"schedule"):
        read_plan(path)


def test_a_schedule_without_hours_is_refused(tmp_path: Path) -> None:
    path = written(by_means(), tmp_path)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["workload"]["traffic"]["hours"] = None
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")
    with pytest.raises(InputError, match=r"no traffic\.hours"):
        read_plan(path)


def test_the_verifier_finds_what_an_hour_lacks() -> None:
    found = by_means()
    plan, schedule = found.plan, found.plan.schedule
    assert schedule is not None
    capacities = {
        group.name: next(
            (*c.capacities, *c.strays)
            for c in found.candidates
            if (c.offer.instance_type, c.offer.region, c.profile.key.tensor_parallel, c.offer.use_spot)
            == (group.instance_type, group.region, group.tensor_parallel, group.use_spot)
        )
        for group in plan.groups
    }
    assert verify(plan, found.workload, capacities) == ()
    fewer = replace(
        schedule.periods[1],
        instances=(1,) * len(plan.groups),
    )
    broken = replace(plan, schedule=replace(schedule, periods=(schedule.periods[0], fewer, *schedule.periods[2:])))
    assert any(
        "in the hours of up to" in fault and "is used to" in fault
        for fault in verify(broken, found.workload, capacities)
    )
    strict = constrained(found.workload, max_changes_per_hour=1)
    many = replace(
        schedule,
        periods=(schedule.periods[0], *schedule.periods[1:]),
        period_of_hour=tuple(0 if hour % 2 else len(schedule.periods) - 1 for hour in range(168)),
    )
    faults = verify(replace(plan, schedule=many), strict, capacities)
    assert any("period_of_hour" in fault for fault in faults)


def test_no_hours_or_a_fixed_fleet_is_the_plan_of_the_busiest_hour() -> None:
    plain = hourly()
    plain = replace(plain, traffic=replace(plain.traffic, hours=None))
    bare = planned(plain)
    fixed = planned(launch(hourly(), scaling=Scaling.FIXED))
    assert bare.plan.schedule is None
    assert fixed.plan.groups == bare.plan.groups
    assert fixed.plan.routing == bare.plan.routing
    assert fixed.plan.cost == bare.plan.cost


@pytest.mark.slow
def test_a_flat_week_runs_around_the_clock_unless_a_schedule_is_asked_for() -> None:
    flat = tuple(1.0 - hour * 1e-6 for hour in range(24))
    plan = planned(hourly(wave=flat)).plan
    assert plan.schedule is None
    assert any("no schedule was found that costs less" in sentence for sentence in plan.assumptions)
    asked = planned(launch(hourly(wave=flat), scaling=Scaling.SCHEDULE)).plan
    assert asked.schedule is not None
    assert asked.schedule.usd_per_hour == pytest.approx(plan.cost.total_usd_per_hour)
    assert asked.groups == plan.groups


def test_hours_without_traffic_keep_the_counts_of_the_quietest() -> None:
    wave = tuple(0.0 if hour < 6 else 1.0 if hour < 18 else 0.3 for hour in range(24))
    schedule = planned(hourly(wave=wave)).plan.schedule
    assert schedule is not None
    assert {schedule.period_of_hour[hour] for hour in range(6)} == {schedule.period_of_hour[20]}
    assert all(min(period.instances) >= 1 for period in schedule.periods)


def test_the_most_traffic_of_a_budget_is_of_one_rate() -> None:
    workload = replace(hourly(), objective=Objective.MOST_TRAFFIC, budget=Budget(usd_per_hour=50.0))
    with pytest.raises(InputError, match=r"leave out traffic\.hours"):
        planned(workload)


def test_budgets_are_of_the_busiest_hour_and_of_the_mean_month() -> None:
    found = by_means()
    plan = found.plan
    assert plan.schedule is not None
    peak, month = plan.cost.total_usd_per_hour, plan.schedule.usd_per_hour * 730
    within = Budget(usd_per_hour=peak + 0.01, usd_per_month=month + 1)
    pipeline.check_budget(replace(found, workload=replace(found.workload, budget=within)))
    for budget, words in (
        (Budget(usd_per_hour=peak - 0.01), "per busiest hour"),
        (Budget(usd_per_month=month - 1), "per month"),
    ):
        with pytest.raises(CheckFailedError, match=words):
            pipeline.check_budget(replace(found, workload=replace(found.workload, budget=budget)))


@pytest.mark.slow
def test_a_budget_of_an_hour_limits_what_is_bought_for_the_busiest() -> None:
    dear = by_means().plan.cost.total_usd_per_hour
    fixed = planned(launch(hourly(), scaling=Scaling.FIXED)).plan.cost.total_usd_per_hour
    assert fixed < dear - 0.1, "without a budget the busiest hour may cost more than the fixed fleet"
    plan = planned(replace(hourly(), budget=Budget(usd_per_hour=dear - 0.1))).plan
    assert plan.cost.total_usd_per_hour <= dear - 0.1
    # Where no fleet is within it, the cheapest schedule is shown, and the caller refuses it.
    over = planned(replace(hourly(), budget=Budget(usd_per_hour=5.0))).plan
    assert over.schedule is not None
    assert over.schedule == by_means().plan.schedule


def test_check_prices_the_schedule_of_today() -> None:
    found = by_means()
    plan = found.plan
    assert plan.schedule is not None
    book = pipeline.embedded_book(found.workload)
    doubled = replace(
        book, offers=tuple(replace(offer, price_usd_per_hour=2 * offer.price_usd_per_hour) for offer in book.offers)
    )
    priced = reprice(plan, doubled, datetime(2026, 6, 1, tzinfo=UTC))
    assert priced.mean is not None
    beside = priced.mean.overhead_usd_per_hour
    replicas = plan.schedule.usd_per_hour - plan.cost.overhead_usd_per_hour
    assert priced.mean.total_usd_per_hour == pytest.approx(2 * replicas + beside)
    limit = Budget(usd_per_month=plan.schedule.usd_per_hour * 730 * 1.01)
    today = reprice(plan, book, datetime(2026, 6, 1, tzinfo=UTC))
    for now, verdict in ((today, Verdict.PASS), (priced, Verdict.FAIL)):
        checks = {each.name: each for each in budget_checks(now.cost, limit, now.overhead, mean=now.mean)}
        assert checks["budget-monthly"].verdict is verdict
        assert "mean over the hours" in checks["budget-monthly"].says


NIGHT = tuple(0.0 if hour % 24 < 6 or hour >= 144 else rate for hour, rate in enumerate(WAVE))


@cache
def stopping(least: int) -> Planned:
    """A week whose nights and Sunday have no requests."""
    return planned(constrained(hourly(wave=NIGHT), min_replicas=least))


@pytest.mark.slow
def test_nothing_runs_in_hours_without_requests_where_that_is_allowed(tmp_path: Path) -> None:
    found = stopping(0)
    schedule = found.plan.schedule
    assert schedule is not None
    rest = schedule.periods[-1]
    assert (rest.rate_rps, rest.hours, set(rest.instances)) == (0.0, 6 * 6 + 24, {0})
    assert rest.cost_usd_per_hour == found.plan.cost.overhead_usd_per_hour
    assert [hour for hour in range(168) if schedule.period_of_hour[hour] == len(schedule.periods) - 1] == [
        hour for hour in range(168) if not NIGHT[hour]
    ]
    kept = stopping(1).plan.schedule
    assert kept is not None
    assert schedule.usd_per_hour < kept.usd_per_hour
    assert min(min(period.instances) for period in kept.periods) == 1
    assert read_plan(written(found, tmp_path)).plan == found.plan
    said = plan_answer.verdict(found.plan)
    assert f"Nothing runs in 60 of 168 hours, which have no requests: what comes then is refused. {STARTS}" in said
    assert "min_replicas" not in answered(found)
    assert "Hours without requests (60 of 168)" in answered(stopping(1))
    assert "constraints.min_replicas is 1: with 0" in answered(stopping(1))
    assert next(plan_table.picture(schedule)).startswith("Instances by the hour")
    assert list(plan_table.picture(schedule))[1].startswith("Mon       ")


def answered(found: Planned) -> str:
    """What `plan` prints without -v, in one line."""
    return " ".join(plan_table.render(found.plan, found.workload, color=False, width=2000).split())


STARTS = "Instances start 8 minutes before the next hour that has some."


def test_a_plan_that_stops_is_refused_without_the_key_and_simulated_without_its_rests(tmp_path: Path) -> None:
    path = written(stopping(0), tmp_path)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["workload"]["constraints"]["min_replicas"] = 1
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")
    with pytest.raises(InputError, match="every group runs at least one instance in each hour"):
        read_plan(path)
    document["workload"]["constraints"]["min_replicas"] = 0
    document["schedule"]["periods"][-2]["instances"] = [0] * len(document["groups"])
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")
    with pytest.raises(InputError, match="every group runs at least one instance in each hour"):
        read_plan(path)


def test_the_key_changes_nothing_where_every_hour_has_requests() -> None:
    found, other = (planned(constrained(hourly(), min_replicas=least)) for least in (0, 1))
    assert found.plan.schedule == other.plan.schedule
    assert "stops nothing, since every hour has requests" in answered(found)


def test_instances_run_on_where_starting_takes_longer_than_the_rest() -> None:
    wave = tuple(0.0 if hour % 4 == 0 else 1.0 + (hour % 24) / 24 for hour in range(168))
    found = planned(launch(constrained(hourly(wave=wave), min_replicas=0), startup_minutes=90.0))
    schedule = found.plan.schedule
    assert schedule is not None
    assert schedule.idle_hours == 0
    assert "starting them again would cost more" in answered(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"tolerate_replica_losses": 1},
        {"min_replicas": 4},
        {"max_groups": 1},
        {"max_changes_per_hour": 1},
        {"max_cloud_share_fraction": 0.7},
        {"max_accelerators": {"B200": 4}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_limit_holds_in_every_hour(changes: dict[str, Any], tmp_path: Path) -> None:
    """`make_plan` verifies each period; here what is not in its hands."""
    found = planned(constrained(hourly(), **changes))
    schedule = found.plan.schedule
    assert schedule is not None
    assert schedule.usd_per_hour < schedule.fixed_usd_per_hour
    read_plan(written(found, tmp_path))
    for period in schedule.periods:
        if "min_replicas" in changes:
            counts = zip(found.plan.groups, period.instances, strict=True)
            assert sum(group.replicas_per_instance * n for group, n in counts) >= 4
    if "max_changes_per_hour" in changes:
        rows = [schedule.periods[period].instances for period in schedule.period_of_hour]
        for before, now in zip((rows[-1], *rows), rows, strict=False):
            assert sum(abs(a - b) for a, b in zip(before, now, strict=True)) <= 1


_CHANGES_THE_BILL = re.compile(r"could change the bill by about USD ([0-9.]+) per hour")


@pytest.mark.slow
def test_each_hour_is_planned_with_its_reserve_up_to_the_busiest() -> None:
    workload = hourly()
    hours = workload.traffic.hours
    assert hours is not None
    reserved = replace(hours, headroom_fraction=0.4, headroom_basis="a test")
    found = planned(replace(workload, traffic=replace(workload.traffic, hours=reserved))).plan
    without = by_means().plan
    assert found.schedule is not None
    assert without.schedule is not None
    for rate, number in zip(hours.rates_rps, found.schedule.period_of_hour, strict=True):
        assert found.schedule.periods[number].rate_rps >= min(PEAK, rate * 1.4) * (1 - 1e-9)
    assert found.cost == without.cost
    assert without.schedule.usd_per_hour < found.schedule.usd_per_hour < found.schedule.fixed_usd_per_hour
    assert found.schedule.fixed_usd_per_hour == without.schedule.fixed_usd_per_hour
    assert "Each hour carries 40% more requests" in plan_answer.verdict(found)
    assert "Hours have no reserve" in plan_answer.verdict(without)
    doubts = [float(cost[1]) for each in plan_answer.warnings(without) if (cost := _CHANGES_THE_BILL.search(each))]
    assert doubts
    assert max(doubts) < without.mean_usd_per_hour / 2, "a doubt is of what is paid on average, not in the busiest hour"
    assert any("planned 40% above its rate" in each and "a test" in each for each in found.assumptions)


def test_clusters_run_around_the_clock() -> None:
    plan = planned(launch(hourly(), mode=LaunchMode.CLUSTER, scaling=Scaling.SCHEDULE)).plan
    assert plan.schedule is None
    assert any("clusters cannot be scaled" in sentence for sentence in plan.assumptions)


def test_what_changes_against_a_running_plan_is_charged_once(tmp_path: Path) -> None:
    first = by_means().plan.groups[0]
    keep = KeepExisting(
        plan="running/plan.json",
        groups=(
            RunningGroup(
                cloud=first.cloud,
                region=first.region,
                zone=first.zone,
                instance_type=first.instance_type,
                catalog_accelerator=first.catalog_accelerator,
                accelerators_per_instance=first.accelerators_per_instance,
                use_spot=first.use_spot,
                tensor_parallel=first.tensor_parallel,
                instances=3,
            ),
        ),
        switching_usd_per_hour=0.05,
    )
    found = planned(constrained(hourly(), keep=keep))
    assert found.plan.schedule is not None
    assert found.plan.schedule.bound_usd_per_hour is None
    assert found.plan.switching is not None
    read_plan(written(found, tmp_path))


def test_start_up_is_what_the_workload_says_or_grows_with_the_weights() -> None:
    assert startup_minutes(launch(quickstart(), startup_minutes=12.5)) == 12.5
    small = startup_minutes(quickstart())
    large = startup_minutes(
        replace(quickstart(), model=replace(quickstart().model, id="meta-llama/Llama-3.1-70B-Instruct"))
    )
    assert 5 < small < large < 60


@pytest.mark.slow
def test_slow_starts_are_made_less_often() -> None:
    quick, slow = (planned(launch(hourly(), startup_minutes=minutes)).plan.schedule for minutes in (0.0, 240.0))
    assert quick is not None
    assert slow is not None
    assert slow.starts <= quick.starts
    assert slow.usd_per_hour >= quick.usd_per_hour


def test_the_text_says_what_the_hours_cost() -> None:
    found = by_means()
    text = plan_table.render(found.plan, found.workload, color=False)
    schedule = found.plan.schedule
    assert schedule is not None
    assert "By the clock: USD" in text
    assert f"{schedule.usd_per_hour * 730:,.2f} per month" in " ".join(text.split())
    assert text.count("█") > 5
    assert "Sun " in text
    assert max(map(len, text.splitlines())) <= 100
    markdown = plan_table.render_markdown(found.plan, found.workload)
    assert "| Up to req/s | Hours |" in markdown
    document = plan_json.document(found.plan, found.workload)
    assert document["unit_costs"]["usd_per_month"] == pytest.approx(schedule.usd_per_hour * 730)


@pytest.mark.slow
def test_not_simulated_and_mean_plans_are_scheduled_at_their_utilisations() -> None:
    workload = hourly(quickstart())
    plan = planned(workload).plan
    assert plan.schedule is not None
    assert plan.simulated is None
    assert {group.max_utilization for group in plan.groups} == {0.9}
    assert all(period.attainment is None for period in plan.schedule.periods)


@pytest.mark.slow
def test_what_is_learnt_of_a_group_holds_for_the_same_replicas_elsewhere() -> None:
    """Else a pair that failed is answered by the same pair in the next region, round after round."""
    workload = hourly()
    book = pipeline.embedded_book(workload)
    model = modelled(workload, book, pipeline.profiles_for(workload, book, QUICKSTART.parent))
    fixed = solved(model)
    keys = [candidate.profile.key for candidate in model.candidates]
    hours = _Hours(model=model, fixed=fixed, used_to=dict.fromkeys(keys, 0.9))
    tried = hours.solved(hours.parts(None)).merged()
    used = next(c for c, count in enumerate(tried.solution.counts[0]) if count)
    hours.known[0][keys[used]] = {count: 0.05 * count for count in range(1, 9)}
    twins = [c for c, key in enumerate(keys) if key == keys[used]]
    parts = hours.parts(tried)
    assert len(twins) > 1
    assert all(len({row[c] for c in twins}) == 1 for row in parts)
    assert parts[0][used] > parts[-1][used], "fewer replicas keep more idle"


@pytest.mark.slow
def test_every_period_holds_by_seeds_that_took_no_part() -> None:
    workload = hourly(replace(quickstart(), slo=Slo(tpot_s=0.04, ttft_s=2.0, attainment=0.99)))
    workload = replace(
        workload, traffic=replace(workload.traffic, arrivals=replace(workload.traffic.arrivals, log=None))
    )
    simulator = pipeline.simulator()
    found = planned(workload, simulator=simulator)
    plan, schedule = found.plan, found.plan.schedule
    assert schedule is not None
    assert schedule.usd_per_hour < 0.8 * schedule.fixed_usd_per_hour
    profiles = {name: c.profile for name, c in _candidates(found).items()}
    for period in schedule.periods:
        groups = tuple(replace(g, instances=n) for g, n in zip(plan.groups, period.instances, strict=True))
        assert period.attainment is not None
        assert period.attainment >= 0.99
        fleet = fleet_of(replace(plan, groups=groups, schedule=None), workload, profiles)
        scenario = replace(final_scenario(workload, None), request_rate_rps=period.rate_rps)
        held = [simulate(fleet, replace(scenario, seed=seed), workload.slo).attainment for seed in (21, 22, 23)]
        assert min(held) >= 0.985
    again = planned(workload, simulator=simulator)
    assert plan_json.text(again.plan, workload) == plan_json.text(plan, workload)


def _candidates(found: Planned) -> dict[str, Any]:
    return {
        group.name: next(
            c
            for c in found.candidates
            if (c.offer.instance_type, c.offer.region, c.profile.key.tensor_parallel)
            == (group.instance_type, group.region, group.tensor_parallel)
        )
        for group in found.plan.groups
    }
