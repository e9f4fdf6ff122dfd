"""What must hold of any simulation, whatever the figures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_fleet import CACHE, TRAFFIC, FleetFactory
from property_examples import examples

from sky_melange.domain.profile import Profile
from sky_melange.domain.simulation import Simulation
from sky_melange.domain.workload import Slo
from sky_melange.render.simulation_report import to_json
from sky_melange.simulation import Arrivals, Fleet, Scenario, compiled, simulate, unloaded
from sky_melange.simulation.arrivals import Drawn, drawn
from sky_melange.simulation.run import serve

SLO = Slo(tpot_s=0.02, ttft_s=0.5)


def run(fleet: Fleet, rate_rps: float, *, requests: int = 4000, seed: int = 0, cv: float = 1.0) -> Simulation:
    scenario = Scenario(
        traffic=TRAFFIC, request_rate_rps=rate_rps, arrivals=Arrivals(cv=cv), requests=requests, seed=seed
    )
    return simulate(fleet, scenario, SLO, cache_folder=CACHE)


def served(fleet: Fleet, requests: Drawn) -> tuple[np.ndarray, np.ndarray]:
    table, groups, _ = serve(compiled.loop(CACHE), fleet, requests, slice(0, len(requests.times_s)), 0)
    return table, groups


RUNS = examples(50)
CHANCE = {"seed": st.integers(0, 10**6), "cv": st.sampled_from([0.5, 1.0, 3.0])}
DEVIATIONS = 2.0
"""Times the 95 % intervals of both runs, since hundreds of pairs are compared."""


def is_no_better(one: Simulation, other: Simulation) -> bool:
    """Beyond sampling error; where all or none of them met their targets, the batches show no error."""
    error = DEVIATIONS * (one.attainment_error + other.attainment_error) + 0.002
    return one.attainment <= other.attainment + error


@examples(125)
@given(
    instances=st.integers(1, 4),
    ranks=st.integers(1, 3),
    rate=st.floats(0.1, 200),
    cv=st.sampled_from([0.0, 0.5, 1.0, 4.0]),
    limit=st.integers(1, 64),
    kv=st.sampled_from([4600, 9000, 50_000]),
    seed=st.integers(0, 1000),
)
def test_requests_and_tokens_are_conserved(  # noqa: PLR0917
    make_fleet: FleetFactory,
    h100: Profile,
    instances: int,
    ranks: int,
    rate: float,
    cv: float,
    limit: int,
    kv: int,
    seed: int,
) -> None:
    profile = dataclasses.replace(h100, kv_cache_tokens=kv)
    fleet = make_fleet(instances, instances, profile=profile, limit=limit, ranks=ranks)
    requests = drawn(TRAFFIC, Arrivals(cv=cv), 400, rate, seed, None)
    table, groups = served(fleet, requests)
    assert (table["arrival_s"] == requests.times_s).all()
    assert (table["first_s"] > table["arrival_s"]).all()
    assert (table["last_s"] >= table["first_s"]).all()
    assert (table["last_s"] > table["first_s"])[table["outputs"] > 1].all()
    assert groups["in_flight"].sum() == 0
    assert groups["output_tokens"].sum() == requests.outputs.sum()
    # A request that was put back computes its prompt, and the tokens that it had, once more.
    assert groups["prompt_tokens"].sum() >= requests.inputs.sum()
    if not groups["preempted"].sum():
        assert groups["prompt_tokens"].sum() == requests.inputs.sum()


@RUNS
@given(rate=st.floats(1, 100), hit=st.floats(0, 0.999), kv=st.sampled_from([9000, 10**6]), seed=st.integers(0, 1000))
def test_cached_tokens_are_not_computed_and_take_memory(
    make_fleet: FleetFactory, h100: Profile, rate: float, hit: float, kv: int, seed: int
) -> None:
    traffic = dataclasses.replace(TRAFFIC, prefix_hit_fraction=hit)
    whole = drawn(TRAFFIC, Arrivals(), 300, rate, seed, None)
    cached = traffic.cached_tokens(whole.inputs).astype(np.int64)
    assert (cached < whole.inputs).all()
    assert (cached >= 0).all()
    fleet = make_fleet(1, profile=dataclasses.replace(h100, kv_cache_tokens=kv))
    table, groups = served(fleet, dataclasses.replace(whole, cached=cached))
    assert groups["output_tokens"].sum() == whole.outputs.sum()
    assert groups["prompt_tokens"].sum() >= (whole.inputs - cached).sum()
    if not groups["preempted"].sum():
        assert groups["prompt_tokens"].sum() == (whole.inputs - cached).sum()
    # As many run at once as the cache holds of whole prompts.
    events = sorted([(t, 1, i) for t, i in zip(table["admitted_s"], table["inputs"], strict=True)]
                    + [(t, 0, -i) for t, i in zip(table["last_s"], table["inputs"], strict=True)])  # fmt: skip
    held = np.cumsum([tokens for _, _, tokens in events])
    assert held.max() <= kv


@RUNS
@given(rate=st.floats(5, 80), hits=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)), seed=st.integers(0, 1000))
def test_attainment_does_not_fall_with_more_hits(
    make_fleet: FleetFactory, rate: float, hits: tuple[float, float], seed: int
) -> None:
    found = []
    for hit in sorted(hits):
        traffic = dataclasses.replace(TRAFFIC, prefix_hit_fraction=hit)
        scenario = Scenario(traffic=traffic, request_rate_rps=rate, requests=4000, seed=seed)
        found.append(simulate(make_fleet(1), scenario, SLO, cache_folder=CACHE))
    assert is_no_better(*found)


def test_small_caches_put_requests_back(make_fleet: FleetFactory, h100: Profile) -> None:
    profile = dataclasses.replace(h100, kv_cache_tokens=9000)
    _, groups = served(make_fleet(1, profile=profile), drawn(TRAFFIC, Arrivals(), 400, 50.0, 0, None))
    assert groups["preempted"].sum() > 0


@RUNS
@given(rate=st.floats(2, 60), more=st.floats(1.05, 4), count=st.integers(1, 3), ranks=st.integers(1, 2), **CHANCE)
def test_attainment_does_not_rise_with_the_rate(  # noqa: PLR0917
    make_fleet: FleetFactory, rate: float, more: float, count: int, ranks: int, seed: int, cv: float
) -> None:
    fleet = make_fleet(count, ranks=ranks)
    assert is_no_better(run(fleet, rate * more, seed=seed, cv=cv), run(fleet, rate, seed=seed, cv=cv))


@RUNS
@given(rate=st.floats(5, 120), count=st.integers(1, 3), more=st.integers(1, 3), ranks=st.integers(1, 2), **CHANCE)
def test_attainment_does_not_fall_with_more_replicas(  # noqa: PLR0917
    make_fleet: FleetFactory, rate: float, count: int, more: int, ranks: int, seed: int, cv: float
) -> None:
    few, many = make_fleet(count, ranks=ranks), make_fleet(count + more, ranks=ranks)
    assert is_no_better(run(few, rate, seed=seed, cv=cv), run(many, rate, seed=seed, cv=cv))


@RUNS
@given(rate=st.floats(5, 80), slower=st.floats(0.05, 2), count=st.integers(1, 3), **CHANCE)
def test_attainment_does_not_fall_with_a_faster_engine(
    make_fleet: FleetFactory, rate: float, slower: float, count: int, seed: int, cv: float
) -> None:
    fleet = make_fleet(count)
    slow = dataclasses.replace(fleet, slower_fraction=slower)
    assert is_no_better(run(slow, rate, seed=seed, cv=cv), run(fleet, rate, seed=seed, cv=cv))


def test_the_comparisons_can_fail(make_fleet: FleetFactory) -> None:
    """A fleet that is overloaded is worse than one that is not, by more than sampling error."""
    assert not is_no_better(run(make_fleet(4), 20.0), run(make_fleet(1), 120.0))


@RUNS
@given(rate=st.floats(1, 60), idle=st.integers(1, 5), ranks=st.integers(1, 3), **CHANCE)
def test_a_replica_that_is_never_busy_changes_nothing(
    make_fleet: FleetFactory, rate: float, idle: int, ranks: int, seed: int, cv: float
) -> None:
    requests = drawn(TRAFFIC, Arrivals(cv=cv), 500, rate, seed, None)
    alone, _ = served(make_fleet(1, ranks=ranks, limit=4096), requests)
    beside, groups = served(make_fleet(1, idle, shares=(1.0, 0.0), ranks=ranks, limit=4096), requests)
    assert groups["busy_s"][1] == groups["steps"][1] == 0
    for name in ("first_s", "last_s"):
        assert (alone[name] == beside[name]).all()


@RUNS
@given(use=st.floats(0.05, 1.5), inputs=st.integers(1, 4000), outputs=st.integers(1, 200), instances=st.integers(1, 3),
       **CHANCE)  # fmt: skip
def test_one_request_at_a_time_waits_as_lindley_says(  # noqa: PLR0917
    make_fleet: FleetFactory, use: float, inputs: int, outputs: int, instances: int, seed: int, cv: float
) -> None:
    """A queue of one server and one length: each waits for what is left of those before it. Replicas take turns."""
    alone = make_fleet(instances, limit=1)
    fleet = dataclasses.replace(alone, spills=False, groups=(dataclasses.replace(alone.groups[0], in_turn=True),))
    service_s = service(fleet, inputs, outputs)
    found, _ = served(fleet, alike(300, use * instances / service_s, inputs, outputs, seed=seed, cv=cv))
    waited = found["last_s"] - found["arrival_s"] - service_s
    for replica in range(instances):
        own = slice(replica, None, instances)
        wait, expected = 0.0, []
        for gap in np.diff(found["arrival_s"][own], prepend=-1e9):
            wait = max(0.0, wait + service_s - gap)
            expected.append(wait)
        assert waited[own] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("use", [0.3, 0.6, 0.8])
def test_poisson_arrivals_wait_as_pollaczek_and_khinchine_say(make_fleet: FleetFactory, use: float) -> None:
    fleet = make_fleet(1, limit=1)
    service_s = service(fleet, 500, 20)
    found, _ = served(fleet, alike(100_000, use / service_s, 500, 20))
    waited = (found["last_s"] - found["arrival_s"] - service_s)[10_000:]
    assert waited.mean() == pytest.approx(use * service_s / (2 * (1 - use)), rel=0.05)


@RUNS
@given(rate=st.floats(1, 60), instances=st.integers(1, 3), **CHANCE)
def test_requests_in_flight_are_rate_times_latency(
    make_fleet: FleetFactory, rate: float, instances: int, seed: int, cv: float
) -> None:
    """Little's law, exactly where the window ends with the last request."""
    requests = drawn(TRAFFIC, Arrivals(cv=cv), 400, rate, seed, None)
    table, groups = served(make_fleet(instances), requests)
    start, end = requests.times_s[[0, -1]]
    inside = np.minimum(table["last_s"], end) - np.maximum(table["arrival_s"], start)
    assert (groups["early"] + groups["late"]).sum() == pytest.approx(np.maximum(inside, 0.0).sum(), rel=1e-6)


