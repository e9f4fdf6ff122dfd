"""The baseline: four terms, linear in the concurrency, least squares on relative error, no limits, no setups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from profile_fit.serving_runs import Run
from sky_melange.profiles.step_terms import Array, non_negative


def predict_one(known: Sequence[Run], run: Run) -> tuple[float, float]:
    """(TTFT, TPOT), seconds: `a + b·N + c·N·(I + O/2) + d·N·I/O` for TPOT, `a + b·I + c·N·I + d·N` for TTFT."""
    tpot = _solve(np.array([_tpot_terms(one) for one in known]), np.array([one.tpot_s for one in known]))
    ttft = _solve(np.array([_ttft_terms(one) for one in known]), np.array([one.ttft_s for one in known]))
    return float(ttft @ np.array(_ttft_terms(run))), float(tpot @ np.array(_tpot_terms(run)))


def _solve(columns: Array, measured: Array) -> Array:
    ones = np.ones((1, len(measured)))
    return np.asarray(non_negative((columns / measured[:, None])[None], ones, ones)[0])


def _tpot_terms(run: Run) -> tuple[float, ...]:
    n, i, o = float(run.concurrency), float(run.input_tokens), float(run.output_tokens)
    return 1.0, n, n * (i + o / 2), n * i / o


def _ttft_terms(run: Run) -> tuple[float, ...]:
    n, i = float(run.concurrency), float(run.input_tokens)
    return 1.0, i, n * i, n
