"""`launch.scaling: autoscale`: the policies hold in a replay of the hours, and the plan says what that costs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sealed import sealed

from sky_melange import pipeline
from sky_melange.domain.front_door import ROUTER_PURPOSE
from sky_melange.domain.hours import Autoscaling, Hours, Scaling
from sky_melange.domain.schedule_rules import schedule_faults
from sky_melange.domain.workload import Budget, Workload
from sky_melange.errors import InputError
from sky_melange.pipeline.autoscaling import BY_MEANS, LEAST, carried_rps, held_at_loads, replayed, with_autoscaling
from sky_melange.pipeline.planning import Planned, make_plan
from sky_melange.plan_file import read_plan
from sky_melange.render import explain_table, plan_json, plan_table
from sky_melange.render.schedule_text import as_run, clock_sentence
from sky_melange.render.skypilot_yaml import replica_policies

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "quickstart" / "workload.yaml"
PEAK = 192.0
WAVE = tuple(PEAK * (1.3 + math.sin(2 * math.pi * hour / 24)) / 2.3 for hour in range(24))


def workload(windows_rps: tuple[float, ...] = (), *, headroom_fraction: float = 0.0) -> Workload:
    own = pipeline.read(QUICKSTART)
    factor = PEAK / own.traffic.request_rate_rps
    rates = tuple(tuple(rate * factor for rate in row) for row in own.traffic.rates_rps)
    hours = Hours(
        rates_rps=tuple(PEAK if rate == max(WAVE) else rate for rate in WAVE),
        headroom_fraction=headroom_fraction,
        windows_rps=windows_rps,
    )
    return replace(
        own,
        slo=replace(own.slo, attainment=None),
        traffic=replace(own.traffic, rates_rps=rates, hours=hours),
        launch=replace(own.launch, scaling=Scaling.AUTOSCALE),
    )


def planned(given: Workload) -> Planned:
    book = pipeline.embedded_book(given)
    return make_plan(given, book, pipeline.profiles_for(given, book, QUICKSTART.parent), workload_digest="0" * 64)


@cache
def by_hours() -> Planned:
    return planned(workload())


def told(found: Planned) -> Autoscaling:
    assert found.plan.schedule is not None
    assert found.plan.schedule.autoscaling is not None
    return found.plan.schedule.autoscaling


def windows(*, surge: float, every: int = 12) -> tuple[float, ...]:
    """Ten minutes each for two days: the wave, and every two hours a window with `surge` times its rate."""
    found = []
    for number in range(2 * 144):
        rate = WAVE[number // 6 % 24]
        found.append(min(PEAK, rate * (surge if number % every == 0 else 1.0)))
    return tuple(found)


def test_requests_of_the_hours_meet_their_targets_and_the_plan_says_what_that_costs() -> None:
    found = by_hours()
    schedule = found.plan.schedule
    assert schedule is not None
    own = told(found)
    assert own.attainment >= 0.99
    assert schedule.bound_usd_per_hour is None
    paid = sum(
        group.price_usd_per_hour * mean for group, mean in zip(found.plan.groups, own.mean_instances, strict=True)
    )
    assert schedule.usd_per_hour == pytest.approx(paid + found.plan.cost.overhead_usd_per_hour)
    assert schedule.usd_per_hour == found.plan.mean_usd_per_hour < schedule.fixed_usd_per_hour
    sentence = clock_sentence(found.plan, schedule)
    assert f"{own.attainment:.2%} of the requests" in sentence
    assert "by the clock without reserve they cost" in sentence
    assert own.half_usd_per_hour is not None
    assert "(launch.min_running_fraction: 0.5) makes that less; with the same reserve it costs" in sentence


def test_half_of_the_instances_run_at_any_time_where_that_is_asked_for() -> None:
    own, given = told(by_hours()), workload()
    found = planned(replace(given, launch=replace(given.launch, min_running_fraction=0.5)))
    policies = replica_policies(found.plan, found.workload)
    for group in found.plan.groups:
        assert policies[group.name].min_replicas >= group.instances / 2
    assert own.half_usd_per_hour == found.plan.mean_usd_per_hour > by_hours().plan.mean_usd_per_hour
    assert told(found).half_usd_per_hour is None
    asked = replace(found.workload, launch=replace(found.workload.launch, min_running_fraction=0.75))
    assert any("launch asks for 0.75" in fault for fault in schedule_faults(found.plan, asked))


@pytest.mark.slow
def test_surges_are_met_by_asking_for_more_or_by_keeping_more_running() -> None:
    calm, wild = (planned(workload(windows(surge=surge))) for surge in (1.0, 1.8))
    assert told(wild).attainment >= 0.99
    assert (told(wild).headroom_fraction, told(wild).least_fraction) > (told(calm).headroom_fraction, 0.0)
    assert wild.plan.mean_usd_per_hour > calm.plan.mean_usd_per_hour
    # Told as for a calm week, the wild one misses: the replay is what finds it.
    assert calm.plan.schedule is not None
    same = replayed(calm.plan, calm.workload, windows(surge=1.8), minutes=10, held=BY_MEANS)
    assert same.attainment < 0.99


@pytest.mark.parametrize("limits", [{}, {"B200": 2}], ids=["one group", "behind a router"])
def test_no_fewer_instances_are_shown_than_sky_serve_keeps_running(limits: dict[str, int]) -> None:
    """Behind a router it never stops the last."""
    given = workload()
    assert given.traffic.hours is not None
    rests = tuple(0.0 if 14 <= hour < 22 else rate for hour, rate in enumerate(given.traffic.hours.rates_rps))
    hours = replace(given.traffic.hours, rates_rps=rests)
    given = replace(
        given,
        traffic=replace(given.traffic, hours=hours),
        constraints=replace(given.constraints, min_replicas=0, max_accelerators=limits),
    )
    found = planned(given)
    schedule, shown = found.plan.schedule, as_run(found.plan, found.workload)
    assert schedule is not None
    assert shown is not None
    assert schedule.periods[-1].rate_rps == 0.0
    assert set(schedule.periods[-1].instances) == {0}
    policies = replica_policies(found.plan, found.workload)
    least = tuple(policies[group.name].min_replicas for group in found.plan.groups)
    assert shown.periods[-1].instances == least
    paid = [group.price_usd_per_hour * count for group, count in zip(found.plan.groups, least, strict=True)]
    assert shown.periods[-1].cost_usd_per_hour == pytest.approx(sum(paid) + found.plan.cost.overhead_usd_per_hour)
    text = " ".join(plan_table.render(found.plan, found.workload, color=False, width=2000).split())
    assert "By the hour, at least" in text
    is_kept = any(machine.purpose == ROUTER_PURPOSE for machine in found.plan.overhead)
    assert (is_kept, min(least)) == (bool(limits), int(bool(limits)))
    assert ("health checks are requests to SkyServe" in text) == is_kept


@pytest.mark.slow
def test_where_no_reserve_helps_the_busiest_hour_s_instances_run_always() -> None:
    """Bursts between standstills come faster than any start: SkyServe must not stop anything."""
    bursts = tuple(PEAK if number % 6 == 0 else 0.1 for number in range(144))
    found = planned(workload(bursts))
    assert told(found).least_fraction == max(LEAST)
    assert told(found).attainment == 1.0
    assert not replica_policies(found.plan, found.workload)
    assert told(found).mean_instances == tuple(float(group.instances) for group in found.plan.groups)


def test_more_requests_than_the_hours_say_may_start_more_instances() -> None:
    found = planned(workload(headroom_fraction=0.55))
    policies = replica_policies(found.plan, found.workload)
    assert policies
    assert told(found).headroom_fraction >= 0.55, "what the hours keep for the next week, its target keeps, too"
    for group in found.plan.groups:
        assert policies[group.name].max_replicas == math.ceil(group.instances * 1.55)
    twice = replayed(found.plan, found.workload, [1.4 * PEAK] * 24, minutes=60, held=BY_MEANS)
    assert twice.attainment > 0.9


def test_the_reserve_of_the_hours_is_not_planned_for_twice() -> None:
    """Neither in the periods, which SkyServe's target is taken from, nor where nothing is autoscaled."""
    with_reserve = planned(workload(headroom_fraction=0.5)).plan.schedule
    without = by_hours().plan.schedule
    assert with_reserve is not None
    assert without is not None
    assert with_reserve.periods == without.periods


