"""Imported figures held against the machine: what no GPU of the datasheets can do has a wrong unit or a wrong layout.

The bounds need the model's shape (catalogs/architectures.jsonl) and the GPU's figures (gpus.csv, gpu_compute.csv).
Where one of them is not known, only what no machine has ever done is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sky_melange.domain.profile import MatrixForm, PointsForm, ProfileKey
from sky_melange.profiles.architectures import known_models
from sky_melange.profiles.gpu_compute import GpuCompute, machines
from sky_melange.profiles.model_shape import BYTES_PER_WEIGHT
from sky_melange.profiles.roofline_terms import Setup

_LEAST_TPOT_S: Final = 1e-4
_LEAST_TTFT_S: Final = 5e-4
_MOST_TPOT_S: Final = 2.0
"""Of any model on any GPU: 10,000 tokens/s for one reader, an answer in half a millisecond, a token in 2 s."""

_UNIT: Final = 100.0
"""A figure that is off by so much has a wrong unit; by less, a wrong layout or precision."""

_MOST_TOKENS_A_STEP: Final = 16.0
"""With speculative decoding."""

_MOST_SLOWER: Final = 500.0
"""Times the datasheet's own time: real engines take 1.2 to 50 times that."""

_LEAST_PREFILL_S: Final = 2e-3
_ALIASES: Final = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "nvfp4": "fp4", "mxfp4": "fp4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why figures cannot be (`mistakes`), and where they can be only if something was left out (`warnings`)."""

    mistakes: tuple[str, ...]
    warnings: tuple[str, ...]


def judge(key: ProfileKey, form: PointsForm | MatrixForm, *, speculative: bool) -> Verdict:
    """The most striking figure of each kind, not all of them: a wrong unit is wrong in every row."""
    setup = _setup(key)
    if isinstance(form, MatrixForm):
        faults = _too_many(setup, form)
    else:
        rows = [
            (f"{i} in × {o} out at concurrency {n}", i, o, n, ttft_s, tpot_s)
            for (i, o), curve in sorted(form.latencies.items())
            for n, ttft_s, tpot_s in curve
        ]
        faults = [*_worst_decode(setup, rows, speculative=speculative), *_worst_prefill(setup, rows)]
    mistakes = tuple(text for text, is_certain in faults if is_certain)
    return Verdict(mistakes=mistakes, warnings=tuple(text for text, is_certain in faults if not is_certain))


_Row = tuple[str, int, int, int, float, float]
_Fault = tuple[str, bool]


def _worst_decode(setup: Setup | None, rows: list[_Row], *, speculative: bool) -> Iterator[_Fault]:
    read_s = 0.0 if setup is None else setup.weights_s(1)
    least_s = max(_LEAST_TPOT_S, read_s / (_MOST_TOKENS_A_STEP if speculative else 1.0))
    where, _, _, _, _, tpot_s = min(rows, key=lambda row: row[5])
    if least_s > tpot_s:
        factor = max(_LEAST_TPOT_S, read_s) / tpot_s
        unit = _UNIT if tpot_s < _LEAST_TPOT_S else factor
        than = f"any GPU generates ({_ms(least_s)})"
        if read_s > _LEAST_TPOT_S:
            than = f"reading the weights once from memory takes ({_ms(read_s)})"
        yield (
            f"the TPOT of {_ms(tpot_s)} ({where}) is {factor:.3g} times faster than {than}: "
            f"{_cause(unit, is_fast=True, instead='were tokens guessed ahead, say --engine-arg speculative-config=…')}",
            True,
        )
    slowest = max(((row[5] / _usual_tpot_s(setup, row), row) for row in rows), key=lambda pair: pair[0])
    factor, (where, _, _, _, _, tpot_s) = slowest
    if factor > 1.0:
        than = f"{factor:.3g} times as long as any server takes"
        if setup is not None:
            than = f"{factor * _MOST_SLOWER:.3g} times what the datasheet gives"
        yield (
            f"the TPOT of {_ms(tpot_s)} ({where}) is {than}: {_cause(_UNIT, is_fast=False)}",
            True,
        )


