"""What the front door takes requests for: against requests drawn one by one, and in plans that the verifier accepts."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from sky_melange import pipeline
from sky_melange.domain import size_estimate
from sky_melange.domain.buckets import PARTS, TokenGrid, Traffic, part_edges
from sky_melange.domain.profile import Capacity, Skipped
from sky_melange.domain.router import RouterKind, RouterSettings
from sky_melange.domain.size_estimate import SizeEstimates, size_estimates
from sky_melange.domain.workload import RoutingPolicy, Workload
from sky_melange.optimizer.verify import verify

EDGES = (100, 150, 1000, 2000)
RATES = ((4.0, 2.0), (1.0, 0.0), (3.0, 1.0), (2.0, 2.0))


@pytest.fixture
def workload(make_workload: Any) -> Workload:
    return make_workload(  # type: ignore[no-any-return]
        RATES, input_edges=EDGES, routing=RoutingPolicy.INPUT_AWARE, router=RouterSettings()
    )


def drawn(traffic: Traffic, bucket: int, number: int, factor: float, error: float) -> Counter[int]:
    """Input rows that requests of a bucket are taken for, each request drawn by itself."""
    source = random.Random(bucket)  # noqa: S311 - repeatable numbers
    row = traffic.buckets()[bucket].input_index
    low = EDGES[row - 1] if row else 0
    parts = None if traffic.input_parts is None else traffic.input_parts[row]
    found: Counter[int] = Counter()
    for _ in range(number):
        size = source.uniform(low, EDGES[row])
        if parts:
            bounds = (low, *part_edges(low, EDGES[row]))
            (place,) = source.choices(range(len(parts)), weights=parts)
            size = source.uniform(bounds[place], bounds[place + 1])
        estimate = size * factor * source.uniform(1 - error, 1 + error)
        found[min(bisect_left(EDGES, estimate), len(EDGES) - 1)] += 1
    return found


@pytest.mark.parametrize("parts", [None, ((), (1, 0, 0, 5) + (0,) * 12, tuple(range(PARTS)), (9,) + (1,) * 15)])
def test_fractions_are_those_of_drawn_requests(workload: Workload, parts: Any) -> None:
    traffic = replace(workload.traffic, input_parts=parts)
    buckets = traffic.buckets()
    estimates = size_estimates(replace(workload, traffic=traffic))
    for case, factor in enumerate((1.0, 0.85, 1.15)):
        for index in range(len(buckets)):
            found = drawn(traffic, index, 4_000, factor, 0.15)
            stated = {
                buckets[part.taken_for].input_index: part.fractions[case]
                for part in estimates.parts
                if part.bucket == index
            }
            assert sum(stated.values()) == pytest.approx(1.0)
            for row in {*found, *stated}:
                assert stated.get(row, 0.0) == pytest.approx(found[row] / 4_000, abs=0.035)


def narrow_traffic(source: random.Random) -> Traffic:
    """Input edges 10 to 60 % apart, and masses wherever means or counted parts put them."""
    edges = [source.randint(100, 300)]
    for _ in range(source.randint(2, 6)):
        edges.append(int(edges[-1] * source.uniform(1.1, 1.6)))
    rows = range(len(edges))
    lows = [0, *edges]
    mean = tuple((lows[row] + (edges[row] - lows[row]) * source.uniform(0.03, 0.97), 50.0) for row in rows)
    parts = tuple(tuple(source.choice((0.01, 1, 5)) * source.random() for _ in range(PARTS)) for _ in rows)
    known = source.choice(({}, {"mean_tokens": tuple((one,) for one in mean)}, {"input_parts": parts}))
    return Traffic(
        grid=TokenGrid(input_edges=tuple(edges), output_edges=(100,)),
        rates_rps=tuple((source.choice((0.2, 1.0, 5.0)) * source.random() + 0.01,) for _ in rows),
        origin="a test",
        **known,  # type: ignore[arg-type]
    )


def busy(estimates: SizeEstimates, traffic: Traffic, rows: set[int], cost: list[float], case: int) -> float:
    """What those who get whatever is taken for `rows` have to do."""
    rates = [bucket.rate_rps for bucket in traffic.buckets()]
    return sum(
        rates[part.bucket] * cost[part.bucket] * part.fractions[case]
        for part in estimates.parts
        if part.taken_for in rows
    )


@pytest.mark.slow
@pytest.mark.parametrize(("error", "bias"), [(0.02, 0.05), (0.05, 0.05), (0.1, 0.05), (0.02, 0.15), (0.15, 0.15)])
def test_no_bias_between_the_cases_asks_for_more_than_they_do(
    workload: Workload, error: float, bias: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By at most 5 % of a group's load, whatever it is given; with both ends alone it is up to 70 %."""
    source = random.Random(17)  # noqa: S311 - repeatable numbers
    router = RouterSettings(size_error_fraction=error, size_bias_fraction=bias)
    drawn_workloads = [replace(workload, traffic=narrow_traffic(source), router=router) for _ in range(100)]
    planned_for = [size_estimates(one) for one in drawn_workloads]
    biases = [1.0, *(1 + source.uniform(-bias, bias) for _ in range(30))]
    monkeypatch.setattr(size_estimate, "_biases", lambda *_: biases)
    for one, cases in zip(drawn_workloads, planned_for, strict=True):
        sampled = size_estimates(one)
        for _ in range(4):
            rows = {row for row in range(len(one.traffic.rates_rps)) if source.random() < 0.5}
            cost = [edge ** source.uniform(0.5, 1.0) for edge in one.traffic.grid.input_edges]
            most = max(busy(cases, one.traffic, rows, cost, case) for case in range(cases.cases))
            total = busy(cases, one.traffic, set(range(len(cost))), cost, 0)
            for case in range(len(biases)):
                assert busy(sampled, one.traffic, rows, cost, case) <= 1.05 * most + 0.01 * total


