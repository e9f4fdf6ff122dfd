"""The grid of request sizes that a profile is shown at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sky_melange.domain.profile import LatencyModelForm, MatrixForm, Profile, RateGrid
from sky_melange.domain.workload import Slo
from sky_melange.profiles.capacity import max_capacity

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


def _doublings(low: int, high: int) -> Iterator[int]:
    """`low`, its doublings below `high`, and `high`."""
    size = low
    for _ in range(_MOST_SIZES):
        if size >= high:
            break
        yield size
        size *= 2
    yield high
