"""What an importer is asked for, what it gives, and what all of them share: identity and provenance.

Imported figures held against the machine: what no GPU of the datasheets can do has a wrong unit or a wrong layout.

The bounds need the model's shape (catalogs/architectures.jsonl) and the GPU's figures (gpus.csv, gpu_compute.csv).
Where one of them is not known, only what no machine has ever done is refused.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from sky_melange.domain.profile import (
    LatencyModelForm,
    MatrixForm,
    PartialKey,
    PointsForm,
    Profile,
    ProfileKey,
    ProfileKind,
    ProfileProvenance,
)
from sky_melange.domain.workload import Slo
from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.architectures import known_models
from sky_melange.profiles.gpu_compute import GpuCompute, machines
from sky_melange.profiles.model_shape import BYTES_PER_WEIGHT
from sky_melange.profiles.roofline import Setup
from sky_melange.untrusted import invisible_fault

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


_Row = tuple[str, int, int, int, float, float]
_Fault = tuple[str, bool]

_HINTS: Final = {
    "engine-version": "; say 'unknown' if nobody knows",
    "date": " (YYYY-MM-DD): when the runs were made",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest(PartialKey):
    """Files to import, and what the user states; None where the file should say it.

    `slo`, `input_edges` and `output_edges` (tokens) are for sources that do not state them; `entry` names one GPU of a
    file that holds several; `columns` says what a table calls our columns.
    """

    paths: tuple[Path, ...]
    accelerator: str | None = None
    engine_version: str | None = None
    engine_args: Mapping[str, str] = field(default_factory=dict)
    kv_cache_tokens: int | None = None
    kind: ProfileKind | None = None
    date: str | None = None
    source: str | None = None
    slo: Slo | None = None
    input_edges: tuple[int, ...] | None = None
    output_edges: tuple[int, ...] | None = None
    entry: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated(PartialKey):
    """What a file says of its runs; None where it does not. `kind` is that of the source when the user states none.

    `speculative`: tokens were guessed ahead, so that a step gives several.
    """

    source: str
    kind: ProfileKind
    engine_version: str | None = None
    date: str | None = None
    simulated: bool = False
    speculative: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A profile, what else the file said (for `provenance.details`), and what the user should know."""

    profile: Profile
    details: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    def warned(self, *warnings: str) -> Imported:
        """The same with more warnings, which the profile's notes keep too."""
        provenance = self.profile.provenance
        kept = replace(provenance, notes=(*provenance.notes, *warnings))
        return replace(self, profile=replace(self.profile, provenance=kept), warnings=(*self.warnings, *warnings))


def imported(
    request: ImportRequest,
    stated: Stated,
    form: PointsForm | LatencyModelForm | MatrixForm,
    *,
    details: Mapping[str, Any],
    warnings: tuple[str, ...] = (),
) -> Imported:
    """Puts a profile together. Raises InputError with everything that neither the options nor the file say."""
    known = _known(request, stated)
    for name, text in known.items():
        fault = invisible_fault(text or "")
        if fault:
            raise InputError([Mistake(source=f"--{name}", message=f"{text!a} {fault}")])
    key = ProfileKey(
        model=known["model"],
        accelerator=known["accelerator"],
        tensor_parallel=request.tensor_parallel or stated.tensor_parallel or 1,
        dtype=request.dtype or stated.dtype or "bfloat16",
        engine=known["engine"],
    )
    warnings = (*warnings, *_judged(request, stated, key, form))
    provenance = ProfileProvenance(
        kind=request.kind or stated.kind,
        source=request.source or stated.source,
        fetched_at=known["date"],
        error=None,
        notes=(*_notes(request, stated), *warnings),
    )
    profile = Profile(
        key=key,
        engine_version=known["engine-version"],
        engine_args=dict(request.engine_args),
        kv_cache_tokens=request.kv_cache_tokens,
        form=form,
        provenance=provenance,
    )
    return Imported(profile=profile, details=dict(details), warnings=warnings)


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


def _judged(
    request: ImportRequest, stated: Stated, key: ProfileKey, form: PointsForm | LatencyModelForm | MatrixForm
) -> tuple[str, ...]:
    """Warnings. Raises InputError for what the GPU cannot do, of other than simulated engines."""
    if isinstance(form, LatencyModelForm) or stated.simulated:
        return ()
    speculative = stated.speculative or any("spec" in name.casefold() for name in request.engine_args)
    verdict = judge(key, form, speculative=speculative)
    if verdict.mistakes:
        source = ", ".join(str(path) for path in request.paths[:3])
        raise InputError([Mistake(source=source, message=message) for message in verdict.mistakes])
    return verdict.warnings


def other_gpu(request: ImportRequest, named: str | None) -> tuple[str, ...]:
    """A warning where a file names its GPU and --accelerator does not appear in that name."""
    given = (request.accelerator or "").partition("-")[0]
    if named is None or not given or given.casefold() in named.casefold():
        return ()
    return (f"the file is of {named!r}, which does not look like --accelerator {request.accelerator}: check it",)


def _known(request: ImportRequest, stated: Stated) -> dict[str, str]:
    """What identifies the profile, from the options before the file. Raises InputError with what is missing."""
    values = {
        "model": request.model or stated.model,
        "accelerator": request.accelerator,
        "engine": request.engine or stated.engine,
        "engine-version": request.engine_version or stated.engine_version,
        "date": request.date or stated.date,
    }
    mistakes = [
        Mistake(source=f"--{name}", message=f"is needed: the file does not say{_HINTS.get(name, '')}")
        for name, value in values.items()
        if not value
    ]
    for name, value in values.items():
        fault = invisible_fault(value or "")
        if fault:
            mistakes.append(Mistake(source=f"--{name}", message=f"{value!a} {fault}"))
    if values["date"] and not _is_date(values["date"]):
        mistakes.append(Mistake(source="--date", message=f"want YYYY-MM-DD, found {values['date'][:40]!r}"))
    layouts = (
        ("tensor-parallel", request.tensor_parallel, stated.tensor_parallel),
        ("dtype", request.dtype, stated.dtype),
    )
    for name, given, said in layouts:
        if given is not None and said is not None and given != said:
            mistakes.append(Mistake(source=f"--{name}", message=f"is {given}, but the file says {said}; leave it out"))
    kind = request.kind or stated.kind
    if stated.simulated and kind is not ProfileKind.ESTIMATED:
        message = f"may not be {kind.value}: the runs are of a simulated engine, and so 'estimated'"
        mistakes.append(Mistake(source="--kind", message=message))
    if mistakes:
        raise InputError(mistakes)
    return {name: value for name, value in values.items() if value}


def _is_date(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _notes(request: ImportRequest, stated: Stated) -> list[str]:
    notes = []
    if stated.simulated:
        notes.append("SIMULATED: the runs are of a simulated engine, not of a GPU")
    if stated.model and request.model and stated.model != request.model:
        notes.append(f"the file calls the model {stated.model!r}")
    return notes


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
