"""Importers of other tools' throughput figures. Adding one is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sky_melange.errors import InputError
from sky_melange.profiles.importers.aibrix_benchmark import import_aibrix_benchmark
from sky_melange.profiles.importers.aibrix_profile import import_aibrix_profile
from sky_melange.profiles.importers.aiperf import import_aiperf
from sky_melange.profiles.importers.genai_perf import import_genai_perf
from sky_melange.profiles.importers.guidellm import import_guidellm
from sky_melange.profiles.importers.inferencex import import_inferencex
from sky_melange.profiles.importers.llmperf import import_llmperf
from sky_melange.profiles.importers.melange import import_melange
from sky_melange.profiles.importers.mlperf import import_mlperf
from sky_melange.profiles.importers.reading import read_json, read_json_objects
from sky_melange.profiles.importers.request import Imported, ImportRequest
from sky_melange.profiles.importers.sglang_bench import import_sglang_bench
from sky_melange.profiles.importers.table import import_table
from sky_melange.profiles.importers.vllm_bench import import_vllm_bench

__all__ = ["IMPORTERS", "ImportRequest", "Imported", "likely_format"]

Importer = Callable[[ImportRequest], Imported]

IMPORTERS: Final[Mapping[str, Importer]] = {
    "aibrix-benchmark": import_aibrix_benchmark,
    "aibrix-profile": import_aibrix_profile,
    "guidellm": import_guidellm,
    "aiperf": import_aiperf,
    "genai-perf": import_genai_perf,
    "inferencex": import_inferencex,
    "llmperf": import_llmperf,
    "mlperf": import_mlperf,
    "sglang-bench": import_sglang_bench,
    "melange": import_melange,
    "table": import_table,
    "vllm-bench": import_vllm_bench,
}
"""Every importer by the name of its format."""

_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "aiperf": frozenset({"aiperf_version", "request_throughput", "time_to_first_token"}),
    "genai-perf": frozenset({"input_config", "request_throughput", "time_to_first_token"}),
    "llmperf": frozenset({"results_ttft_s_mean", "num_concurrent_requests"}),
    "guidellm": frozenset({"benchmarks", "metadata"}),
    "sglang-bench": frozenset({"total_output_tokens_retokenized", "mean_tpot_ms"}),
    "vllm-bench": frozenset({"model_id", "num_prompts", "mean_tpot_ms"}),
    "inferencex": frozenset({"hw", "conc", "tput_per_gpu"}),
    "mlperf": frozenset({"Scenario", "Performance_Result"}),
    "melange": frozenset({"gpu_info"}),
    "aibrix-profile": frozenset({"tputs", "indexes"}),
    "aibrix-benchmark": frozenset({"metric", "mean", "request_rate"}),
}
"""Keys that only files of a format have all of; of two that fit, the earlier."""


def likely_format(paths: Sequence[Path]) -> str | None:
    """The format of which the first file has every key; None when it has those of none, or cannot be read."""
    try:
        content = read_json(paths[0])
    except InputError:
        try:
            content = next(read_json_objects(paths[0]), (None, None))[1]
        except InputError:
            return None
    row = content[0] if isinstance(content, list) and content else content
    if not isinstance(row, dict):
        return None
    return next((name for name, keys in _KEYS.items() if keys <= row.keys()), None)
