"""A bill, row by row, and what it says of plans. Money is exact: decimals and fractions, cents at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple

from sky_melange.domain.planned_bill import PlannedLine

CENT: Final = Decimal("0.01")


class Charge(NamedTuple):
    """A row of a bill. Moments are seconds since 1970; "" is not stated.

    `hours` of machines, None: the row states none; `gpu_hours` take their place where a machine is billed in parts.
    `is_machine`: its time is that of a machine. `category` as in FOCUS; `is_correction`: of an earlier bill.
    `commitment`: `Used`, `Unused`; `pricing`: `Standard`, `Dynamic`, `Committed`. `machine`: all that names an instance
    type, in lower case. `cluster`: SkyPilot's name of it. `planned`: workload and group, where tags name them. `what`:
    the service, for people.
    """

    start_s: int
    end_s: int
    cost: Decimal
    hours: Fraction | None
    gpu_hours: Fraction | None
    is_machine: bool
    category: str
    is_correction: bool
    commitment: str
    pricing: str
    cloud: str
    region: str
    machine: str
    resource: str
    cluster: str
    planned: tuple[str, str]
    account: str
    what: str


class Cause(StrEnum):
    """Why billed is not planned. Every dollar of a difference has one."""

    PRICE = "price"
    COUNT = "count"
    HOURS = "hours"
    EXTRAS = "extras"
    CREDITS = "credits"
    UNSPLIT = "unsplit"
    AMBIGUOUS = "ambiguous"
    UNPLANNED = "unplanned"


CAUSES: Final[Mapping[Cause, str]] = {
    Cause.PRICE: "the same hours at another price per hour",
    Cause.COUNT: "more or fewer instances than planned while the group ran",
    Cause.HOURS: "planned hours in which nothing of the group was billed, and billed ones beyond the period",
    Cause.EXTRAS: "disks, network and whatever else is billed with the machines",
    Cause.CREDITS: "credits, refunds, corrections, taxes and purchases",
    Cause.UNSPLIT: "rows that state no hours, so that price, count and hours cannot be distinguished",
    Cause.AMBIGUOUS: "rows that two groups of the plan fit",
    Cause.UNPLANNED: "things that no plan has",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """A line of a plan against what was billed for it; money in cents, and `billed - planned` is the sum of `causes`.

    `matched_by`: `tags`, `machine`, or "" where nothing was billed. Hours None: not stated.
    """

    planned_line: PlannedLine
    planned: Decimal
    billed: Decimal
    causes: Mapping[Cause, Decimal]
    planned_hours: Fraction
    billed_hours: Fraction | None
    billed_machines: Fraction
    matched_by: str

    @property
    def difference(self) -> Decimal:
        """Billed minus planned."""
        return self.billed - self.planned

    @property
    def billed_price(self) -> Fraction | None:
        """What an hour of an instance was billed at in the mean."""
        return self.billed_machines / self.billed_hours if self.billed_hours else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherCharges:
    """Rows that belong to no line of a plan: by `cause`, and what they are. `is_counted`: as part of the difference."""

    cause: Cause
    what: str
    billed: Decimal
    rows: int
    is_counted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadBill:
    """One workload: its lines together. `planned_million_tokens`: of the planned traffic, in the period."""

    workload: str
    planned: Decimal
    billed: Decimal
    planned_million_tokens: Fraction
    is_upper_bound: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BillReport:
    """Planned against billed in a period; `others`, the dearest first. `limit`: the most that the difference may be."""

    files: tuple[str, ...]
    start_s: int
    end_s: int
    cost_column: str
    rows: int
    lines: tuple[BillLine, ...]
    others: tuple[OtherCharges, ...]
    workloads: tuple[WorkloadBill, ...]
    warnings: tuple[str, ...]
    limit: Decimal | None = None

    @property
    def planned(self) -> Decimal:
        """All lines."""
        return sum((line.planned for line in self.lines), Decimal(0))

    @property
    def billed(self) -> Decimal:
        """All rows that count."""
        counted = (other.billed for other in self.others if other.is_counted)
        return sum((line.billed for line in self.lines), Decimal(0)) + sum(counted, Decimal(0))

    @property
    def difference(self) -> Decimal:
        """Billed minus planned: the sum of `causes`."""
        return self.billed - self.planned

    @property
    def causes(self) -> Mapping[Cause, Decimal]:
        """USD of each cause over all lines."""
        found = dict.fromkeys(Cause, Decimal(0))
        for line in self.lines:
            for cause, usd in line.causes.items():
                found[cause] += usd
        for other in self.others:
            if other.is_counted:
                found[other.cause] += other.billed
        return found

    @property
    def figure(self) -> Decimal:
        """What is held against `limit`: the difference, or that of a single cause where that is larger.

        A dearer price and a missing machine that cancel out are two differences, and no agreement.
        """
        return max(abs(self.difference), *(abs(usd) for usd in self.causes.values()))

    @property
    def is_failed(self) -> bool:
        """Whether there is a limit, and the difference is larger."""
        return self.limit is not None and self.figure > self.limit


def cents(amounts: Sequence[Fraction], total: Decimal | None = None) -> tuple[Decimal, ...]:
    """Each amount in cents, next to its value, so that they add up to `total`; None: to their sum, rounded."""
    if not amounts:
        return ()
    wanted = [amount * 100 for amount in amounts]
    floors = [math.floor(amount) for amount in wanted]
    whole = _rounded(sum(wanted, Fraction(0))) if total is None else int(total / CENT)
    each, rest = divmod(whole - sum(floors), len(wanted))
    order = sorted(range(len(wanted)), key=lambda index: (floors[index] - wanted[index], index))
    up = set(order[:rest])
    return tuple((floor + each + (index in up)) * CENT for index, floor in enumerate(floors))


def _rounded(value: Fraction) -> int:
    """Half away from zero."""
    half = Fraction(1, 2)
    return math.floor(value + half) if value >= 0 else -math.floor(half - value)
