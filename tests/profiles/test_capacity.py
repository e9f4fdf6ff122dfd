"""The largest request rate within the targets: against a plain scan of the rows, and its own rules."""

from __future__ import annotations

import csv
import math
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from property_examples import examples

from sky_melange.domain.profile import Capacity, PointsForm, Profile, Skipped, SkipReason
from sky_melange.domain.units import ms_above
from sky_melange.domain.workload import Slo
from sky_melange.profiles.capacity import max_capacity
from sky_melange.profiles.profile_json import read_profile

FOLDER = Path(__file__).resolve().parents[2] / "catalogs" / "profiles"
with (FOLDER / "index.csv").open(newline="", encoding="utf-8") as _stream:
    FILES = tuple(row["file"] for row in csv.DictReader(_stream))

Point = tuple[float, float, float]


@cache
def bundled(file: str) -> Profile:
    return read_profile(FOLDER / file)


def rate(point: Point, output_tokens: int) -> float:
    concurrency, ttft_s, tpot_s = point
    return concurrency / (ttft_s + tpot_s * (output_tokens - 1))


@examples(200)
@given(
    file=st.sampled_from(FILES),
    size=st.tuples(st.integers(25, 8000), st.integers(25, 1000)),
    hits=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_capacity_does_not_fall_with_more_cached_tokens(
    file: str, size: tuple[int, int], hits: tuple[float, float]
) -> None:
    profile, slo = bundled(file), Slo(tpot_s=0.05, ttft_s=2.0)
    few, more = (max_capacity(profile, *size, slo, cached_tokens=int(hit * size[0])) for hit in sorted(hits))
    if isinstance(few, Skipped):
        return
    assert isinstance(more, Capacity)
    assert more.request_rate_rps >= few.request_rate_rps * (1 - 1e-3)


def served(profile: Profile, size: tuple[int, int], slo: Slo) -> Capacity:
    capacity = max_capacity(profile, *size, slo)
    assert isinstance(capacity, Capacity), capacity
    return capacity


def rate_or_zero(profile: Profile, size: tuple[int, int], slo: Slo) -> float:
    capacity = max_capacity(profile, *size, slo)
    return capacity.request_rate_rps if isinstance(capacity, Capacity) else 0.0


@pytest.mark.parametrize("file", FILES)
def test_at_a_measured_size_and_target_it_is_the_best_row_that_meets_it(file: str) -> None:
    """The target is one row's own latency, met by no later row: the answer is then a row, found by plain scanning."""
    profile = bundled(file)
    rng = random.Random(file)  # noqa: S311 - a fixed sample
    checked = 0
    for size in rng.sample(sorted(profile.form.latencies), k=min(25, len(profile.form.latencies))):
        curve = profile.form.latencies[size]
        last = rng.randrange(len(curve))
        for column, field in ((2, "tpot_s"), (1, "ttft_s")):
            limit_s = curve[last][column]
            if all(p[column] <= limit_s for p in curve[:last]) and all(p[column] > limit_s for p in curve[last + 1 :]):
                best = max(rate(point, size[1]) for point in curve if point[column] <= limit_s)
                assert served(profile, size, Slo(**{field: limit_s})).request_rate_rps == pytest.approx(best, rel=1e-9)
                checked += 1
    assert checked > 0


@pytest.mark.parametrize("file", FILES)
def test_the_answer_meets_the_targets_and_no_measured_row_beats_it(file: str) -> None:
    profile = bundled(file)
    rng = random.Random(file)  # noqa: S311
    for size in rng.sample(sorted(profile.form.latencies), k=min(25, len(profile.form.latencies))):
        curve = profile.form.latencies[size]
        slo = Slo(tpot_s=rng.uniform(0.005, 0.15), ttft_s=rng.uniform(0.02, 5.0))
        capacity = max_capacity(profile, *size, slo)
        assert slo.tpot_s is not None
        assert slo.ttft_s is not None
        within: list[Point] = []
        for point in curve:
            if point[1] > slo.ttft_s or point[2] > slo.tpot_s:
                break
            within.append(point)
        if not within:
            assert isinstance(capacity, Skipped)
            assert capacity.reason is SkipReason.SLO
            continue
        assert isinstance(capacity, Capacity)
        assert capacity.ttft_s <= slo.ttft_s * (1 + 1e-9)
        assert capacity.tpot_s <= slo.tpot_s * (1 + 1e-9)
        assert capacity.request_rate_rps >= max(rate(point, size[1]) for point in within) * (1 - 1e-9)
        # Little's law, and no more requests in flight than the profile knows of.
        latency_s = capacity.ttft_s + capacity.tpot_s * (size[1] - 1)
        assert capacity.concurrency == pytest.approx(capacity.request_rate_rps * latency_s)
        assert curve[0][0] <= capacity.concurrency <= curve[-1][0]


_SIZES = st.tuples(st.integers(25, 16_000), st.integers(25, 2000))
_SLOS = st.builds(
    Slo,
    tpot_s=st.none() | st.floats(0.005, 0.2),
    ttft_s=st.none() | st.floats(0.02, 10.0),
    ntpot_s=st.none() | st.floats(0.005, 0.3),
)


@examples(150)
@given(st.sampled_from(FILES), _SIZES, _SLOS, st.floats(0.3, 1.0))
def test_a_tighter_target_never_raises_the_rate(file: str, size: tuple[int, int], slo: Slo, factor: float) -> None:
    def scaled(value: float | None) -> float | None:
        return None if value is None else value * factor

    tighter = Slo(tpot_s=scaled(slo.tpot_s), ttft_s=scaled(slo.ttft_s), ntpot_s=scaled(slo.ntpot_s))
    profile = bundled(file)
    assert rate_or_zero(profile, size, tighter) <= rate_or_zero(profile, size, slo) * (1 + 1e-9)


@examples(150)
@given(st.sampled_from(FILES), _SIZES)
def test_latencies_between_measured_sizes_lie_between_them(file: str, size: tuple[int, int]) -> None:
    """At the concurrency of the answer, TTFT and TPOT are within those of the four sizes around."""
    profile = bundled(file)
    capacity = max_capacity(profile, *size, Slo(tpot_s=0.1))
    assume(isinstance(capacity, Capacity))
    assert isinstance(capacity, Capacity)
    inputs = sorted({shape[0] for shape in profile.form.latencies})
    outputs = sorted({shape[1] for shape in profile.form.latencies})
    around = [profile.form.latencies[i, o] for i in _around(inputs, size[0]) for o in _around(outputs, size[1])]
    for column, value in ((1, capacity.ttft_s), (2, capacity.tpot_s)):
        at_least = min(_interpolate(curve, capacity.concurrency, column) for curve in around)
        at_most = max(_interpolate(curve, capacity.concurrency, column) for curve in around)
        assert at_least * (1 - 1e-6) <= value <= at_most * (1 + 1e-6)


def _around(edges: list[int], tokens: int) -> set[int]:
    return {max(edge for edge in edges if edge <= tokens), min(edge for edge in edges if edge >= tokens)}


def _interpolate(curve: tuple[tuple[int, float, float], ...], concurrency: float, column: int) -> float:
    low = max(point for point in curve if point[0] <= concurrency)
    high = min(point for point in curve if point[0] >= concurrency)
    share = 0.0 if low == high else (concurrency - low[0]) / (high[0] - low[0])
    return low[column] + (high[column] - low[column]) * share


def with_points(make_profile: Any, latencies: dict[tuple[int, int], tuple[Point, ...]], **changes: Any) -> Profile:
    profile: Profile = make_profile("L4", form=PointsForm(latencies=latencies), **changes)  # type: ignore[arg-type]
    return profile


SIMPLE: dict[tuple[int, int], tuple[Point, ...]] = {
    (100, 11): ((1, 0.10, 0.010), (2, 0.12, 0.014), (4, 0.20, 0.030)),
    (300, 11): ((1, 0.30, 0.020), (2, 0.40, 0.030)),
}


def test_a_target_between_two_concurrencies_is_met_exactly(make_profile: Any) -> None:
    capacity = served(with_points(make_profile, SIMPLE), (100, 11), Slo(tpot_s=0.022))
    assert (capacity.concurrency, capacity.tpot_s, capacity.ttft_s) == pytest.approx((3.0, 0.022, 0.16))
    assert capacity.request_rate_rps == pytest.approx(3.0 / (0.16 + 0.022 * 10))


def test_a_ttft_target(make_profile: Any) -> None:
    capacity = served(with_points(make_profile, SIMPLE), (100, 11), Slo(ttft_s=0.11))
    assert (capacity.concurrency, capacity.ttft_s) == pytest.approx((1.5, 0.11))


def test_an_ntpot_target_is_latency_over_output_tokens(make_profile: Any) -> None:
    slo = Slo(ntpot_s=(0.12 + 0.014 * 10) / 11)
    assert served(with_points(make_profile, SIMPLE), (100, 11), slo).concurrency == pytest.approx(2.0)


def test_the_tightest_of_several_targets_decides(make_profile: Any) -> None:
    slo = Slo(tpot_s=0.022, ttft_s=0.11, ntpot_s=1.0)
    assert served(with_points(make_profile, SIMPLE), (100, 11), slo).concurrency == pytest.approx(1.5)


def test_between_two_sizes_only_concurrencies_that_both_hold_count(make_profile: Any) -> None:
    capacity = served(with_points(make_profile, SIMPLE), (200, 11), Slo(tpot_s=1.0))
    assert capacity.concurrency == 2
    assert (capacity.ttft_s, capacity.tpot_s) == pytest.approx((0.26, 0.022))


def test_more_requests_in_flight_are_not_used_when_they_lower_the_rate(make_profile: Any) -> None:
    thrashing = {(100, 11): ((1, 0.1, 0.01), (2, 0.1, 0.01), (4, 0.1, 0.1))}
    capacity = served(with_points(make_profile, thrashing), (100, 11), Slo(tpot_s=1.0))
    assert capacity.concurrency == 2


def test_one_output_token_has_no_time_between_tokens(make_profile: Any) -> None:
    profile = with_points(make_profile, {(100, 1): ((1, 0.1, 0.02), (2, 0.2, 0.03))})
    capacity = served(profile, (100, 1), Slo(ntpot_s=0.15))
    assert capacity.request_rate_rps == pytest.approx(1.5 / 0.15)


def test_a_target_that_no_concurrency_meets(make_profile: Any) -> None:
    skipped = max_capacity(with_points(make_profile, SIMPLE), 100, 11, Slo(tpot_s=0.0095))
    assert skipped == Skipped(
        reason=SkipReason.SLO, detail="TPOT is 10.0 ms at concurrency 1, over the target of 9.5 ms"
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ((90, 11), "90 input tokens, but the profile covers 100…300"),
        ((331, 11), "331 input tokens, but the profile covers 100…300"),
        ((100, 9), "9 output tokens, but the profile covers 11…11"),
        ((100, 2000), "2000 output tokens, but the profile covers 11…11"),
    ],
)
def test_outside_the_measured_range_it_refuses(make_profile: Any, size: tuple[int, int], text: str) -> None:
    skipped = max_capacity(with_points(make_profile, SIMPLE), *size, Slo(tpot_s=1.0))
    assert skipped == Skipped(reason=SkipReason.OUTSIDE_PROFILE, detail=text)


