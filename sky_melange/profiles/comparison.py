"""Two profiles at the same request sizes, priced: the picture of the Mélange paper (arXiv 2404.14527)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sky_melange.domain.comparison import Comparison, PricedGrid, ReplicaPrice
from sky_melange.domain.profile import Profile
from sky_melange.domain.workload import Slo
from sky_melange.profiles.grid import grid_sizes, rate_grid

_MOST_SIZES: Final = 10


def compare(
    first: tuple[Profile, ReplicaPrice],
    second: tuple[Profile, ReplicaPrice],
    slo: Slo,
    *,
    extrapolate: bool = False,
) -> Comparison:
    """Both at the sizes of either that lie within the ranges of both; at all sizes when nothing is in common."""
    own, others = grid_sizes(first[0]), grid_sizes(second[0])
    sizes = (_common(own[0], others[0]), _common(own[1], others[1]))

    def priced(profile: Profile, price: ReplicaPrice) -> PricedGrid:
        grid = rate_grid(profile, slo, extrapolate=extrapolate, sizes=sizes)
        return PricedGrid(profile=profile, price=price, grid=grid)

    return Comparison(slo=slo, first=priced(*first), second=priced(*second))


def _common(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """At most 10 sizes, rising; of more, evenly picked ones with both ends."""
    low, high = max(first[0], second[0]), min(first[-1], second[-1])
    inside = tuple(size for size in sorted({*first, *second}) if low <= size <= high)
    found = inside or tuple(sorted({*first, *second}))
    if len(found) <= _MOST_SIZES:
        return found
    last = len(found) - 1
    return tuple(found[round(place * last / (_MOST_SIZES - 1))] for place in range(_MOST_SIZES))
