"""What a front door that estimates the size of a request takes it for: the confusion of routing classes."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

from sky_melange.domain.buckets import Bucket, Traffic, part_edges
from sky_melange.domain.profile import Capacity, Skipped
from sky_melange.domain.router import RouterKind, RouterSettings
from sky_melange.domain.workload import RoutingPolicy, Workload

_NEGLIGIBLE_FRACTION: Final = 1e-4
"""Of a bucket: fewer are counted where they belong."""

_DRAWS: Final = 16
"""Errors of single requests that stand for all of them, evenly spaced."""

_STEEPEST: Final = 20.0

_WIDE: Final = 0.8
"""Of an input bucket, against its lower edge: from here on hardly any bias takes requests past both edges."""

_MOST_STEPS: Final = 12
"""Cases on each side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Requests of `bucket` that the front door takes for those of `taken_for`; both count `Traffic.buckets()`.

    `fractions[k]` of the bucket in case k: 0 where estimates are right on average, then those where all of them are
    too small, or too large, by `RouterSettings.size_bias_fraction`, then any between. `capacity`: where `capacity_of`
    looks.
    """

    bucket: int
    taken_for: int
    capacity: int
    fractions: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeEstimates:
    """All traffic in parts; the fractions of a bucket sum to 1 in each case.

    `strays` are the requests that are taken for smaller ones, at the largest size at which that happens.
    """

    parts: tuple[Part, ...]
    strays: tuple[Bucket, ...] = ()

    @property
    def cases(self) -> int:
        """How many cases there are."""
        return len(self.parts[0].fractions) if self.parts else 1

    def taken_rps(self, buckets: Sequence[Bucket]) -> tuple[float, ...] | None:
        """Requests/s that the front door takes for those of each bucket; None where it knows their sizes."""
        if all(part.bucket == part.taken_for for part in self.parts):
            return None
        sums: list[list[float]] = [[] for _ in buckets]
        for part in self.parts:
            sums[part.taken_for].append(buckets[part.bucket].rate_rps * part.fractions[0])
        return tuple(math.fsum(each) for each in sums)


def size_estimates(workload: Workload, policy: RoutingPolicy | None = None) -> SizeEstimates:
    """What the workload's front door makes of its traffic, under its routing policy or another.

    Only HAProxy estimates, and only where the policy looks at input sizes. The error of a single request is taken to be
    uniform within ±`size_error_fraction`. Within a bucket sizes lie as `Traffic.input_parts` says; where it does not,
    they are taken to follow the power law of their mean, or to be uniform.
    """
    return _estimates(workload.traffic, workload.router, policy or workload.routing)


@lru_cache(maxsize=16)
def _estimates(traffic: Traffic, router: RouterSettings, policy: RoutingPolicy) -> SizeEstimates:
    """Kept, since each round of `plan` asks some ten times: a second of the quickstart's five."""
    buckets = traffic.buckets()
    if router.kind is not RouterKind.HAPROXY or not (router.size_error_fraction or router.size_bias_fraction):
        return _exact(buckets)
    bias = router.size_bias_fraction
    cases = _biases(traffic, router)
    rows = sorted({bucket.input_index for bucket in buckets})
    known: dict[tuple[int, float], list[tuple[int, tuple[float, ...]]]] = {}
    strays: list[Bucket] = []
    parts: list[Part] = []
    for index, bucket in enumerate(buckets):
        steepness = _steepness(traffic, bucket)
        key = (bucket.input_index, steepness)
        if key not in known:
            known[key] = _row_fractions(traffic, bucket, rows, steepness, cases, router.size_error_fraction)
        for row, fractions in known[key]:
            capacity = index
            if row < bucket.input_index:
                capacity = len(buckets) + len(strays)
                least = (1 - router.size_error_fraction) * (1 - bias)
                strays.append(_stray(bucket, traffic.grid.input_edges[row], least))
            taken_for = index if row == bucket.input_index else _like(buckets, row, bucket)
            parts.append(Part(bucket=index, taken_for=taken_for, capacity=capacity, fractions=fractions))
    if policy is RoutingPolicy.BLIND:
        return replace(_exact(buckets), strays=tuple(strays))
    return SizeEstimates(parts=tuple(parts), strays=tuple(strays))


def capacity_of(part: Part, capacities: Sequence[Capacity | Skipped]) -> Capacity | Skipped:
    """What a replica sustains of these requests; `capacities` of the buckets, then of the strays.

    At the bucket's own size where it can be served: all that is known of a stray is that it is smaller.
    """
    own = capacities[part.bucket]
    return own if isinstance(own, Capacity) else capacities[part.capacity]


