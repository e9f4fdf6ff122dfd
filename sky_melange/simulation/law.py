"""How long one step of a replica takes, and when its first tokens come: a profile as tables by number of running requests."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sky_melange.domain.profile import LatencyModelForm, MatrixForm, PointsForm, Profile
from sky_melange.errors import MissingDataError
from sky_melange.profiles.least_squares import non_negative

Floats = NDArray[np.float64]

DEFAULT_BUDGET_TOKENS: Final = 8192
"""Tokens that an engine computes in one step, where the profile does not say (vLLM's and SGLang's default)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLaw:
    """Arrays by number of running requests, 0 to the most.

    A step takes base + context·C + prompt·P + square·S seconds: C tokens in the KV cache of the running requests, P
    prompt tokens computed, S the sum over those of 2 × the tokens before each. The first token of a prompt of I tokens
    comes no sooner than ttft + ttft_token·I after the request is admitted.
    """

    base: Floats
    context: Floats
    prompt: Floats
    square: Floats
    ttft: Floats
    ttft_token: Floats


def step_law(profile: Profile, most: int) -> StepLaw:
    """The law of a profile, for up to `most` running requests. Raises MissingDataError for rates without latencies."""
    form = profile.form
    if isinstance(form, MatrixForm):
        key = profile.key
        raise MissingDataError(
            f"the profile of {key.model} on {key.accelerator} states request rates, no latencies, so it cannot be "
            "simulated; measure one (`sky-melange profiles measure`) or use a bundled one"
        )
    numbers = np.arange(most + 1, dtype=np.float64)
    return _of_model(form, numbers) if isinstance(form, LatencyModelForm) else _of_points(form, numbers, budget_of(profile))


def budget_of(profile: Profile) -> int:
    """Tokens that its engine computes in one step."""
    text = profile.engine_args.get("max-num-batched-tokens", "")
    return int(text) if text.isdecimal() and int(text) > 0 else DEFAULT_BUDGET_TOKENS


def _of_model(form: LatencyModelForm, numbers: Floats) -> StepLaw:
    """The terms of the law are those of a step, in which N·I/O prompt tokens are computed in steady state.

    A request waits for the prompts of the N − 1 others, its own being over, so each of those weighs N ÷ (N − 1).
    """
    tpot, ttft = form.tpot, form.ttft
    same = np.ones_like(numbers)
    others = np.maximum(numbers - 1.0, 1.0)
    return StepLaw(
        base=tpot.fixed_s + tpot.sequence_s * numbers**tpot.sequence_exponent,
        context=tpot.context_s * same,
        prompt=tpot.prefill_s * np.maximum(numbers, 2.0) / others,
        square=0.0 * same,
        ttft=ttft.fixed_s + ttft.sequence_s * numbers,
        ttft_token=ttft.prompt_s + ttft.queue_s * numbers,
    )


def _of_points(form: PointsForm, numbers: Floats, budget: int) -> StepLaw:
    """Fitted to the points of each concurrency by least relative error, and linear in between.

    A request of a closed loop of N meets the prompts of the N − 1 others, one in each O steps. Points at which those
    would not fit into the step's budget say how they queue, which the simulator does itself.
    """
    rows: defaultdict[int, list[tuple[float, float, float, float]]] = defaultdict(list)
    for (inputs, outputs), curve in form.latencies.items():
        for n, ttft_s, tpot_s in curve:
            if n * inputs / outputs + n <= budget or n == 1:
                rows[n].append((inputs, outputs, ttft_s, tpot_s))
    known = sorted(rows)
    fitted = np.array([_coefficients(n, np.array(rows[n], dtype=np.float64)) for n in known])
    if known[0] == 1 and len(known) > 1:
        # A single request meets no other's prompt: what those cost is told by two.
        fitted[0, 2:4] = fitted[1, 2:4]
    at = np.array(known, dtype=np.float64)
    columns = [np.interp(numbers, at, fitted[:, column]) for column in range(6)]
    if len(known) > 1:
        beyond = np.maximum(0.0, numbers - at[-1]) / (at[-1] - at[-2])
        columns[0] += beyond * max(0.0, fitted[-1, 0] - fitted[-2, 0])
        columns[4] += beyond * max(0.0, fitted[-1, 4] - fitted[-2, 4])
    base, context, prompt, square, ttft, ttft_token = columns
    return StepLaw(base=base, context=context, prompt=prompt, square=square, ttft=ttft, ttft_token=ttft_token)


def _coefficients(n: int, rows: Floats) -> tuple[float, ...]:
    inputs, outputs, ttft_s, tpot_s = rows.T
    prompts = (n - 1) * inputs / outputs
    steps = np.stack([np.ones_like(inputs), n * (inputs + outputs / 2), prompts, prompts * inputs], axis=1)
    firsts = np.stack([np.ones_like(inputs), inputs], axis=1)
    return (*_relative(steps, tpot_s), *_relative(firsts, ttft_s))


def _relative(columns: Floats, measured: Floats) -> Floats:
    ones = np.ones((1, len(measured)))
    return np.asarray(non_negative((columns / measured[:, None])[None], ones, ones)[0])
