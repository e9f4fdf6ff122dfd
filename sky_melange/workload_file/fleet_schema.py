"""Version 1 of fleet.yaml as pydantic models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from sky_melange.domain.fleet import LEAST_PRIORITY, MIDDLE_PRIORITY, MOST_PRIORITY
from sky_melange.workload_file.field_types import MAX_COUNT, MAX_LOSSES, NAME, ListOf, OneLine, Place, Section, Word
from sky_melange.workload_file.sections import BudgetSection, ConstraintsSection

_MOST_WORKLOADS = 100
_Limit = Annotated[int, Field(ge=0, le=MAX_COUNT)]


def _as_in_workloads(name: str) -> Any:
    return ConstraintsSection.model_fields[name]


def _share(place: str) -> Any:
    description = (
        f"The largest fraction of the traffic of all workloads that any one {place} may get. Requests count by what "
        "their workload costs alone."
    )
    return Field(default=None, description=description, examples=[0.6])


class MemberSection(Section):
    """A workload of the fleet; its file's name alone says the same with the defaults."""

    file: OneLine = Field(description="Its workload.yaml, relative to this file.", examples=["chat.yaml"])
    priority: int = Field(
        default=MIDDLE_PRIORITY,
        ge=LEAST_PRIORITY,
        le=MOST_PRIORITY,
        description="Who yields first where not all traffic can be served: the lowest. Read by `most_traffic`.",
        examples=[7],
    )
    min_fraction: float = Field(
        default=1.0,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="The fraction of its traffic that it never yields. Read by `most_traffic`.",
        examples=[0.5],
    )


class FleetConstraintsSection(Section):
    """What the plans of all workloads together may use."""

    max_accelerators: dict[Word, _Limit] = _as_in_workloads("max_accelerators")
    max_accelerators_in: dict[Place, Annotated[dict[Word, _Limit], Field(min_length=1, max_length=100)]] = (
        _as_in_workloads("max_accelerators_in")
    )
    max_vcpus_in: dict[Place, Annotated[dict[OneLine, _Limit], Field(min_length=1, max_length=100)]] = Field(
        default_factory=dict,
        max_length=100,
        description="The most vCPUs of the instance types that a pattern fits, within a cloud or a region: quotas as "
        "AWS (`p*`), Azure (`Standard_ND*_v5`) and GCP (`a3-*`) state them.",
        examples=[{"aws/us-east-1": {"p5.*": 192}}],
    )
    max_cloud_share: Annotated[float | None, Field(gt=0, le=1)] = _share("cloud")
    max_region_share: Annotated[float | None, Field(gt=0, le=1)] = _share("region")
    tolerate_replica_losses: Annotated[int, Field(ge=0, le=MAX_LOSSES)] = Field(
        default=0,
        description="Instances of all plans, whichever, that may be lost while the rest still carries all traffic: "
        "each workload tolerates so many, or more where its own file says so.",
        examples=[1],
    )


class FleetSection(Section):
    """Workloads on one budget."""

    name: str = Field(pattern=NAME, max_length=40, description="What the fleet is called.", examples=["assistants"])
    workloads: ListOf[MemberSection] = Field(
        min_length=1,
        max_length=_MOST_WORKLOADS,
        description="The workloads: files, or mappings with a priority.",
        examples=[["chat.yaml", {"file": "code.yaml", "priority": 3}]],
    )
    budget: BudgetSection | None = Field(
        default=None, description="What all plans together may cost.", examples=[{"usd_per_hour": 60}]
    )
    constraints: FleetConstraintsSection = Field(
        default_factory=FleetConstraintsSection,
        description="What the plans of all workloads together may use.",
        examples=[{"max_accelerators": {"H100": 16}}],
    )
    objective: Literal["least_cost", "most_traffic"] = Field(
        default="least_cost",
        description="The least cost for all traffic, or the most traffic within the budget, by priority.",
        examples=["most_traffic"],
    )
    router: Literal["each", "one"] = Field(
        default="each",
        description="`one`: a single router serves all workloads, by `model` in the body of a request; `each`: every "
        "plan has the router that it needs.",
        examples=["one"],
    )
    share_machines: bool = Field(
        default=False,
        description="Whether engines of several workloads may run on one machine, each on GPUs of its own; only of "
        "workloads with `launch: {mode: cluster}`.",
        examples=[True],
    )


class FleetFile(Section):
    """Several workloads that are planned together."""

    model_config = ConfigDict(title="sky-melange fleet")

    version: Literal[1] = Field(description="Version of this file's schema.", examples=[1])
    fleet: FleetSection = Field(
        description="The fleet.", examples=[{"name": "assistants", "workloads": ["chat.yaml", "code.yaml"]}]
    )