def _biases(traffic: Traffic, router: RouterSettings) -> tuple[float, ...]:
    """Factors of all estimates: none, then those of the cases, from both ends to the middle.

    Between two of them a group's load can only be higher where requests pass a whole class, or one edge after another:
    the narrower the classes and the smaller the error of a single request, the more cases there are.
    """
    bias = router.size_bias_fraction
    if not bias:
        return (1.0,)
    edges = traffic.grid.input_edges
    narrowest = min((top / bottom - 1 for bottom, top in pairwise(edges)), default=_WIDE)
    step = min(narrowest, _WIDE) / 8 + router.size_error_fraction / 3
    count = min(_MOST_STEPS, math.ceil(bias / step - 1e-9))
    return (1.0, *(1 + sign * bias * number / count for number in range(count, 0, -1) for sign in (-1, 1)))


def _exact(buckets: Sequence[Bucket]) -> SizeEstimates:
    return SizeEstimates(
        parts=tuple(Part(bucket=b, taken_for=b, capacity=b, fractions=(1.0,)) for b in range(len(buckets)))
    )


def _row_fractions(
    traffic: Traffic,
    bucket: Bucket,
    rows: Sequence[int],
    steepness: float,
    cases: Sequence[float],
    error: float,
) -> list[tuple[int, tuple[float, ...]]]:
    """(input row, fraction in each case) of the rows that the bucket's requests are taken for, its own among them."""
    edges = traffic.grid.input_edges
    low = edges[bucket.input_index - 1] if bucket.input_index else 0
    high = bucket.input_tokens
    draws = [1 + error * (2 * number + 1 - _DRAWS) / _DRAWS for number in range(_DRAWS)] if error else [1.0]
    parts = _parts(traffic, bucket)
    heights = list(accumulate((part / math.fsum(parts) for part in parts), initial=0.0))
    bounds = (low, *part_edges(low, high))

    def below(tokens: float) -> float:
        if parts and low < tokens < high:
            place = bisect_left(bounds, tokens)
            inside = (tokens - bounds[place - 1]) / (bounds[place] - bounds[place - 1])
            return heights[place - 1] + inside * (heights[place] - heights[place - 1])
        return math.pow(min(1.0, max(0.0, (tokens - low) / (high - low))), steepness)

    # Nearly all edges are beyond what any estimate of these sizes reaches: all requests lie on one side of them.
    least, most = low * min(cases) * min(draws), high * max(cases) * max(draws)

    def shares(edge: float) -> list[list[float]] | float:
        """By case and draw, the share of the requests whose estimate is below an edge; one number where all agree."""
        if edge < least:
            return 0.0
        if edge > most:
            return 1.0
        return [[below(edge / (case * draw)) for draw in draws] for case in cases]

    found: dict[int, tuple[float, ...]] = {}
    bottom = shares(0.0)
    for place, row in enumerate(rows):
        top = shares(edges[row] if place + 1 < len(rows) else math.inf)
        if top != bottom or not isinstance(top, float):
            tops, bottoms = (
                [[each] * len(draws)] * len(cases) if isinstance(each, float) else each for each in (top, bottom)
            )
            found[row] = tuple(
                math.fsum(above - under for above, under in zip(one, other, strict=True)) / len(draws)
                for one, other in zip(tops, bottoms, strict=True)
            )
        bottom = top
    kept = {row: fractions for row, fractions in found.items() if max(fractions) >= _NEGLIGIBLE_FRACTION}
    kept.pop(bucket.input_index, None)
    own = tuple(1 - math.fsum(each) for each in zip(*kept.values(), strict=True)) if kept else (1.0,) * len(cases)
    return sorted({**kept, bucket.input_index: own}.items())


def _parts(traffic: Traffic, bucket: Bucket) -> tuple[float, ...]:
    return () if traffic.input_parts is None else traffic.input_parts[bucket.input_index]


def _steepness(traffic: Traffic, bucket: Bucket) -> float:
    """The exponent of the fraction of the bucket's requests below a size; 1 where they are uniform."""
    if _parts(traffic, bucket):
        return 1.0
    mean = None if traffic.mean_tokens is None else traffic.mean_tokens[bucket.input_index][bucket.output_index]
    if mean is None:
        return 1.0
    low = traffic.grid.input_edges[bucket.input_index - 1] if bucket.input_index else 0
    place = (mean[0] - low) / (bucket.input_tokens - low)
    if place >= 1:
        return _STEEPEST
    return min(_STEEPEST, max(1 / _STEEPEST, place / (1 - place))) if place > 0 else 1.0


def _stray(bucket: Bucket, edge: int, least: float) -> Bucket:
    """At the largest size whose estimate can be within the edge."""
    largest = max(1, min(bucket.planned_input_tokens, math.floor(edge / least)))
    return replace(bucket, input_tokens=min(bucket.input_tokens, largest), planned_input_tokens=largest)


def _like(buckets: Sequence[Bucket], row: int, bucket: Bucket) -> int:
    """The bucket of another input row whose requests these are taken for: its output edge, or the next there is."""
    places = [place for place, other in enumerate(buckets) if other.input_index == row]
    return next((place for place in places if buckets[place].output_index >= bucket.output_index), places[-1])
