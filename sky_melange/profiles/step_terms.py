"""What a profile's points say of a step: what each running request, token in the cache and token of a prompt adds."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sky_melange.domain.kept import Kept
from sky_melange.domain.profile import PointsForm, Profile

Array = NDArray[np.float64]

_SINGULAR: Final = 1e-9
"""Least eigenvalue of a correlation matrix: columns nearer to each other than this are not told apart."""

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


def non_negative(columns: Array, weights: Array, target: Array) -> Array:
    """Coefficients ≥ 0 that minimise Σ weights·(columns @ coefficients − target)², for each problem.

    `columns`: [problem, row, column]; `weights` and `target`: [problem, row]; result: [problem, column]. Every subset
    of the columns is solved without the sign constraint; the best subset whose coefficients are all positive is the
    constrained optimum (Lawson and Hanson 1974, chapter 23: the optimum is unconstrained on its own support). With k
    columns these are 2^k − 1 small systems, which for k ≤ 5 is less work than an active-set iteration.
    """
    scale = np.sqrt(np.einsum("pr,prc->pc", weights, columns**2))
    scale = np.where(scale > 0, scale, 1.0)
    scaled = columns / scale[:, None, :]
    gram = np.einsum("pr,prc,prd->pcd", weights, scaled, scaled)
    moment = np.einsum("pr,prc,pr->pc", weights, scaled, target)
    problems, count = moment.shape
    best = np.zeros((problems, count))
    least = np.zeros(problems)  # of the objective without its constant, Σ weights·target²
    for size in range(1, count + 1):
        for subset in itertools.combinations(range(count), size):
            _try_subset(list(subset), gram, moment, best, least)
    return best / scale


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


def _try_subset(subset: list[int], gram: Array, moment: Array, best: Array, least: Array) -> None:
    """Replaces, in place, the best coefficients of the problems for which this subset is feasible and better."""
    part = gram[:, subset][:, :, subset]
    values, vectors = np.linalg.eigh(part)
    usable = values[:, 0] > _SINGULAR
    inverse = np.where(values > _SINGULAR, 1.0 / np.maximum(values, _SINGULAR), 0.0)
    right = moment[:, subset]
    found = np.einsum("pij,pj,pkj,pk->pi", vectors, inverse, vectors, right)
    objective = -np.einsum("pi,pi->p", found, right)
    better = usable & (found > 0).all(axis=1) & (objective < least)
    if better.any():
        least[better] = objective[better]
        best[better] = 0.0
        best[np.ix_(np.flatnonzero(better), np.array(subset))] = found[better]
