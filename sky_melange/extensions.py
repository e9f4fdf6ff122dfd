"""What an adapter is called and where it is: price sources, importers, formats of reports. One line each.

The names are in `--help`, in the schema of workload.yaml and in messages; an adapter is imported when it is used.
Limits (`optimizer/limits/`), outputs of the plan folder (`render/`), log formats (`traces/layouts.py`) and commands
(`cli/`) have their dict where they are.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Extension:
    """`path` is `module:name`; `about` is its line in `--help`."""

    path: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Extensions(Mapping[str, Any]):
    """Name -> adapter, which is imported by looking it up; the names alone import nothing."""

    entries: Mapping[str, Extension]

    def __getitem__(self, name: str) -> Any:
        """The adapter itself. Raises KeyError for an unknown name."""
        module, _, attribute = self.entries[name].path.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        """In the order in which people read them."""
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


PRICE_SOURCES: Final = Extensions(
    {
        "skypilot": Extension("sky_melange.prices.hosted.source:SkypilotSource"),
        "gpuhunt": Extension("sky_melange.prices.gpuhunt.source:GpuhuntSource"),
        "snapshot": Extension("sky_melange.prices.snapshot:SnapshotSource"),
    }
)
"""Classes that satisfy `prices.PriceSource`; the values of `prices.sources` in a workload."""

_IMPORTERS: Final = "sky_melange.profiles.importers"
IMPORTERS: Final = Extensions(
    {
        "vllm-bench": Extension(
            f"{_IMPORTERS}.vllm_bench:import_vllm_bench",
            "vllm bench serve --save-result: one file a run, any number of files",
        ),
        "sglang-bench": Extension(
            f"{_IMPORTERS}.vllm_bench:import_sglang_bench", "sglang.bench_serving --output-file: one line a run"
        ),
        "guidellm": Extension(f"{_IMPORTERS}.guidellm:import_guidellm", "GuideLLM reports (JSON)"),
        "aiperf": Extension(
            f"{_IMPORTERS}.aiperf:import_aiperf", "NVIDIA AIPerf, profile_export_aiperf.json: one file a run"
        ),
        "genai-perf": Extension(
            f"{_IMPORTERS}.aiperf:import_genai_perf", "NVIDIA GenAI-Perf, *_genai_perf.json: one file a run"
        ),
        "llmperf": Extension(f"{_IMPORTERS}.llmperf:import_llmperf", "LLMPerf, *_summary.json: one file a run"),
        "inferencex": Extension(
            f"{_IMPORTERS}.inferencex:import_inferencex", "InferenceX rows (agg_*.json, or a list of them)"
        ),
        "mlperf": Extension(
            f"{_IMPORTERS}.mlperf:import_mlperf", "one row of MLPerf's summary_results.json, see --entry"
        ),
        "table": Extension(
            f"{_IMPORTERS}.table:import_table", "CSV with input_tokens, output_tokens, concurrency, ttft_ms, tpot_ms"
        ),
        "melange": Extension(f"{_IMPORTERS}.matrices:import_melange", "one GPU of a Mélange solver file"),
        "aibrix-profile": Extension(
            f"{_IMPORTERS}.aibrix_benchmark:import_aibrix_profile", "AIBrix optimizer profile (JSON)"
        ),
        "aibrix-benchmark": Extension(
            f"{_IMPORTERS}.aibrix_benchmark:import_aibrix_benchmark", "AIBrix benchmark lines (JSONL, may be gzip)"
        ),
    }
)
"""Functions (`ImportRequest`) -> `Imported`; the FORMAT of `profiles import`."""

_CHECK: Final = "sky_melange.render.check_report"
CHECK_FORMATS: Final = Extensions(
    {
        "table": Extension(f"{_CHECK}:render_table"),
        "json": Extension(f"{_CHECK}:render_json"),
        "markdown": Extension(f"{_CHECK}:render_markdown"),
        "junit": Extension(f"{_CHECK}:render_junit"),
        "github": Extension(f"{_CHECK}:render_github"),
    }
)
"""Functions (`CheckReport`) -> text that ends with a line break."""

_DIFF: Final = "sky_melange.render.diff_report"
DIFF_FORMATS: Final = Extensions(
    {
        "table": Extension(f"{_DIFF}:render_table"),
        "json": Extension(f"{_DIFF}:render_json"),
        "markdown": Extension(f"{_DIFF}:render_markdown"),
        "junit": Extension(f"{_DIFF}:render_junit"),
        "github": Extension(f"{_DIFF}:render_github"),
    }
)
"""Functions (`PlanDiff`) -> text that ends with a line break."""

_BILL: Final = "sky_melange.render.bill_report"
BILL_FORMATS: Final = Extensions(
    {
        "table": Extension(f"{_BILL}:table"),
        "json": Extension(f"{_BILL}:json_text"),
        "markdown": Extension(f"{_BILL}:markdown"),
    }
)
"""Functions (`BillReport`) -> text that ends with a line break."""
