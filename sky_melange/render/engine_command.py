"""The command line of the inference engine for one replica group."""

from __future__ import annotations

import shlex
from typing import Final

from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.workload import Workload

PORT: Final = 8000
VLLM_VERSION: Final = "0.24.0"
"""The version that is launched; profiles name the version that they describe."""

MINIMUM_DRIVER: Final = 580
"""The NVIDIA driver that CUDA 13 needs, which the wheel of this vLLM is built with."""

DTYPE_FLAGS: Final = {
    "bfloat16": ("--dtype bfloat16",),
    "float16": ("--dtype float16",),
    "fp8": ("--dtype bfloat16", "--quantization fp8"),
    # Checkpoints of 4 bits are quantised already, and say how.
    "fp4": ("--dtype auto",),
    "int4": ("--dtype auto",),
}


def dtype_flags(dtype: str, *, is_quantized: bool) -> tuple[str, ...]:
    """A quantised checkpoint says how itself, and the engine refuses to be told otherwise; 16 bits become fp8."""
    return ("--dtype auto",) if is_quantized else DTYPE_FLAGS[dtype]


def vllm_arguments(group: ReplicaGroup, workload: Workload) -> tuple[str, ...]:
    """Arguments of `vllm serve`: the model, then one quoted `--flag value` each; the user's own come last and win.

    An instance that holds several replicas runs them as data-parallel ranks behind one port. `--max-num-seqs` is the
    concurrency at which the group's traffic just meets the targets: more requests wait instead of slowing the others.
    """
    flags = [
        "--host 0.0.0.0",
        f"--port {PORT}",
        *dtype_flags(workload.model.dtype, is_quantized=workload.model.quantization is not None),
        f"--tensor-parallel-size {group.tensor_parallel}",
    ]
    if group.replicas_per_instance > 1:
        flags.append(f"--data-parallel-size {group.replicas_per_instance}")
    if workload.model.max_model_len is not None:
        flags.append(f"--max-model-len {workload.model.max_model_len}")
    flags.append(f"--max-num-seqs {group.max_concurrency}")
    flags += [f"{shlex.quote(f'--{name}')} {shlex.quote(value)}" for name, value in group.engine_args]
    flags += [shlex.quote(argument) for argument in workload.launch.engine_args]
    return (workload.model.id, *flags)
