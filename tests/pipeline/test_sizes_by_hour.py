"""Plans whose sizes differ by the hour: recounted by hand from plan.json, within every limit, and judged set by set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sealed import sealed

from sky_melange import pipeline
from sky_melange.check.reverify import attainment_checks
from sky_melange.domain.buckets import rates_of
from sky_melange.domain.check import Verdict
from sky_melange.domain.hours import Hours, Scaling, SizeSet
from sky_melange.domain.plan import Plan
from sky_melange.domain.profile import Capacity
from sky_melange.domain.simulation import Simulation
from sky_melange.domain.size_estimate import capacity_of, size_estimates
from sky_melange.domain.unit_costs import token_rates
from sky_melange.domain.workload import KeepExisting, LaunchMode, RunningGroup, Slo, Workload
from sky_melange.errors import InputError
from sky_melange.optimizer import solved
from sky_melange.optimizer.problem import GroupCapacities
from sky_melange.optimizer.verify import in_period, verify
from sky_melange.pipeline.answering import modelled
from sky_melange.pipeline.judging import Judge, final_scenario, fleet_of_solved
from sky_melange.pipeline.planning import Planned, make_plan
from sky_melange.pipeline.scheduling import _Hours
from sky_melange.plan_file import read_plan
from sky_melange.render import explain_table, plan_json
from sky_melange.simulation import Fleet, Scenario

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "quickstart" / "workload.yaml"
DAY_RPS, NIGHT_RPS = 100.0, 90.0
NIGHT = tuple(range(8))


@cache
def quickstart() -> Workload:
    return pipeline.read(QUICKSTART)


def tilted(rates: Sequence[Sequence[float]], power: float) -> tuple[tuple[float, ...], ...]:
    """The sizes with more of the larger buckets; of the largest power only the long ones are left."""
    return rates_of([[rate * (1 + i + j) ** power for j, rate in enumerate(row)] for i, row in enumerate(rates)], 1.0)


def hourly(*, power: float = 4.0, idle: int = 0, **changes: Any) -> Workload:
    """The quickstart by means: by day as it is, at night fewer and larger requests."""
    workload = replace(quickstart(), slo=replace(quickstart().slo, attainment=None))
    traffic = workload.traffic
    rates = (*[NIGHT_RPS] * 6, *[NIGHT_RPS / 2] * 2, *[DAY_RPS] * 10, *[DAY_RPS / 4] * 6)
    rates = (*[0.0] * idle, *rates[idle:])
    day, night = rates_of(traffic.rates_rps, 1.0), tilted(traffic.rates_rps, power)
    sets = (
        SizeSet(name="others", hours=tuple(hour for hour in range(24) if hour not in NIGHT), weights=day),
        SizeSet(name="night", hours=NIGHT[idle:], weights=night),
    )
    shares = [sum(rates[hour] for hour in each.hours) for each in sets]
    mean = [
        [a * shares[0] + b * shares[1] for a, b in zip(*rows, strict=True)] for rows in zip(day, night, strict=True)
    ]
    hours = Hours(rates_rps=rates, origin="a day", sizes=sets)
    traffic = replace(traffic, rates_rps=rates_of(mean, DAY_RPS), hours=hours)
    few = replace(workload.candidates, accelerators=("L4", "L40S", "A100-80GB", "H100"))
    return replace(workload, traffic=traffic, candidates=few, **changes)


def planned(workload: Workload, **options: Any) -> Planned:
    book = pipeline.embedded_book(workload)
    profiles = pipeline.profiles_for(workload, book, QUICKSTART.parent)
    return make_plan(workload, book, profiles, workload_digest="0" * 64, **options)


@cache
def by_means() -> Planned:
    return planned(hourly())


def constrained(**changes: Any) -> Workload:
    workload = hourly()
    return replace(workload, constraints=replace(workload.constraints, **changes))


def written(found: Planned, folder: Path) -> Path:
    path = folder / "plan.json"
    path.write_text(plan_json.text(found.plan, found.workload), encoding="utf-8")
    return path


def capacities_of(found: Planned) -> GroupCapacities:
    return {
        group.name: next(
            (*c.capacities, *c.strays)
            for c in found.candidates
            if (c.offer.instance_type, c.offer.region, c.profile.key.tensor_parallel, c.offer.use_spot)
            == (group.instance_type, group.region, group.tensor_parallel, group.use_spot)
        )
        for group in found.plan.groups
    }


def used(plan: Plan, workload: Workload, capacities: GroupCapacities, hour: int) -> Mapping[str, float]:
    """Replicas of each group that an hour keeps busy, by hand from its own rate and sizes."""
    traffic = workload.traffic
    assert traffic.hours is not None
    sizes = next(each.weights for each in traffic.hours.sizes if hour in each.hours)
    rate = traffic.hours.rates_rps[hour]
    shares = {(route.input_tokens, route.output_tokens): dict(route.shares) for route in plan.routing}
    buckets = traffic.buckets()
    busy = dict.fromkeys(capacities, 0.0)
    for part in size_estimates(workload).parts:
        own, taken = buckets[part.bucket], buckets[part.taken_for]
        arriving = rate * sizes[own.input_index][own.output_index] * part.fractions[0]
        for name, share in shares[taken.input_tokens, taken.output_tokens].items():
            capacity = capacity_of(part, capacities[name])
            assert isinstance(capacity, Capacity)
            busy[name] += arriving * share / capacity.request_rate_rps
    return busy


def test_every_hour_is_carried_with_its_own_sizes_and_rate() -> None:
    found = by_means()
    plan, schedule = found.plan, found.plan.schedule
    assert schedule is not None
    assert {period.sizes for period in schedule.periods} == {"others", "night"}
    capacities = capacities_of(found)
    limit = found.workload.constraints.utilization_limit
    most = dict.fromkeys(capacities, 0.0)
    for hour, number in enumerate(schedule.period_of_hour):
        busy = used(plan, found.workload, capacities, hour)
        for group, count in zip(plan.groups, schedule.periods[number].instances, strict=True):
            replicas = count * group.replicas_per_instance
            assert busy[group.name] <= replicas * limit * (1 + 1e-5)
            most[group.name] = max(most[group.name], busy[group.name])
    for group in plan.groups:
        assert group.utilization == pytest.approx(most[group.name] / group.replicas, rel=1e-6)


def test_the_period_with_the_most_work_is_the_first_whatever_its_rate() -> None:
    schedule = by_means().plan.schedule
    assert schedule is not None
    assert schedule.periods[0].sizes == "night"
    assert schedule.periods[0].rate_rps == NIGHT_RPS
    for one, other in zip(schedule.periods, schedule.periods[1:], strict=False):
        assert all(a >= b for a, b in zip(one.instances, other.instances, strict=True))


def test_fewer_instances_run_than_around_the_clock_or_with_raised_rates() -> None:
    schedule = by_means().plan.schedule
    assert schedule is not None
    assert schedule.raised_usd_per_hour is not None
    assert schedule.usd_per_hour < schedule.raised_usd_per_hour
    assert schedule.usd_per_hour < schedule.fixed_usd_per_hour


def test_the_sentences_say_what_sizes_by_the_hour_are_and_save() -> None:
    from sky_melange.render.schedule_text import clock_sentence, period_rows

    found = by_means()
    assert found.plan.schedule is not None
    sentence = clock_sentence(found.plan, found.plan.schedule, found.workload)
    assert "Each hour is planned with its own sizes: " in sentence
    assert "less than with the sizes of all hours and rates raised" in sentence
    assert "The dearest hour costs" in sentence
    cheaper = replace(found.plan.schedule, raised_usd_per_hour=found.plan.schedule.usd_per_hour / 2)
    assert "may miss their targets" in clock_sentence(found.plan, cheaper, found.workload)
    rows = list(period_rows(found.plan, found.plan.schedule))
    assert rows[0][0] == "90 night"
    assert any("night (8 h, up to 90 req/s)" in each for each in found.plan.assumptions)


def test_costs_of_tokens_are_of_all_hours_together() -> None:
    workload = hourly()
    traffic = workload.traffic
    assert traffic.hours is not None
    requests = inputs = 0.0
    for each in traffic.hours.sizes:
        for hour in each.hours:
            rate = traffic.hours.rates_rps[hour] / 24
            requests += rate
            for bucket in traffic.buckets():
                mean = (
                    None
                    if traffic.mean_tokens is None
                    else traffic.mean_tokens[bucket.input_index][bucket.output_index]
                )
                tokens = bucket.input_tokens if mean is None else mean[0]
                inputs += rate * each.weights[bucket.input_index][bucket.output_index] * tokens
    rates = token_rates(traffic)
    assert rates.request_rate_rps == pytest.approx(requests)
    assert rates.input_tokens_per_s == pytest.approx(inputs)


def test_the_plan_is_read_back_as_it_was_and_its_json_names_the_sizes(tmp_path: Path) -> None:
    found = by_means()
    path = written(found, tmp_path)
    document = read_plan(path)
    assert document.plan == found.plan
    assert document.workload.traffic == found.workload.traffic
    fields = json.loads(path.read_text(encoding="utf-8"))
    assert fields["schedule"]["periods"][0]["sizes"] == "night"
    assert [each["name"] for each in fields["workload"]["traffic"]["hours"]["sizes"]] == ["others", "night"]


EDITS = {
    "sizes of a period": lambda s: s["periods"][0].__setitem__("sizes", "others"),
    "no sizes": lambda s: s["periods"][0].__setitem__("sizes", None),
    "unknown sizes": lambda s: s["periods"][0].__setitem__("sizes", "noon"),
    "a night hour by day": lambda s: s["period_of_hour"].__setitem__(0, s["period_of_hour"][12]),
    "rate of the busiest": lambda s: s["periods"][0].__setitem__("rate_rps", 89.0),
    "fewer": lambda s: s["periods"][0]["instances"].__setitem__(0, 1),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_schedule_is_refused(name: str, tmp_path: Path) -> None:
    path = written(by_means(), tmp_path)
    document = json.loads(path.read_text(encoding="utf-8"))
    EDITS[name](document["schedule"])
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")
    with pytest.raises(InputError, match="schedule"):
        read_plan(path)


def test_the_verifier_counts_each_period_with_its_own_sizes() -> None:
    found = by_means()
    plan, schedule, capacities = found.plan, found.plan.schedule, capacities_of(found)
    assert schedule is not None
    assert verify(plan, found.workload, capacities) == ()
    number = next(i for i, period in enumerate(schedule.periods) if period.sizes == "others")
    short = replace(schedule.periods[number], instances=(1,) * len(plan.groups))
    periods = (*schedule.periods[:number], short, *schedule.periods[number + 1 :])
    faults = verify(replace(plan, schedule=replace(schedule, periods=periods)), found.workload, capacities)
    assert any("with the sizes 'others': " in fault and "is used to" in fault for fault in faults)
    hours = found.workload.traffic.hours
    assert hours is not None
    heavier = replace(hours.sizes[1], weights=tilted(found.workload.traffic.rates_rps, 12.0))
    traffic = replace(found.workload.traffic, hours=replace(hours, sizes=(hours.sizes[0], heavier)))
    faults = verify(plan, replace(found.workload, traffic=traffic), capacities)
    assert any("with the sizes 'night': " in fault and "is used to" in fault for fault in faults)
    assert any(fault.startswith(plan.groups[0].name) and "is used to" in fault for fault in faults)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"tolerate_replica_losses": 1},
        {"min_replicas": 4},
        {"max_groups": 1},
        {"max_changes_per_hour": 1},
        {"max_cloud_share_fraction": 0.7},
        {"keep": KeepExisting(plan="running", groups=(), switching_usd_per_hour=0.05)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_limit_holds_with_every_set_of_sizes(changes: dict[str, Any], tmp_path: Path) -> None:
    """`make_plan` verifies each period; a plan that it writes is read."""
    found = planned(constrained(**changes))
    schedule = found.plan.schedule
    assert schedule is not None
    assert schedule.usd_per_hour <= schedule.fixed_usd_per_hour
    read_plan(written(found, tmp_path))
    assert bool(found.plan.contingencies) == ("tolerate_replica_losses" in changes)


@pytest.mark.parametrize(
    "changes", [{"scaling": Scaling.FIXED}, {"mode": LaunchMode.CLUSTER}], ids=["fixed", "cluster"]
)
def test_the_fleet_around_the_clock_serves_each_set_in_its_busiest_hour(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    found = planned(replace(hourly(), launch=replace(hourly().launch, **changes)))
    assert found.plan.schedule is None
    capacities = capacities_of(found)
    for hour in range(24):
        busy = used(found.plan, found.workload, capacities, hour)
        for group in found.plan.groups:
            assert busy[group.name] <= group.replicas * found.workload.constraints.utilization_limit * (1 + 1e-5)
    read_plan(written(found, tmp_path))
    assert any("the busiest hour of each set of sizes runs" in each for each in found.plan.assumptions)


def test_a_schedule_that_saves_nothing_is_the_fleet_around_the_clock_for_each_set(tmp_path: Path) -> None:
    workload = hourly()
    hours = workload.traffic.hours
    assert hours is not None
    traffic = replace(workload.traffic, hours=replace(hours, headroom_fraction=10.0))
    launch = replace(workload.launch, scaling=Scaling.SCHEDULE, startup_minutes=240.0)
    found = planned(replace(workload, traffic=traffic, launch=launch))
    assert found.plan.schedule is not None
    assert {period.sizes for period in found.plan.schedule.periods} == {"others", "night"}
    read_plan(written(found, tmp_path))


def test_nothing_runs_in_hours_without_requests(tmp_path: Path) -> None:
    workload = hourly(idle=5)
    found = planned(replace(workload, constraints=replace(workload.constraints, min_replicas=0)))
    schedule = found.plan.schedule
    assert schedule is not None
    assert schedule.idle_hours == 5
    read_plan(written(found, tmp_path))


def test_a_budget_of_an_hour_is_that_of_the_dearest() -> None:
    schedule = by_means().plan.schedule
    assert schedule is not None
    assert schedule.periods[0].cost_usd_per_hour == max(period.cost_usd_per_hour for period in schedule.periods)
    assert by_means().plan.cost.total_usd_per_hour == pytest.approx(schedule.periods[0].cost_usd_per_hour)


def test_a_plan_holds_only_where_the_requests_of_every_set_do() -> None:
    workload = hourly(slo=Slo(tpot_s=0.04, ttft_s=2.0, attainment=0.99))
    book = pipeline.embedded_book(workload)
    found = solved(modelled(workload, book, pipeline.profiles_for(workload, book, QUICKSTART.parent)))
    scenario = replace(final_scenario(workload, None), traffic=workload.traffic.within(0, DAY_RPS).drawn, requests=100)
    seen = pipeline.simulator()(fleet_of_solved(found), scenario, workload.slo)
    asked: list[Scenario] = []

    def simulate(fleet: Fleet, scenario: Scenario) -> Simulation:
        asked.append(scenario)
        held = 0.95 if scenario.request_rate_rps == NIGHT_RPS else 1.0
        return replace(seen, held=held, attainment=held, attainment_error=0.0, requests=scenario.requests)

    verdict = Judge(model=found.model, simulate=simulate, log=None).tried(found)
    assert not verdict.is_held
    assert [each.name for each in verdict.found.model.workload.traffic.size_sets] == ["night"]
    drawn = {each.request_rate_rps: each.traffic for each in asked}
    assert set(drawn) == {DAY_RPS, NIGHT_RPS}
    for each, rate_rps in zip(workload.traffic.size_sets, (DAY_RPS, NIGHT_RPS), strict=True):
        assert drawn[rate_rps].rates_rps == rates_of(each.weights, rate_rps)
    # Engines run what is asked of them by all sets, whichever comes.
    at_once = {group.name: group.max_concurrency for group in found.assembled.groups}
    assert {group.name: group.max_concurrency for group in verdict.found.assembled.groups} == at_once


@cache
def simulated() -> Planned:
    workload = hourly(slo=Slo(tpot_s=0.04, ttft_s=2.0, attainment=0.99))
    few = replace(workload.candidates, accelerators=("H100",))
    constraints = replace(workload.constraints, max_utilization=None)
    return planned(replace(workload, candidates=few, constraints=constraints), simulator=pipeline.simulator())


@pytest.mark.slow
def test_each_period_is_judged_with_the_requests_of_its_set(tmp_path: Path) -> None:
    found = simulated()
    schedule = found.plan.schedule
    assert schedule is not None
    assert all((period.attainment or 0) >= 0.99 for period in schedule.periods)
    book = pipeline.embedded_book(found.workload)
    profiles = pipeline.profiles_for(found.workload, book, QUICKSTART.parent)
    checks, _ = attainment_checks(found.plan, found.workload, profiles, pipeline.simulator(), None)
    assert checks[0].verdict is Verdict.PASS
    read_plan(written(found, tmp_path))
    # The night's fleet by day's sizes at the night's rate, and the day's at night: only one of them is enough.
    day = next(period for period in schedule.periods if period.sizes == "others")
    swapped = replace(day, sizes="night", rate_rps=NIGHT_RPS)
    short = replace(schedule, periods=(swapped,), period_of_hour=(0,) * 24)
    view = in_period(found.plan, found.workload, swapped)[1].traffic
    assert view.drawn.rates_rps == rates_of(view.size_sets[0].weights, view.request_rate_rps)
    checks, _ = attainment_checks(
        replace(found.plan, schedule=short), found.workload, profiles, pipeline.simulator(), None
    )
    assert checks[0].verdict is Verdict.FAIL
    assert "with the sizes 'night'" in checks[0].details[0]


def test_running_groups_of_a_plan_are_kept() -> None:
    group = by_means().plan.groups[0]
    running = RunningGroup(**{each: getattr(group, each) for each in RunningGroup.__dataclass_fields__})
    keep = KeepExisting(plan="running", groups=(running,), switching_usd_per_hour=100.0)
    found = planned(constrained(keep=keep))
    assert group.name in {each.name for each in found.plan.groups}


@pytest.mark.parametrize("losses", [0, 1, 2])
@pytest.mark.parametrize("has_sets", [False, True])
def test_what_is_left_of_the_fixed_fleet_is_within_every_limit(losses: int, has_sets: bool) -> None:
    workload = constrained(tolerate_replica_losses=losses, min_replicas=2)
    traffic = workload.traffic
    assert traffic.hours is not None
    # An hour with next to nothing: one instance would carry it, and could not be lost.
    rates = (*traffic.hours.rates_rps[:-1], traffic.hours.rates_rps[-1] / 50)
    hours = replace(traffic.hours, rates_rps=rates, sizes=traffic.hours.sizes if has_sets else ())
    workload = replace(workload, traffic=replace(traffic, hours=hours))
    book = pipeline.embedded_book(workload)
    model = modelled(workload, book, pipeline.profiles_for(workload, book, QUICKSTART.parent))
    used_to = {candidate.profile.key: 1.0 for candidate in model.candidates}
    found = _Hours(model=model, fixed=solved(model), used_to=used_to)
    tried = found.of_fixed()
    problems = [
        model.problem.of_sizes(number).at_traffic(rate / hours.busiest_rps[number])
        for rate, number in zip(found.periods.rates_rps, found.periods.sizes, strict=True)
    ]
    counts = tried.solution.counts
    for before, after in pairwise(counts):
        assert all(n <= most for most, n in zip(before, after, strict=True))
    for row, problem in zip(counts, problems, strict=True):
        assert sum(row) > losses
        assert sum(n * of for n, of in zip(row, problem.replicas, strict=True)) >= 2
        routes = [((0,) * len(row), tried.solution.shares, problem.cases)]
        routes += [(each.lost, each.shares, problem.on_average.cases) for each in tried.solution.contingencies]
        for lost, shares, cases in routes:
            left = [n - gone for n, gone in zip(row, lost, strict=True)]
            for case in cases if min(left) >= 0 else ():
                for c, n in enumerate(left):
                    load = sum(of[c] * (loads[c] or 0.0) for of, loads in zip(shares, case, strict=True))
                    assert load <= n * problem.max_utilization + 1e-6


@pytest.mark.slow
def test_an_explanation_says_which_hour_sets_the_peak_and_nothing_of_autoscaling(tmp_path: Path) -> None:
    workload = hourly()
    found = planned(replace(workload, launch=replace(workload.launch, startup_minutes=10.0)), is_explained=True)
    plan, hours = found.plan, workload.traffic.hours
    assert plan.explanation is not None
    assert plan.schedule is not None
    assert hours is not None
    value = plan.explanation.clock
    assert value is not None
    # The busiest hours are by day, the most work is at night.
    assert (value.sizes, value.busiest_rps, value.next_rps) == ("night", NIGHT_RPS, NIGHT_RPS)
    assert hours.sizes_of_hour[int(value.busiest_hour[:2])] == 1
    assert value.autoscaled_usd_per_hour is None
    prices = [group.price_usd_per_hour for group in plan.groups]
    sooner = replace(plan.schedule, startup_minutes=5.0)
    overhead = plan.cost.overhead_usd_per_hour
    assert value.faster_scheduled_usd_per_hour == sooner.mean_usd_per_hour(prices, overhead)
    text = " ".join(explain_table.render(plan.explanation, color=False).split())
    assert (
        "sets the peak with 90 req/s of the sizes 'night'; the busiest other hour of the sizes 'night' has 90." in text
    )
    assert "Autoscaled" not in text
    assert "None" not in text
    assert read_plan(written(found, tmp_path)).plan.explanation == plan.explanation
