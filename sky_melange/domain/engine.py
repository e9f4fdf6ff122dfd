"""The inference engines that launch files start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

ANY_ENGINE: Final = "any"
"""In `Launch.engine`: whichever serves the traffic for less, group by group."""

PORT: Final = 8000
"""An instance answers at it; on a machine that several workloads share each further engine at the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine at the version that launch files install.

    `layouts` are the ways of sharing a model among the GPUs of a replica (`ProfileKey.layout`) that it has flags for.
    `minimum_driver`: the NVIDIA driver that its wheels need. `generations`: the GPUs that they hold kernels for.
    `quantizes_layer_by_layer`: 16-bit weights that become fp8 are never on the GPUs all at once.
    """

    name: str
    title: str
    version: str
    layouts: frozenset[str]
    minimum_driver: int
    generations: frozenset[str]
    quantizes_layer_by_layer: bool

    @property
    def requirement(self) -> str:
        """What pip installs."""
        return f"{self.name}=={self.version}"


_CUDA_13: Final = frozenset({"turing", "ampere", "ada", "hopper", "blackwell"})
"""CUDA 13 compiles for nothing older than Turing."""


ENGINES: Final[Mapping[str, Engine]] = MappingProxyType(
    {
        engine.name: engine
        for engine in (
            # Its wheels, and those of SGLang, are built with CUDA 13. Kernel-based profiles are older (decision 332).
            Engine(
                name="vllm",
                title="vLLM",
                version="0.33.0",
                layouts=frozenset({"", "ep", "dp-ep"}),
                minimum_driver=580,
                generations=_CUDA_13,
                quantizes_layer_by_layer=True,
            ),
            Engine(
                name="sglang",
                title="SGLang",
                version="0.5.23",
                layouts=frozenset({"", "ep", "dp", "dp-ep"}),
                minimum_driver=580,
                generations=_CUDA_13,
                quantizes_layer_by_layer=False,
            ),
        )
    }
)


def engines_of(choice: str) -> tuple[str, ...]:
    """The engines that `launch.engine` allows."""
    return tuple(ENGINES) if choice == ANY_ENGINE else (choice,)


def can_launch(engine: str, layout: str) -> bool:
    """Whether there are launch files for a layout. TensorRT-LLM, whose engines are built for each GPU, has none."""
    return engine in ENGINES and layout in ENGINES[engine].layouts


def has_kernels(engine: str, generation: str) -> bool:
    """Whether what launch files install runs on a generation of GPUs."""
    return generation in ENGINES[engine].generations


def layout_text(gpus: int, layout: str, engine: str) -> str:
    """For people: `TP 8`, `TP 4 dp-ep, SGLang`; vLLM, the default, is not named."""
    named = "" if engine == "vllm" else f", {ENGINES[engine].title if engine in ENGINES else engine}"
    return f"TP {gpus}{f' {layout}' if layout else ''}{named}"


def version_gap(engine: str, profiled: str) -> str | None:
    """How far the version that is launched is from the one that a profile is of; None where they are the same.

    `any` is what a profile says that holds for every version.
    """
    launched = ENGINES[engine].version
    if profiled in {launched, "any"}:
        return None
    found = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)(?:[.+-].*)?", profiled)
    if found is None:
        return f"of {profiled}, which cannot be compared"
    for part, name in enumerate(("major", "minor", "patch")):
        steps = int(launched.split(".")[part]) - int(found[part + 1])
        if steps:
            versions = f"{abs(steps)} {name} version{'s' if abs(steps) > 1 else ''}"
            return f"of {profiled}, {versions} {'earlier' if steps > 0 else 'later'}"
    return f"of {profiled}"
