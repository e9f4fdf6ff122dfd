"""The list `candidates.own` of workload.yaml: keys, types and ranges, its way into `domain.OwnGpus`, and its rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final

from pydantic import Field

from sky_melange.domain.own_gpus import OwnGpus, infra_fault
from sky_melange.domain.spelling import did_you_mean
from sky_melange.errors import Mistake
from sky_melange.workload_file.field_types import Count, OneLine, Section, Word
from sky_melange.workload_file.nodes import KeyPath, MappingNode, ScalarNode, SequenceNode, YamlDocument
from sky_melange.workload_file.report import key_path, quote

if TYPE_CHECKING:
    from sky_melange.workload_file.nodes import YamlNode

_OWN: Final = ("candidates", "own")
_ACCELERATORS: Final = ("candidates", "accelerators")
MOST_OWN: Final = 100


class OwnGpusSection(Section):
    """GPUs that one has: nodes of one kind in a Kubernetes cluster or an SSH node pool."""

    infra: OneLine = Field(
        description="Where they are, as SkyPilot names it: `k8s/<context>` or `ssh/<pool>`.",
        examples=["k8s/prod-cluster"],
    )
    accelerator: Word = Field(description="GPU model by canonical name.", examples=["H100"])
    per_node: int = Field(ge=1, le=64, description="GPUs in each node.", examples=[8])
    nodes: Count = Field(description="Nodes that the plan may use.", examples=[4])
    usd_per_gpu_hour: float = Field(
        ge=0,
        le=100_000,
        description="What one GPU costs for an hour in which it is used, USD: 0, or a rate of your own.",
        examples=[0.35],
    )
    vcpus: float | None = Field(default=None, gt=0, le=1e6, description="vCPUs of a node.", examples=[96])
    memory_gib: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="Memory of a node, GiB; pods ask for three quarters of their share.",
        examples=[1024],
    )


def to_own(sections: Collection[OwnGpusSection]) -> tuple[OwnGpus, ...]:
    """The GPUs, in the order of the file."""
    return tuple(
        OwnGpus(
            infra=section.infra,
            accelerator=section.accelerator,
            per_node=section.per_node,
            nodes=section.nodes,
            usd_per_gpu_hour=float(section.usd_per_gpu_hour),
            vcpus=None if section.vcpus is None else float(section.vcpus),
            memory_gib=None if section.memory_gib is None else float(section.memory_gib),
        )
        for section in sections
    )


def own_mistakes(own: Collection[OwnGpus]) -> Iterator[tuple[int, str, str]]:
    """(entry, key, what is wrong) of what the schema cannot express."""
    found: dict[tuple[str, str, str], int] = {}
    for index, gpus in enumerate(own):
        fault = infra_fault(gpus.infra)
        if fault:
            yield index, "infra", fault
            continue
        first = found.setdefault((gpus.cloud, gpus.place, gpus.accelerator), index)
        if first != index:
            message = f"{gpus.infra} with {gpus.accelerator} is candidates.own[{first}] already: state each kind once"
            yield index, "infra", message


def check_own(document: YamlDocument, accelerators: Collection[str] | None) -> Iterator[Mistake]:
    """What is wrong with the list, as far as its entries have the types that they should."""
    node = document.find(_OWN)
    entries: list[YamlNode] = node.items[:MOST_OWN] if isinstance(node, SequenceNode) else []
    wanted = document.find(_ACCELERATORS)
    listed = [] if not isinstance(wanted, SequenceNode) else [getattr(item, "value", None) for item in wanted.items]
    stated: dict[int, OwnGpus] = {}
    for index, entry in enumerate(entries):
        infra, name = (_text(entry, key) for key in ("infra", "accelerator"))
        if infra is not None:
            stated[index] = OwnGpus(
                infra=infra, accelerator=name or f"?{index}", per_node=1, nodes=1, usd_per_gpu_hour=0.0
            )
        if name is None:
            continue
        place = (*_OWN, index, "accelerator")
        if accelerators is not None and name not in accelerators:
            near = did_you_mean(name, sorted(accelerators), "known accelerators")
            yield _mistake(document, place, f"unknown accelerator {quote(name)}{near}")
        elif listed and name not in listed:
            message = f"{quote(name)} is not in candidates.accelerators: add it there, or remove that list"
            yield _mistake(document, place, message)
    for number, key, message in own_mistakes(stated.values()):
        yield _mistake(document, (*_OWN, list(stated)[number], key), message)


def _text(entry: YamlNode, key: str) -> str | None:
    node = entry.entries.get(key) if isinstance(entry, MappingNode) else None
    return node.value if isinstance(node, ScalarNode) and isinstance(node.value, str) else None


def _mistake(document: YamlDocument, path: KeyPath, message: str) -> Mistake:
    return Mistake(source=document.source, line=document.line_of(path), key=key_path(path), message=message)