def test_instances_carry_what_their_periods_were_planned_for() -> None:
    schedule = by_hours().plan.schedule
    assert schedule is not None
    for index in range(len(by_hours().plan.groups)):
        carried = carried_rps(schedule, index)
        for period in schedule.periods:
            assert carried(period.instances[index]) >= period.rate_rps
        counts = range(1, 2 * schedule.periods[0].instances[index])
        found = [carried(count) for count in counts]
        assert found == sorted(found)
        assert found[0] > 0


def test_shares_that_hold_never_rise_with_the_load() -> None:
    held = held_at_loads(lambda load: {1.0: 0.97}.get(load, 0.99 if load < 1.2 else 0.1))
    shares = [share for _, share in held]
    assert shares == sorted(shares, reverse=True)
    found = by_hours()
    assert found.plan.schedule is not None
    plain = replace(found.plan, schedule=replace(found.plan.schedule, autoscaling=None))
    assert with_autoscaling(replace(plain, schedule=None), found.workload, held).schedule is None


@pytest.mark.slow
def test_an_explanation_says_what_following_the_hours_is_worth() -> None:
    own = workload()
    book = pipeline.embedded_book(own)
    profiles = pipeline.profiles_for(own, book, QUICKSTART.parent)
    values = {}
    for scaling in (Scaling.SCHEDULE, Scaling.AUTOSCALE):
        given = replace(own, launch=replace(own.launch, scaling=scaling))
        plan = make_plan(given, book, profiles, workload_digest="0" * 64, is_explained=True).plan
        assert plan.schedule is not None
        assert plan.explanation is not None
        value = values[scaling] = plan.explanation.clock
        assert value is not None
        assert value.fixed_usd_per_hour == plan.schedule.fixed_usd_per_hour
        launched = value.scheduled_usd_per_hour if scaling is Scaling.SCHEDULE else value.autoscaled_usd_per_hour
        assert launched == plan.schedule.usd_per_hour
        assert value.busiest_rps == PEAK > value.next_rps
        assert own.traffic.hours is not None
        assert own.traffic.hours.rates_rps[int(value.busiest_hour[:2])] == PEAK
        # The same instances, each paid 5 minutes less for each start.
        prices = [group.price_usd_per_hour for group in plan.groups]
        clock = replace(plan.schedule, autoscaling=None)
        sooner = replace(clock, startup_minutes=clock.startup_minutes - 5)
        overhead = plan.cost.overhead_usd_per_hour
        assert value.faster_scheduled_usd_per_hour == sooner.mean_usd_per_hour(prices, overhead)
        assert value.faster_scheduled_usd_per_hour < value.scheduled_usd_per_hour
        assert value.faster_autoscaled_usd_per_hour <= value.autoscaled_usd_per_hour
        assert value.nines_attainment is None
        text = " ".join(explain_table.render(plan.explanation, color=False).split())
        assert f"{value.busiest_hour} sets the peak with 192 req/s" in text
        assert "If instances started 5 minutes sooner" in text
        assert f"{1 - value.scheduled_usd_per_hour / value.fixed_usd_per_hour:.1%} less than the fleet" in text
    # Without a reserve of the hours the schedule of both is one.
    assert values[Scaling.SCHEDULE] == values[Scaling.AUTOSCALE]


