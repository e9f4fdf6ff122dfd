"""A profile as tables by number of running requests: how long a step of a replica takes, when first tokens come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sky_melange.domain.kept import Kept
from sky_melange.domain.profile import LatencyModelForm, MatrixForm, PointsForm, Profile
from sky_melange.errors import MissingDataError
from sky_melange.profiles.step_terms import budget_of, relative, rows_of, step_terms

Floats = NDArray[np.float64]

_LEAST_STEP_S: Final = 1e-6
"""Time passes, whatever a profile says."""

_MOST_OWN: Final = 80.0
"""Prompt tokens for one of the answer: no run that a law is fitted to has more (8,000 input and 100 output tokens)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLaw:
    """Arrays by number of running requests, 0 to the most.

    A step takes base + context·C + prompt·P + square·S seconds: C tokens in the KV cache of the running requests, P
    prompt tokens computed, S the sum over those of 2 × the tokens before each. The first token of a prompt of
    `knots[k]` tokens comes no sooner than `first[number running, k]` after the request is admitted; linear in between.
    `burdens`, `own_from`, `most_own`: see `loop._step_s`.
    """

    base: Floats
    context: Floats
    prompt: Floats
    square: Floats
    knots: Floats
    first: Floats
    burdens: bool
    own_from: int
    most_own: float


_KEPT: Final = Kept[StepLaw](most=64)
"""A search simulates the same profiles again and again, and a fit to points takes as long as 20,000 requests."""


def step_law(profile: Profile, most: int) -> StepLaw:
    """The law of a profile, for up to `most` running requests. Raises MissingDataError for rates without latencies."""
    return _KEPT.get((profile,), most, lambda: _step_law(profile, most))


def _step_law(profile: Profile, most: int) -> StepLaw:
    form = profile.form
    if isinstance(form, MatrixForm):
        key = profile.key
        raise MissingDataError(
            f"the profile of {key.model} on {key.accelerator} states request rates, no latencies, so it cannot be "
            "simulated; measure one (`sky-melange profiles measure`) or use a bundled one"
        )
    numbers = np.arange(most + 1, dtype=np.float64)
    return (
        _of_model(form, numbers)
        if isinstance(form, LatencyModelForm)
        else _of_points(form, numbers, budget_of(profile))
    )


def _of_model(form: LatencyModelForm, numbers: Floats) -> StepLaw:
    """The terms of the law are those of a step, in which N·I/O prompt tokens are computed in steady state."""
    tpot, ttft = form.tpot, form.ttft
    same = np.ones_like(numbers)
    knots = np.array([0.0, 1024.0])
    return StepLaw(
        base=np.maximum(tpot.fixed_s + tpot.sequence_s * numbers**tpot.sequence_exponent, _LEAST_STEP_S),
        context=tpot.context_s * same,
        prompt=tpot.prefill_s * same,
        square=0.0 * same,
        knots=knots,
        first=(ttft.fixed_s + ttft.sequence_s * numbers)[:, None]
        + np.outer(ttft.prompt_s + ttft.queue_s * numbers, knots),
        burdens=True,
        own_from=2,
        most_own=_MOST_OWN,
    )


def _of_points(form: PointsForm, numbers: Floats, budget: int) -> StepLaw:
    """Fitted to the points of each concurrency (`profiles.step_terms`), and linear in between."""
    rows = rows_of(form, budget)
    known, fitted = step_terms(form, budget)
    knots = np.array(sorted({inputs for inputs, _ in form.latencies}), dtype=np.float64)
    if len(knots) == 1:
        knots = np.array([knots[0], 2.0 * knots[0]])
    firsts = np.array([_first_s(rows[n], knots) for n in known])
    steps = _over_numbers(numbers, known, fitted)
    return StepLaw(
        base=np.maximum(steps[:, 0], _LEAST_STEP_S),
        context=np.interp(numbers, known, fitted[:, 1]),
        prompt=np.interp(numbers, known, fitted[:, 2]),
        square=np.interp(numbers, known, fitted[:, 3]),
        knots=knots,
        first=_over_numbers(numbers, known, firsts),
        burdens=False,
        own_from=2,
        most_own=math.inf,
    )


def _over_numbers(numbers: Floats, known: Sequence[int], values: Floats) -> Floats:
    """Columns of `values`, linear between the known numbers running, and beyond the last as they rose before it."""
    found = np.stack([np.interp(numbers, known, column) for column in values.T], axis=1)
    if len(known) > 1:
        beyond = np.maximum(0.0, numbers - known[-1]) / (known[-1] - known[-2])
        found += np.outer(beyond, np.maximum(0.0, values[-1] - values[-2]))
    return found


def _first_s(rows: Floats, knots: Floats) -> Floats:
    """TTFT at each knot, the median over outputs; where no point has it, as a line through the others says."""
    inputs, _, ttft_s, _ = rows.T
    line = relative(np.stack([np.ones_like(inputs), inputs], axis=1), ttft_s)
    known = [ttft_s[inputs == knot] for knot in knots]
    found = [
        np.median(here) if len(here) else line[0] + line[1] * knot for here, knot in zip(known, knots, strict=True)
    ]
    return np.maximum.accumulate(np.array(found))
