"""What is built: models, accelerators, the grid, and the one serving setup that every profile describes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

TOOL: Final = "aiconfigurator"
TOOL_VERSION: Final = "0.12.0"
ENGINE: Final = "vllm"

INPUT_TOKENS: Final = (25, 100, 250, 500, 1000, 2000, 4000, 8000, 12000, 16000)
OUTPUT_TOKENS: Final = (25, 100, 250, 500, 1000, 2000)
CONCURRENCIES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TENSOR_PARALLEL_SIZES: Final = (1, 2, 4, 8)

MAX_NUM_BATCHED_TOKENS: Final = 8192
GPU_MEMORY_UTILIZATION: Final = 0.9
ENGINE_ARGS: Final[dict[str, int | float]] = {
    "max-num-batched-tokens": MAX_NUM_BATCHED_TOKENS,
    "gpu-memory-utilization": GPU_MEMORY_UTILIZATION,
}
MINIMUM_REQUEST_TOKENS: Final = 4000 + min(OUTPUT_TOKENS)
"""Tokens of the shortest long request that a layout must hold to be worth a profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model and the precision it is served in.

    ``tool_name`` is the architecture that aiconfigurator carries for it; ``measured_names`` are its names
    in the table of measured runs.
    """

    name: str
    dtype: str
    tool_name: str
    measured_names: tuple[str, ...]

    @property
    def slug(self) -> str:
        """Folder name: the part after the slash, in lower case."""
        return self.name.split("/")[-1].lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """SkyPilot's accelerator name and the aiconfigurator system that stands for it."""

    name: str
    system: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One replica: a model on ``tensor_parallel`` GPUs of one accelerator."""

    model: Model
    accelerator: Accelerator
    tensor_parallel: int

    @property
    def path(self) -> str:
        """Path of its profile below the folder of profiles."""
        name = f"{self.accelerator.name}-tp{self.tensor_parallel}-{self.model.dtype}-{ENGINE}.json"
        return f"{self.model.slug}/{name}"


LLAMA_8B: Final = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B: Final = "meta-llama/Llama-3.1-70B-Instruct"
QWEN_32B: Final = "Qwen/Qwen3-32B"

MODELS: Final = (
    Model(name=LLAMA_8B, dtype="bfloat16", tool_name="meta-llama/Meta-Llama-3.1-8B", measured_names=(LLAMA_8B,)),
    Model(name=QWEN_32B, dtype="bfloat16", tool_name=QWEN_32B, measured_names=(QWEN_32B,)),
    Model(name=QWEN_32B, dtype="fp8", tool_name=QWEN_32B, measured_names=(QWEN_32B,)),
    Model(
        name=LLAMA_70B,
        dtype="fp8",
        tool_name="meta-llama/Meta-Llama-3.1-70B",
        measured_names=(LLAMA_70B, "meta-llama/Llama-3.1-70B"),
    ),
)
ACCELERATORS: Final = (
    Accelerator(name="L4", system="l4"),
    Accelerator(name="L40S", system="l40s"),
    Accelerator(name="A100-80GB", system="a100_sxm"),
    Accelerator(name="H100", system="h100_sxm"),
    Accelerator(name="H200", system="h200_sxm"),
    Accelerator(name="B200", system="b200_sxm"),
)


def layouts() -> Iterator[Layout]:
    """Every combination that is tried, in the order of the summary table."""
    for model in MODELS:
        for accelerator in ACCELERATORS:
            for tensor_parallel in TENSOR_PARALLEL_SIZES:
                yield Layout(model=model, accelerator=accelerator, tensor_parallel=tensor_parallel)


def prefill_tokens_per_step(input_tokens: int, output_tokens: int, concurrency: int) -> int:
    """Prompt tokens that one engine step processes when it processes any, under chunked prefill.

    A step holds at most ``MAX_NUM_BATCHED_TOKENS`` tokens, of which every other running request takes one
    to decode. A prompt is cut into the fewest equal chunks that fit. In a steady state
    ``input_tokens * concurrency / output_tokens`` prompt tokens arrive per step, so a step carries as many
    chunks as that asks for, up to the budget: fewer would let requests finish faster than they are
    prefilled, more would prefill requests that have not arrived. At the budget, less than half a prompt is
    left out, because the tool charges the attention of a whole prompt for any part of it.
    """
    budget = MAX_NUM_BATCHED_TOKENS - (concurrency - 1)
    chunk = math.ceil(input_tokens / math.ceil(input_tokens / budget))
    arriving = math.ceil(input_tokens * concurrency / (output_tokens * chunk))
    if chunk == input_tokens:
        arriving = min(arriving, round(budget / chunk))
    return min(budget, arriving * chunk)
