"""Estimates for accelerators without measurements: datasheet peaks, the model's sizes, and calibrated efficiencies.

The work of one engine step, each part as the seconds that it would take at the datasheet's peak.

A latency is Σ coefficient · term; a coefficient is 1 ÷ the efficiency of that part, fitted by
scripts/calibrate_roofline.py and never negative, so that a faster machine is never estimated slower.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from sky_melange.domain.profile import (
    Interval,
    PointsForm,
    Profile,
    ProfileError,
    ProfileKey,
    ProfileKind,
    ProfileProvenance,
    Skipped,
    SkipReason,
)
from sky_melange.domain.workload import Model
from sky_melange.errors import MissingDataError
from sky_melange.profiles.architectures import known_models
from sky_melange.profiles.checkpoint import sizes_of, unknown_model
from sky_melange.profiles.gpu_compute import GPU_MEMORY_SHARE, GpuCompute, kv_cache_bytes, kv_cache_tokens, machines
from sky_melange.profiles.model_shape import BYTES_PER_WEIGHT, ModelShape
from sky_melange.resources import data_path

TPOT_TERMS: Final = (
    "layers",
    "weights",
    "kv_cache",
    "compute",
    "link",
    "activations",
    "prefill_compute",
    "prefill_link",
    "prefill_activations",
    "prefill_attention",
    "expert_layers",
)
TTFT_TERMS: Final = ("layers", "weights", "prompt_compute", "prompt_attention", "prompt_link", "queue")

_ACTIVATION_BYTES: Final = 20.0
"""Per layer, token and hidden element: ten reads or writes of 16 bits (residual, norms, gates), on every GPU."""
_LAYER_S: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A model on `tensor_parallel` machines at a precision, with the peak that its products run at."""

    shape: ModelShape
    machine: GpuCompute
    tensor_parallel: int
    dtype: str
    flop_per_s: float

    @property
    def _gpu_bytes_per_s(self) -> float:
        return self.tensor_parallel * self.machine.memory_bytes_per_s

    def weights_s(self, running: float) -> float:
        """Reading the weights that one step of `running` tokens needs."""
        layers = self.shape.read_weights(running) * BYTES_PER_WEIGHT[self.dtype]
        return (layers + self.shape.head_weights * 2.0) / self._gpu_bytes_per_s

    def kv_cache_s(self, running: float, tokens: float) -> float:
        """Reading the cache of `running` requests with `tokens` tokens each, and moving their recurrent state."""
        return running * self.shape.read_cache_bytes(tokens, self.tensor_parallel) / self.machine.memory_bytes_per_s

    def compute_s(self, tokens: float) -> float:
        """Matrix products of the layers for `tokens` tokens: 2 FLOP a weight."""
        return 2.0 * self.shape.active_weights * tokens / (self.tensor_parallel * self.flop_per_s)

    def head_s(self, tokens: float) -> float:
        """Products of the output head, in 16 bits."""
        return 2.0 * self.shape.head_weights * tokens / (self.tensor_parallel * self.machine.fp16_flop_per_s)

    def link_s(self, tokens: float) -> float:
        """Two all-reduces a layer of the hidden state in 16 bits: a ring moves 2·(t−1)/t of it over each link."""
        t = self.tensor_parallel
        moved = self.shape.layers * 2 * self.shape.hidden * 2.0 * (t - 1) / t
        return tokens * moved / self.machine.link_bytes_per_s

    def activations_s(self, tokens: float) -> float:
        """Reading and writing activations."""
        moved = self.shape.layers * self.shape.hidden * _ACTIVATION_BYTES
        return tokens * moved / self.machine.memory_bytes_per_s

    def attention_s(self, input_tokens: float) -> float:
        """Causal attention of one whole prompt, in 16 bits."""
        return self.shape.attention_flop(input_tokens) / (self.tensor_parallel * self.machine.fp16_flop_per_s)

    def tpot_terms(self, running: float, input_tokens: float, output_tokens: float) -> tuple[float, ...]:
        """Seconds by TPOT_TERMS of one step with `running` requests of this size under continuous batching.

        A request that runs alone decodes after its own prompt, and meets no other's.
        """
        arriving = running * input_tokens / output_tokens if running > 1 else 0.0
        return (
            self.shape.layers * _LAYER_S,
            self.weights_s(running),
            self.kv_cache_s(running, input_tokens + output_tokens / 2),
            self.compute_s(running) + self.head_s(running),
            self.link_s(running),
            self.activations_s(running),
            self.compute_s(arriving),
            self.link_s(arriving),
            self.activations_s(arriving),
            self.attention_s(input_tokens) * arriving / input_tokens,
            self.shape.layers * _LAYER_S if self.shape.experts else 0.0,
        )

    def ttft_terms(self, running: float, input_tokens: float) -> tuple[float, ...]:
        """Seconds by TTFT_TERMS of the prefill of one prompt with `running` requests in the replica."""
        compute = self.compute_s(input_tokens)
        return (
            self.shape.layers * _LAYER_S,
            self.weights_s(input_tokens),
            compute,
            self.attention_s(input_tokens),
            self.link_s(input_tokens),
            compute * math.sqrt(running),
        )


