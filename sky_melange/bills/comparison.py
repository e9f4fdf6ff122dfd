"""Charges and plans -> planned, billed, and the difference by cause. Exact throughout; cents at the end."""

from __future__ import annotations

import decimal
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Final

from sky_melange.bills.causes import Billed, ExactLine, Found, Owners, Via, exact_line
from sky_melange.bills.focus import focus_charges, is_focus
from sky_melange.bills.opencost import csv_charges, is_opencost, json_charges
from sky_melange.bills.rows import BillOptions, is_json, opened, to_decimal
from sky_melange.domain.bill import BillLine, BillReport, Cause, Charge, OtherCharges, WorkloadBill, cents
from sky_melange.domain.fleet import SharedMachine
from sky_melange.domain.plan import Plan
from sky_melange.domain.planned_bill import PlannedLine, Purchase, SharedLine, planned_lines, shared_lines
from sky_melange.domain.unit_costs import TokenBasis, token_rates
from sky_melange.domain.workload import Workload
from sky_melange.errors import InputError, Mistake
from sky_melange.untrusted import mistake

MOST_OTHERS: Final = 200
_EXACT: Final = decimal.Context(prec=120, traps=[decimal.Inexact, decimal.InvalidOperation, decimal.DivisionByZero])
_OPENCOST: Final = ("totalCost", "TotalCost")
_NO_CURRENCY: Final = "OpenCost states no currency: its amounts are taken for USD, which is its default."
_NONE: Final = Fraction(0)


@dataclass(slots=True)
class _Sums:
    """A bill as it is read."""

    owners: Owners
    billed: dict[tuple[int, Via], Billed] = field(default_factory=lambda: defaultdict(Billed))
    others: dict[tuple[Cause, str], list[Decimal]] = field(default_factory=dict)
    resources: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    rows: int = 0
    usage: list[int] = field(default_factory=list)
    late: int = 0

    def add(self, charge: Charge, lines: Sequence[PlannedLine]) -> None:
        """One row."""
        self.rows += 1
        if charge.account:
            self.accounts[charge.cloud].add(charge.account)
        if charge.category == "Usage" and charge.end_s > charge.start_s:
            first, last = self.usage or (charge.start_s, charge.end_s)
            self.usage = [min(first, charge.start_s), max(last, charge.end_s)]
        found = self.owners.of(charge)
        if len(found.units) == 1:
            at = self._line(charge, found, lines)
            number = self.resources.setdefault(charge.resource, len(self.resources))
            self.billed[at, _via(charge, found)].add(charge, number)
            return
        self.put_aside(*self._other(charge, found), charge.cost)

    def put_aside(self, cause: Cause, what: str, cost: Decimal, rows: int = 1) -> None:
        """Charges that belong to no line."""
        sums = self.others.setdefault((cause, what), [Decimal(0), Decimal(0)])
        sums[0] += cost
        sums[1] += rows

    def _line(self, charge: Charge, found: Found, lines: Sequence[PlannedLine]) -> int:
        own = self.owners.units[found.units[0]].lines
        is_committed = bool(charge.commitment) or charge.pricing == "Committed"
        wanted = [at for at in own if (lines[at].purchase is Purchase.COMMITTED) == is_committed]
        return (wanted or own)[0]

    def _other(self, charge: Charge, found: Found) -> tuple[Cause, str]:
        if found.units:
            names = " or ".join(self.owners.units[unit].first.name for unit in found.units)
            return Cause.AMBIGUOUS, f"{names}: {charge.cluster or charge.what}"
        if charge.cluster:
            return Cause.UNPLANNED, f"cluster {charge.cluster}"
        if any(charge.planned):
            return Cause.UNPLANNED, f"workload {charge.planned[0]}, group {charge.planned[1] or '-'}"
        if charge.category != "Usage":
            return Cause.CREDITS, f"{charge.category.lower()}, {charge.what}"
        return Cause.UNPLANNED, charge.what


