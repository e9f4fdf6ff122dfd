"""A profile at the pessimistic end of its stated error, so that what is not known well does not win by ignorance."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from sky_melange.domain.profile import (
    TO_END,
    Interval,
    LatencyModelForm,
    MatrixForm,
    PointsForm,
    Profile,
    ProfileKind,
    either_side,
)

UNKNOWN_FRACTION: Final = 1.0
"""Error of a profile of which none is stated, other than one's own measurement: off by a factor of two."""

_SLOWER_POWER: Final = math.log2(0.5 / (1 - 0.8))
"""Of 1 + error, at the confidence that stated errors are made to hold for."""


def pessimistic(profile: Profile, confidence: float) -> Profile:
    """The profile so much slower that the truth is no slower with probability `confidence` (0.5: as predicted)."""
    factor = slower_by(profile, confidence)
    return profile if factor == 1.0 else slowed(profile, factor)


def slower_by(profile: Profile, confidence: float) -> float:
    """The factor on latencies, at least 1, to three decimals, by the larger of the errors of TPOT and request rate."""
    return round(latency_factor(profile, confidence), 3)


def latency_factor(profile: Profile, share: float) -> float:
    """The multiple of the predicted latencies that the truth does not exceed with this probability.

    Stated errors are typical ones: half are smaller. Logarithms of errors are taken to fall off as in a Laplace
    distribution, so that the end is (1 + error) to the power log2(0.5 ÷ (1 - share)): 1 + error at 0.75. Where the ends
    were found one by one, what is faster falls off to the end of the fast side, and what is slower than at 0.8 to that
    of the slow side.
    """
    fraction, (fastest, slowest) = _stated(profile)
    scale = math.log1p(fraction)
    if share < 0.5:
        return math.exp(math.log(fastest) * math.log2(0.5 / share) / TO_END)
    power = math.log2(0.5 / (1.0 - share))
    beyond = max(0.0, power - _SLOWER_POWER)
    slope = max(0.0, math.log(slowest) - scale * _SLOWER_POWER) / (TO_END - _SLOWER_POWER)
    return math.exp(scale * min(power, _SLOWER_POWER) + slope * beyond)


def stated_fraction(profile: Profile) -> float:
    """The larger of the errors of TPOT and request rate; of one's own measurement without any, 0."""
    return _stated(profile)[0]


def _stated(profile: Profile) -> tuple[float, Interval]:
    """The larger error, and between which multiples of the predicted latencies the truth is in four of five cases."""
    error, found = profile.provenance.error, []
    if error is not None and error.tpot_fraction is not None:
        found.append((error.tpot_fraction, error.tpot_interval))
    if error is not None and error.request_rate_fraction is not None:
        rates = error.request_rate_interval
        found.append((error.request_rate_fraction, None if rates is None else (1.0 / rates[1], 1.0 / rates[0])))
    own = profile.provenance.kind is ProfileKind.MEASURED
    fraction, interval = max(found, key=lambda pair: pair[0], default=(0.0 if own else UNKNOWN_FRACTION, None))
    return fraction, either_side(fraction) if interval is None else interval


def slowed(profile: Profile, factor: float) -> Profile:
    """The profile with all latencies `factor` times as long; rates without latencies are so many times smaller."""
    return replace(
        profile,
        form=_slowed(profile.form, factor),
        provenance=replace(profile.provenance, slower_by=profile.provenance.slower_by * factor),
    )


def with_overhead(profile: Profile, fraction: float) -> Profile:
    """The profile of engines that take this part longer for what is known, not for what may be off (`slower_by`)."""
    return profile if fraction == 0.0 else replace(profile, form=_slowed(profile.form, 1.0 + fraction))


def _slowed(
    form: PointsForm | LatencyModelForm | MatrixForm, factor: float
) -> PointsForm | LatencyModelForm | MatrixForm:
    if isinstance(form, PointsForm):
        latencies = {
            size: tuple((n, ttft_s * factor, tpot_s * factor) for n, ttft_s, tpot_s in curve)
            for size, curve in form.latencies.items()
        }
        return PointsForm(latencies=latencies)
    if isinstance(form, MatrixForm):
        slower = form.request_latencies_s
        return replace(
            form,
            request_rates_rps=_scaled(form.request_rates_rps, 1.0 / factor),
            request_latencies_s=None if slower is None else _scaled(slower, factor),
        )
    tpot, ttft = form.tpot, form.ttft
    return replace(
        form,
        tpot=replace(
            tpot,
            fixed_s=tpot.fixed_s * factor,
            sequence_s=tpot.sequence_s * factor,
            context_s=tpot.context_s * factor,
            prefill_s=tpot.prefill_s * factor,
        ),
        ttft=replace(
            ttft,
            fixed_s=ttft.fixed_s * factor,
            prompt_s=ttft.prompt_s * factor,
            queue_s=ttft.queue_s * factor,
            sequence_s=ttft.sequence_s * factor,
        ),
    )


def _scaled(rows: tuple[tuple[float | None, ...], ...], factor: float) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(None if value is None else value * factor for value in row) for row in rows)
