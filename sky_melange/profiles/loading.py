"""What starting an engine needs besides a replica's share of the GPUs: disk, host memory, room for 16-bit weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from sky_melange.domain.adapter import max_rank
from sky_melange.domain.candidate import HostMemory
from sky_melange.domain.engine import ENGINES
from sky_melange.domain.plan import LEAST_DISK_GB
from sky_melange.domain.profile import Profile, ProfileKey
from sky_melange.domain.units import BYTES_PER_GIB
from sky_melange.domain.workload import Model, Workload
from sky_melange.profiles.architectures import is_gated
from sky_melange.profiles.checkpoint import context_limit
from sky_melange.profiles.gpu_compute import GPU_MEMORY_SHARE, machines
from sky_melange.profiles.roofline import has_shape, shape_of

HUB_TOKEN: Final = "HF_TOKEN"  # noqa: S105 - the name of a variable

_ENGINE_GIB: Final = 40
"""On disk: the engine with CUDA's libraries, and what it compiles."""

_STORED: Final = 1.2
"""Checkpoints hold more than the layers that are counted, and are downloaded in parts."""

_DISK_STEP_GIB: Final = 64

_HOST_GIB: Final = 4.0
"""Of memory: the system, the HTTP server and the scheduler."""

_HOST_GPU_GIB: Final = 4.0
"""Of memory, by GPU: a process with PyTorch, CUDA's context and buffers."""

_FILE_GIB: Final = 5.0
"""Checkpoints are read file by file, mapped into memory that the processes share: one such file at a time."""


def disk_gb(model: Model) -> int:
    """The disk that a launch needs for the engine and the checkpoint; the least one where sizes are not known."""
    stored = _stored_gib(model)
    if stored is None:
        return LEAST_DISK_GB
    wanted_gib = _ENGINE_GIB + stored * _STORED
    return max(LEAST_DISK_GB, math.ceil(wanted_gib / _DISK_STEP_GIB) * _DISK_STEP_GIB)


def host_memory(model: Model) -> HostMemory:
    """The memory of a machine without which an engine ends while it loads."""
    stored = _stored_gib(model)
    file = _FILE_GIB if stored is None else min(_FILE_GIB, stored)
    return HostMemory(gib=_HOST_GIB + file, gib_per_gpu=_HOST_GPU_GIB)


def needed_secrets(model: Model) -> tuple[str, ...]:
    """Names of the secrets without which the checkpoint cannot be downloaded."""
    return (HUB_TOKEN,) if is_gated(model.id) else ()


def loading_warnings(
    workload: Workload, profiles: Iterable[Profile], hosts: Mapping[str, tuple[int, float | None]]
) -> Iterator[str]:
    """What to do before the launch files can start, and which of the `profiles` cannot be.

    `hosts`: GPUs and memory (GiB) of each group's machines, by its name.
    """
    model, launch = workload.model, workload.launch
    too_large = {
        f"{profile.key.tensor_parallel} × {profile.key.accelerator}": reason
        for profile in profiles
        if (reason := too_large_to_load(model, profile.key)) is not None
    }
    if too_large:
        yield f"Not considered: {', '.join(sorted(too_large))}. {too_large[min(too_large)]}."
    if is_gated(model.id):
        page = f"https://huggingface.co/{model.id}"
        token = f"{HUB_TOKEN} must be set at launch"
        if HUB_TOKEN not in (launch.secrets or ()):
            token = f"launch.secrets lacks {HUB_TOKEN}, without which engines cannot download it"
        yield f"Launch: {model.id} is gated: accept its licence at {page}; {token}."
    limit = context_limit(model)
    if limit is not None and model.max_model_len is not None and model.max_model_len > limit:
        yield (
            f"Launch: engines do not start {model.id} with {model.max_model_len:,} tokens (input and output), as "
            f"planned: its configuration says {limit:,}. Plan for shorter requests and write "
            f"`model.max_model_len: {limit}`."
        )
    if lacks_trust(workload):
        yield (
            f"Launch: engines start {model.id} only if they may run code of its repository. Read it, then write "
            "`launch.trust_remote_code: true`; `up` refuses the plan until then."
        )
    needed = host_memory(model)
    unknown = {name: needed.of(gpus) for name, (gpus, memory_gib) in sorted(hosts.items()) if memory_gib is None}
    if unknown:
        listed = ", ".join(f"{name} ({gib:g} GiB)" for name, gib in unknown.items())
        yield f"Launch: how much memory the machines have is not listed; loading the model needs that of {listed}."


def lacks_trust(workload: Workload) -> bool:
    """Whether engines would have to run code of the model's repository, and may not."""
    return workload.model.remote_code and not workload.launch.trust_remote_code


def too_large_to_load(model: Model, key: ProfileKey) -> str | None:
    """Why the GPUs of a replica cannot hold what an engine loads before it serves; None where they can.

    A checkpoint of 16 bits that is quantised then: vLLM quantises each layer as its weights arrive (since 0.14), SGLang
    once all weights are on the GPUs. Adapters: all of them at the largest rank, beside the weights.
    """
    machine = machines().get(key.accelerator)
    if machine is None or not has_shape(model):
        return None
    shape, room = shape_of(model), key.tensor_parallel * machine.memory_bytes * GPU_MEMORY_SHARE
    adapters, own = adapters_bytes(model), shape.weight_bytes(model.dtype)
    if adapters and adapters + own > room:
        return (
            f"{len(model.adapters)} adapters of rank {max_rank(model.adapters)} take {adapters / 1e9:,.0f} GB beside "
            f"the weights ({own / 1e9:,.0f} GB), and {key.tensor_parallel} × {key.accelerator} may be filled with "
            f"{room / 1e9:,.0f} GB: serve fewer, or of a smaller rank, together"
        )
    is_whole = model.dtype == "fp8" and model.quantization is None and not ENGINES[key.engine].quantizes_layer_by_layer
    weights = shape.weight_bytes("bfloat16")
    if not is_whole or model.id != model.profiled_id or weights <= room:
        return None
    return (
        f"{ENGINES[key.engine].title} loads the 16-bit weights of {model.id} ({weights / 1e9:,.0f} GB) before it "
        f"quantises them, and may fill {room / 1e9:,.0f} GB of {key.tensor_parallel} × {key.accelerator}: write the "
        "id of a checkpoint that has fp8 weights"
    )


def adapters_bytes(model: Model) -> float:
    """What engines set aside for adapters: each of 16 bits, at the largest rank. 0 without any, or without sizes."""
    if not model.adapters or not has_shape(model):
        return 0.0
    return len(model.adapters) * shape_of(model).adapter_bytes(max_rank(model.adapters))


def _stored_gib(model: Model) -> float | None:
    """Of the checkpoint; engines quantise 16 bits to fp8 themselves."""
    if not has_shape(model):
        return None
    stored = "bfloat16" if model.quantization is None and model.dtype == "fp8" else model.dtype
    return shape_of(model).weight_bytes(stored) / BYTES_PER_GIB
