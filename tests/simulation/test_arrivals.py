"""Sizes and times of requests."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from made_up_fleet import CACHE, TRAFFIC, FleetFactory

from sky_melange.domain.workload import Slo
from sky_melange.errors import InputError
from sky_melange.simulation import Arrivals, Scenario, parse_arrivals, simulate, without
from sky_melange.simulation.arrivals import drawn, replayed
from sky_melange.traces.request_log import RequestLog

SLO = Slo(tpot_s=0.04)


def log(*times: float) -> RequestLog:
    count = len(times)
    return RequestLog(
        source="a log",
        inputs=np.arange(1, count + 1) * 10,
        outputs=np.full(count, 5),
        times_s=np.array(times, dtype=np.float64),
    )


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.0, 3.0])
def test_gaps_have_the_mean_and_variation_asked_for(cv: float) -> None:
    gaps = np.diff(drawn(TRAFFIC, Arrivals(cv=cv), 200_000, 8.0, 0, None).times_s)
    assert gaps.mean() == pytest.approx(1 / 8, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03, abs=1e-9)


def test_sizes_lie_in_the_cells_in_proportion_to_their_rates_log_uniformly() -> None:
    found = drawn(TRAFFIC, Arrivals(), 80_000, 8.0, 0, None)
    inside = (found.inputs > 1000) & (found.outputs > 100)
    assert inside.mean() == pytest.approx(1 / 8, rel=0.05)
    assert found.inputs.min() >= 1
    assert found.inputs.max() <= 4000
    assert found.outputs.max() <= 500
    # Half of a log-uniform cell lies below the geometric mean of its ends.
    assert (found.inputs[inside] <= 2000).mean() == pytest.approx(0.5, abs=0.02)


def test_cells_with_a_known_mean_keep_it() -> None:
    means = tuple(tuple((700.0, 60.0) if rate else None for rate in row) for row in TRAFFIC.rates_rps)
    traffic = dataclasses.replace(TRAFFIC, mean_tokens=means, rates_rps=((0.0,) * 3, (0.0, 1.0, 0.0), (0.0,) * 3))
    found = drawn(traffic, Arrivals(), 50_000, 1.0, 0, None)
    assert found.inputs.mean() == pytest.approx(700, rel=0.01)
    assert found.outputs.mean() == pytest.approx(60, rel=0.01)


def test_a_mean_at_the_edge_makes_every_request_the_largest() -> None:
    means = tuple(tuple((float(i), float(j)) for j in TRAFFIC.grid.output_edges) for i in TRAFFIC.grid.input_edges)
    found = drawn(dataclasses.replace(TRAFFIC, mean_tokens=means), Arrivals(), 5_000, 1.0, 0, None)
    assert set(found.inputs) <= set(TRAFFIC.grid.input_edges)
    assert set(found.outputs) <= set(TRAFFIC.grid.output_edges)


def test_a_log_is_superposed_and_its_clock_is_not_compressed() -> None:
    # Pairs half a second apart, one each 10 s: 0.2 requests/s.
    pairs = [10.0 * i + offset for i in range(500) for offset in (0.0, 0.5)]
    found, words = replayed(log(*pairs), 4000, 0.6, 0)
    assert "3 copies" in words
    assert len(found.times_s) / found.times_s[-1] == pytest.approx(0.6, rel=0.02)
    assert (np.diff(found.times_s) >= 0).all()
    # Each request of a pair is followed by the other half a second later, as in the log.
    later = np.abs(found.times_s[:, None] + 0.5 - found.times_s[None, :]).min(axis=1) < 1e-6
    assert later.mean() == pytest.approx(0.5, abs=0.05)


def test_a_slower_replay_leaves_requests_out() -> None:
    found, words = replayed(log(*range(1000)), 500, 0.5, 0)
    assert "1 copy" in words
    assert "50.0%" in words
    assert len(found.times_s) / found.times_s[-1] == pytest.approx(0.5, rel=0.1)


def test_gaps_of_days_are_named() -> None:
    _, words = replayed(log(*range(1000), *(3 * 86_400 + i for i in range(1000))), 100, 1.0, 0)
    assert "gap of 2.99 days" in words


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (dataclasses.replace(log(1.0, 2.0), times_s=None), "has no times to replay; draw them, .*--arrivals poisson"),
        (log(5.0), "holds a single request"),
        (log(5.0, 5.0, 5.0), "3 requests of a single moment"),
        (log(0.0, 86_400.0 * 400), "copies of it; cut out the busy part"),
    ],
)
def test_logs_that_cannot_be_replayed(found: RequestLog, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replayed(found, 10, 1.0, 0)


def test_arrivals_in_words() -> None:
    assert parse_arrivals("poisson") == Arrivals(cv=1.0)
    assert parse_arrivals("cv=2.5") == Arrivals(cv=2.5)
    for wrong in ("", "cv", "cv=", "cv=-1", "cv=nan", "cv=101", "gamma", "cv=1e999"):
        with pytest.raises(InputError, match="want poisson, or cv=NUMBER"):
            parse_arrivals(wrong)


def test_requests_that_are_too_long_are_refused_and_missed(make_fleet: FleetFactory) -> None:
    fleet = dataclasses.replace(make_fleet(8), max_model_len=1000)
    found = simulate(fleet, Scenario(traffic=TRAFFIC, request_rate_rps=8.0, requests=8000), SLO, cache_folder=CACHE)
    # All of the largest input cell, a quarter of the rate, and a little of the one before.
    assert 0.25 < found.refused_fraction < 0.4
    assert found.attainment == pytest.approx(1 - found.refused_fraction, abs=0.01)
    assert found.missed.refused == found.refused_fraction


def test_lost_instances(make_fleet: FleetFactory) -> None:
    fleet = make_fleet(2, 2)
    left = without(fleet, [("a", 2)])
    scenario = Scenario(traffic=TRAFFIC, request_rate_rps=8.0, requests=500)
    found = simulate(left, scenario, SLO, cache_folder=CACHE)
    assert [group.requests for group in found.groups] == [0, 500]
    for lost, message in (
        ([("x", 1)], "no group 'x'; the plan has a, b"),
        ([("a", 3)], "a has 2 instances, not 3"),
        ([("a", 2), ("b", 2)], "no instance is left"),
    ):
        with pytest.raises(InputError, match=message):
            without(fleet, lost)


def test_a_huge_fleet_is_thinned_and_answers_as_a_smaller_one_of_the_same_load(make_fleet: FleetFactory) -> None:
    huge = simulate(
        make_fleet(1_000_000), Scenario(traffic=TRAFFIC, request_rate_rps=8e6, requests=20_000), SLO, cache_folder=CACHE
    )
    small = simulate(
        make_fleet(100), Scenario(traffic=TRAFFIC, request_rate_rps=800.0, requests=20_000), SLO, cache_folder=CACHE
    )
    assert huge.thinned_to == pytest.approx(128e-6)
    assert huge.request_rate_rps == 8e6
    assert huge.groups[0].instances == 128
    assert huge.attainment == pytest.approx(small.attainment, abs=0.01)
    assert small.thinned_to is None


def test_a_small_group_of_a_huge_fleet_keeps_its_load(make_fleet: FleetFactory) -> None:
    fleet = make_fleet(100_000, 1, shares=(0.99999, 0.00001))
    found = simulate(fleet, Scenario(traffic=TRAFFIC, request_rate_rps=8e5, requests=50_000), SLO, cache_folder=CACHE)
    rates = [group.requests / group.instances / found.duration_s for group in found.groups]
    assert rates[1] == pytest.approx(rates[0], rel=0.15)
