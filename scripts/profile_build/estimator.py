"""The one home of aiconfigurator: one model and one database per layout, reused for every point."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from aiconfigurator.sdk.inference_session import InferenceSession
from aiconfigurator_core.sdk.backends.factory import get_backend
from aiconfigurator_core.sdk.config import RuntimeConfig
from aiconfigurator_core.sdk.config_builders import build_model_config
from aiconfigurator_core.sdk.errors import (
    EmpiricalNotImplementedError,
    MissingSystemFlopsError,
    PerfDataNotAvailableError,
)
from aiconfigurator_core.sdk.memory import estimate_kv_cache
from aiconfigurator_core.sdk.models import get_model
from aiconfigurator_core.sdk.operations.communication import CustomAllReduce
from aiconfigurator_core.sdk.operations.util_empirical import capture_provenance
from aiconfigurator_core.sdk.perf_database import get_database_view, get_latest_database_version

from profile_build.grid import Prediction
from profile_build.serving_setup import (
    ENGINE,
    GPU_MEMORY_UTILIZATION,
    MAX_NUM_BATCHED_TOKENS,
    TOOL,
    TOOL_VERSION,
    Accelerator,
    Layout,
    prefill_tokens_per_step,
)

MEMORY_MARGIN_FRACTION: Final = 0.02
"""What the tool itself leaves free of vLLM's share for block rounding and memory profiling."""
TABLES: Final = ("gemm_perf", "context_attention_perf", "generation_attention_perf", "custom_allreduce_perf")
MODELLED_OPERATIONS: Final = ("add_norm", "act_gate", "embedding")
"""Memory-bound operations that the tool always computes from bandwidth: it has no measured table for them."""


class NoSiliconDataError(Exception):
    """The measured database has no data for the layout; the message says what is missing."""


class DoesNotFitError(Exception):
    """The model leaves no room for a KV cache on the layout."""