INPUT_TOKENS: Final = (25, 100, 250, 500, 1000, 2000, 4000, 8000, 12000, 16000, 32000, 64000, 128000)
OUTPUT_TOKENS: Final = (25, 100, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000)
COMPARED_TOKENS: Final = (16000, 2000)
"""Input and output tokens up to which every estimate goes; longer requests were compared with few measurements."""

CONCURRENCIES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TENSOR_PARALLEL_SIZES: Final = (1, 2, 4, 8)
ENGINE: Final = "vllm"

MOST_GPUS_ON_PCIE: Final = 2
"""All-reduce over PCIe was measured 7 to 17 times slower on 4 and 8 GPUs than on 2: no estimate is made for those."""

_SOURCE: Final = "roofline"
_MAX_BATCHED_TOKENS: Final = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Coefficients by TPOT_TERMS and TTFT_TERMS."""

    tpot: tuple[float, ...]
    ttft: tuple[float, ...]
    date: str


def estimate(
    shape: ModelShape,
    accelerator: str,
    *,
    tensor_parallel: int,
    dtype: str,
    calibration: Calibration | None = None,
    longest: tuple[int, int] = COMPARED_TOKENS,
) -> Profile | Skipped:
    """A profile of vLLM by roofline, kind `estimated`, or why there is none.

    Rows are those of the bundled profiles, and more where `longest` input and output tokens ask for them; one whose
    requests do not all fit in the KV cache at full length is absent.
    """
    setup = setup_of(shape, accelerator, tensor_parallel=tensor_parallel, dtype=dtype)
    if isinstance(setup, Skipped):
        return setup
    held = kv_cache_tokens(shape, memory_bytes=setup.machine.memory_bytes, tensor_parallel=tensor_parallel, dtype=dtype)
    if held < INPUT_TOKENS[0] + OUTPUT_TOKENS[0]:
        weights_gb = shape.weight_bytes(dtype) / 1e9
        detail = f"{weights_gb:.0f} GB of weights leave no room for a KV cache on {tensor_parallel} × {accelerator}"
        return Skipped(reason=SkipReason.MEMORY, detail=detail)
    used = load_calibration() if calibration is None else calibration
    return Profile(
        key=ProfileKey(
            model=shape.model, accelerator=accelerator, tensor_parallel=tensor_parallel, dtype=dtype, engine=ENGINE
        ),
        engine_version="any",
        engine_args={
            "gpu-memory-utilization": f"{GPU_MEMORY_SHARE:g}",
            "max-num-batched-tokens": str(_MAX_BATCHED_TOKENS),
        },
        kv_cache_tokens=held,
        form=_points(setup, used, longest),
        provenance=ProfileProvenance(
            kind=ProfileKind.ESTIMATED,
            source=_SOURCE,
            fetched_at=used.date,
            error=stated_error(setup),
            notes=(*_notes(setup), *_of_long(longest)),
        ),
    )


def setup_of(shape: ModelShape, accelerator: str, *, tensor_parallel: int, dtype: str) -> Setup | Skipped:
    """The setup, or why the accelerator cannot run it."""
    machine = machines().get(accelerator)
    if machine is None:
        return _refused(f"the datasheet figures of {accelerator} in gpus.csv and gpu_compute.csv are not complete")
    if dtype not in BYTES_PER_WEIGHT:
        return _refused(f"{dtype} is no precision of weights that is known: {', '.join(BYTES_PER_WEIGHT)}")
    flop_per_s = machine.flop_per_s(dtype)
    if flop_per_s is None:
        instead = "; ask for float16" if dtype == "bfloat16" else ""
        return _refused(f"{accelerator} does not run {dtype}{instead}")
    if shape.heads % tensor_parallel:
        return _refused(f"the model's {shape.heads} attention heads do not divide into {tensor_parallel}")
    if tensor_parallel > MOST_GPUS_ON_PCIE and not machine.fast_link:
        return _refused(
            f"{accelerator} are linked by PCIe, and all-reduce over PCIe on more than {MOST_GPUS_ON_PCIE} GPUs varies "
            "too much between hosts to be estimated; measure it"
        )
    return Setup(shape=shape, machine=machine, tensor_parallel=tensor_parallel, dtype=dtype, flop_per_s=flop_per_s)


def latencies(
    setup: Setup, calibration: Calibration, running: float, input_tokens: int, output_tokens: int
) -> tuple[float, float]:
    """(TTFT, TPOT), seconds."""
    ttft = _dot(calibration.ttft, setup.ttft_terms(running, input_tokens))
    return ttft, _dot(calibration.tpot, setup.tpot_terms(running, input_tokens, output_tokens))


@cache
def load_calibration() -> Calibration:
    """catalogs/roofline.csv, as scripts/calibrate_roofline.py wrote it."""
    rows = _rows(data_path("catalogs", "roofline.csv"))
    found = {(row["law"], row["term"]): float(row["coefficient"]) for row in rows}
    return Calibration(
        tpot=tuple(found["tpot", term] for term in TPOT_TERMS),
        ttft=tuple(found["ttft", term] for term in TTFT_TERMS),
        date=_unseen()[0]["date"],
    )


def stated_error(setup: Setup) -> ProfileError:
    """The error by the distance from what calibrated the roofline: the GPU, its memory, dense or mixture of experts.

    Found with models, or models and accelerators, left out (catalogs/roofline_unseen.csv). Beyond every generation and
    kind that was compared it is not known: the worst decile of all comparisons is stated. Models that were slower
    wherever they were measured are stated to be at least as slow.
    """
    machine, model = setup.machine, "moe" if setup.shape.experts else "dense"
    *classes, beyond = _unseen()
    slower = next((row for row in classes if row["accelerator"] == "own" and _is_of(row, setup.shape)), None)
    own = [row for row in classes if (row["model"], row["memory"]) == (model, machine.memory)]
    measured = {name for row in own for name in row["accelerators"].split()}
    calibrating = _calibrating() if model == "dense" else frozenset()
    is_seen = machine.accelerator in measured | calibrating
    compared = {name for row in classes for name in row["accelerators"].split()} | _calibrating()
    kind = "mixtures of experts" if model == "moe" else "dense models"
    row = next((row for row in own if row["accelerator"] == ("seen" if is_seen else "unseen")), None)
    if row is None or machine.generation not in {machines()[name].generation for name in compared}:
        return _error(
            beyond,
            slower,
            "unknown, beyond any GPU that was compared: worst decile",
            f"{beyond['comparisons']} steps on {_listed(beyond)}; no {kind} on a GPU like {machine.accelerator}",
        )
    left_out = "with the model left out" if is_seen else "with the model and the GPU left out"
    return _error(
        row,
        slower,
        "held-out comparisons",
        f"{row['comparisons']} steps of {kind} on {_listed(row)}, each {left_out}",
    )


def model_shape(model: str) -> ModelShape:
    """The sizes of a known model. Raises MissingDataError with the nearest ones."""
    shape = known_models().get(model)
    if shape is None:
        raise MissingDataError(unknown_model(model))
    return shape


def shape_of(model: Model) -> ModelShape:
    """The sizes of a workload's model, or of the one that `profile_as` names. Raises MissingDataError without any."""
    if model.sizes is not None and model.profile_as is None:
        return sizes_of(model.sizes, model.id).shape
    return model_shape(model.profiled_id)


