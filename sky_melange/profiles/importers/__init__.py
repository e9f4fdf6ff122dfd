"""Importers of other tools' throughput figures. Adding one is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sky_melange.profiles.importers.aibrix_benchmark import import_aibrix_benchmark
from sky_melange.profiles.importers.aibrix_profile import import_aibrix_profile
from sky_melange.profiles.importers.aiperf import import_aiperf
from sky_melange.profiles.importers.genai_perf import import_genai_perf
from sky_melange.profiles.importers.guidellm import import_guidellm
from sky_melange.profiles.importers.inferencex import import_inferencex
from sky_melange.profiles.importers.llmperf import import_llmperf
from sky_melange.profiles.importers.melange import import_melange
from sky_melange.profiles.importers.mlperf import import_mlperf
from sky_melange.profiles.importers.request import Imported, ImportRequest
from sky_melange.profiles.importers.sglang_bench import import_sglang_bench
from sky_melange.profiles.importers.table import import_table
from sky_melange.profiles.importers.vllm_bench import import_vllm_bench

__all__ = ["IMPORTERS", "ImportRequest", "Imported"]

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
