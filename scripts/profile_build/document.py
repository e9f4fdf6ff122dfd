"""The JSON text of one profile."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profile_build.grid import Grid
from profile_build.measured import ErrorSummary
from profile_build.serving_setup import CONCURRENCIES, ENGINE, ENGINE_ARGS, TOOL, TOOL_VERSION, Layout

if TYPE_CHECKING:
    from profile_build.estimator import Estimator

COLUMNS = ("input_tokens", "output_tokens", "concurrency", "request_rate_rps", "ttft_s", "tpot_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Everything that a profile says about one layout."""

    layout: Layout
    estimator: Estimator
    kv_cache_tokens: int
    grid: Grid
    notes: tuple[str, ...]


def profile_text(built: Built, error: ErrorSummary, date: str) -> str:
    """Write the profile as JSON, one row of points per line."""
    layout, version = built.layout, built.estimator.database_version
    document = {
        "schema_version": 1,
        "model": layout.model.name,
        "accelerator": layout.accelerator.name,
        "tensor_parallel": layout.tensor_parallel,
        "dtype": layout.model.dtype,
        "engine": ENGINE,
        "engine_version": version,
        "engine_args": ENGINE_ARGS,
        "form": "points",
        "kv_cache_tokens": built.kv_cache_tokens,
        "points": {"columns": list(COLUMNS), "rows": []},
        "provenance": {
            "kind": "estimated",
            "source": f"{TOOL} {TOOL_VERSION}",
            "database": f"{layout.accelerator.system}/{ENGINE}/{version}, silicon",
            "fetched_at": date,
            "error": {"statistic": "median absolute relative error", **dataclasses.asdict(error)},
            "licence": "Apache-2.0",
            "notes": list(built.notes),
        },
    }
    rows = ",\n".join(
        "      " + json.dumps([*shape, point.request_rate_rps(*shape[1:]), point.ttft_s, point.tpot_s])
        for shape, point in built.grid.points.items()
    )
    text = json.dumps(document, indent=2)
    columns = json.dumps(list(COLUMNS), indent=2).replace("\n", "\n    ")
    text = text.replace(columns, json.dumps(list(COLUMNS)), 1)
    return text.replace('"rows": []', f'"rows": [\n{rows}\n    ]', 1) + "\n"


def notes(layout: Layout, estimator: Estimator, grid: Grid) -> tuple[str, ...]:
    """Say what a reader must know to use the numbers: the setup, then what is not as measured."""
    sentences = [
        "Steady state: exactly `concurrency` requests of one size are always in the replica. Chunked prefill;"
        " no prefix caching, no speculative decoding. request_rate_rps = concurrency / (ttft_s + tpot_s *"
        " (output_tokens - 1)).",
        "engine_args apply; vLLM's --max-num-seqs must be at least the concurrency (up to"
        f" {CONCURRENCIES[-1]}). The tool keeps 2 % of vLLM's memory share free. A point whose requests do not"
        " all fit in kv_cache_tokens at full length is absent.",
        _precision_note(layout),
        f"The database is of {layout.accelerator.system}; other boards of that name may be slower.",
        *_source_notes(estimator),
        *_grid_notes(grid),
    ]
    if layout.accelerator.name == "L40S" and layout.tensor_parallel > 2:
        sentences.append(
            "The measured all-reduce of this PCIe system is 7 to 17 times slower on 4 or 8 GPUs than on 2, so"
            " throughput can fall as tensor_parallel or concurrency grows. It depends on the host's PCIe"
            " layout."
        )
    return tuple(sentences)


def _precision_note(layout: Layout) -> str:
    """Say what the profile's dtype covers."""
    if layout.model.dtype == "fp8":
        return (
            "fp8: weights and activations of the linear layers in 8 bits (vLLM --quantization fp8); attention"
            " and KV cache in bfloat16."
        )
    return "bfloat16: weights, activations and KV cache."


def _source_notes(estimator: Estimator) -> list[str]:
    """Name the operations, and the tables, that are not measured for this database version."""
    modelled = ", ".join(f"{name} {share:.1%}" for name, share in sorted(estimator.modelled_share.items()))
    partly = max(estimator.partly_modelled_share.values(), default=0.0)
    sentences = [
        f"Not silicon: {modelled} (largest share of any step's time), computed by the tool from memory"
        " bandwidth because it has no tables for them; context attention (up to"
        f" {partly:.1%}) is partly so (source 'mixed'). Linear layers, decode attention and all-reduce are"
        " silicon; no transfer from other shapes or precisions."
    ]
    borrowed = estimator.borrowed_tables()
    if borrowed:
        sentences.append(
            f"Rows taken by the tool from an older collection on the same accelerator: {', '.join(borrowed)}."
        )
    return sentences


def _grid_notes(grid: Grid) -> list[str]:
    """Say what was changed in the tool's figures, and what was left although it looks odd."""
    count = len(grid.points)
    sentences = []
    for figure, change in (("TTFT", grid.lowered_ttft), ("TPOT", grid.lowered_tpot)):
        if change.points:
            sentences.append(
                f"{figure} lowered at {change.points} of {count} points, by at most"
                f" {change.largest_fraction:.1%}, to the lowest of any higher concurrency, so that it never falls"
                " as concurrency rises (spikes in the measured kernel tables)."
            )
    if grid.raised_ttft_points:
        sentences.append(
            f"TTFT raised at {grid.raised_ttft_points} of {count} points: prefill alone limits the rate there,"
            " the tool's rate is kept, and TTFT is the wait that Little's law then leaves."
        )
    if grid.input_falls.points:
        sentences.append(
            f"Left as they are: {grid.input_falls.points} falls of TTFT or TPOT, by at most"
            f" {grid.input_falls.largest_fraction:.1%}, from one input length to the next (measured kernels"
            " choose faster tiles for some sizes, and prompts are cut into whole chunks)."
        )
    if grid.rate_falls.points:
        sentences.append(
            f"Left as they are: {grid.rate_falls.points} falls of the request rate, by at most"
            f" {grid.rate_falls.largest_fraction:.1%}, from one concurrency to the next. From 2 requests on the"
            " tool counts a request's own prefill in both TTFT and TPOT, and where prefill limits the rate it"
            " keeps all other requests decoding: both understate the rate of short outputs after long inputs."
        )
    return sentences
