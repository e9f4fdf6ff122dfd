"""What a profile's points say of a step: what each running request, token in the cache and token of a prompt adds."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sky_melange.domain.kept import Kept
from sky_melange.domain.profile import PointsForm, Profile
from sky_melange.profiles.least_squares import non_negative

Floats = NDArray[np.float64]
Rows = dict[int, Floats]
"""By concurrency: (input tokens, output tokens, TTFT, TPOT), a row for each size."""

DEFAULT_BUDGET_TOKENS: Final = 8192
"""Tokens that an engine computes in one step, where the profile does not say (vLLM's and SGLang's default)."""

_KEPT: Final = Kept[tuple[tuple[int, ...], Floats]](most=64)


def budget_of(profile: Profile) -> int:
    """Tokens that its engine computes in one step."""
    text = profile.engine_args.get("max-num-batched-tokens", "")
    return int(text) if text.isdecimal() and int(text) > 0 else DEFAULT_BUDGET_TOKENS


def rows_of(form: PointsForm, budget: int) -> Rows:
    """Points at which the prompts of a step fit into its budget: the others say how prompts queue."""
    rows: defaultdict[int, list[tuple[float, float, float, float]]] = defaultdict(list)
    for (inputs, outputs), curve in form.latencies.items():
        for n, ttft_s, tpot_s in curve:
            if n * inputs / outputs + n <= budget or n == 1:
                rows[n].append((inputs, outputs, ttft_s, tpot_s))
    return {n: np.array(rows[n], dtype=np.float64) for n in sorted(rows)}


def step_terms(form: PointsForm, budget: int) -> tuple[tuple[int, ...], Floats]:
    """Concurrencies, and a row for each: seconds of a step, and what a token in the cache, a prompt token and a pair of
    prompt tokens add. By least relative error; in points of two requests and more a step has N·I/O prompt tokens.
    """
    return _KEPT.get((form,), budget, lambda: _step_terms(rows_of(form, budget)))


def prefill_s(form: PointsForm, budget: int, concurrency: float, cached_tokens: int, output_tokens: int) -> float:
    """What the first `cached_tokens` of all prompts add to TPOT, and do not when they are in the prefix cache."""
    known, fitted = step_terms(form, budget)
    if concurrency < known[min(1, len(known) - 1)] and known[0] == 1:
        # A single request meets no other's prompt.
        return 0.0
    prompt, square = (float(np.interp(concurrency, known, fitted[:, column])) for column in (2, 3))
    return concurrency / output_tokens * (prompt * cached_tokens + square * cached_tokens * cached_tokens)


def relative(columns: Floats, measured: Floats) -> Floats:
    """Coefficients of the columns, none negative, by least relative error."""
    ones = np.ones((1, len(measured)))
    return np.asarray(non_negative((columns / measured[:, None])[None], ones, ones)[0])


def _step_terms(rows: Rows) -> tuple[tuple[int, ...], Floats]:
    known = tuple(rows)
    fitted = np.array([_coefficients(n, rows[n]) for n in known])
    if known[0] == 1 and len(known) > 1:
        # What another's prompt costs a single request is told by two.
        fitted[0, 2:4] = fitted[1, 2:4]
    return known, fitted


def _coefficients(n: int, rows: Floats) -> Floats:
    inputs, outputs, _, tpot_s = rows.T
    prompts = (n if n > 1 else 0) * inputs / outputs
    steps = np.stack([np.ones_like(inputs), n * (inputs + outputs / 2), prompts, prompts * inputs], axis=1)
    return relative(steps, tpot_s)
