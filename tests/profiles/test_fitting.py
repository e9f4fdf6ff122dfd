"""Fits recover known laws, are not led astray by single bad runs, and find what waits for memory."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from profile_fit.fitting import Neighbour, fit, predict
from profile_fit.robust_fit import Group, robust_fit
from profile_fit.serving_runs import Run, limits, waits_for_memory, without_waiting

from sky_melange.domain.profile import TpotLaw, TtftLaw
from sky_melange.profiles import latency_model
from sky_melange.profiles.step_terms import non_negative

TPOT = TpotLaw(fixed_s=0.008, sequence_s=0.0006, sequence_exponent=0.65, context_s=2e-8, prefill_s=4e-5)
TTFT = TtftLaw(fixed_s=0.03, prompt_s=4e-5, queue_s=2e-6, sequence_s=2e-4)
SIZES = ((1024, 1024), (8192, 1024), (1024, 8192), (2048, 256))
CONCURRENCIES = (4, 8, 16, 32, 64)


def runs_of(
    *, noise: float = 0.0, held: float = math.inf, factor: float = 1.0, setup: str = "1", seed: int = 1
) -> list[Run]:
    """Runs that obey the laws, up to `noise`; requests beyond `held` tokens wait."""
    random_numbers = random.Random(seed)  # noqa: S311 - noise of a test
    found = []
    for (i, o), n in itertools.product(SIZES, CONCURRENCIES):
        running = min(float(n), held / (i + o / 2))
        tpot = factor * latency_model.tpot_s(TPOT, running, i, o) * math.exp(random_numbers.gauss(0, noise))
        own = latency_model.ttft_s(TTFT, running, i)
        ttft = own + (n / running - 1) * (own + tpot * (o - 1))
        found.append(
            Run(
                name=f"{setup}-{i}-{o}-{n}", setup=setup, input_tokens=i, output_tokens=o, concurrency=n,
                ttft_s=ttft, tpot_s=tpot,
            )
        )  # fmt: skip
    return found


def test_exact_runs_give_back_the_law() -> None:
    found = fit(runs_of(), kv_cache_tokens=math.inf, output_share_held=0.5)
    assert found.tpot.sequence_exponent == pytest.approx(0.65)
    for name in ("fixed_s", "sequence_s", "context_s", "prefill_s"):
        assert getattr(found.tpot, name) == pytest.approx(getattr(TPOT, name), rel=1e-6)
    for name in ("fixed_s", "prompt_s", "queue_s", "sequence_s"):
        assert getattr(found.ttft, name) == pytest.approx(getattr(TTFT, name), rel=1e-6)


def test_unseen_runs_are_predicted_within_the_noise() -> None:
    runs = runs_of(noise=0.02)
    errors = []
    for run in runs:
        found = fit([other for other in runs if other is not run], kv_cache_tokens=math.inf, output_share_held=0.5)
        errors.append(abs(predict(found, run)[1] / run.tpot_s - 1))
    assert float(np.median(errors)) < 0.02


def test_one_wrong_run_moves_the_others_by_little() -> None:
    runs = runs_of(noise=0.01)
    wrong = dataclasses.replace(runs[7], tpot_s=runs[7].tpot_s * 3)
    found = fit([*runs[:7], wrong, *runs[8:]], kv_cache_tokens=math.inf, output_share_held=0.5)
    errors = [abs(predict(found, run)[1] / run.tpot_s - 1) for run in runs]
    assert max(errors) < 0.08


def test_runs_that_wait_are_found_and_tell_the_memory() -> None:
    held = 120_000
    runs = runs_of(held=held)
    tokens = [run.concurrency * (run.input_tokens + run.output_tokens / 2) for run in runs]
    flags = waits_for_memory(runs)
    assert sum(needed > held * 1.2 for needed in tokens) >= 3
    assert all(flag for flag, needed in zip(flags, tokens, strict=True) if needed > held * 1.2)
    assert not any(flag for flag, needed in zip(flags, tokens, strict=True) if needed <= held)
    found = fit(runs, kv_cache_tokens=math.inf, output_share_held=0.5)
    assert found.limit.kv_cache_tokens == pytest.approx(held, rel=0.1)
    errors = [abs(predict(found, run)[1] / run.tpot_s - 1) for run in runs]
    assert float(np.median(errors)) < 0.01


def test_runs_without_waiting_prove_that_the_memory_holds_them() -> None:
    found = fit(runs_of(), kv_cache_tokens=1000, output_share_held=0.5)
    assert found.limit.kv_cache_tokens == max(
        run.concurrency * (run.input_tokens + run.output_tokens / 2) for run in runs_of()
    )


def test_a_slower_engine_version_gets_its_factor() -> None:
    fast = [run for run in runs_of(setup="2.0") if run.concurrency != 16]
    slow = [run for run in runs_of(setup="1.0", factor=1.5) if run.concurrency == 16]
    found = fit([*fast, *slow], kv_cache_tokens=math.inf, output_share_held=0.5)
    assert found.factors["1.0"][0] / found.factors["2.0"][0] == pytest.approx(1.5, rel=0.12)
    assert predict(found, dataclasses.replace(fast[0], setup="3.0"))[1] > 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_runs_still_give_positive_laws(count: int) -> None:
    runs = runs_of()[:count]
    found = fit(runs, kv_cache_tokens=math.inf, output_share_held=0.5)
    for run in runs:
        ttft_s, tpot_s = predict(found, run)
        assert tpot_s == pytest.approx(run.tpot_s, rel=0.2)
        assert ttft_s > 0


def test_no_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="no runs"):
        fit([], kv_cache_tokens=math.inf, output_share_held=0.5)


def test_the_order_of_the_runs_does_not_matter() -> None:
    runs = runs_of(noise=0.05)
    shuffled = list(runs)
    random.Random(3).shuffle(shuffled)  # noqa: S311 - order of a test
    first, second = (fit(found, kv_cache_tokens=math.inf, output_share_held=0.5) for found in (runs, shuffled))
    assert first.tpot.sequence_exponent == second.tpot.sequence_exponent
    assert first.tpot.fixed_s == pytest.approx(second.tpot.fixed_s, rel=1e-6, abs=1e-12)


def neighbour_of(runs: list[Run], weight: float = 2.0) -> Neighbour:
    fitted = fit(runs, kv_cache_tokens=math.inf, output_share_held=0.5)
    return Neighbour(runs=tuple(without_waiting(runs)), fitted=fitted, weight=weight)


def scaled(runs: list[Run], factor: float) -> list[Run]:
    """The same law, slower by a factor in TPOT and TTFT."""
    return [
        dataclasses.replace(run, name=f"slow {run.name}", ttft_s=run.ttft_s * factor, tpot_s=run.tpot_s * factor)
        for run in runs
    ]


def test_two_runs_scale_a_neighbours_law() -> None:
    """A layout 1.7 times as slow as its neighbour in everything: two runs of it tell all the others."""
    truth = scaled(runs_of(), 1.7)
    own = [truth[1], truth[8]]
    pooled = fit(own, kv_cache_tokens=math.inf, output_share_held=0.5, neighbours=[neighbour_of(runs_of())])
    alone = fit(own, kv_cache_tokens=math.inf, output_share_held=0.5)
    errors = [abs(predict(pooled, run)[1] / run.tpot_s - 1) for run in truth]
    assert max(errors) < 0.02
    assert max(abs(predict(pooled, run)[0] / run.ttft_s - 1) for run in truth) < 0.1
    assert max(abs(predict(alone, run)[1] / run.tpot_s - 1) for run in truth) > 0.2


def test_many_own_runs_outweigh_a_neighbour_of_another_shape() -> None:
    own = runs_of()
    odd = [dataclasses.replace(run, tpot_s=0.001 * run.concurrency) for run in runs_of()]
    found = fit(own, kv_cache_tokens=math.inf, output_share_held=0.5, neighbours=[neighbour_of(odd)])
    errors = [abs(predict(found, run)[1] / run.tpot_s - 1) for run in own]
    assert float(np.median(errors)) < 0.02
    assert max(errors) < 0.1


def test_the_version_asked_for_counts_most() -> None:
    """Version 2 halves the fixed part only, so that no factor turns one law into the other."""
    old = runs_of(setup="1.0")
    new = [
        dataclasses.replace(run, setup="2.0", tpot_s=run.tpot_s - TPOT.fixed_s / 2)
        for run in runs_of(setup="2.0")
        if run.concurrency != 16
    ]
    errors = {}
    for setup in (None, "2.0"):
        found = fit([*old, *new], kv_cache_tokens=math.inf, output_share_held=0.5, setup=setup)
        errors[setup] = float(np.mean([abs(predict(found, run)[1] / run.tpot_s - 1) for run in new]))
    assert errors["2.0"] < 0.8 * errors[None]


@given(st.integers(0, 2**16), st.integers(2, 6), st.floats(0.3, 3.0), st.floats(0.0, 0.5))
def test_latencies_of_a_pooled_law_never_fall_as_the_work_grows(
    seed: int, count: int, factor: float, noise: float
) -> None:
    random_numbers = random.Random(seed)  # noqa: S311 - runs of a test
    own = random_numbers.sample(scaled(runs_of(noise=noise, seed=seed), factor), count)
    lent = neighbour_of(runs_of(noise=noise, seed=seed + 1))
    found = fit(own, kv_cache_tokens=math.inf, output_share_held=0.5, neighbours=[lent])
    for i, n in itertools.product((256, 4096), (2.0, 100.0)):
        more_running = latency_model.tpot_s(found.tpot, 2 * n, i, 512)
        longer = latency_model.tpot_s(found.tpot, n, 2 * i, 512)
        assert min(more_running, longer) >= latency_model.tpot_s(found.tpot, n, i, 512) > 0
        first = latency_model.ttft_s(found.ttft, n, i)
        assert min(latency_model.ttft_s(found.ttft, 2 * n, i), latency_model.ttft_s(found.ttft, n, 2 * i)) >= first > 0


def test_factors_of_groups_by_hand() -> None:
    """One column, two groups: measured 2 and 2, and 6 and 6, all of weight 1; the second starts at its true factor."""
    columns = np.ones((1, 4, 1))
    measured = np.array([2.0, 2.0, 6.0, 6.0])
    groups = {
        (0, "own"): Group(rows=(0, 1), weight=1.0, log_start=0.0, shrinkage=0.5),
        (1, "lent"): Group(rows=(2, 3), weight=0.5, log_start=math.log(3), shrinkage=0.2),
    }
    coefficients, logs, loss = robust_fit(columns, measured, groups, floor=0.02)
    assert coefficients[0] == pytest.approx([2.0])
    assert float(logs[0, "own"][0]) == pytest.approx(0.0, abs=1e-12)
    assert math.exp(float(logs[1, "lent"][0])) == pytest.approx(3.0)
    assert float(loss[0]) == pytest.approx(0.0, abs=1e-12)


def test_waiting_tells_the_places_of_a_steady_and_of_a_single_burst() -> None:
    """512 at once, 64 places: 8 waves, so the mean waits 3.5 decoding times. A steady stream would be 512 ÷ 4.5."""
    quick = Run(name="q", setup="1", input_tokens=1024, output_tokens=101, concurrency=8, ttft_s=0.05, tpot_s=0.01)
    burst = dataclasses.replace(quick, name="b", concurrency=512, tpot_s=0.1, ttft_s=35.0)
    assert burst.places == pytest.approx(64)
    assert burst.running == pytest.approx(512 / 4.5)
    found = limits([quick, burst], math.inf, 0.5)
    assert [limit.max_running for limit in found] == pytest.approx([math.inf, math.inf, 512 / 4.5, math.inf, 64])
    assert found[1].kv_cache_tokens == pytest.approx(512 / 4.5 * (1024 + 50.5))
    assert found[4].running(burst) == pytest.approx(64)


MATRICES = st.lists(st.lists(st.floats(0.01, 10), min_size=3, max_size=3), min_size=4, max_size=8)


@given(MATRICES, st.data())
def test_non_negative_least_squares_is_optimal(rows: list[list[float]], data: st.DataObject) -> None:
    """No coefficient is negative, and no small step along any axis lowers the sum of squares."""
    columns = np.array(rows)
    target = np.array(data.draw(st.lists(st.floats(0.1, 10), min_size=len(rows), max_size=len(rows))))
    found = non_negative(columns[None], np.ones((1, len(rows))), target[None])[0]
    assert (found >= 0).all()
    best = float(((columns @ found - target) ** 2).sum())
    for index in range(3):
        for step in (1e-3, -1e-3):
            other = found.copy()
            other[index] = max(0.0, other[index] + step)
            assert float(((columns @ other - target) ** 2).sum()) >= best - 1e-6 * (1 + best)


def test_non_negative_recovers_known_coefficients_and_zeroes() -> None:
    columns = np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [1.0, 2.0, 5.0], [1.0, 3.0, 2.0]])
    found = non_negative(columns[None], np.ones((1, 4)), (columns @ np.array([2.0, 0.5, 0.0]))[None])[0]
    assert found == pytest.approx([2.0, 0.5, 0.0], abs=1e-9)


def test_a_column_twice_is_no_accident() -> None:
    columns = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    found = non_negative(columns[None], np.ones((1, 3)), np.array([[2.0, 4.0, 6.0]]))[0]
    assert columns @ found == pytest.approx([2.0, 4.0, 6.0])
