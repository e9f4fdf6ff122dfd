"""Importers of other tools' throughput figures: one module each, and one line in `extensions.IMPORTERS`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sky_melange.errors import InputError
from sky_melange.profiles.importers.reading import read_json, read_json_objects
from sky_melange.profiles.importers.request import Imported, ImportRequest

__all__ = ["ImportRequest", "Imported", "likely_format"]

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