def _usual_tpot_s(setup: Setup | None, row: _Row) -> float:
    """The longest TPOT that can be believed."""
    _, inputs, outputs, running, _, _ = row
    if setup is None:
        # Between two tokens of an answer, prompts of others are computed.
        return _MOST_TPOT_S * max(1.0, running * inputs / outputs / 100)
    return _MOST_SLOWER * sum(setup.tpot_terms(running, inputs, outputs))


def _worst_prefill(setup: Setup | None, rows: list[_Row]) -> Iterator[_Fault]:
    found = [(_prefill_s(setup, row) / row[4], row) for row in rows]
    factor, (where, inputs, _, _, ttft_s, _) = max(found, key=lambda pair: pair[0])
    if factor > 1.0:
        least = f"any server answers ({_ms(_LEAST_TTFT_S)})"
        if setup is not None:
            least = f"{inputs} tokens can be computed at the GPUs' peak ({_ms(factor * ttft_s)})"
        is_unit = setup is None or factor >= _UNIT
        instead = "prompts that were cached before say nothing of others"
        yield (
            f"the TTFT of {_ms(ttft_s)} ({where}) is {factor:.3g} times faster than {least}: "
            f"{_cause(factor if setup else _UNIT, is_fast=True, instead=instead)}",
            is_unit,
        )
    if setup is None:
        return
    slow = [(row[4] / max(_prefill_s(setup, row), _LEAST_PREFILL_S) / row[3], row) for row in rows]
    factor, (where, _, _, _, ttft_s, _) = max(slow, key=lambda pair: pair[0])
    if factor > _MOST_SLOWER:
        yield (
            f"the TTFT of {_ms(ttft_s)} ({where}) is {factor:.3g} times what all prompts in flight take at the GPUs' "
            f"peak: {_cause(_UNIT, is_fast=False)}",
            True,
        )


def _prefill_s(setup: Setup | None, row: _Row) -> float:
    return _LEAST_TTFT_S if setup is None else setup.compute_s(row[1])


def _too_many(setup: Setup | None, form: MatrixForm) -> list[_Fault]:
    """Rates that need more than the peak FLOP/s."""
    if setup is None:
        return []
    found = [
        (rate_rps * setup.compute_s(i + o - 1), f"{rate_rps:.4g} requests/s of {i} in × {o} out")
        for i, row in zip(form.input_edges, form.request_rates_rps, strict=True)
        for o, rate_rps in zip(form.output_edges, row, strict=True)
        if rate_rps is not None
    ]
    factor, what = max(found, default=(0.0, ""))
    if factor <= 1.0:
        return []
    cause = _cause(factor, is_fast=True)
    return [(f"{what} need {factor:.3g} times the GPUs' peak FLOP/s: {cause}", True)]


def _cause(factor: float, *, is_fast: bool, instead: str = "") -> str:
    if factor >= _UNIT:
        read, written = ("seconds", "milliseconds") if is_fast else ("milliseconds", "seconds")
        return (
            f"the unit is probably wrong, {read} where {written} were expected (table: --column ttft_s=…, tpot_s=… for "
            "seconds, ttft_ms=…, tpot_ms=… for milliseconds, whatever the header says)"
        )
    return f"check --accelerator, --tensor-parallel and --dtype{f'; {instead}' if instead else ''}"


def _setup(key: ProfileKey) -> Setup | None:
    """None where the model's shape, the GPU or the precision is not known."""
    shape, machine = known_models().get(key.model), machines().get(key.accelerator)
    dtype = _ALIASES.get(key.dtype, key.dtype)
    if shape is None or machine is None or dtype not in BYTES_PER_WEIGHT:
        return None
    return Setup(
        shape=shape,
        machine=machine,
        tensor_parallel=key.tensor_parallel,
        dtype=dtype,
        flop_per_s=_peak(machine, dtype),
    )


def _peak(machine: GpuCompute, dtype: str) -> float:
    """The most that products at this precision of the weights could run at; activations may be quantized, too."""
    peaks = [machine.fp16_flop_per_s]
    if dtype in ("fp8", "int8", "fp4", "int4"):
        peaks += [machine.fp8_flop_per_s or 2 * machine.fp16_flop_per_s]
    if dtype in ("fp4", "int4"):
        peaks += [machine.fp4_flop_per_s or 4 * machine.fp16_flop_per_s]
    return max(peaks)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
