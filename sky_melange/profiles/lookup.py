"""The choice of one profile by name; one operating point of it, its grid of sizes, and two side by side."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sky_melange.domain.comparison import Comparison, PricedGrid, ReplicaPrice
from sky_melange.domain.profile import (
    LatencyModelForm,
    MatrixForm,
    OperatingPoint,
    PartialKey,
    PointsForm,
    Profile,
    RateGrid,
    Skipped,
    SkipReason,
)
from sky_melange.domain.workload import Slo
from sky_melange.errors import MissingDataError
from sky_melange.profiles import bundled, latency_model
from sky_melange.profiles.bundled import Entry
from sky_melange.profiles.capacity import Curve, covers, is_near, max_capacity, profile_curve
from sky_melange.profiles.profile_json import read_profile
from sky_melange.profiles.selection import RANKS

_MOST_COMPARED: Final = 10

_MOST_SIZES: Final = 12

Sizes = tuple[tuple[int, ...], tuple[int, ...]]
"""Input and output tokens, each rising."""

_DTYPES = ("bfloat16", "float16", "fp8", "fp4", "int4")
_LISTED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted(PartialKey):
    """What a user asks for; None leaves it open. `layout` "" is plain tensor parallelism."""

    accelerator: str | None = None
    layout: str | None = None
    kind: str | None = None

    def fits(self, entry: Entry) -> bool:
        """Whether an entry is one of those asked for."""
        key = entry.key
        pairs = (
            (self.model, key.model),
            (self.accelerator, key.accelerator),
            (self.tensor_parallel, key.tensor_parallel),
            (self.engine, key.engine),
            (self.dtype, key.dtype),
            (self.layout, entry.key.layout),
            (self.kind, entry.kind.value),
        )
        return all(asked is None or asked == found for asked, found in pairs)


def matching(wanted: Wanted) -> list[Entry]:
    """The bundled profiles asked for, the preferred first: vLLM, plain, smallest, 16 bits, best kind."""
    return sorted((entry for entry in bundled.entries() if wanted.fits(entry)), key=_preference)


def find(wanted: Wanted) -> Profile:
    """The preferred bundled profile. Raises MissingDataError with what there is instead."""
    found = matching(wanted)
    if found:
        return bundled.read(found[0])
    raise MissingDataError(f"there is no profile of {_describe(wanted)}{_alternatives(wanted)}")


def read_own(path: Path) -> Profile:
    """A profile file of the user's."""
    return read_profile(path)


