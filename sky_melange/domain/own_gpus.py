"""GPUs that one has: nodes of a Kubernetes cluster or of a SkyPilot SSH node pool, rented in pods of whole GPUs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

OWN_CLOUDS: Final = ("kubernetes", "ssh")
"""The user's own infrastructure, as SkyPilot names it."""

OWN_GPUS: Final = "candidates.own"
"""The source of prices that the workload itself states for GPUs that one has."""

_INFRA: Final = {"k8s": "kubernetes", "kubernetes": "kubernetes", "ssh": "ssh"}
_POD_VCPUS: Final = 4
_POD_GIB: Final = 16
"""What SkyPilot 0.14.1 asks for beside each GPU of a pod when a file does not say."""

_PART_OF_NODE: Final = 0.75
"""Of a node's vCPUs and memory that its pods with GPUs ask for. The system, a controller and a router need some too."""

_POD: Final = re.compile(r"(?P<vcpus>[0-9]+)CPU--(?P<gib>[0-9]+)GB(--[A-Za-z0-9-]+:[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnGpus:
    """Nodes of one kind: `per_node` GPUs in each of `nodes`, at a price for each GPU.

    `infra` is SkyPilot's: `k8s/<context>` or `ssh/<pool>`. `vcpus` and `memory_gib` are those of a node; None: not
    stated.
    """

    infra: str
    accelerator: str
    per_node: int
    nodes: int
    usd_per_gpu_hour: float
    vcpus: float | None = None
    memory_gib: float | None = None

    @property
    def cloud(self) -> str:
        """One of OWN_CLOUDS."""
        return _INFRA.get(self.infra.partition("/")[0].lower(), "")

    @property
    def place(self) -> str:
        """The context or the pool: what stands in the place of a region."""
        return self.infra.partition("/")[2]

    @property
    def gpus(self) -> int:
        """All that there are."""
        return self.per_node * self.nodes

    @property
    def sizes(self) -> tuple[int, ...]:
        """GPUs that a pod may have: powers of two that divide a node, and a whole node.

        Each divides the next, so pods of any sizes fit on the nodes as long as there are GPUs for them.
        """
        powers = (1 << power for power in range(self.per_node.bit_length()))
        return tuple(sorted({size for size in powers if self.per_node % size == 0} | {self.per_node}))

    def pod(self, gpus: int) -> str:
        """SkyPilot's name for a pod with so many GPUs and its share of the node, see `share_of`."""
        vcpus, gib = self.share_of(gpus)
        vcpus = _POD_VCPUS * gpus if vcpus is None else vcpus
        gib = _POD_GIB * gpus if gib is None else gib
        return f"{pod_type(max(1, int(vcpus)), max(1, int(gib)))}--{self.accelerator}:{gpus}"

    def share_of(self, gpus: int) -> tuple[float | None, float | None]:
        """vCPUs and GiB that a pod with so many GPUs asks for; None: not stated."""
        part = _PART_OF_NODE * gpus / self.per_node
        return (
            None if self.vcpus is None else self.vcpus * part,
            None if self.memory_gib is None else self.memory_gib * part,
        )

    def __str__(self) -> str:
        nodes = "1 node" if self.nodes == 1 else f"{self.nodes} nodes"
        return f"{self.infra} with {nodes} of {self.per_node} × {self.accelerator}"


def pod_type(vcpus: int, memory_gib: int) -> str:
    """SkyPilot's name for a pod without GPU."""
    return f"{vcpus}CPU--{memory_gib}GB"


def pod_size(instance_type: str) -> tuple[int, int]:
    """vCPUs and GiB of a pod by its name. Raises ValueError for what is no name of a pod."""
    found = _POD.fullmatch(instance_type)
    if found is None:
        raise ValueError(f"is no name of a pod: {instance_type[:60]!r}")
    return int(found["vcpus"]), int(found["gib"])


def infra_of(cloud: str, region: str, zone: str | None = None) -> str:
    """As launch files name a place."""
    return "/".join(filter(None, ("k8s" if cloud == "kubernetes" else cloud, region, zone)))


def infra_fault(infra: str) -> str:
    """Why SkyPilot would not read the words as the place that they name; empty where it would."""
    cloud, _, place = infra.partition("/")
    parts = place.split("/")
    fault = ""
    if _INFRA.get(cloud) is None:
        fault = "must begin with k8s/ or ssh/, as in k8s/prod-cluster or ssh/lab"
    elif not place:
        fault = f"must name the {'pool' if cloud == 'ssh' else 'context'}: {cloud}/NAME"
    elif any(not part or part != part.strip() for part in parts):
        fault = "must have no empty part and no blank beside a `/`: SkyPilot reads another name, or none"
    elif place == "*":
        fault = "must name one place: SkyPilot reads `*` as any"
    elif place.startswith("ssh-"):
        instead = place.removeprefix("ssh-")
        fault = f"must not begin with ssh-, by which SkyPilot marks pools: write ssh/{instead}"
    elif len(infra) > 200 or not infra.isprintable():
        fault = "must be at most 200 printable characters"
    return fault