def has_shape(model: Model) -> bool:
    """Whether `shape_of` knows the sizes."""
    return (model.sizes is not None and model.profile_as is None) or model.profiled_id in known_models()


def estimated_profiles(
    shape: ModelShape,
    dtype: str,
    engine: str,
    accelerators: Iterable[str],
    longest: tuple[int, int] = COMPARED_TOKENS,
) -> tuple[tuple[Profile, ...], tuple[str, ...]]:
    """Profiles of every layout that can be estimated, and one sentence for each accelerator without any.

    They go to `longest` input and output tokens at least.
    """
    if engine != ENGINE:
        return (), (f"Estimates are of {ENGINE}, not of {engine}.",)
    profiles, remarks = [], []
    for accelerator in sorted(set(accelerators)):
        results = [
            estimate(shape, accelerator, tensor_parallel=n, dtype=dtype, longest=longest) for n in TENSOR_PARALLEL_SIZES
        ]
        found = [result for result in results if isinstance(result, Profile)]
        profiles += found
        reasons = [result.detail for result in results if isinstance(result, Skipped)]
        if not found and reasons:
            remarks.append(f"No estimate for {accelerator}: {reasons[0]}.")
    return tuple(profiles), tuple(remarks)


def _listed(row: dict[str, str]) -> str:
    return row["accelerators"].replace(" ", ", ")


