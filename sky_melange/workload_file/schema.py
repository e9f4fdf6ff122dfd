"""Version 1 of workload.yaml as a whole."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, Strict

from sky_melange.domain.workload import Objective, RoutingPolicy, Workload
from sky_melange.workload_file.field_types import NAME, Section
from sky_melange.workload_file.prices import PricesSection, RouterSection
from sky_melange.workload_file.sections import (
    BudgetSection,
    CandidatesSection,
    ConstraintsSection,
    LaunchSection,
    ModelSection,
    ProfilesSection,
    SloSection,
    SolverSection,
)
from sky_melange.workload_file.traffic import TrafficSection


def _default_routing() -> RoutingPolicy:
    defaults: dict[str, object] = {field.name: field.default for field in dataclasses.fields(Workload)}
    return RoutingPolicy(str(defaults["routing"]))


class WorkloadFile(Section):
    """The traffic, the model and the targets that a plan is made for."""

    model_config = ConfigDict(title="sky-melange workload")

    version: Literal[1] = Field(description="Version of this file's schema.", examples=[1])
    name: str = Field(pattern=NAME, max_length=40, description="Prefix of every service's name.", examples=["chat"])
    model: ModelSection = Field(
        description="The model to serve.",
        examples=[{"id": "meta-llama/Llama-3.1-8B-Instruct", "dtype": "bfloat16"}],
    )
    slo: SloSection = Field(description="Latency targets.", examples=[{"tpot_ms": 40, "ttft_ms": 2000}])
    traffic: TrafficSection = Field(
        description="The requests to serve.", examples=[{"preset": "azure-conversation-2023"}]
    )
    candidates: CandidatesSection = Field(
        default_factory=CandidatesSection,
        description="Which offers are considered.",
        examples=[{"clouds": ["aws", "gcp"]}],
    )
    constraints: ConstraintsSection = Field(
        default_factory=ConstraintsSection, description="Limits on the plan.", examples=[{"max_utilization": 0.9}]
    )
    routing: Annotated[RoutingPolicy, Strict(False)] = Field(
        default=_default_routing(),
        description="What the front door knows of a request: its input and output size, its input size, or nothing.",
        examples=["input_aware"],
    )
    objective: Annotated[Objective, Strict(False)] = Field(
        default=Objective.LEAST_COST,
        description="`least_cost` for the traffic, or the `most_traffic` of these sizes that the budget buys.",
        examples=["least_cost"],
    )
    budget: BudgetSection | None = Field(
        default=None, description="What the plan may cost.", examples=[{"usd_per_hour": 40}]
    )
    prices: PricesSection = Field(
        default_factory=PricesSection, description="Which prices are believed.", examples=[{"trust": ["runpod/"]}]
    )
    profiles: ProfilesSection = Field(
        default_factory=ProfilesSection,
        description="Which throughput profiles are used.",
        examples=[{"extrapolate": False}],
    )
    solver: SolverSection = Field(
        default_factory=SolverSection,
        description="How the plan is searched for.",
        examples=[{"formulation": "exact"}],
    )
    launch: LaunchSection = Field(
        default_factory=LaunchSection, description="How the engine is started.", examples=[{"mode": "serve"}]
    )
    router: RouterSection = Field(
        default_factory=RouterSection,
        description="The front door: which program, and how it tells the size of a request.",
        examples=[{"kind": "haproxy", "bytes_per_token": 4.0}],
    )
