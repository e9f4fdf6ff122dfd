"""What the budget guard weighs: budgets, what a request would add, and what is spent already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.units import HOURS_PER_MONTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits beside the budget. None, or empty: no limit.

    The token limits are USD per million tokens, the whole cost divided by both kinds together, by input or by output
    tokens. `max_spot_fraction` (0..1) is of the requests that may be routed to spot machines. `min_profile_kind` is the
    least trustworthy kind of throughput that a group may rest on. `banned_regions` maps a cloud to regions of it.
    """

    max_usd_per_million_tokens: float | None = None
    max_usd_per_million_input_tokens: float | None = None
    max_usd_per_million_output_tokens: float | None = None
    banned_clouds: tuple[str, ...] = ()
    banned_regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    allowed_accelerators: tuple[str, ...] | None = None
    max_spot_fraction: float | None = None
    min_profile_kind: ProfileKind | None = None


ANYONE = "*"
"""In place of a user's or workspace's name: each one that no entry names, by itself."""


class Scope(StrEnum):
    """What a budget holds for."""

    USER = "user"
    WORKSPACE = "workspace"
    PREFIX = "prefix"


class GuardMode(StrEnum):
    """What becomes of a request over budget."""

    ENFORCE = "enforce"
    WARN = "warn"


class WhenUnknown(StrEnum):
    """What becomes of a request when its price, or what is spent, cannot be found out."""

    REJECT = "reject"
    ALLOW = "allow"


class Kind(StrEnum):
    """What a request starts."""

    CLUSTER = "cluster"
    SERVICE = "service"
    POOL = "pool"
    JOB = "job"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendingLimit:
    """One budget. `mode` None: that of the file. `usd_per_month`: what the limit per hour comes from, where it does."""

    scope: Scope
    name: str
    usd_per_hour: float
    mode: GuardMode | None = None
    usd_per_month: float | None = None

    @classmethod
    def of(
        cls, *, scope: Scope, name: str, usd_per_hour: float | None, usd_per_month: float | None, mode: GuardMode | None
    ) -> SpendingLimit:
        """The tighter of two limits. Raises ValueError without any.

        What costs more per hour at its worst than 730 hours of a month's budget allow may exceed it in a month.
        """
        if usd_per_month is None or (usd_per_hour is not None and usd_per_hour <= usd_per_month / HOURS_PER_MONTH):
            if usd_per_hour is None:
                raise ValueError(f"the budget of {name!r} has no limit")
            return cls(scope=scope, name=name, usd_per_hour=usd_per_hour, mode=mode)
        hourly = usd_per_month / HOURS_PER_MONTH
        return cls(scope=scope, name=name, usd_per_hour=hourly, mode=mode, usd_per_month=usd_per_month)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """A budgets.yaml. `ledger` None: SQLite in the API server's home."""

    limits: tuple[SpendingLimit, ...]
    mode: GuardMode = GuardMode.ENFORCE
    when_unknown: WhenUnknown = WhenUnknown.REJECT
    reservation_minutes: float = 60.0
    ledger: str | None = None

    def mode_of(self, limit: SpendingLimit) -> GuardMode:
        """The mode of one limit."""
        return limit.mode or self.mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who pays. `user_name` None: known by id only."""

    user_id: str
    user_name: str | None
    workspace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """A thing that costs money, or is about to: at most `usd_per_hour`."""

    kind: Kind
    name: str
    owner: Owner
    usd_per_hour: float

    @property
    def key(self) -> tuple[Kind, str]:
        """What is one thing, however often it is launched."""
        return (self.kind, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """A limit that a request would break; `is_fatal`: it is enforced."""

    limit: SpendingLimit
    used_usd_per_hour: float
    is_fatal: bool

    @property
    def left_usd_per_hour(self) -> float:
        """What the rest of the budget allows, not below 0."""
        return max(0.0, self.limit.usd_per_hour - self.used_usd_per_hour)
