"""What SkyPilot says of the nodes of a Kubernetes cluster or an SSH node pool -> entries for `candidates.own`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sky_melange.domain.own_gpus import OwnGpus
from sky_melange.prices.names import resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node: `free_gpus` None where SkyPilot may not see its pods. `accelerator` is SkyPilot's name for its GPUs."""

    name: str
    accelerator: str | None
    gpus: int
    free_gpus: int | None
    vcpus: float | None
    memory_gib: float | None
    is_ready: bool
    is_cordoned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnNodes:
    """Nodes of one kind, and of their GPUs those that nobody uses now; None: not known."""

    gpus: OwnGpus
    free_gpus: int | None


def own_nodes(infra: str, nodes: Iterable[Node], usd_per_gpu_hour: float) -> tuple[list[OwnNodes], list[str]]:
    """The nodes by GPU and number of GPUs, with the least of their vCPUs and memory; and what was left out, and why.

    A plan takes one entry for each accelerator of a place: of several numbers of GPUs that with the most GPUs in all.
    """
    kinds: dict[tuple[str, int], list[Node]] = {}
    left_out: list[str] = []
    for node in sorted(nodes, key=lambda node: node.name):
        found = resolve("kubernetes", node.accelerator or "", "")
        if not node.gpus:
            continue
        if node.is_cordoned or not node.is_ready:
            left_out.append(f"{node.name}: is {'cordoned' if node.is_cordoned else 'not ready'}")
        elif not found.accelerator:
            left_out.append(f"{node.name}: {found.reason or 'SkyPilot does not name its GPUs'}")
        else:
            kinds.setdefault((found.accelerator, node.gpus), []).append(node)
    chosen: dict[str, OwnNodes] = {}
    for (accelerator, per_node), members in sorted(kinds.items(), key=lambda kind: -kind[0][1] * len(kind[1])):
        if accelerator in chosen:
            what = f"{len(members)} × {per_node} × {accelerator}"
            left_out.append(f"{what}: a place has one entry for each accelerator, that of {chosen[accelerator].gpus}")
            continue
        gpus = OwnGpus(
            infra=infra,
            accelerator=accelerator,
            per_node=per_node,
            nodes=len(members),
            usd_per_gpu_hour=usd_per_gpu_hour,
            vcpus=_least([node.vcpus for node in members]),
            memory_gib=_least([node.memory_gib for node in members]),
        )
        free = [node.free_gpus for node in members if node.free_gpus is not None]
        chosen[accelerator] = OwnNodes(gpus=gpus, free_gpus=sum(free) if len(free) == len(members) else None)
    return [chosen[accelerator] for accelerator in sorted(chosen)], left_out


def _least(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(int(min(known))) if len(known) == len(values) else None
