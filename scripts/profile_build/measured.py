"""Measured serving runs, and how far the estimate is from them."""

from __future__ import annotations

import csv
import gzip
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from profile_build.grid import Predictor, Shape, fits, rounded, steady_line
from profile_build.serving_setup import ACCELERATORS, CONCURRENCIES, MODELS, Layout

LEAST_RUNS: Final = 5
"""Runs that a group needs before its median says anything."""
SYSTEMS: Final = {accelerator.system: accelerator for accelerator in ACCELERATORS}
MODEL_BY_NAME: Final = {(name, model.dtype): model for model in MODELS for name in model.measured_names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One measured steady state of one engine; seconds."""

    layout: Layout
    engine: str
    shape: Shape
    ttft_s: float
    tpot_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run and the absolute relative errors of the estimate at the run's own shape."""

    run: Run
    ttft_fraction: float
    tpot_fraction: float
    request_rate_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSummary:
    """Median absolute relative errors over ``runs`` runs, as fractions; None where nothing compares."""

    tpot_fraction: float | None
    ttft_fraction: float | None
    request_rate_fraction: float | None
    runs: int
    basis: str


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """The newest run of every configuration that one of the layouts describes."""
    newest: dict[tuple[Layout, str, Shape], tuple[str, Run]] = {}
    for path in paths:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                run = _run(row)
                if run is None:
                    continue
                measured = row["silicon_data_source"].partition("measured=")[2].partition(";")[0]
                key = (run.layout, run.engine, run.shape)
                if key not in newest or measured > newest[key][0]:
                    newest[key] = (measured, run)
    return [run for _, run in newest.values()]


def _run(row: dict[str, str]) -> Run | None:
    """The run in a row of the table, or None if no layout describes it.

    An empty precision is the checkpoint's own, which for these models is bfloat16.
    """
    dtype = row["precision"] or "bfloat16"
    model = MODEL_BY_NAME.get((row["model_path"], dtype))
    accelerator = SYSTEMS.get(row["system"])
    ranks = int(float(row["attention_dp_size"] or 0)) or 1
    same_setup = row["mode"] == "agg" and row["gemm_quant_mode"] in ("", dtype) and ranks == 1
    if model is None or accelerator is None or not same_setup or float(row["pp_size"] or 1) != 1:
        return None
    tensor_parallel = int(float(row["tp_size"]))
    concurrency = int(float(row["batch_size"])) * ranks
    return Run(
        layout=Layout(model=model, accelerator=accelerator, tensor_parallel=tensor_parallel),
        engine=row["backend"],
        shape=(int(float(row["isl"])), int(float(row["osl"])), concurrency),
        ttft_s=float(row["silicon_ttft_ms"]) / 1000,
        tpot_s=float(row["silicon_tpot_ms"]) / 1000,
    )


def compare(runs: Iterable[Run], replicas: Mapping[Layout, tuple[Predictor, int]]) -> tuple[list[Comparison], int]:
    """Compare each run with the estimate made as for a profile.

    ``replicas`` holds each built layout's estimator and tokens of KV cache. The second result counts the
    runs left out because their requests exceed the estimated KV cache, so that a profile has no such point.
    """
    compared, left_out = [], 0
    for run in runs:
        if run.layout not in replicas:
            left_out += 1
            continue
        estimator, kv_cache_tokens = replicas[run.layout]
        if not fits(run.shape, kv_cache_tokens):
            left_out += 1
            continue
        compared.append(_comparison(run, estimator, kv_cache_tokens))
    return compared, left_out


def _comparison(run: Run, estimator: Predictor, kv_cache_tokens: int) -> Comparison:
    """One run against the estimate at its own shape, made non-decreasing in concurrency as profiles are."""
    input_tokens, output_tokens, concurrency = run.shape
    larger = [(input_tokens, output_tokens, other) for other in CONCURRENCIES if other > concurrency]
    shapes = [run.shape, *(shape for shape in larger if fits(shape, kv_cache_tokens))]
    point = steady_line({shape: estimator.predict(*shape) for shape in shapes})[run.shape]
    measured_rate = concurrency / (run.ttft_s + run.tpot_s * (output_tokens - 1))
    return Comparison(
        run=run,
        ttft_fraction=abs(point.ttft_s / run.ttft_s - 1),
        tpot_fraction=abs(point.tpot_s / run.tpot_s - 1),
        request_rate_fraction=abs(point.request_rate_rps(output_tokens, concurrency) / measured_rate - 1),
    )


def summarise(layout: Layout, comparisons: list[Comparison]) -> ErrorSummary:
    """The errors of the nearest group of runs that is large enough, preferring vLLM's."""
    name, dtype = layout.model.name.split("/")[-1], layout.model.dtype
    model = f"{name} {dtype}"
    place = f"{layout.accelerator.name} TP {layout.tensor_parallel}"
    groups: list[tuple[str, Callable[[Layout], bool]]] = [
        (f"of {model} on {place}", lambda other: other == layout),
        (
            f"of {model} on {layout.accelerator.name} at any TP size",
            lambda other: (other.model, other.accelerator) == (layout.model, layout.accelerator),
        ),
        (
            f"of other {dtype} models on {layout.accelerator.name}",
            lambda other: (other.model.dtype, other.accelerator) == (dtype, layout.accelerator),
        ),
        (f"of {model}", lambda other: other.model == layout.model),
    ]
    own = sum(comparison.run.layout == layout for comparison in comparisons)
    for level, (label, belongs) in enumerate(groups):
        group = [comparison for comparison in comparisons if belongs(comparison.run.layout)]
        vllm = [comparison for comparison in group if comparison.run.engine == "vllm"]
        chosen = vllm if len(vllm) >= LEAST_RUNS else group
        if len(chosen) >= LEAST_RUNS:
            too_few = f"{own or 'no'} comparable runs of {model} on {place}, so pooled: " if level else ""
            return _error_summary(chosen, label, too_few)
    return no_comparison("no measured run to compare with")


def _error_summary(chosen: list[Comparison], label: str, too_few: str) -> ErrorSummary:
    """Medians of the chosen comparisons; ``too_few`` says why they are not the layout's own, if so."""
    engines = "/".join(sorted({comparison.run.engine for comparison in chosen}))
    places = {comparison.run.layout.accelerator.name for comparison in chosen}
    where = "" if " on " in label else f", all on {'/'.join(sorted(places))}"
    basis = f"{too_few}{len(chosen)} {engines} runs {label}{where}"
    return ErrorSummary(
        tpot_fraction=_median(comparison.tpot_fraction for comparison in chosen),
        ttft_fraction=_median(comparison.ttft_fraction for comparison in chosen),
        request_rate_fraction=_median(comparison.request_rate_fraction for comparison in chosen),
        runs=len(chosen),
        basis=basis,
    )


def no_comparison(basis: str) -> ErrorSummary:
    """Errors that are not known, with the reason."""
    return ErrorSummary(tpot_fraction=None, ttft_fraction=None, request_rate_fraction=None, runs=0, basis=basis)


def _median(values: Iterable[float]) -> float:
    """Median to six significant digits."""
    return rounded(statistics.median(values))
