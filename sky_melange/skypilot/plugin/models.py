"""What the routes take and give, for validation and for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.ya?ml$"
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
    """A plan or a fleet to keep, or a workload or a fleet to plan first; exactly one of them."""

    name: str = Field(max_length=100, pattern=STORED_NAME, description="What the plan is called in lists.")
    workload: WorkloadText | None = None
    plan: Json | None = Field(default=None, description="A plan.json.")
    fleet: Json | None = Field(default=None, description="What `sky-melange plan fleet.yaml --format json` prints.")
    fleet_file: WorkloadText | None = Field(default=None, description="The text of a fleet.yaml, with `workloads`.")
    workloads: dict[Annotated[str, Field(pattern=FILE_NAME)], WorkloadText] | None = Field(
        default=None, max_length=100, description="The texts of the workloads of `fleet_file`, by their names in it."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = (self.workload, self.plan, self.fleet, self.fleet_file)
        if sum(each is not None for each in given) != 1:
            raise ValueError("give one of `workload`, `plan`, `fleet`, or `fleet_file` with `workloads`")
        if (self.workloads is None) != (self.fleet_file is None):
            raise ValueError("`workloads` are the files that `fleet_file` names: give both, or neither")
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
    workloads: int | None = Field(default=None, description="Of a fleet how many it has.")


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


class FleetFigures(BaseModel):
    """What `sky-melange report` says of a fleet first, as texts."""

    title: str
    monthly: str = Field(description="USD per month.")
    hourly: str = Field(description="USD per hour, on average.")
    mean: str
    proof: str
    missing: list[str] = Field(description="Clouds whose prices could not be used.")
    sentences: list[str] = Field(description="The controller, the router, the budget, and who yields.")
    member_rows: list[list[str]] = Field(
        description="By workload: what runs, where, USD/h, alone, traffic, attainment in simulation."
    )
    shared_rows: list[list[str]] = Field(description="By shared quota: used, of, by whom, what one more saves.")
    warnings: list[str]


class Stored(BaseModel):
    """A stored plan, or a fleet."""

    id: str
    name: str
    owner: str | None
    created_at: str
    updated_at: str
    plan: Json | None = Field(description="Its plan.json; null of a fleet, whose plans `workload=NAME` asks for.")
    requests_per_usd: Heat | None
    figures: Figures | None = Field(
        description="The first screen of `sky-melange report`; null where an earlier release stored the plan."
    )
    fleet: Json | None = Field(default=None, description="Of a fleet its fleet.json.")
    fleet_figures: FleetFigures | None = None


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
