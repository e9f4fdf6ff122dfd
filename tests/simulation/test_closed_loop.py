"""A closed loop in the simulator gives back the profile that its steps come from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from made_up_fleet import CACHE
from property_examples import is_complete, some

from sky_melange.domain.profile import Profile, Skipped
from sky_melange.profiles.grid import grid_sizes
from sky_melange.profiles.lookup import operating_point
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


def two_of(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return sizes if len(sizes) < 3 else (sizes[len(sizes) // 3], sizes[2 * len(sizes) // 3])


def test_every_bundled_profile_is_given_back(bundled_profiles: tuple[Profile, ...]) -> None:
    medians = {}
    for profile in some(bundled_profiles):
        found = list(errors(profile))
        if found:
            medians[profile.key, profile.layout, profile.provenance.kind] = np.median(found, axis=0)
    assert len(medians) > (200 if is_complete() else 40)
    far = {name: median for name, median in medians.items() if max(median) > MOST_ERROR}
    assert not far
    assert np.median(list(medians.values()), axis=0).max() < 0.01
