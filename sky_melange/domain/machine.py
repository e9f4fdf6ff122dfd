"""What is bought: the one definition of "the same machine"."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptionBand:
    """Of the spot machines of a type in a region, between these fractions were taken back within a month.

    As the cloud itself states it, in bands; `fetched_at` is the date of that statement.
    """

    least_fraction: float
    most_fraction: float
    fetched_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudFeatures:
    """One row of catalogs/clouds.csv. A replica must open a port; `multi_node` clusters need not exist everywhere."""

    cloud: str
    open_ports: bool
    multi_node: bool
    spot: bool
    host_controllers: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePart:
    """Whole GPUs of a machine that engines of several workloads divide: `accelerators` are those of all of it.

    A part costs `price_fraction` of the machine's price: GPUs that nobody uses are paid for by those who use the rest.
    """

    accelerators: int
    price_fraction: float


MachineType: TypeAlias = tuple[str, str, str, int]
"""(cloud, instance type, accelerator by the catalog's name, count). GCP sells one n1 type with many accelerators."""


@dataclass(frozen=True, kw_only=True)
class InRegion:
    """What a cloud sells in a region. A base has empty slots, so that a class can have several."""

    __slots__ = ()
    cloud: str
    region: str
    instance_type: str


@dataclass(frozen=True, kw_only=True)
class WithGpus(InRegion):
    """The same with its GPUs by their canonical name; "" and 0 for a machine without."""

    __slots__ = ()
    accelerator: str
    accelerators_per_instance: int

    @property
    def covered(self) -> Covered:
        """Equal for a commitment and the machines on demand that it covers."""
        return self.cloud, self.region, self.instance_type, self.accelerator, self.accelerators_per_instance


Covered: TypeAlias = tuple[str, str, str, str, int]
"""A machine in a region, in whichever zone it runs: what one commitment covers."""


@dataclass(frozen=True, kw_only=True)
class OnMachine(InRegion):
    """For what names a machine.

    They are equal where all of their fields are: compare `machine`, not them. (mypy refuses to mix the two.)
    """

    __slots__ = ()
    zone: str | None
    catalog_accelerator: str
    accelerators_per_instance: int
    use_spot: bool

    @property
    def machine_accelerators(self) -> int:
        """Of the whole machine."""
        return self.accelerators_per_instance

    @property
    def machine(self) -> Machine:
        """What is bought, whatever it costs and however many there are."""
        return Machine(
            cloud=self.cloud,
            region=self.region,
            zone=self.zone,
            instance_type=self.instance_type,
            accelerator=self.catalog_accelerator,
            count=self.machine_accelerators,
            use_spot=self.use_spot,
        )

    @property
    def machine_type(self) -> MachineType:
        """The same wherever it stands and however it is bought. Asked of every offer: a plain tuple."""
        return self.cloud, self.instance_type, self.catalog_accelerator, self.machine_accelerators


@dataclass(frozen=True, kw_only=True)
class OnPart(OnMachine):
    """For what may name some GPUs of a machine: `accelerators_per_instance` are those of the `part` then."""

    __slots__ = ()
    part: MachinePart | None = None

    @property
    def machine_accelerators(self) -> int:
        """Of the whole machine."""
        return self.accelerators_per_instance if self.part is None else self.part.accelerators


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine(InRegion):
    """A machine type with its accelerators, in a place, on demand or spot. It has one price.

    `accelerator` is SkyPilot's catalog's name; "" and 0 for a machine without. `zone` None: anywhere in the region.
    """

    zone: str | None
    accelerator: str
    count: int
    use_spot: bool

    @property
    def on_demand(self) -> Machine:
        """The same on demand."""
        return replace(self, use_spot=False)


@dataclass(frozen=True, kw_only=True)
class OnReplica(OnMachine):
    """The same with a replica's layout, and how many there are."""

    __slots__ = ()
    tensor_parallel: int
    instances: int
    engine: str = "vllm"
    layout: str = ""

    @property
    def deployment(self) -> Deployment:
        """Instances of equal deployments are interchangeable: `constraints.keep` counts them together."""
        return self.machine, self.tensor_parallel, self.engine, self.layout


Deployment: TypeAlias = tuple[Machine, int, str, str]
"""(machine, tensor parallel, engine, layout)."""