def test_a_size_that_does_not_fit_in_memory_is_said_to_and_so_is_every_size_next_to_it(make_profile: Any) -> None:
    curve = ((1, 0.1, 0.01),)
    holes = {(100, 10): curve, (100, 20): curve, (200, 10): curve}  # (200, 20) does not fit
    profile = with_points(make_profile, holes, kv_cache_tokens=212)
    for size in ((200, 20), (150, 15), (101, 20), (200, 11)):
        skipped = max_capacity(profile, *size, Slo(tpot_s=1.0))
        assert isinstance(skipped, Skipped)
        assert skipped.reason is SkipReason.MEMORY
        assert f"{size[0]} + {size[1]} tokens does not fit in memory (its KV cache holds 212 tokens)" in skipped.detail
    assert rate_or_zero(profile, (150, 10), Slo(tpot_s=1.0)) > 0


def test_nothing_is_ever_zero_or_not_a_number() -> None:
    rng = random.Random(5)  # noqa: S311
    for _ in range(300):
        profile = bundled(rng.choice(FILES))
        size = (rng.randint(1, 20_000), rng.randint(1, 2500))
        capacity = max_capacity(profile, *size, Slo(tpot_s=rng.uniform(0.001, 0.3)))
        if isinstance(capacity, Capacity):
            assert 0 < capacity.request_rate_rps < math.inf
            assert capacity.concurrency >= 1


@pytest.mark.parametrize(
    ("latency_ms", "shown"), [(10.04, "10.0"), (9.51, "9.51"), (9.5000004, "9.5000004"), (100.0, "100.0")]
)
def test_a_latency_over_its_limit_is_seen_to_be_over_it(latency_ms: float, shown: str) -> None:
    assert ms_above(latency_ms / 1000, 0.0095) == shown
