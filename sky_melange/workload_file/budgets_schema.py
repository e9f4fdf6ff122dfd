"""Version 1 of budgets.yaml, the file of the budget guard, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import ConfigDict, Field, Strict

from sky_melange.domain.spending import GuardMode, WhenUnknown
from sky_melange.domain.units import HOURS_PER_MONTH
from sky_melange.workload_file.field_types import OneLine, Section

MOST_USD_PER_HOUR: Final = 1e6
SCOPES: Final = ("users", "workspaces", "prefixes")


class LimitSection(Section):
    """One budget."""

    usd_per_hour: float | None = Field(
        default=None,
        ge=0,
        le=MOST_USD_PER_HOUR,
        allow_inf_nan=False,
        description="The most, in USD per hour, that everything under this budget may cost at once.",
        examples=[20],
    )
    usd_per_month: float | None = Field(
        default=None,
        ge=0,
        le=MOST_USD_PER_HOUR * HOURS_PER_MONTH,
        allow_inf_nan=False,
        description="The most, in USD, that everything under this budget may cost in a month of 730 hours at the worst "
        "price that it may have. With `usd_per_hour`, both hold.",
        examples=[3000],
    )
    mode: Annotated[GuardMode, Strict(False)] | None = Field(
        default=None, description="Overrides the file's mode for this budget.", examples=["warn"]
    )


Limits: TypeAlias = dict[OneLine, LimitSection]


class BudgetsFile(Section):
    """What may be spent, by whom and on what."""

    model_config = ConfigDict(title="sky-melange budgets")

    version: Literal[1] = Field(description="Version of this file's schema.", examples=[1])
    mode: Annotated[GuardMode, Strict(False)] = Field(
        default=GuardMode.ENFORCE,
        description="`enforce` rejects what is over budget; `warn` says so and lets it pass.",
        examples=["enforce"],
    )
    when_unknown: Annotated[WhenUnknown, Strict(False)] = Field(
        default=WhenUnknown.REJECT,
        description="What becomes of a launch whose price, or the rest of whose budget, cannot be found out.",
        examples=["reject"],
    )
    reservation_minutes: float = Field(
        default=60.0,
        gt=0,
        le=7 * 24 * 60,
        allow_inf_nan=False,
        description="How long a launch that was let in counts while neither it nor its request can be seen.",
        examples=[60],
    )
    ledger: OneLine | None = Field(
        default=None,
        description="Database URL of the ledger; without it a SQLite file in the API server's home.",
        examples=["postgresql://sky@database/sky"],
    )
    users: Limits = Field(
        default_factory=dict,
        description="Budgets by user name or id; `*`: each user that no entry names.",
        examples=[{"alice": {"usd_per_hour": 20}, "*": {"usd_per_hour": 5}}],
    )
    workspaces: Limits = Field(
        default_factory=dict,
        description="Budgets by SkyPilot workspace; `*`: each workspace that no entry names.",
        examples=[{"default": {"usd_per_hour": 40}}],
    )
    prefixes: Limits = Field(
        default_factory=dict,
        description="Budgets by how the names of services, clusters, pools and jobs begin.",
        examples=[{"chat-": {"usd_per_hour": 20}}],
    )