@pytest.mark.slow
def test_the_next_nine_has_a_price_or_is_out_of_reach() -> None:
    own = workload()
    own = replace(own, slo=replace(own.slo, attainment=0.97))
    book = pipeline.embedded_book(own)
    profiles = pipeline.profiles_for(own, book, QUICKSTART.parent)
    found = make_plan(
        own, book, profiles, workload_digest="0" * 64, is_explained=True, simulator=pipeline.simulator()
    ).plan
    assert found.explanation is not None
    value = found.explanation.clock
    assert value is not None
    assert value.nines_attainment == 0.997
    assert value.nines_usd_per_hour is None or value.nines_usd_per_hour >= value.fixed_usd_per_hour
    text = " ".join(explain_table.render(found.explanation, color=False).split())
    assert "99.7% of the requests within their targets" in text
    unmet = replace(value, nines_usd_per_hour=None)
    text = explain_table.render(replace(found.explanation, clock=unmet), color=False)
    assert "No fleet was found that keeps 99.7%" in " ".join(text.split())


@pytest.mark.slow
def test_a_budget_that_the_reserve_may_break_is_named() -> None:
    own = workload(headroom_fraction=1.0)
    total = by_hours().plan.cost.total_usd_per_hour
    found = planned(replace(own, budget=Budget(usd_per_hour=total * 1.2)))
    assert [each for each in found.plan.warnings if "lower traffic.hours.headroom_fraction (1)" in each]
    calm = planned(replace(own, budget=Budget(usd_per_hour=total * 3)))
    assert not [each for each in calm.plan.warnings if "headroom_fraction" in each]


def written(found: Planned, folder: Path, **changes: Any) -> Path:
    path = folder / "plan.json"
    document = json.loads(plan_json.text(found.plan, found.workload))
    document["schedule"]["autoscaling"] |= changes
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")
    return path


def test_a_plan_file_keeps_it_and_refuses_what_was_edited(tmp_path: Path) -> None:
    found = by_hours()
    document = read_plan(written(found, tmp_path))
    assert document.plan.schedule == found.plan.schedule
    assert replica_policies(document.plan, document.workload) == replica_policies(found.plan, found.workload)
    for changes, words in (
        ({"mean_instances": [1.0] * 9}, "want one for each of the"),
        ({"mean_instances": [0.5 for _ in found.plan.groups]}, "hours, starts and prices give"),
        ({"attainment": 1.2}, "at most 1"),
    ):
        with pytest.raises(InputError, match=words):
            read_plan(written(found, tmp_path, **changes))


@pytest.mark.parametrize(
    ("key", "value"),
    [("period_of_hour", [0] * 24), ("period_of_hour", [99] * 24), ("periods", [])],
    ids=["one-period", "no-such-period", "none"],
)
def test_a_schedule_that_is_not_whole_is_refused_before_anything_is_computed_from_it(
    tmp_path: Path, key: str, value: list[Any]
) -> None:
    for autoscaling in (True, False):
        path = written(by_hours(), tmp_path)
        document = json.loads(path.read_text(encoding="utf-8"))
        document["schedule"][key] = value
        if not autoscaling:
            document["schedule"]["autoscaling"] = None
        path.write_text(json.dumps(sealed(document)), encoding="utf-8")
        with pytest.raises(InputError, match="schedule"):
            read_plan(path)