def _via(charge: Charge, found: Found) -> Via:
    """What is not used of a commitment runs nowhere and has no tags, also where all that runs is tagged."""
    return Via.NONE if charge.commitment == "Unused" else found.via


def compare_bill(
    plans: Sequence[tuple[Plan, Workload]],
    files: Sequence[Path],
    options: BillOptions,
    limit: str | None = None,
    machines: Sequence[SharedMachine] = (),
) -> BillReport:
    """Plans against the bill in these files.

    `limit`: USD, or a percentage of what is planned such as `5%`. `machines`: those that the plans have parts of.
    Raises InputError with the mistakes in a file.
    """
    _require_limit(limit)
    _require_once(files)
    shared = shared_lines(machines)
    parts = {key for each in shared for key in each.parts}
    lines = [line for plan, workload in plans for line in planned_lines(plan, workload)]
    # Whole machines come after all plans. A part is billed as such by a projected bill alone, which names its group.
    owned = [replace(each, instance_type="", cluster="") if _key(each) in parts else each for each in lines]
    owned += [each.line for each in shared]
    sums = _Sums(owners=Owners(owned))
    columns: dict[str, None] = {}
    with decimal.localcontext(_EXACT):
        for path in files:
            with _opened(path, options) as (column, charges):
                columns.setdefault(column)
                for charge in charges:
                    sums.add(charge, owned)
        start_s, end_s = _period(sums, options, files)
        _require_one_account(sums, files)
        report = _report(lines, shared, sums, (start_s, end_s), options)
        report = replace(
            report,
            files=tuple(str(path) for path in files),
            cost_column=", ".join(columns),
            warnings=(*report.warnings, *(_NO_CURRENCY for column in columns if column in _OPENCOST)),
            workloads=_workloads(plans, report.lines, (start_s, end_s)),
        )
        return report if limit is None else replace(report, limit=_limit_of(limit, report.planned))


@contextmanager
def _opened(path: Path, options: BillOptions) -> Iterator[tuple[str, Iterator[Charge]]]:
    """The column that is compared, and the charges of a file."""
    if is_json(path):
        yield _OPENCOST[0], json_charges(path)
        return
    with opened(path) as (header, rows):
        if is_opencost(header):
            yield _OPENCOST[1], csv_charges(path, header, rows)
        elif is_focus(header):
            yield options.cost_column, focus_charges(path, header, rows, options)
        else:
            message = (
                "is neither a FOCUS export (columns such as BilledCost and ChargePeriodStart) nor one of OpenCost "
                f"(TotalCost, Pod); its columns are {', '.join(header)[:200]}"
            )
            raise mistake(path, message, line=1)


def _period(sums: _Sums, options: BillOptions, files: Sequence[Path]) -> tuple[int, int]:
    if not sums.rows:
        which = f" of the billing accounts {', '.join(options.accounts)}" if options.accounts else ""
        raise mistake(files[0], f"has no rows{which}, so there is nothing to compare; export the period again")
    first, last = sums.usage or (None, None)
    start_s = first if options.start_s is None else options.start_s
    end_s = last if options.end_s is None else options.end_s
    if start_s is None or end_s is None:
        raise mistake(files[0], "has no rows of usage, so that its period is not known: pass --from and --until")
    if end_s <= start_s:
        raise InputError([Mistake(source="--until", message="must be later than the beginning of the period")])
    return start_s, end_s


def _require_one_account(sums: _Sums, files: Sequence[Path]) -> None:
    for cloud, accounts in sorted(sums.accounts.items()):
        if len(accounts) > 1:
            names = ", ".join(sorted(accounts)[:5])
            message = (
                f"has rows of {len(accounts)} billing accounts of {cloud}: {names}: pass --billing-account for each "
                "that pays for the plan"
            )
            raise InputError([Mistake(source=str(files[0]), key="BillingAccountId", message=message)])