def test_unloaded_latencies_are_those_of_single_requests(make_fleet: FleetFactory, h100: Profile) -> None:
    scenario = Scenario(traffic=TRAFFIC, request_rate_rps=50.0, requests=50)
    found = unloaded(h100, scenario)
    sizes = drawn(TRAFFIC, Arrivals(), 50, 50.0, 0, None)
    for row in range(50):
        alone = service(make_fleet(1), int(sizes.inputs[row]), int(sizes.outputs[row]))
        assert found["ntpot"][row] == pytest.approx(alone / sizes.outputs[row], rel=1e-6)
        whole = found["ttft"][row] + found["tpot"][row] * (sizes.outputs[row] - 1)
        assert whole == pytest.approx(alone, rel=1e-6)
    small = unloaded(dataclasses.replace(h100, kv_cache_tokens=1000), scenario)
    assert (np.isinf(small["ttft"]) == (sizes.inputs + sizes.outputs > 1000)).all()


def service(fleet: Fleet, inputs: int, outputs: int) -> float:
    """Seconds that a request takes alone."""
    found, _ = served(fleet, alike(1, 1.0, inputs, outputs))
    return float(found["last_s"][0] - found["arrival_s"][0])


def alike(count: int, rate_rps: float, inputs: int, outputs: int, *, seed: int = 0, cv: float = 1.0) -> Drawn:
    """Requests of one size."""
    times_s = drawn(TRAFFIC, Arrivals(cv=cv), count, rate_rps, seed, None).times_s
    return Drawn(times_s=times_s, inputs=np.full(count, inputs), outputs=np.full(count, outputs))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another(make_fleet: FleetFactory) -> None:
    one, other = (to_json(run(make_fleet(2), 16.0), requests_per_second=0) for _ in range(2))
    assert one == other
    assert run(make_fleet(2), 16.0) != run(make_fleet(2), 16.0, seed=1)


