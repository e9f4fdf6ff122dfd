"""The grid of request sizes that a profile is shown at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sky_melange.domain.comparison import Comparison, PricedGrid, ReplicaPrice
from sky_melange.domain.profile import LatencyModelForm, MatrixForm, Profile, RateGrid
from sky_melange.domain.workload import Slo
from sky_melange.profiles.capacity import max_capacity

_MOST_COMPARED: Final = 10

_MOST_SIZES: Final = 12

Sizes = tuple[tuple[int, ...], tuple[int, ...]]
"""Input and output tokens, each rising."""


def rate_grid(profile: Profile, slo: Slo, *, extrapolate: bool = False, sizes: Sizes | None = None) -> RateGrid:
    """Capacities at given sizes, or at the profile's own (see `grid_sizes`)."""
    inputs, outputs = sizes or grid_sizes(profile)
    return RateGrid(
        input_tokens=inputs,
        output_tokens=outputs,
        cells=tuple(tuple(max_capacity(profile, i, o, slo, extrapolate=extrapolate) for o in outputs) for i in inputs),
    )


def grid_sizes(profile: Profile) -> Sizes:
    """The profile's own sizes; for a latency model doublings of its lowest size, up to its highest."""
    form = profile.form
    if isinstance(form, MatrixForm):
        return form.input_edges, form.output_edges
    if isinstance(form, LatencyModelForm):
        return tuple(_doublings(*form.ranges.input_tokens)), tuple(_doublings(*form.ranges.output_tokens))
    return (
        tuple(sorted({size[0] for size in form.latencies})),
        tuple(sorted({size[1] for size in form.latencies})),
    )


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


def _doublings(low: int, high: int) -> Iterator[int]:
    """`low`, its doublings below `high`, and `high`."""
    size = low
    for _ in range(_MOST_SIZES):
        if size >= high:
            break
        yield size
        size *= 2
    yield high


def _common(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """At most 10 sizes, rising; of more, evenly picked ones with both ends."""
    low, high = max(first[0], second[0]), min(first[-1], second[-1])
    inside = tuple(size for size in sorted({*first, *second}) if low <= size <= high)
    found = inside or tuple(sorted({*first, *second}))
    if len(found) <= _MOST_COMPARED:
        return found
    last = len(found) - 1
    return tuple(found[round(place * last / (_MOST_COMPARED - 1))] for place in range(_MOST_COMPARED))
