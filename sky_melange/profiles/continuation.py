"""Fitted laws at request sizes that were not measured: how far they are continued, and how wrong they may be there.

The law itself is physics and goes on: with shorter prompts the prefill shrinks and decoding stays, with shorter answers
more prompts share each step. What grows is the error. It is that of held-out sizes (catalogs/continuation_errors.csv,
written by scripts/check_continuation.py), by direction and distance.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from sky_melange.domain.profile import LatencyModelForm, MeasuredRanges, Profile, ProfileError
from sky_melange.domain.workload import Slo
from sky_melange.profiles import latency_model
from sky_melange.profiles.capacity import targets
from sky_melange.profiles.latency_model import NEAR_FRACTION
from sky_melange.resources import data_path

LARGEST_RATIO: Final = 8.0
"""A law is continued to so many times the longest measured size: no longer distance was held out."""

LEAST_PREFILL: Final = 0.25
"""Of the prompt's seconds per token that a step pays at least, for answers shorter than any measured.

Fits to few answer lengths often say 0, and short answers would then cost nothing. Three of four layouts have over 0.5.
"""

LEAST_COMPARISONS: Final = 20
"""Held-out runs that a row of the table needs to be believed."""

_ROOM: Final = 1.5
"""Targets are taken to need a concurrency below the measured ones where latencies so many times as long would."""

Size = tuple[int, int, float]
"""Input tokens, output tokens, requests/s of that size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How far a size is from the measured ones; `ratio` is over 1. `is_single`: only one request size was measured."""

    direction: str
    is_single: bool
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Errors of held-out runs up to a distance, as fractions. `ratio` infinity: the worst decile of all distances."""

    ratio: float
    comparisons: int
    tpot_fraction: float
    ttft_fraction: float
    request_rate_fraction: float


def continued(profile: Profile, sizes: Sequence[Size], slo: Slo, *, is_unlimited: bool = False) -> Profile:
    """The profile with its ranges opened to the sizes, and the error that holds for them.

    Unchanged where all lie within its ranges, or no more than NEAR_FRACTION outside, and for other forms than a law.
    Where targets need it, fewer requests run at once than were measured, which grows the error too.
    `is_unlimited`: its ranges are ignored by the caller, in sizes and concurrency; the error is the largest known.
    """
    form, error = profile.form, profile.provenance.error
    if not isinstance(form, LatencyModelForm):
        return profile
    more = (
        [Distance(direction="more_at_once", is_single=_is_single(form.ranges), ratio=math.inf)] if is_unlimited else []
    )
    far = [[*distances(form.ranges, *size[:2]), *_fewer_at_once(profile, size, slo), *more] for size in sizes]
    if not any(far):
        return profile
    inputs, outputs = form.ranges.input_tokens, form.ranges.output_tokens
    ranges = replace(
        form.ranges,
        input_tokens=(1, int(inputs[1] * LARGEST_RATIO)),
        output_tokens=(1, int(outputs[1] * LARGEST_RATIO)),
        concurrency=(1, form.ranges.concurrency[1]),
        request_tokens=int(form.ranges.request_tokens * LARGEST_RATIO),
    )
    is_shorter = any(each.direction == "shorter_output" for each in itertools.chain.from_iterable(far))
    grown = None if error is None else _grown(error, far, [rate for *_, rate in sizes], is_unlimited=is_unlimited)
    return replace(
        profile,
        form=replace(at_short_answers(form) if is_shorter else form, ranges=ranges),
        provenance=replace(
            profile.provenance,
            error=grown,
            continued_from=f"{inputs[0]}…{inputs[1]} input and {outputs[0]}…{outputs[1]} output tokens",
        ),
    )


def at_short_answers(form: LatencyModelForm) -> LatencyModelForm:
    """The law with prompts that cost a step at least LEAST_PREFILL of what they cost the first token."""
    prefill_s = max(form.tpot.prefill_s, LEAST_PREFILL * form.ttft.prompt_s)
    return replace(form, tpot=replace(form.tpot, prefill_s=prefill_s))


