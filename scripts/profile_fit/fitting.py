"""Fits the latency model to serving runs: non-negative least squares on relative error, robust to single bad runs.

TPOT is linear in its coefficients for a given exponent, so every exponent of a grid is solved and the best kept. Runs
of one layout come from several engine versions ("setups"), which share the law up to a factor each. So do runs of
neighbouring layouts: what a layout's own runs do not show, the shape of its neighbours' laws does.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from profile_fit.robust_fit import Group, GroupName, robust_fit
from profile_fit.serving_runs import Limit, Run, limits, without_waiting
from sky_melange.domain.profile import TpotLaw, TtftLaw
from sky_melange.profiles import latency_model
from sky_melange.profiles.step_terms import Array

EXPONENTS: Final = tuple(round(0.3 + 0.05 * step, 2) for step in range(15))
"""0.30, 0.35 … 1.00."""

OTHER_SETUP_WEIGHT: Final = 0.25
"""Of a run of another engine version than the one that is asked for, where that has runs."""

_TPOT_FLOOR: Final = 0.02
_TTFT_FLOOR: Final = 0.05
"""Relative residuals below which runs weigh alike; above, the weight falls as 1 ÷ residual (least absolute errors)."""

_TPOT_SHRINKAGE: Final = 0.5
_TTFT_SHRINKAGE: Final = 1.0
"""Runs' worth of evidence that a setup's factor is 1."""
_NEIGHBOUR_SHRINKAGE: Final = 0.2
"""Runs' worth of evidence that a neighbour's factor is the one that both laws give, each fitted alone."""
_NEIGHBOUR_SPREAD: Final = 0.1
"""Median relative distance of the own runs from a neighbour's scaled law at which the neighbour counts half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The laws at a setup factor of 1, the factors (TPOT, TTFT) by setup, and the limit on running requests."""

    tpot: TpotLaw
    ttft: TtftLaw
    factors: Mapping[str, tuple[float, float]]
    limit: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Another layout's runs that do not wait, the law fitted to it alone, and how many own runs they weigh at most."""

    runs: tuple[Run, ...]
    fitted: Fit
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A run as evidence for a law: how many of its requests run, and which factor it shares with which others."""

    run: Run
    running: float
    group: GroupName
    weight: float
    log_starts: tuple[float, float] = (0.0, 0.0)


@dataclass(slots=True)
class _Best:
    loss: float = math.inf
    law: TpotLaw | None = None
    factors: Mapping[str, float] | None = None
    limit: Limit | None = None


def fit(
    runs: Sequence[Run],
    *,
    kv_cache_tokens: float,
    output_share_held: float,
    setup: str | None = None,
    neighbours: Sequence[Neighbour] = (),
) -> Fit:
    """Fits both laws. `kv_cache_tokens` is what the memory should hold (infinity: not known).

    Runs that wait for memory or for a place in the batch tell its size: what they hold replaces the estimate when the
    fit is better with it. With `setup` the laws are above all those of that engine version, if it has runs.
    Raises ValueError without runs.
    """
    if not runs:
        raise ValueError("there are no runs to fit")
    lent = list(_lent(runs, neighbours))
    best = _Best()
    for limit in limits(runs, kv_cache_tokens, output_share_held):
        own = _own_rows(runs, runs, setup, limit)
        _fit_tpot([*own, *lent], limit, best)
    unlimited = Limit(kv_cache_tokens=math.inf, max_running=math.inf, output_share_held=output_share_held)
    ttft, ttft_factors = _fit_ttft([*_own_rows(without_waiting(runs), runs, setup, unlimited), *lent])
    if best.law is None or best.factors is None or best.limit is None:
        raise ValueError("no exponent fits the runs: are all latencies finite and positive?")
    names = sorted({run.setup for run in runs})
    factors = {name: (best.factors[name], ttft_factors.get(name, 1.0)) for name in names}
    return Fit(tpot=best.law, ttft=ttft, factors=factors, limit=best.limit)


def predict(fitted: Fit, run: Run) -> tuple[float, float]:
    """(TTFT, TPOT) in seconds of a run's size, concurrency and setup; a setup that was not fitted has factor 1."""
    running = fitted.limit.running(run)
    ttft, tpot = _without_waiting(fitted, run, running)
    service = ttft + tpot * (run.output_tokens - 1)
    return ttft + (run.concurrency / running - 1.0) * service, tpot


def _without_waiting(fitted: Fit, run: Run, running: float) -> tuple[float, float]:
    tpot_factor, ttft_factor = fitted.factors.get(run.setup, (1.0, 1.0))
    return (
        ttft_factor * latency_model.ttft_s(fitted.ttft, running, run.input_tokens),
        tpot_factor * latency_model.tpot_s(fitted.tpot, running, run.input_tokens, run.output_tokens),
    )