def _report(
    lines: Sequence[PlannedLine],
    shared: Sequence[SharedLine],
    sums: _Sums,
    period: tuple[int, int],
    options: BillOptions,
) -> BillReport:
    """All but the names of the files and the sums of workloads."""
    warnings = []
    whole = [*lines, *(each.line for each in shared)]
    chosen = _chosen(whole, sums)
    exact = [exact_line(line, *each, period) for line, each in zip(whole, chosen, strict=True)]
    exact = _divided(lines, shared, exact, [billed.rows > 0 for billed, _ in chosen])
    others = _others(sums)
    billed = cents([*(each.billed for each in exact), *(Fraction(each.billed) for each in others)])
    planned = _planned_cents(exact, billed)
    found = tuple(
        BillLine(
            planned_line=line,
            planned=planned[at],
            billed=billed[at],
            causes=each.in_cents(billed[at] - planned[at]),
            planned_hours=each.planned_hours,
            billed_hours=each.billed_hours,
            billed_machines=each.machines,
            matched_by=each.via.value,
        )
        for at, (line, each) in enumerate(zip(lines, exact, strict=True))
    )
    counted = []
    for other, usd in zip(others, billed[len(exact) :], strict=True):
        is_counted = other.cause is Cause.AMBIGUOUS or not options.ignores_others or other.what.startswith("cluster ")
        counted.append(
            OtherCharges(cause=other.cause, what=other.what, billed=usd, rows=other.rows, is_counted=is_counted)
        )
    late = sum(each.late for each in exact)
    if late:
        warnings.append(
            f"Hours outside the period were billed for what the plan names: {float(late):,.2f} instance-hours."
        )
    warnings += _line_warnings(found)
    return BillReport(
        files=(),
        start_s=period[0],
        end_s=period[1],
        cost_column="",
        rows=sums.rows,
        lines=found,
        others=tuple(counted),
        workloads=(),
        warnings=tuple(warnings),
    )


def _key(line: PlannedLine) -> tuple[str, str]:
    return line.workload, line.group


def _divided(
    lines: Sequence[PlannedLine], shared: Sequence[SharedLine], exact: Sequence[ExactLine], is_billed: Sequence[bool]
) -> list[ExactLine]:
    """The lines, of which parts of machines have their part of what the machines cost.

    Where parts are billed by name, as in a projected bill, and machines are, too, the former are extras.
    """
    found = list(exact[: len(lines)])
    for number, each in enumerate(shared, start=len(lines)):
        for at, line in enumerate(lines):
            if _key(line) not in each.parts or (is_billed[at] and not is_billed[number]):
                continue
            part = exact[number].part(*each.parts[_key(line)])
            named = found[at].billed if is_billed[at] else _NONE
            found[at] = replace(part, causes={**part.causes, Cause.EXTRAS: part.causes[Cause.EXTRAS] + named})
    return found


def _chosen(lines: Sequence[PlannedLine], sums: _Sums) -> list[tuple[Billed, Via]]:
    """What counts for each line. A group whose machines are tagged owns no machine that is not."""
    tagged = {sums.owners.units.index(unit) for unit in sums.owners.units if _is_tagged(unit.lines, sums)}
    owned = {at: number for number, unit in enumerate(sums.owners.units) for at in unit.lines}
    found: list[tuple[Billed, Via]] = []
    for at, line in enumerate(lines):
        by_tags, by_machine = sums.billed.get((at, Via.TAGS)), sums.billed.get((at, Via.MACHINE))
        if by_machine is not None and owned[at] in tagged:
            what = f"without tags, {line.cloud} {line.region} {line.instance_type}"
            sums.put_aside(Cause.UNPLANNED, what, by_machine.total, by_machine.rows)
            by_machine = None
        billed, via = Billed(), Via.NONE
        # Of a group without tagged machines the tagged disks and refunds are its own all the same.
        unused = sums.billed.get((at, Via.NONE))
        for part, how in ((unused, Via.MACHINE), (by_tags, Via.TAGS), (by_machine, Via.MACHINE)):
            if part is not None:
                billed.join(part)
                via = how
        found.append((billed, via))
    return found