class Estimator:
    """aiconfigurator's aggregated-serving estimate for one layout, silicon mode only."""

    def __init__(self, layout: Layout) -> None:
        """Load database and model.

        Raises:
            NoSiliconDataError: the database has no tables, or no compute rate, for this layout.
        """

        self.layout = layout
        self._database, self.database_version = load_database(layout.accelerator)
        quant_modes = (layout.model.dtype, "bfloat16", "bfloat16", "bfloat16", "half")
        size = layout.tensor_parallel
        config = build_model_config(size, 1, 1, size, 1, *quant_modes)
        model = get_model(layout.model.tool_name, config, ENGINE)
        self._session = InferenceSession(model, self._database, get_backend(ENGINE))
        self.modelled_share: dict[str, float] = {}
        self.partly_modelled_share: dict[str, float] = {}

    def kv_cache_tokens(self) -> int:
        """Tokens of KV cache that the replica holds; every GPU holds its share of each token's heads.

        Raises:
            DoesNotFitError: weights and activations leave no room.
        """

        layout = self.layout
        try:
            estimate = estimate_kv_cache(
                layout.model.tool_name,
                layout.accelerator.system,
                ENGINE,
                self.database_version,
                max_num_tokens=MAX_NUM_BATCHED_TOKENS,
                max_batch_size=1,
                memory_fraction_kind="of_total",
                memory_fraction_value=GPU_MEMORY_UTILIZATION * (1 - MEMORY_MARGIN_FRACTION),
                tp_size=layout.tensor_parallel,
                moe_tp_size=layout.tensor_parallel,
                gemm_quant_mode=layout.model.dtype,
                kvcache_quant_mode="bfloat16",
                fmha_quant_mode="bfloat16",
            )
        except ValueError as error:
            if "unsupported" in str(error):
                raise NoSiliconDataError(_one_line(error)) from error
            message = "the weights leave no room for a KV cache in 90 % of the memory"
            raise DoesNotFitError(message) from error
        return int(estimate["total_kv_size_tokens"])

    def predict(self, input_tokens: int, output_tokens: int, concurrency: int) -> Prediction:
        """Estimate the steady state of ``concurrency`` requests of one size, all in the replica.

        Raises:
            NoSiliconDataError: an operation has no measured data, or was filled by another method.
        """

        with _only_silicon():
            summary = self._session.run_agg(
                RuntimeConfig(isl=input_tokens, osl=output_tokens, batch_size=concurrency),
                ctx_tokens=prefill_tokens_per_step(input_tokens, output_tokens, concurrency),
                free_gpu_memory_fraction=GPU_MEMORY_UTILIZATION,
            )
        self._record_sources(summary)
        result = summary.get_result_dict()
        tool_ttft_s = float(result["ttft"]) / 1000
        tpot_s = float(result["tpot"]) / 1000
        request_rate_rps = float(result["request_rate"])
        latency_s = tool_ttft_s + tpot_s * (output_tokens - 1)
        return Prediction(
            tool_ttft_s=tool_ttft_s,
            tpot_s=tpot_s,
            request_rate_rps=request_rate_rps,
            prefill_bound=request_rate_rps * latency_s < concurrency * (1 - 1e-9),
        )

    def _record_sources(self, summary: Any) -> None:
        """Keep the largest share of a step's time that each operation without measured data takes."""
        latencies = summary.get_per_ops_data()
        for step, sources in summary.get_per_ops_source().items():
            total = sum(latencies[step].values())
            for operation, source in sources.items():
                share = latencies[step][operation] / total
                if source == "silicon" or share == 0:
                    continue
                name = operation.removeprefix("context_").removeprefix("generation_").removesuffix(" (scaled)")
                name = name.rstrip("_12")
                if source == "mixed" and operation.startswith("context_attention"):
                    shares, name = self.partly_modelled_share, "context attention"
                elif name in MODELLED_OPERATIONS:
                    shares = self.modelled_share
                else:
                    raise NoSiliconDataError(f"{operation} is {source}, not measured")
                shares[name] = max(shares.get(name, 0.0), share)

    def borrowed_tables(self) -> list[str]:
        """The tables this layout uses whose rows come from another collection: 'table (framework/version)'."""

        CustomAllReduce.load_data(self._database)
        borrowed = []
        for table in TABLES if self.layout.tensor_parallel > 1 else TABLES[:-1]:
            records = self._database.data_provenance[f"{table}.parquet"]
            source = next(record for record in records if record["exists"])
            if source["channel"] != "primary":
                framework = Path(source["path"]).parts[-3]
                borrowed.append(f"{table} ({framework}/{source['version']})")
        return borrowed


@functools.cache
def load_database(accelerator: Accelerator) -> tuple[Any, str]:
    """The silicon database of an accelerator and the vLLM version it was collected with.

    Raises:
        NoSiliconDataError: aiconfigurator carries none.
    """

    installed = metadata.version(TOOL)
    if installed != TOOL_VERSION:
        raise SystemExit(f"{TOOL} {TOOL_VERSION} is needed, {installed} is installed")
    logging.getLogger("aiconfigurator_core").setLevel(logging.CRITICAL)
    logging.getLogger("aiconfigurator").setLevel(logging.CRITICAL)
    version = get_latest_database_version(system=accelerator.system, backend=ENGINE)
    if version is None:
        raise NoSiliconDataError(f"no measured vLLM data for {accelerator.name} in {TOOL} {TOOL_VERSION}")
    database = get_database_view(accelerator.system, ENGINE, version, allow_missing_data=False, database_mode="SILICON")
    return database, version


@contextmanager
def _only_silicon() -> Iterator[None]:
    """Turn missing data, and any value that the tool filled without measured data, into an error."""

    try:
        with capture_provenance() as tags:
            yield
    except MissingSystemFlopsError as error:
        raise NoSiliconDataError(
            "the accelerator has no tensor cores for this precision, so there is no measured data"
        ) from error
    except (EmpiricalNotImplementedError, PerfDataNotAvailableError) as error:
        raise NoSiliconDataError(_one_line(error)) from error
    if tags - {"silicon"}:
        raise NoSiliconDataError(f"the tool fell back to {', '.join(sorted(tags))}")


def _one_line(error: Exception) -> str:
    """The error's first sentence."""
    return str(error).splitlines()[0].split(". ")[0]
