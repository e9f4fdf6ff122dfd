"""The command line of the inference engine for one replica group."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from sky_melange.domain.adapter import Adapter, max_rank
from sky_melange.domain.engine import PORT
from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.profile import attention_ranks
from sky_melange.domain.workload import Workload

DTYPE_FLAGS: Final = {
    "bfloat16": ("--dtype bfloat16",),
    "float16": ("--dtype float16",),
    "fp8": ("--dtype bfloat16", "--quantization fp8"),
    # Checkpoints of 4 bits are quantised already, and say how.
    "fp4": ("--dtype auto",),
    "int4": ("--dtype auto",),
}
"""vLLM and SGLang name these alike."""


def dtype_flags(dtype: str, *, is_quantized: bool) -> tuple[str, ...]:
    """A quantised checkpoint says how itself, and the engine refuses to be told otherwise; 16 bits become fp8."""
    return ("--dtype auto",) if is_quantized else DTYPE_FLAGS[dtype]


def engine_arguments(group: ReplicaGroup, workload: Workload, *, port: int = PORT) -> tuple[str, ...]:
    """Arguments of one engine process: the quoted model, then one quoted `--flag value` each; the user's come last and
    win.

    The limit on running requests is the concurrency at which the group's traffic just meets the targets: more requests
    wait instead of slowing the others. An instance that holds several replicas runs them as data-parallel ranks behind
    one port, or (`ReplicaGroup.runs_apart`) as processes on ports that the shell's `$port` names.
    """
    flags = ["--host 127.0.0.1", '--port "$port"'] if group.runs_apart else ["--host 0.0.0.0", f"--port {port}"]
    flags += dtype_flags(workload.model.dtype, is_quantized=workload.model.quantization is not None)
    if workload.model.remote_code and workload.launch.trust_remote_code:
        flags.append("--trust-remote-code")
    flags += (_sglang if group.engine == "sglang" else _vllm)(group, workload)
    flags += [f"{shlex.quote(f'--{name}')} {shlex.quote(value)}" for name, value in group.engine_args]
    flags += [shlex.quote(argument) for argument in workload.launch.engine_args]
    return (shlex.quote(workload.model.id), *flags)


def _vllm(group: ReplicaGroup, workload: Workload) -> Iterator[str]:
    """With data-parallel attention each GPU is a rank of its own, whose limit is its share of the replica's."""
    ranks = attention_ranks(group.layout, group.tensor_parallel)
    yield f"--tensor-parallel-size {group.tensor_parallel // ranks}"
    copies = ranks if group.runs_apart else ranks * group.replicas_per_instance
    if copies > 1:
        yield f"--data-parallel-size {copies}"
    if group.layout.endswith("ep"):
        yield "--enable-expert-parallel"
    if workload.model.max_model_len is not None:
        yield f"--max-model-len {workload.model.max_model_len}"
    yield f"--max-num-seqs {math.ceil(group.max_concurrency / ranks)}"
    if adapters := workload.model.adapters:
        yield f"--enable-lora --max-loras {len(adapters)} --max-lora-rank {max_rank(adapters)}"
        yield f"--lora-modules {_named(adapters)}"


def _sglang(group: ReplicaGroup, workload: Workload) -> Iterator[str]:
    """SGLang divides the limit on running requests among the ranks of attention itself; `--dp-size` counts replicas."""
    ranks = attention_ranks(group.layout, group.tensor_parallel)
    yield f"--tp-size {group.tensor_parallel}"
    if ranks > 1:
        yield f"--attn-dp-size {ranks}"
    if group.layout.endswith("ep"):
        yield f"--ep-size {group.tensor_parallel}"
    if group.replicas_per_instance > 1 and not group.runs_apart:
        yield f"--dp-size {group.replicas_per_instance}"
        yield "--load-balance-method total_requests"
    if workload.model.max_model_len is not None:
        yield f"--context-length {workload.model.max_model_len}"
    yield f"--max-running-requests {group.max_concurrency}"
    if adapters := workload.model.adapters:
        # The base model takes a place of a batch's adapters.
        yield f"--enable-lora --max-loras-per-batch {len(adapters) + 1} --max-lora-rank {max_rank(adapters)}"
        yield f"--lora-paths {_named(adapters)}"


def _named(adapters: Sequence[Adapter]) -> str:
    """Each under its id, by which requests ask for it."""
    return " ".join(shlex.quote(f"{adapter.id}={adapter.id}") for adapter in adapters)
