"""Calibrates the roofline's efficiencies, and checks them on accelerators that were left out."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from profile_fit.accuracy import SLOS_S, largest_rate
from profile_fit.runs import Table
from sky_melange.domain.profile import PointsForm, ProfileKind, Skipped
from sky_melange.profiles import bundled
from sky_melange.profiles.architectures import known_models
from sky_melange.profiles.roofline import Setup, setup_of
from sky_melange.profiles.step_terms import Array, non_negative

LEFT_OUT: Final = ("A100-80GB", "B200", "H100", "H200", "L40S")
SILICON: Final = "silicon"
MEASURED: Final = "measured"

_SLOWEST_S: Final = 0.150
"""Steps slower than this are of no interest to any target, and would outweigh the others by their number."""
_WEIGHTS: Final = {SILICON: 1.0, MEASURED: 10.0}
"""A measured run is rarer and truer than a row of a kernel-database profile."""
_FLOOR: Final = 0.03
_ROUNDS: Final = 8
_WAITING_SHARE: Final = 0.3
_LEAST_RUNS: Final = 4
_LEAST_SHARE: Final = 0.01
"""Of the true rate: where a prediction meets a target nowhere, its logarithm must end."""

Curve = tuple[tuple[float, float, float], ...]
"""(concurrency, TTFT, TPOT), seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is known of one replica: curves by (input, output) tokens."""

    source: str
    accelerator: str
    setup: Setup
    curves: dict[tuple[int, int], Curve]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Absolute relative errors on one left-out accelerator."""

    rate: list[float]
    tpot: list[float]
    ttft: list[float]


def silicon_samples() -> list[Sample]:
    """The bundled `points` profiles, which come from measured kernels."""
    samples = []
    for entry in bundled.entries():
        if entry.kind is not ProfileKind.ESTIMATED:
            continue
        profile = bundled.read(entry)
        key = profile.key
        setup = _setup(key.model, key.accelerator, key.tensor_parallel, key.dtype)
        if setup is not None and isinstance(profile.form, PointsForm):
            curves = {size: tuple((float(n), a, b) for n, a, b in c) for size, c in profile.form.latencies.items() if c}
            samples.append(Sample(source=SILICON, accelerator=key.accelerator, setup=setup, curves=curves))
    return samples


def measured_samples(table: Table) -> list[Sample]:
    """vLLM's measured runs of plain tensor parallelism that do not wait for memory."""
    samples = []
    for layout, runs in table.runs.items():
        if layout.sharing or layout.engine != "vllm" or len(runs) < _LEAST_RUNS:
            continue
        setup = _setup(layout.model, layout.accelerator, layout.gpus, layout.dtype)
        if setup is None:
            continue
        points: dict[tuple[int, int], list[tuple[float, float, float]]] = defaultdict(list)
        for run in runs:
            if run.ttft_s < _WAITING_SHARE * run.decode_s:
                size = (run.input_tokens, run.output_tokens)
                points[size].append((float(run.concurrency), run.ttft_s, run.tpot_s))
        curves = {size: tuple(sorted(found)) for size, found in points.items()}
        samples.append(Sample(source=MEASURED, accelerator=layout.accelerator, setup=setup, curves=curves))
    return samples


def _setup(model: str, accelerator: str, tensor_parallel: int, dtype: str) -> Setup | None:
    shape = known_models().get(model)
    if shape is None:
        return None
    found = setup_of(shape, accelerator, tensor_parallel=tensor_parallel, dtype=dtype)
    return None if isinstance(found, Skipped) else found


def calibrate(samples: Iterable[Sample]) -> tuple[Array, Array]:
    """Coefficients of TPOT and of TTFT."""
    tpot_terms, ttft_terms, tpot, ttft, weights = [], [], [], [], []
    for sample in samples:
        for (inputs, outputs), curve in sample.curves.items():
            for n, first, each in curve:
                if each >= _SLOWEST_S:
                    continue
                tpot_terms.append(sample.setup.tpot_terms(n, inputs, outputs))
                ttft_terms.append(sample.setup.ttft_terms(n, inputs))
                tpot.append(each)
                ttft.append(first)
                weights.append(_WEIGHTS[sample.source])
    weight = np.array(weights)
    return _robust(np.array(tpot_terms), np.array(tpot), weight), _robust(np.array(ttft_terms), np.array(ttft), weight)


