"""In how many draws of what profiles may be off by a plan holds.

A plan at the pessimistic end of one profile holds wherever that profile is no worse than its end. One with two kinds of
replicas needs both to be no worse, which is less likely; how much less depends on how far each may stand in for the
other, and that is for the simulation to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sky_melange.domain.profile import Profile, ProfileKey
from sky_melange.profiles.pessimism import latency_factor, stated_fraction
from sky_melange.simulation import Fleet

DRAWS: Final = 100
DRAWN_REQUESTS: Final = 20_000

_SEED: Final = 0


def in_doubt(fleet: Fleet) -> tuple[Profile, ...]:
    """The profiles of a fleet that may be off, each once."""
    profiles = {group.profile.key: group.profile for group in fleet.groups if stated_fraction(group.profile) > 0}
    return tuple(profiles[key] for key in sorted(profiles))


def drawn_factors(profiles: Sequence[Profile]) -> NDArray[np.float64]:
    """`[draw][profile]`: the latencies in truth as a multiple of the planned ones. Errors of profiles are independent.

    Each profile's draws are spread evenly over its distribution (a Latin hypercube), so that few are enough.
    """
    chance = np.random.default_rng(_SEED)
    shares = [(chance.permutation(DRAWS) + 0.5) / DRAWS for _ in profiles]
    return np.array(
        [
            [latency_factor(profile, share) / profile.provenance.slower_by for share in column]
            for profile, column in zip(profiles, shares, strict=True)
        ]
    ).T


def joint_factors(profiles: Sequence[Profile], confidence: float) -> Mapping[ProfileKey, float]:
    """How much slower than planned each profile must be taken for a plan to hold with this probability, if it does
    with all of them so slow at once: the root of the confidence for each.
    """
    each = confidence ** (1 / len(profiles))
    return {profile.key: latency_factor(profile, each) / profile.provenance.slower_by for profile in profiles}


def at_factors(fleet: Fleet, factors: Mapping[ProfileKey, float]) -> Fleet:
    """The fleet with latencies so many times as long as planned."""
    groups = (replace(group, slower_by=factors.get(group.profile.key, 1.0)) for group in fleet.groups)
    return replace(fleet, groups=tuple(groups))


def count_held(factors: NDArray[np.float64], holds: Callable[[Sequence[float]], bool]) -> int:
    """In how many draws `holds`; it does as planned, all factors 1.

    What is slower than a draw that fails fails, and what is faster than one that holds holds: few are simulated, those
    first that leave the fewest open whichever way they go.
    """
    is_held: NDArray[np.bool_] = np.asarray(np.all(factors <= 1.0, axis=1))
    is_open = ~is_held
    # [a][b]: draw a is in nothing slower than draw b.
    faster: NDArray[np.bool_] = np.asarray(np.all(factors[:, None, :] <= factors[None, :, :], axis=2))
    while is_open.any():
        settled = np.minimum(faster[:, is_open].sum(axis=1), faster[is_open].sum(axis=0))
        draw = int(np.argmax(np.where(is_open, settled, -1)))
        if holds(tuple(map(float, factors[draw]))):
            is_held |= is_open & faster[:, draw]
            is_open &= ~faster[:, draw]
        else:
            is_open &= ~faster[draw]
    return int(is_held.sum())