def _is_tagged(lines: Iterable[int], sums: _Sums) -> bool:
    return any((found := sums.billed.get((at, Via.TAGS))) is not None and found.hours for at in lines)


def _others(sums: _Sums) -> list[OtherCharges]:
    """What belongs to no line, the dearest first; the many small ones at the end as one of each cause."""
    found = [
        OtherCharges(cause=cause, what=what, billed=usd, rows=int(rows))
        for (cause, what), (usd, rows) in sums.others.items()
    ]
    found.sort(key=lambda other: (-abs(other.billed), other.cause, other.what))
    kept, rest = found[:MOST_OTHERS], found[MOST_OTHERS:]
    for cause in sorted({(other.cause, other.what.startswith("cluster ")) for other in rest}):
        small = [other for other in rest if (other.cause, other.what.startswith("cluster ")) == cause]
        kept.append(
            OtherCharges(
                cause=cause[0],
                what=f"{'cluster names' if cause[1] else 'others'}, {len(small)} more",
                billed=sum((other.billed for other in small), Decimal(0)),
                rows=sum(other.rows for other in small),
            )
        )
    return kept


def _planned_cents(exact: Sequence[ExactLine], billed: Sequence[Decimal]) -> list[Decimal]:
    """Of each line; where a line was billed as planned, its cents are those billed."""
    same = {at: billed[at] for at, each in enumerate(exact) if each.billed == each.planned}
    total = cents([sum((each.planned for each in exact), _NONE)])[0]
    rest = [at for at in range(len(exact)) if at not in same]
    spread = cents([exact[at].planned for at in rest], total - sum(same.values(), Decimal(0)))
    found = {**same, **dict(zip(rest, spread, strict=True))}
    return [found[at] for at in range(len(exact))]


def _line_warnings(lines: Sequence[BillLine]) -> Iterator[str]:
    for line in lines:
        name = f"{line.planned_line.name} of {line.planned_line.workload}"
        if line.matched_by == Via.MACHINE:
            yield (
                f"{name} is matched by instance type and region, since no row has SkyPilot's tags: machines of others "
                "of that kind count, too."
            )
        if line.planned_line.price is None:
            yield f"The plan knows no price of {name}: whatever it was billed counts as a difference of price."


def _workloads(
    plans: Sequence[tuple[Plan, Workload]], lines: Sequence[BillLine], period: tuple[int, int]
) -> tuple[WorkloadBill, ...]:
    found = []
    for plan, workload in plans:
        rates = token_rates(workload.traffic)
        tokens = Fraction(repr(rates.input_tokens_per_s)) + Fraction(repr(rates.output_tokens_per_s))
        own = [line for line in lines if line.planned_line.workload == plan.name]
        found.append(
            WorkloadBill(
                workload=plan.name,
                planned=sum((line.planned for line in own), Decimal(0)),
                billed=sum((line.billed for line in own), Decimal(0)),
                planned_million_tokens=tokens * (period[1] - period[0]) / 1_000_000,
                is_upper_bound=rates.basis is TokenBasis.UPPER,
            )
        )
    return tuple(found)


def _require_once(files: Sequence[Path]) -> None:
    """Raises InputError where a file is named twice: its rows would count twice."""
    seen: set[Path] = set()
    for path in files:
        if path.resolve() in seen:
            raise InputError([Mistake(source=str(path), message="is given twice, and would count twice; name it once")])
        seen.add(path.resolve())


def _require_limit(limit: str | None) -> None:
    if limit is not None and _limit_of(limit, Decimal(0)) is None:
        message = f"want USD such as 250, or a percentage of what is planned such as 5%, found {limit[:40]!r}"
        raise InputError([Mistake(source="--max-difference", message=message)])


def _limit_of(limit: str, planned: Decimal) -> Decimal | None:
    value = to_decimal(limit.removesuffix("%"))
    if value is None or value < 0:
        return None
    return planned * value / 100 if limit.endswith("%") else value