def operating_point(
    profile: Profile, input_tokens: int, output_tokens: int, concurrency: float, *, extrapolate: bool = False
) -> OperatingPoint | Skipped:
    """TTFT, TPOT and request rate with `concurrency` requests of one size in the replica.

    Skipped outside the profile's sizes (by more than a tenth) or concurrency, with the range, unless `extrapolate`.
    """
    if isinstance(profile.form, MatrixForm):
        detail = f"the profile states request rates at {profile.form.target}, no latencies at a concurrency"
        return Skipped(reason=SkipReason.OUTSIDE_PROFILE, detail=detail)
    outside = covers(profile, input_tokens, output_tokens)
    if not extrapolate and not is_near(profile, input_tokens, output_tokens):
        return Skipped(reason=SkipReason.OUTSIDE_PROFILE, detail=outside or "")
    if isinstance(profile.form, LatencyModelForm):
        found = _of_model(profile.form, profile.kv_cache_tokens, input_tokens, output_tokens, concurrency)
    else:
        curve = profile_curve(profile, input_tokens, output_tokens, extrapolate=extrapolate)
        found = None if isinstance(curve, Skipped) or not curve else _of_points(profile.form, curve, concurrency)
    if found is None:
        return _no_room(profile, input_tokens, output_tokens)
    if found.beyond is not None and not extrapolate:
        return Skipped(reason=SkipReason.OUTSIDE_PROFILE, detail=found.beyond)
    return OperatingPoint(
        running=found.running,
        ttft_s=found.ttft_s,
        tpot_s=found.tpot_s,
        request_rate_rps=concurrency / (found.ttft_s + found.tpot_s * (output_tokens - 1)),
        extrapolated=outside is not None or found.beyond is not None or bool(profile.provenance.continued_from),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """`beyond`: why the concurrency is outside the profile; None inside."""

    running: float
    ttft_s: float
    tpot_s: float
    beyond: str | None


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


def _of_model(
    form: LatencyModelForm, kv_cache_tokens: int | None, input_tokens: int, output_tokens: int, concurrency: float
) -> _State | None:
    """None when not one request fits in memory."""
    running, ttft_s, tpot_s = latency_model.at(form, kv_cache_tokens, input_tokens, output_tokens, concurrency)
    if running < 1:
        return None
    beyond = _beyond_model(form, concurrency, running, input_tokens, output_tokens)
    return _State(running=running, ttft_s=ttft_s, tpot_s=tpot_s, beyond=beyond)


def _of_points(form: PointsForm, curve: Curve, concurrency: float) -> _State:
    ttft_s, tpot_s = _between(curve, concurrency)
    beyond = _beyond_points(form, curve, concurrency)
    return _State(running=concurrency, ttft_s=ttft_s, tpot_s=tpot_s, beyond=beyond)


def _no_room(profile: Profile, input_tokens: int, output_tokens: int) -> Skipped:
    held = profile.kv_cache_tokens
    known = "" if held is None else f": the KV cache holds {held} tokens"
    detail = f"a request of {input_tokens} + {output_tokens} tokens does not fit in memory{known}"
    return Skipped(reason=SkipReason.MEMORY, detail=detail)


def _beyond_model(
    form: LatencyModelForm, concurrency: float, running: float, input_tokens: int, output_tokens: int
) -> str | None:
    low, high = form.ranges.concurrency
    if not low <= concurrency <= high:
        return f"concurrency {concurrency:g}, but the profile covers {low}…{high}"
    context = running * (input_tokens + output_tokens / 2)
    if context > form.ranges.context_tokens * (1 + 1e-6) + 1:
        most = int(form.ranges.context_tokens / (input_tokens + output_tokens / 2))
        return f"concurrency {concurrency:g}, but at this size the profile covers at most {max(low, most)}"
    return None


def _beyond_points(form: PointsForm, curve: Curve, concurrency: float) -> str | None:
    low, high = curve[0][0], curve[-1][0]
    if low <= concurrency <= high:
        return None
    whole = max(point[0] for points in form.latencies.values() for point in points)
    why = "" if high == whole else " (more requests do not fit in memory)"
    return f"concurrency {concurrency:g}, but at this size the profile covers {low:g}…{high:g}{why}"


def _between(curve: Curve, concurrency: float) -> tuple[float, float]:
    """(TTFT, TPOT), linear between the concurrencies; beyond them in proportion to the nearest."""
    if concurrency <= curve[0][0]:
        return curve[0][1], curve[0][2]
    for low, high in itertools.pairwise(curve):
        if concurrency <= high[0]:
            share = (concurrency - low[0]) / (high[0] - low[0])
            return low[1] + (high[1] - low[1]) * share, low[2] + (high[2] - low[2]) * share
    last = curve[-1]
    return last[1] * concurrency / last[0], last[2] * concurrency / last[0]


def _preference(entry: Entry) -> tuple[object, ...]:
    key = entry.key
    dtype = _DTYPES.index(key.dtype) if key.dtype in _DTYPES else len(_DTYPES)
    return key.engine != "vllm", entry.key.layout, key.tensor_parallel, dtype, RANKS.index(entry.kind), entry


def _describe(wanted: Wanted) -> str:
    parts = [wanted.model or "any model", f"on {wanted.accelerator or 'any accelerator'}"]
    if wanted.tensor_parallel is not None:
        parts.append(f"at tensor parallel {wanted.tensor_parallel}")
    parts += [part for part in (wanted.dtype, wanted.engine, wanted.layout, wanted.kind) if part]
    return " ".join(parts)


def _alternatives(wanted: Wanted) -> str:
    """What there is of the model, or else which models there are."""
    entries = bundled.entries()
    of_model = [entry for entry in entries if entry.key.model == wanted.model]
    if not of_model:
        models = "\n".join(f"  {name}" for name in sorted({entry.key.model for entry in entries}))
        return f"; there are profiles of\n{models}"
    same = [entry for entry in of_model if entry.key.accelerator == wanted.accelerator] or of_model
    keys = [entry.key for entry in sorted(same, key=_preference)]
    lines = [
        f"  {key.accelerator} tensor parallel {key.tensor_parallel} {key.dtype} {key.engine} {key.layout}".rstrip()
        for key in keys
    ]
    shown = list(dict.fromkeys(lines))
    more = f"\n  … and {len(shown) - _LISTED} more (sky-melange profiles list)" if len(shown) > _LISTED else ""
    return f"; of {wanted.model} there are\n" + "\n".join(shown[:_LISTED]) + more


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