def _robust(terms: Array, measured: Array, weight: Array) -> Array:
    """Non-negative least absolute relative errors, by reweighting."""
    scaled = terms / measured[:, None]
    ones = np.ones((1, len(measured)))
    current = weight
    coefficients = np.zeros(terms.shape[1])
    for _ in range(_ROUNDS):
        coefficients = non_negative(scaled[None], current[None], ones)[0]
        current = weight / np.maximum(np.abs(scaled @ coefficients - 1), _FLOOR)
    return coefficients


def leave_one_accelerator_out(samples: Sequence[Sample]) -> dict[tuple[str, str], Errors]:
    """Errors by (left-out accelerator, source of the truth)."""
    found: dict[tuple[str, str], Errors] = {}
    for accelerator in LEFT_OUT:
        tpot, ttft = calibrate(sample for sample in samples if sample.accelerator != accelerator)
        for sample in samples:
            if sample.accelerator == accelerator:
                key = (accelerator, sample.source)
                errors = found.setdefault(key, Errors(rate=[], tpot=[], ttft=[]))
                _compare(sample, tpot, ttft, errors)
    return found


def _compare(sample: Sample, tpot: Array, ttft: Array, errors: Errors) -> None:
    for (inputs, outputs), curve in sample.curves.items():
        guess = []
        for n, first, each in curve:
            by_terms = (
                n,
                float(ttft @ np.array(sample.setup.ttft_terms(n, inputs))),
                float(tpot @ np.array(sample.setup.tpot_terms(n, inputs, outputs))),
            )
            guess.append(by_terms)
            errors.ttft.append(abs(by_terms[1] / first - 1))
            errors.tpot.append(abs(by_terms[2] / each - 1))
        for slo_s in SLOS_S:
            truth = largest_rate(curve, outputs, slo_s)
            if len(curve) > 1 and truth > 0:
                errors.rate.append(abs(largest_rate(guess, outputs, slo_s) / truth - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """One comparison of what a calibration says that had not seen the model (and, where `unseen`, the accelerator).

    `log` is above 0 where it is too optimistic: of truth ÷ prediction of a latency, of prediction ÷ truth of a rate.
    `quantity`: tpot, ttft or rate.
    """

    unseen: bool
    sample: Sample
    quantity: str
    log: float


def leave_model_out(samples: Sequence[Sample]) -> list[Guess]:
    """Every sample by calibrations without its model, and without its model and its accelerator."""
    found: list[Guess] = []
    models = sorted({sample.setup.shape.model for sample in samples})
    accelerators = sorted({sample.accelerator for sample in samples})
    for model in models:
        others = [sample for sample in samples if sample.setup.shape.model != model]
        own = [sample for sample in samples if sample.setup.shape.model == model]
        found += _guesses(own, *calibrate(others), unseen=False)
        for accelerator in accelerators:
            here = [sample for sample in own if sample.accelerator == accelerator]
            if here:
                elsewhere = (sample for sample in others if sample.accelerator != accelerator)
                found += _guesses(here, *calibrate(elsewhere), unseen=True)
    return found


def _guesses(samples: Sequence[Sample], tpot: Array, ttft: Array, *, unseen: bool) -> Iterator[Guess]:
    for sample in samples:
        for (inputs, outputs), curve in sample.curves.items():
            guess = []
            for n, first, each in curve:
                by_terms = (
                    float(ttft @ np.array(sample.setup.ttft_terms(n, inputs))),
                    float(tpot @ np.array(sample.setup.tpot_terms(n, inputs, outputs))),
                )
                guess.append((n, *by_terms))
                if each < _SLOWEST_S:
                    for name, truth, said in (("ttft", first, by_terms[0]), ("tpot", each, by_terms[1])):
                        yield Guess(unseen=unseen, sample=sample, quantity=name, log=math.log(truth / said))
            for slo_s in SLOS_S:
                truth = largest_rate(curve, outputs, slo_s)
                if len(curve) > 1 and truth > 0:
                    said = max(largest_rate(guess, outputs, slo_s), _LEAST_SHARE * truth)
                    yield Guess(unseen=unseen, sample=sample, quantity="rate", log=math.log(said / truth))


def pooled(found: dict[tuple[str, str], Errors], keep: Callable[[str, str], bool]) -> Errors:
    """All errors of the (accelerator, source) pairs that `keep` keeps."""
    total = Errors(rate=[], tpot=[], ttft=[])
    for (accelerator, source), errors in sorted(found.items()):
        if keep(accelerator, source):
            total.rate.extend(errors.rate)
            total.tpot.extend(errors.tpot)
            total.ttft.extend(errors.ttft)
    return total


def median(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return statistics.median(values) if values else None