def distances(ranges: MeasuredRanges, input_tokens: int, output_tokens: int) -> Iterator[Distance]:
    """In which directions a size lies outside the measured ranges, by more than NEAR_FRACTION."""
    found = []
    is_single = _is_single(ranges)
    for name, (low, high), tokens in (
        ("input", ranges.input_tokens, input_tokens),
        ("output", ranges.output_tokens, output_tokens),
    ):
        found += [
            Distance(direction=f"shorter_{name}", is_single=is_single, ratio=low / tokens),
            Distance(direction=f"longer_{name}", is_single=is_single, ratio=tokens / high),
        ]
    outside = [each for each in found if each.ratio > 1 + NEAR_FRACTION]
    total = (input_tokens + output_tokens) / ranges.request_tokens
    if total > 1 + NEAR_FRACTION and not any(each.direction.startswith("longer") for each in outside):
        # Both sizes were measured, but never together.
        outside.append(replace(found[1], ratio=total))
    yield from outside


def _fewer_at_once(profile: Profile, size: Size, slo: Slo) -> Iterator[Distance]:
    """Whether the targets of a size need fewer requests at once than were measured, or nearly so."""
    form = profile.form
    if isinstance(form, LatencyModelForm) and form.ranges.concurrency[0] > 1:
        inputs, outputs, _ = size
        low = float(form.ranges.concurrency[0])
        _, ttft_s, tpot_s = latency_model.at(form, profile.kv_cache_tokens, inputs, outputs, low)
        if any(target.latency_s(ttft_s, tpot_s) * _ROOM > target.limit_s for target in targets(slo, outputs)):
            yield Distance(direction="fewer_at_once", is_single=_is_single(form.ranges), ratio=low)


def _is_single(ranges: MeasuredRanges) -> bool:
    return ranges.input_tokens[0] == ranges.input_tokens[1] and ranges.output_tokens[0] == ranges.output_tokens[1]


@cache
def held_out() -> dict[tuple[str, bool], tuple[HeldOut, ...]]:
    """catalogs/continuation_errors.csv by direction and `is_single`, by rising distance; never falling."""
    found: dict[tuple[str, bool], tuple[HeldOut, ...]] = {}
    with data_path("catalogs", "continuation_errors.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            key = row["direction"], row["measured_sizes"] == "1"
            entry = HeldOut(
                ratio=float(row["ratio"]),
                comparisons=int(row["comparisons"]),
                tpot_fraction=float(row["tpot_stated"]),
                ttft_fraction=float(row["ttft_stated"]),
                request_rate_fraction=float(row["rate_stated"]),
            )
            found[key] = (*found.get(key, ()), entry)
    return found


def _grown(
    error: ProfileError, far: Sequence[Sequence[Distance]], rates: Sequence[float], *, is_unlimited: bool
) -> ProfileError:
    """The mean over all requests of what each size adds to the error of the profile."""
    whole = math.fsum(rates)
    added = [_added(each, is_unlimited=is_unlimited) for each in far]
    means = [
        math.fsum(rate * extra[place] for rate, extra in zip(rates, added, strict=True)) / whole for place in range(3)
    ]
    outside = math.fsum(rate for rate, each in zip(rates, far, strict=True) if each) / whole
    tpot, ttft, rate = error.tpot_fraction, error.ttft_fraction, error.request_rate_fraction
    known = tpot if rate is None else rate
    return replace(
        error,
        statistic="error on sizes that were held out of such fits",
        tpot_fraction=None if tpot is None else _digits(tpot + means[0]),
        ttft_fraction=None if ttft is None else _digits(ttft + means[1]),
        request_rate_fraction=None if known is None else _digits(known + means[2]),
        basis=f"{outside:.0%} of the requests are of sizes or concurrencies that were not measured; {error.basis}",
    )


def _added(found: Iterable[Distance], *, is_unlimited: bool) -> tuple[float, float, float]:
    """(TPOT, TTFT, rate), fractions: the sum over directions."""
    rows = [_row(each, is_unlimited=is_unlimited) for each in found]
    return (
        math.fsum(row.tpot_fraction for row in rows),
        math.fsum(row.ttft_fraction for row in rows),
        math.fsum(row.request_rate_fraction for row in rows),
    )


def _row(distance: Distance, *, is_unlimited: bool) -> HeldOut:
    rows = held_out()[distance.direction, distance.is_single]
    return rows[-1] if is_unlimited else next(row for row in rows if distance.ratio <= row.ratio)


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
