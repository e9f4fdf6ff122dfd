"""What must hold of any simulation, whatever the figures."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_fleet import CACHE, TRAFFIC, FleetFactory

from sky_melange.domain.profile import Profile
from sky_melange.domain.simulation import Simulation
from sky_melange.domain.workload import Slo
from sky_melange.simulation import Arrivals, Fleet, Scenario, compiled, simulate
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


@settings(max_examples=25)
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


def test_small_caches_put_requests_back(make_fleet: FleetFactory, h100: Profile) -> None:
    profile = dataclasses.replace(h100, kv_cache_tokens=9000)
    _, groups = served(make_fleet(1, profile=profile), drawn(TRAFFIC, Arrivals(), 400, 50.0, 0, None))
    assert groups["preempted"].sum() > 0


@pytest.mark.parametrize("seed", range(3))
def test_attainment_does_not_rise_with_the_rate(make_fleet: FleetFactory, seed: int) -> None:
    found = [run(make_fleet(2), rate, seed=seed) for rate in (10, 20, 30, 45, 60, 80, 120, 200)]
    for low, high in itertools.pairwise(found):
        assert high.attainment <= low.attainment + low.attainment_error + high.attainment_error
    assert found[-1].attainment < 0.5 < found[0].attainment


@pytest.mark.parametrize("seed", range(3))
def test_attainment_does_not_fall_with_more_replicas(make_fleet: FleetFactory, seed: int) -> None:
    found = [run(make_fleet(count), 80.0, seed=seed) for count in (1, 2, 3, 4, 6)]
    for few, more in itertools.pairwise(found):
        assert more.attainment >= few.attainment - few.attainment_error - more.attainment_error
    assert found[0].attainment < 0.5 < found[-1].attainment


@pytest.mark.parametrize("seed", range(3))
def test_attainment_does_not_fall_with_a_faster_engine(make_fleet: FleetFactory, seed: int) -> None:
    slower = (1.0, 0.5, 0.2, 0.1, 0.0)
    found = [run(dataclasses.replace(make_fleet(2), slower_fraction=by), 50.0, seed=seed) for by in slower]
    for slow, fast in itertools.pairwise(found):
        assert fast.attainment >= slow.attainment - slow.attainment_error - fast.attainment_error
    assert found[0].attainment < found[-1].attainment


def test_a_replica_that_is_never_busy_changes_nothing(make_fleet: FleetFactory) -> None:
    alone, beside = run(make_fleet(1), 8.0), run(make_fleet(1, 5, shares=(1.0, 0.0), limit=4096), 8.0)
    limited = run(dataclasses.replace(make_fleet(1, limit=4096)), 8.0)
    assert beside.groups[1].requests == 0
    assert beside.groups[1].busy_fraction == 0
    for name in ("attainment", "ttft_s", "tpot_s", "latency_s", "itl_s"):
        assert getattr(beside, name) == getattr(limited, name)
    assert alone.requests == beside.requests


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(make_fleet: FleetFactory) -> None:
    assert run(make_fleet(2), 16.0) == run(make_fleet(2), 16.0)
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
