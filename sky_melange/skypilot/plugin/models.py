"""What the routes take and give, for validation and for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

STORED_NAME = r"^[A-Za-z0-9]([A-Za-z0-9 ._-]*[A-Za-z0-9])?$"

Json = dict[str, Any]
WorkloadText = Annotated[str, Field(min_length=1, description="The text of a workload.yaml.")]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class PlanRequest(_Body):
    """A workload to plan."""

    workload: WorkloadText
    explain: bool = Field(default=False, description="With the reasons for the plan, which take many more solves.")


class PolicyRequest(_Body):
    """What to hold a stored plan against."""

    policy: Json | None = Field(default=None, description="The keys of a policy.yaml; its `version: 1` too.")


class CheckRequest(PolicyRequest):
    """A plan to check against today's prices."""

    plan: Json = Field(description="A plan.json.")


class StoreRequest(_Body):
    """A plan to keep, or a workload to plan first; exactly one of them."""

    name: str = Field(max_length=100, pattern=STORED_NAME, description="What the plan is called in lists.")
    workload: WorkloadText | None = None
    plan: Json | None = Field(default=None, description="A plan.json.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.workload is None) == (self.plan is None):
            raise ValueError("give either `workload` or `plan`")
        return self


class Listed(BaseModel):
    """A stored plan in a list. Costs are those it was planned at."""

    id: str
    name: str
    owner: str | None = Field(description="SkyPilot's user; null where authentication is off.")
    created_at: str = Field(description="ISO 8601, UTC.")
    updated_at: str
    model: str
    usd_per_hour: float
    usd_per_month: float
    worst_case_usd_per_hour: float
    priced_at: str | None = Field(description="Date of the oldest price used; null when one is not dated.")
    groups: int
    replicas: int


class PlanList(BaseModel):
    """Stored plans, newest first."""

    plans: list[Listed]


class GroupHeat(BaseModel):
    """Rows are input buckets, columns output buckets; null where the group cannot serve the size."""

    group: str
    accelerator: str
    requests_per_usd: list[list[float | None]] | None
    reason: str | None = Field(default=None, description="Why `requests_per_usd` is null.")


class Heat(BaseModel):
    """Requests per dollar by request size (upper edges, tokens)."""

    input_edges: list[int]
    output_edges: list[int]
    groups: list[GroupHeat]


class Tile(BaseModel):
    """A figure with its name and what it means."""

    name: str
    value: str
    note: str


class Figures(BaseModel):
    """What `sky-melange report` says first, as texts."""

    monthly: str = Field(description="USD per month.")
    hourly: str = Field(description="USD per hour, on average.")
    when: str
    proof: str
    missing: list[str] = Field(description="Clouds whose prices could not be used.")
    tiles: list[Tile]
    why: str
    sentences: list[str]
    promise: list[str] = Field(description="What the simulation says.")
    commitments: list[str]
    beyond: list[str] = Field(description="The list price of a hosted API that was compared, and CO2e.")
    week: str = Field(description="An SVG of the machines by the hour; empty where they never change.")
    carried: list[str] = Field(description="The part of all requests that each group gets.")


class Stored(BaseModel):
    """A stored plan."""

    id: str
    name: str
    owner: str | None
    created_at: str
    updated_at: str
    plan: Json = Field(description="Its plan.json.")
    requests_per_usd: Heat
    figures: Figures | None = Field(
        description="The first screen of `sky-melange report`; null where an earlier release stored the plan."
    )


class GroupReplicas(BaseModel):
    """Replicas of a group; `total` are those with a machine. What is not known is null, with a reason; never 0."""

    group: str
    service: str | None
    planned: int
    ready: int | None
    total: int | None
    status: str | None
    reason: str | None = None


class Replicas(BaseModel):
    """SkyServe's own state of a stored plan's services, at `observed_at` (ISO 8601, UTC)."""

    groups: list[GroupReplicas]
    observed_at: str


class Problem(BaseModel):
    """One thing that is wrong."""

    where: str
    message: str
    help: str


class Failure(BaseModel):
    """Why there is no answer; `code` is the exit code that the command line would end with."""

    code: int
    detail: list[Problem]