def test_a_mean_says_where_in_its_bucket_requests_lie(workload: Workload) -> None:
    def taken_for_less(mean: float) -> float:
        means = tuple(tuple((mean, 50.0) if row == 3 else None for _ in (0, 1)) for row in range(4))
        changed = replace(workload, traffic=replace(workload.traffic, mean_tokens=means))
        return sum(p.fractions[0] for p in size_estimates(changed).parts if p.bucket == 6 and p.taken_for < 5)

    assert taken_for_less(1100) > 2 * taken_for_less(1500) > 4 * taken_for_less(1900)


@pytest.mark.parametrize(
    "changes",
    [
        {"router": RouterSettings(kind=RouterKind.LITELLM)},
        {"router": RouterSettings(kind=RouterKind.NONE)},
        {"router": RouterSettings(size_error_fraction=0.0, size_bias_fraction=0.0)},
        {"routing": RoutingPolicy.BLIND},
    ],
)
def test_nothing_is_taken_for_something_else(workload: Workload, changes: dict[str, Any]) -> None:
    estimates = size_estimates(replace(workload, **changes))
    assert [(part.bucket, part.taken_for, part.fractions) for part in estimates.parts] == [
        (index, index, (1.0,)) for index in range(7)
    ]
    assert estimates.taken_rps(workload.traffic.buckets()) is None


def test_outputs_stay_as_they_are_where_they_are_known(workload: Workload) -> None:
    """A bucket without its twin in the other row is taken for the next output there is."""
    changed = replace(workload, routing=RoutingPolicy.SIZE_AWARE)
    buckets = changed.traffic.buckets()
    for part in size_estimates(changed).parts:
        taken, own = buckets[part.taken_for], buckets[part.bucket]
        assert taken.output_index == own.output_index or taken.input_index == 1


@pytest.fixture
def planned(workload: Workload, make_offer: Any, cpu_offer: Any, make_profile: Any, make_book: Any) -> pipeline.Planned:
    small = make_profile("L4", shapes=((100, 100), (100, 500), (1300, 100), (1300, 500)))
    book = make_book(make_offer("L4", 0.7), make_offer("H100", 3.0), cpu_offer(0.05))
    profiles = [small, make_profile("H100", shapes=((100, 100), (2000, 500), (100, 500), (2000, 100)), speed=4.0)]
    wide = replace(workload, model=replace(workload.model, max_model_len=3000))
    return pipeline.make_plan(wide, book, profiles, workload_digest="0")


def capacities(planned: pipeline.Planned) -> dict[str, tuple[Capacity | Skipped, ...]]:
    by_type = {one.offer.instance_type: (*one.capacities, *one.strays) for one in planned.candidates}
    return {group.name: by_type[group.instance_type] for group in planned.plan.groups}


def test_a_plan_holds_wherever_the_estimates_are(planned: pipeline.Planned) -> None:
    """Group by group, the load of requests routed by their estimates, recomputed here by hand."""
    plan, workload, known = planned.plan, planned.workload, capacities(planned)
    assert len(plan.groups) == 2
    buckets = workload.traffic.buckets()
    estimates = size_estimates(workload)
    assert any(part.bucket != part.taken_for for part in estimates.parts)
    for group in plan.groups:
        for case in range(estimates.cases):
            busy = 0.0
            for part in estimates.parts:
                share = dict(plan.routing[part.taken_for].shares).get(group.name, 0.0)
                if share:
                    served = known[group.name][part.bucket]
                    served = served if isinstance(served, Capacity) else known[group.name][part.capacity]
                    assert isinstance(served, Capacity)
                    busy += buckets[part.bucket].rate_rps * part.fractions[case] * share / served.request_rate_rps
            assert busy <= group.replicas * workload.constraints.max_utilization * (1 + 1e-5)
            if case == 0:
                assert busy / group.replicas == pytest.approx(group.utilization)
    assert verify(plan, workload, known) == ()


def test_the_verifier_refuses_what_only_holds_where_sizes_are_known(planned: pipeline.Planned) -> None:
    known = capacities(planned)
    exact = replace(planned.workload, router=RouterSettings(size_error_fraction=0.0, size_bias_fraction=0.0))
    assert any("is taken to get" in line for line in verify(planned.plan, exact, known))
    # The same plan within what its groups carry when estimates are right: off, they carry more.
    peaks = [group.utilization for group in planned.plan.groups]
    tight = replace(planned.workload.constraints, max_utilization=min(peaks))
    found = verify(planned.plan, replace(planned.workload, constraints=tight), known)
    assert any(line.endswith("where all estimates of sizes are off") for line in found)
