"""A closed loop in the simulator gives back the profile that its steps come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from made_up_fleet import CACHE
from property_examples import is_complete, some

from sky_melange.domain.profile import LatencyModelForm, Profile, Skipped
from sky_melange.profiles.capacity import profile_curve
from sky_melange.profiles.lookup import grid_sizes, operating_point
from sky_melange.simulation import closed_loop

MOST_ERROR = 0.03


def errors(profile: Profile) -> Iterator[tuple[float, float]]:
    """Of TPOT and rate, at sizes and concurrencies that the profile covers and whose requests all fit in its cache.

    At the brim of the cache the mean fits and its swings do not: the simulator then puts requests back.
    """
    inputs, outputs = grid_sizes(profile)
    for input_tokens in two_of(inputs):
        for output_tokens in two_of(outputs):
            for concurrency in (4, 16, 64, 256):
                point = operating_point(profile, input_tokens, output_tokens, concurrency)
                held = profile.kv_cache_tokens or 10**12
                if isinstance(point, Skipped) or concurrency * (input_tokens + output_tokens) > held:
                    continue
                _, tpot_s, rate = closed_loop(profile, input_tokens, output_tokens, concurrency, cache_folder=CACHE)
                yield abs(tpot_s / point.tpot_s - 1), abs(rate / point.request_rate_rps - 1)


@pytest.mark.parametrize("hit_fraction", [0.25, 0.5, 0.9])
def test_cached_prompts_take_what_the_capacity_says(bundled_profiles: tuple[Profile, ...], hit_fraction: float) -> None:
    found = [row for profile in some(bundled_profiles)[::2] for row in cached_errors(profile, hit_fraction)]
    assert len(found) > 30
    assert np.median(found, axis=0).max() < 0.02
    assert np.quantile(found, 0.9, axis=0).max() < 0.08


def cached_errors(profile: Profile, hit_fraction: float) -> Iterator[tuple[float, float]]:
    """Of TPOT and rate, at one size and three concurrencies."""
    inputs, outputs = (sizes[2 * len(sizes) // 3] for sizes in grid_sizes(profile))
    cached = int(hit_fraction * inputs)
    curve = profile_curve(profile, inputs, outputs, cached_tokens=cached)
    for n, ttft_s, tpot_s in () if isinstance(curve, Skipped) else curve:
        if n not in (4, 16, 64) or n * (inputs + outputs) > (profile.kv_cache_tokens or 10**12):
            continue
        _, simulated_s, rate = closed_loop(profile, inputs, outputs, int(n), cached_tokens=cached, cache_folder=CACHE)
        yield abs(simulated_s / tpot_s - 1), abs(rate * (ttft_s + tpot_s * (outputs - 1)) / n - 1)


def two_of(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return sizes if len(sizes) < 3 else (sizes[len(sizes) // 3], sizes[2 * len(sizes) // 3])


def test_every_bundled_profile_is_given_back(bundled_profiles: tuple[Profile, ...]) -> None:
    medians = {}
    for profile in some(bundled_profiles):
        found = list(errors(profile))
        if found:
            medians[profile.key, profile.provenance.kind] = np.median(found, axis=0)
    assert len(medians) > (200 if is_complete() else 40)
    far = {name: median for name, median in medians.items() if max(median) > MOST_ERROR}
    assert not far
    assert np.median(list(medians.values()), axis=0).max() < 0.01


def test_no_request_waits_for_its_own_prompt_while_it_decodes(bundled_profiles: tuple[Profile, ...]) -> None:
    """8,000 prompt tokens for each of the answer: a hundred times more than in any run."""
    laws = [p for p in some(bundled_profiles) if isinstance(p.form, LatencyModelForm) and p.form.tpot.prefill_s > 1e-6]
    assert laws
    for profile in laws[:3]:
        assert isinstance(profile.form, LatencyModelForm)
        law = profile.form.tpot
        _, tpot_s, _ = closed_loop(replace(profile, kv_cache_tokens=None), 80_000, 10, 1, cache_folder=CACHE)
        assert tpot_s == pytest.approx(law.fixed_s + law.sequence_s + law.context_s * 80_005, rel=0.02)
        # Two at once wait for each other's prompts, and not for their own as well.
        _, both_s, _ = closed_loop(replace(profile, kv_cache_tokens=None), 80_000, 10, 2, cache_folder=CACHE)
        without_s = law.fixed_s + law.sequence_s * 2**law.sequence_exponent + law.context_s * 2 * 80_005
        assert both_s < without_s + 1.2 * 8_000 * law.prefill_s