def _is_of(row: dict[str, str], shape: ModelShape) -> bool:
    """Whether a row is of a model of these sizes."""
    known = known_models()[row["model"]]
    return replace(known, model=shape.model, unread_weights=shape.unread_weights) == shape


def _error(row: dict[str, str], slower: dict[str, str] | None, statistic: str, basis: str) -> ProfileError:
    rows = [row] if slower is None else [row, slower]
    if slower is not None:
        basis += f"; and {slower['comparisons']} of this model on {_listed(slower)}, which was slower than others"
    return ProfileError(
        statistic=statistic,
        tpot_fraction=max(float(each["tpot_stated"]) for each in rows),
        ttft_fraction=max(float(each["ttft_stated"]) for each in rows),
        request_rate_fraction=max(float(each["rate_stated"]) for each in rows),
        runs=int(row["comparisons"]),
        basis=basis,
        tpot_interval=_widest(rows, "tpot"),
        request_rate_interval=_widest(rows, "rate"),
    )


def _widest(rows: Sequence[dict[str, str]], quantity: str) -> Interval | None:
    """None beyond what was compared."""
    low, high = f"{quantity}_low", f"{quantity}_high"
    if not all(row[low] and row[high] for row in rows):
        return None
    return min(float(row[low]) for row in rows), max(float(row[high]) for row in rows)


@cache
def _unseen() -> tuple[dict[str, str], ...]:
    """Errors by distance; the last row is for what no other holds."""
    return tuple(_rows(data_path("catalogs", "roofline_unseen.csv")))


@cache
def _calibrating() -> frozenset[str]:
    """Accelerators whose kernels calibrated the roofline."""
    rows = _rows(data_path("catalogs", "roofline_errors.csv"))
    return frozenset(row["left_out"] for row in rows if row["left_out"] != "all")


def _points(setup: Setup, calibration: Calibration, longest: tuple[int, int]) -> PointsForm:
    shape, gpus = setup.shape, setup.tensor_parallel
    free = kv_cache_bytes(shape, memory_bytes=setup.machine.memory_bytes, tensor_parallel=gpus, dtype=setup.dtype)
    curves: dict[tuple[int, int], tuple[tuple[int, float, float], ...]] = {}
    for inputs in _up_to(INPUT_TOKENS, COMPARED_TOKENS[0], longest[0]):
        for outputs in _up_to(OUTPUT_TOKENS, COMPARED_TOKENS[1], longest[1]):
            fits = [n for n in CONCURRENCIES if n * shape.kept_bytes(inputs + outputs, gpus) <= free]
            found = [(n, *latencies(setup, calibration, n, inputs, outputs)) for n in fits]
            # A size that does not fit at all keeps its place, so that it is refused for memory, not for its range.
            curves[inputs, outputs] = tuple((n, _digits(ttft), _digits(tpot)) for n, ttft, tpot in found)
    return PointsForm(latencies=curves)


def _up_to(edges: tuple[int, ...], least: int, longest: int) -> tuple[int, ...]:
    """Through the first edge that holds `longest`, and no fewer than those up to `least`."""
    below = sum(edge < max(longest, least) for edge in edges)
    return edges[: below + 1]


def _of_long(longest: tuple[int, int]) -> tuple[str, ...]:
    if all(tokens <= compared for tokens, compared in zip(longest, COMPARED_TOKENS, strict=True)):
        return ()
    inputs, outputs = COMPARED_TOKENS
    return (
        f"Requests of over {inputs:,} input or {outputs:,} output tokens are reckoned by the same law; few "
        "measurements are of such sizes, and the stated error is not of them.",
    )


def _notes(setup: Setup) -> tuple[str, ...]:
    machine = setup.machine
    notes = [
        "Computed from datasheet peaks and the model's configuration, with efficiencies of other accelerators. "
        "Nothing was run on this accelerator."
    ]
    if machine.accelerator.startswith("MI"):
        notes.append("The efficiencies are of NVIDIA GPUs: on AMD they may be far off.")
    if not machine.fast_link and setup.tensor_parallel > 1:
        notes.append("GPUs linked by PCIe: the speed of all-reduce depends on the host.")
    if setup.dtype in ("fp8", "fp4", "int4") and setup.flop_per_s == machine.fp16_flop_per_s:
        notes.append(f"No {setup.dtype} tensor cores: weights are stored in {setup.dtype} and multiplied in 16 bits.")
    return tuple(notes)


def _dot(coefficients: Sequence[float], terms: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(coefficients, terms, strict=True))


def _refused(detail: str) -> Skipped:
    return Skipped(reason=SkipReason.OUTSIDE_PROFILE, detail=detail)


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
