"""Fits the latency model to serving runs: non-negative least squares on relative error, robust to single bad runs.

TPOT is linear in its coefficients for a given exponent, so every exponent of a grid is solved and the best kept. Runs
of one layout come from several engine versions ("setups"); each has a factor on the common law, shrunk towards 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from sky_melange.domain.profile import TpotLaw, TtftLaw
from sky_melange.profiles.least_squares import Array, non_negative

EXPONENTS: Final = tuple(round(0.3 + 0.05 * step, 2) for step in range(15))
"""0.30, 0.35 … 1.00."""

_ROUNDS: Final = 3
_TPOT_FLOOR: Final = 0.02
_TTFT_FLOOR: Final = 0.05
"""Relative residuals below which runs weigh alike; above, the weight falls as 1 ÷ residual (least absolute errors)."""

_TPOT_SHRINKAGE: Final = 0.5
_TTFT_SHRINKAGE: Final = 1.0
"""Runs' worth of evidence that a setup's factor is 1."""

_LARGEST_LOSS: Final = 0.5
"""Of one run, when exponents are compared: beyond it a run is simply wrong."""

_WAITS_S: Final = 2.0
_WAITS_SHARE: Final = 0.1
_WAITS_RATIO: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One steady state of one engine: `concurrency` requests in flight; `setup` names engine version or date."""

    name: str
    setup: str
    input_tokens: int
    output_tokens: int
    concurrency: int
    ttft_s: float
    tpot_s: float

    @property
    def decode_s(self) -> float:
        """Seconds from the first token to the last."""
        return self.tpot_s * (self.output_tokens - 1)

    @property
    def running(self) -> float:
        """Requests that decode on average, of those in flight (Little's law)."""
        return self.concurrency * self.decode_s / (self.decode_s + self.ttft_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The laws at a setup factor of 1, the factors (TPOT, TTFT) by setup, and the limits on running requests."""

    tpot: TpotLaw
    ttft: TtftLaw
    factors: Mapping[str, tuple[float, float]]
    kv_cache_tokens: float
    max_running: float
    output_share_held: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    kv_cache_tokens: float
    max_running: float


@dataclass(slots=True)
class _Best:
    loss: float = math.inf
    exponent: float = 1.0
    coefficients: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    factors: Mapping[str, float] | None = None
    limit: _Limit | None = None


def fit(runs: Sequence[Run], *, kv_cache_tokens: float, output_share_held: float) -> Fit:
    """Fits both laws. `kv_cache_tokens` is what the memory should hold (infinity: not known).

    Runs that wait for memory or for a place in the batch tell its size: what they hold replaces the estimate when the
    fit is better with it. Raises ValueError without runs.
    """
    if not runs:
        raise ValueError("there are no runs to fit")
    waiting = [run for run, waits in zip(runs, waits_for_memory(runs), strict=True) if waits]
    free = [run for run in runs if run not in waiting] or list(runs)
    best = _Best()
    for limit in _limits(waiting, free, kv_cache_tokens, output_share_held):
        _fit_tpot(runs, limit, output_share_held, best)
    ttft, ttft_factors = _fit_ttft(free)
    chosen, factors = best.limit, best.factors
    if chosen is None or factors is None:
        raise ValueError("no exponent fits the runs: are all latencies finite and positive?")
    fixed, sequence, context, prefill = best.coefficients
    return Fit(
        tpot=TpotLaw(
            fixed_s=fixed,
            sequence_s=sequence,
            sequence_exponent=best.exponent,
            context_s=context,
            prefill_s=prefill,
        ),
        ttft=ttft,
        factors={
            name: (factors.get(name, 1.0), ttft_factors.get(name, 1.0)) for name in sorted({run.setup for run in runs})
        },
        kv_cache_tokens=chosen.kv_cache_tokens,
        max_running=chosen.max_running,
        output_share_held=output_share_held,
    )


def waits_for_memory(runs: Sequence[Run]) -> list[bool]:
    """Whether each run's TTFT is queueing rather than prefill.

    Without queueing TTFT grows at most as the prompt tokens in flight, N·I. A run waits when its TTFT is over
    `_WAITS_RATIO` times what that growth allows from any other run, and is a tenth of its decoding or more.
    """
    return [
        run.ttft_s > _WAITS_S
        and run.ttft_s > _WAITS_SHARE * run.decode_s
        and any(_grown_ttft_s(other, run) * _WAITS_RATIO < run.ttft_s for other in runs if other is not run)
        for run in runs
    ]


def _grown_ttft_s(low: Run, high: Run) -> float:
    ratio = high.concurrency * high.input_tokens / (low.concurrency * low.input_tokens)
    return low.ttft_s * max(1.0, ratio)


def _limits(waiting: Sequence[Run], free: Sequence[Run], kv_cache_tokens: float, share: float) -> list[_Limit]:
    """Limits worth trying: the estimate of the memory, what waiting runs hold, how many of them run."""
    held = max((run.concurrency * (run.input_tokens + share * run.output_tokens) for run in free), default=0.0)
    # Runs that do not wait prove that the memory holds them, whatever was estimated.
    limits = [_Limit(kv_cache_tokens=max(kv_cache_tokens, held), max_running=math.inf)]
    if waiting:
        tokens = float(np.median([run.running * (run.input_tokens + share * run.output_tokens) for run in waiting]))
        places = float(np.median([run.running for run in waiting]))
        limits.append(_Limit(kv_cache_tokens=tokens, max_running=math.inf))
        limits.append(_Limit(kv_cache_tokens=math.inf, max_running=places))
    return limits


def _arrays(runs: Sequence[Run]) -> tuple[Array, Array, Array]:
    """Concurrency, input tokens, output tokens."""
    return (
        np.array([run.concurrency for run in runs], dtype=float),
        np.array([run.input_tokens for run in runs], dtype=float),
        np.array([run.output_tokens for run in runs], dtype=float),
    )


def _fit_tpot(runs: Sequence[Run], limit: _Limit, share: float, best: _Best) -> None:
    """Fits TPOT within one limit, at every exponent, and keeps the best in `best`."""
    concurrency, inputs, outputs = _arrays(runs)
    running = np.minimum(concurrency, limit.kv_cache_tokens / (inputs + share * outputs))
    running = np.minimum(running, limit.max_running)
    exponents = np.array(EXPONENTS)
    shape = (len(exponents), len(runs))
    columns = np.stack(
        [
            np.ones(shape),
            running[None, :] ** exponents[:, None],
            np.broadcast_to(running * (inputs + outputs / 2), shape),
            np.broadcast_to(running * inputs / outputs, shape),
        ],
        axis=2,
    )
    measured = np.array([run.tpot_s for run in runs])
    coefficients, logs, loss = _robust(columns, measured, runs, floor=_TPOT_FLOOR, shrinkage=_TPOT_SHRINKAGE)
    index = int(np.argmin(loss))
    if loss[index] < best.loss - 1e-12:
        best.loss, best.limit, best.exponent = float(loss[index]), limit, EXPONENTS[index]
        best.coefficients = tuple(float(value) for value in coefficients[index])
        best.factors = {name: math.exp(float(values[index])) for name, values in logs.items()}


def _fit_ttft(runs: Sequence[Run]) -> tuple[TtftLaw, Mapping[str, float]]:
    concurrency, inputs, _ = _arrays(runs)
    columns = np.stack([np.ones(len(runs)), inputs, concurrency * inputs, concurrency], axis=1)[None]
    measured = np.array([run.ttft_s for run in runs])
    coefficients, logs, _ = _robust(columns, measured, runs, floor=_TTFT_FLOOR, shrinkage=_TTFT_SHRINKAGE)
    fixed, prompt, queue, sequence = (float(value) for value in coefficients[0])
    law = TtftLaw(fixed_s=fixed, prompt_s=prompt, queue_s=queue, sequence_s=sequence)
    return law, {name: math.exp(float(values[0])) for name, values in logs.items()}


def _robust(
    columns: Array, measured: Array, runs: Sequence[Run], *, floor: float, shrinkage: float
) -> tuple[Array, dict[str, Array], Array]:
    """Reweighted fits with setup factors: coefficients [problem, column], log factors by setup, loss [problem]."""
    problems = columns.shape[0]
    weights = np.ones((problems, len(runs)))
    shift = np.zeros((problems, len(runs)))
    members = {name: np.array([run.setup == name for run in runs]) for name in sorted({run.setup for run in runs})}
    logs = {name: np.zeros(problems) for name in members}
    target = np.ones((problems, len(runs)))
    for turn in range(_ROUNDS + 1):
        scaled = columns / (measured * np.exp(-shift))[:, :, None]
        coefficients = non_negative(scaled, weights, target)
        fitted = np.einsum("prc,pc->pr", columns, coefficients)
        residual = np.log(measured / np.maximum(fitted, 1e-12))
        if turn < _ROUNDS and len(members) > 1:
            for name, member in members.items():
                share = weights[:, member]
                logs[name] = (share * residual[:, member]).sum(axis=1) / (share.sum(axis=1) + shrinkage)
                shift[:, member] = logs[name][:, None]
        weights = 1.0 / np.maximum(np.abs(residual - shift), floor)
        weights /= weights.max(axis=1, keepdims=True)
    loss = np.minimum(np.abs(residual - shift), _LARGEST_LOSS).sum(axis=1)
    loss += 0.5 * shrinkage * np.sum([np.abs(values) for values in logs.values()], axis=0)
    return coefficients, logs, loss


def predict(fitted: Fit, run: Run) -> tuple[float, float]:
    """(TTFT, TPOT) in seconds of a run's size, concurrency and setup; a setup that was not fitted has factor 1."""
    tpot_factor, ttft_factor = fitted.factors.get(run.setup, (1.0, 1.0))
    inputs, outputs = run.input_tokens, run.output_tokens
    held = fitted.kv_cache_tokens / (inputs + fitted.output_share_held * outputs)
    running = min(float(run.concurrency), held, fitted.max_running)
    tpot = tpot_factor * (
        fitted.tpot.fixed_s
        + fitted.tpot.sequence_s * running**fitted.tpot.sequence_exponent
        + fitted.tpot.context_s * running * (inputs + outputs / 2)
        + fitted.tpot.prefill_s * running * inputs / outputs
    )
    ttft = ttft_factor * (
        fitted.ttft.fixed_s
        + fitted.ttft.prompt_s * inputs
        + fitted.ttft.queue_s * running * inputs
        + fitted.ttft.sequence_s * running
    )
    service = ttft + tpot * (outputs - 1)
    return ttft + (run.concurrency / running - 1.0) * service, tpot