def _own_rows(chosen: Sequence[Run], known: Sequence[Run], setup: str | None, limit: Limit) -> list[_Row]:
    """The layout's own runs; those of other setups weigh less where the setup that is asked for is known."""
    other = OTHER_SETUP_WEIGHT if any(run.setup == setup for run in known) else 1.0
    return [
        _Row(
            run=run,
            running=limit.running(run),
            group=(0, run.setup),
            weight=1.0 if run.setup == setup else other,
        )
        for run in chosen
    ]


def _lent(runs: Sequence[Run], neighbours: Sequence[Neighbour]) -> Iterator[_Row]:
    """The neighbours' runs; each neighbour's factor starts where its law, fitted alone, meets the median own run.

    A neighbour counts less the more the own runs scatter about its scaled law: half at `_NEIGHBOUR_SPREAD`.
    """
    free = without_waiting(runs)
    for number, neighbour in enumerate(neighbours, start=1):
        fitted = neighbour.fitted
        logs = [math.log(run.tpot_s / _without_waiting(fitted, run, fitted.limit.running(run))[1]) for run in runs]
        ttft_logs = [math.log(run.ttft_s / _without_waiting(fitted, run, run.concurrency)[0]) for run in free]
        tpot_log, ttft_log = statistics.median(logs), statistics.median(ttft_logs)
        spread = statistics.median(abs(value - tpot_log) for value in logs)
        weight = neighbour.weight / (1 + (spread / _NEIGHBOUR_SPREAD) ** 2)
        for run in neighbour.runs:
            tpot_factor, ttft_factor = fitted.factors[run.setup]
            yield _Row(
                run=run,
                running=fitted.limit.running(run),
                group=(number, run.setup),
                weight=weight / len(neighbour.runs),
                log_starts=(math.log(tpot_factor) - tpot_log, math.log(ttft_factor) - ttft_log),
            )


def _groups(rows: Sequence[_Row], place: int, shrinkage: float) -> dict[GroupName, Group]:
    """Rows by their shared factor. `place`: 0 for TPOT, 1 for TTFT."""
    members: dict[GroupName, list[int]] = {}
    for number, row in enumerate(rows):
        members.setdefault(row.group, []).append(number)
    return {
        name: Group(
            rows=tuple(numbers),
            weight=rows[numbers[0]].weight,
            log_start=rows[numbers[0]].log_starts[place],
            shrinkage=_NEIGHBOUR_SHRINKAGE if name[0] else shrinkage,
        )
        for name, numbers in sorted(members.items())
    }


def _arrays(rows: Sequence[_Row]) -> tuple[Array, Array, Array]:
    """Running requests, input tokens, output tokens."""
    return (
        np.array([row.running for row in rows]),
        np.array([row.run.input_tokens for row in rows], dtype=float),
        np.array([row.run.output_tokens for row in rows], dtype=float),
    )


def _fit_tpot(rows: Sequence[_Row], limit: Limit, best: _Best) -> None:
    """Fits TPOT within one limit, at every exponent, and keeps the best in `best`."""
    running, inputs, outputs = _arrays(rows)
    shape = (len(EXPONENTS), len(rows))
    columns = np.stack(
        [
            np.ones(shape),
            running[None, :] ** np.array(EXPONENTS)[:, None],
            np.broadcast_to(running * (inputs + outputs / 2), shape),
            np.broadcast_to(running * inputs / outputs, shape),
        ],
        axis=2,
    )
    measured = np.array([row.run.tpot_s for row in rows])
    coefficients, logs, loss = robust_fit(columns, measured, _groups(rows, 0, _TPOT_SHRINKAGE), floor=_TPOT_FLOOR)
    index = int(np.argmin(loss))
    if loss[index] < best.loss - 1e-12:
        fixed, sequence, context, prefill = (float(value) for value in coefficients[index])
        best.loss, best.limit, best.factors = float(loss[index]), limit, _own_factors(logs, index)
        best.law = TpotLaw(
            fixed_s=fixed,
            sequence_s=sequence,
            sequence_exponent=EXPONENTS[index],
            context_s=context,
            prefill_s=prefill,
        )


def _fit_ttft(rows: Sequence[_Row]) -> tuple[TtftLaw, Mapping[str, float]]:
    running, inputs, _ = _arrays(rows)
    columns = np.stack([np.ones(len(rows)), inputs, running * inputs, running], axis=1)[None]
    measured = np.array([row.run.ttft_s for row in rows])
    coefficients, logs, _ = robust_fit(columns, measured, _groups(rows, 1, _TTFT_SHRINKAGE), floor=_TTFT_FLOOR)
    fixed, prompt, queue, sequence = (float(value) for value in coefficients[0])
    law = TtftLaw(fixed_s=fixed, prompt_s=prompt, queue_s=queue, sequence_s=sequence)
    return law, _own_factors(logs, 0)


def _own_factors(logs: Mapping[GroupName, Array], index: int) -> dict[str, float]:
    """Factors of the layout's own setups, of one of the problems."""
    return {setup: math.exp(float(values[index])) for (number, setup), values in logs.items() if number == 0}
