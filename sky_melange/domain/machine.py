"""What is bought: the one definition of "the same machine"."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePart:
    """Whole GPUs of a machine that engines of several workloads divide: `accelerators` are those of all of it.

    A part costs `price_fraction` of the machine's price: GPUs that nobody uses are paid for by those who use the rest.
    """

    accelerators: int
    price_fraction: float


MachineType: TypeAlias = tuple[str, str, str, int]
"""(cloud, instance type, accelerator by the catalog's name, count). GCP sells one n1 type with many accelerators."""


class OnMachine:
    """For dataclasses that name a machine by fields of their own; their order there is that of the files they are in.

    Where only a `part` of it is meant, `accelerators_per_instance` are those of the part.

    They are equal where all of their fields are: compare `machine`, not them. (mypy refuses to mix the two.)
    """

    __slots__ = ()
    cloud: str
    region: str
    zone: str | None
    instance_type: str
    catalog_accelerator: str
    accelerators_per_instance: int
    use_spot: bool
    part: MachinePart | None = None

    @property
    def machine_accelerators(self) -> int:
        """Of the whole machine."""
        return self.accelerators_per_instance if self.part is None else self.part.accelerators

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine type with its accelerators, in a place, on demand or spot. It has one price.

    `accelerator` is SkyPilot's catalog's name; "" and 0 for a machine without. `zone` None: anywhere in the region.
    """

    cloud: str
    region: str
    zone: str | None
    instance_type: str
    accelerator: str
    count: int
    use_spot: bool

    @property
    def on_demand(self) -> Machine:
        """The same on demand."""
        return replace(self, use_spot=False)


class OnReplica(OnMachine):
    """The same with a replica's layout."""

    __slots__ = ()
    tensor_parallel: int
    engine: str
    layout: str

    @property
    def deployment(self) -> Deployment:
        """Instances of equal deployments are interchangeable: `constraints.keep` counts them together."""
        return self.machine, self.tensor_parallel, self.engine, self.layout


Deployment: TypeAlias = tuple[Machine, int, str, str]
"""(machine, tensor parallel, engine, layout)."""