def test_an_overloaded_fleet_is_not_stable(make_fleet: FleetFactory) -> None:
    found = run(make_fleet(1), 100.0, requests=10_000)
    assert not found.is_stable
    assert found.queue_growth_rps > 1
    assert run(make_fleet(4), 10.0, requests=10_000).is_stable


def test_a_full_group_passes_requests_on_and_without_spilling_does_not(make_fleet: FleetFactory) -> None:
    fleet = make_fleet(1, 1, shares=(1.0, 0.0), limit=8)
    spilling, kept = run(fleet, 16.0), run(dataclasses.replace(fleet, spills=False), 16.0)
    assert spilling.groups[1].requests > 0
    assert kept.groups[1].requests == 0
    assert spilling.attainment > kept.attainment


def test_burstier_arrivals_wait_longer(make_fleet: FleetFactory) -> None:
    found = [run(make_fleet(2), 12.0, cv=cv) for cv in (0.0, 1.0, 4.0, 50.0)]
    waits = [one.ttft_s.p99 for one in found if one.ttft_s is not None]
    assert waits == sorted(waits)
    assert len(waits) == 4


def test_a_single_request_takes_what_its_profile_says(make_fleet: FleetFactory, h100: Profile) -> None:
    requests = Drawn(times_s=np.zeros(1), inputs=np.array([1000]), outputs=np.array([100]))
    table, _ = served(make_fleet(1), requests)
    _, ttft_s, tpot_s = h100.form.latencies[(1000, 100)][0]  # type: ignore[union-attr]
    assert table["first_s"][0] == pytest.approx(ttft_s, rel=0.03)
    assert (table["last_s"][0] - table["first_s"][0]) / 99 == pytest.approx(tpot_s, rel=0.03)
