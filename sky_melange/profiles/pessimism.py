"""A profile at the pessimistic end of its stated error, so that what is not known well does not win by ignorance."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from sky_melange.domain.profile import LatencyModelForm, MatrixForm, PointsForm, Profile, ProfileKind

UNKNOWN_FRACTION: Final = 1.0
"""Error of a profile of which none is stated, other than one's own measurement: off by a factor of two."""


def pessimistic(profile: Profile, confidence: float) -> Profile:
    """The profile so much slower that the truth is no slower with probability `confidence` (0.5: as predicted).

    Stated errors are typical ones: half are smaller. Logarithms of errors are taken to fall off as in a Laplace
    distribution, so that the end is (1 + error) to the power log2(0.5 ÷ (1 - confidence)): 1 + error at 0.75.
    """
    factor = slower_by(profile, confidence)
    return profile if factor == 1.0 else slowed(profile, factor)


def slower_by(profile: Profile, confidence: float) -> float:
    """The factor on latencies, at least 1, to three decimals, by the larger of the errors of TPOT and request rate."""
    return round(latency_factor(profile, confidence), 3)


def latency_factor(profile: Profile, share: float) -> float:
    """The multiple of the predicted latencies that the truth does not exceed with this probability."""
    powers = math.log2(0.5 / (1.0 - share)) if share >= 0.5 else -math.log2(0.5 / share)
    return math.pow(1.0 + stated_fraction(profile), powers)


def stated_fraction(profile: Profile) -> float:
    """The larger of the errors of TPOT and request rate; of one's own measurement without any, 0."""
    error = profile.provenance.error
    known = () if error is None else (error.tpot_fraction, error.request_rate_fraction)
    fractions = [fraction for fraction in known if fraction is not None]
    own = profile.provenance.kind is ProfileKind.MEASURED
    return max(fractions, default=0.0 if own else UNKNOWN_FRACTION)


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
