"""What `check` finds: one verdict a check, and the prices that they rest on. Figures are never rounded here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sky_melange.domain.offer import PriceProvenance
from sky_melange.domain.plan import Cost, SimulatedPlan
from sky_melange.domain.plan_diff import PlanDiff
from sky_melange.domain.simulation import Simulation
from sky_melange.domain.unit_costs import UnitCosts


class Verdict(StrEnum):
    """`skipped`: nothing to check against, with the reason; it fails nothing."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    SKIPPED = "skipped"


class Unit(StrEnum):
    """What a check's figure and limit are counted in."""

    USD_PER_HOUR = "USD/hour"
    USD_PER_MONTH = "USD/month"
    USD_PER_MILLION_TOKENS = "USD/million tokens"
    HOURS = "hours"
    FRACTION = "fraction"
    MACHINES = "machine types"
    FILES = "files"
    VIOLATIONS = "violations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check. It holds while `figure` ≤ `limit`; either is None where it is not known or there is none.

    `says` is a sentence without figures, `details` are lines for whoever wants to know more. `of_prices`: the figure
    follows prices, so their changes explain it. `is_lower_bound`: the true figure is at least `figure`.
    """

    name: str
    verdict: Verdict
    figure: float | None
    limit: float | None
    unit: Unit
    says: str
    details: tuple[str, ...] = ()
    of_prices: bool = False
    is_lower_bound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChange:
    """One group's, or overhead machine's, price when planned and today; None where it is not known.

    `machine` says what is bought, for people. `problem` is why today's price is not known.
    """

    name: str
    cloud: str
    machine: str
    instances: int
    planned_usd_per_hour: float | None
    today_usd_per_hour: float | None
    today: PriceProvenance | None
    problem: str = ""

    @property
    def change_usd_per_hour(self) -> float | None:
        """Today's price minus the planned one, over all instances; None where one of them is not known."""
        if self.planned_usd_per_hour is None or self.today_usd_per_hour is None:
            return None
        return (self.today_usd_per_hour - self.planned_usd_per_hour) * self.instances


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceAge:
    """Prices of one cloud, source and date that the check used. `age_hours` is None where their date is not known.

    It counts from `as_of`, else from `fetched_at`; see PriceProvenance.
    """

    cloud: str
    source: str
    fetched_at: str
    age_hours: float | None
    as_of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Everything that `check` says about one plan. `today` is None when a price is not known.

    `change` is that against another plan, where one was given to compare with. `simulated`: of the whole fleet, today,
    or as planned where the plan was not simulated again; None: neither.
    """

    plan_name: str
    plan_file: str
    checks: tuple[Check, ...]
    price_changes: tuple[PriceChange, ...]
    price_ages: tuple[PriceAge, ...]
    planned: Cost
    today: Cost | None
    planned_units: UnitCosts
    today_units: UnitCosts | None
    warnings: tuple[str, ...] = ()
    change: PlanDiff | None = None
    simulated: Simulation | SimulatedPlan | None = None

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if check.verdict is Verdict.FAIL)
