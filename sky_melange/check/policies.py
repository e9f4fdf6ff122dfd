"""The rules of policy.yaml; one check for each rule that is set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from sky_melange.check.checks import within
from sky_melange.domain.check import Check, PriceChange, Unit, Verdict
from sky_melange.domain.plan import Cost, Plan
from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.spending import Policy
from sky_melange.domain.unit_costs import TokenBasis, UnitCosts
from sky_melange.domain.units import usd_per_month
from sky_melange.domain.workload import Budget

_NO_PRICE = "not judged, since a price is not known (see prices-known)"

_PER: Final = {Unit.USD_PER_HOUR: "per hour", Unit.USD_PER_MONTH: "per month"}


def policy_checks(plan: Plan, units: UnitCosts | None, policy: Policy) -> tuple[Check, ...]:
    """`plan` and `units` are at today's prices and profiles; `units` is None when a price is not known."""
    return (*_token_costs(units, policy), *_places(plan, policy), *_kinds(plan, policy))


def budget_checks(
    cost: Cost | None,
    budget: Budget,
    overhead: Sequence[PriceChange],
    unknown_surges: Sequence[str] = (),
    *,
    mean: Cost | None = None,
) -> tuple[Check, ...]:
    """Total and worst case against USD per hour and per month; the overhead against the tighter of the two.

    `cost` is None when the price of a group is not known. An overhead machine whose price is not known makes the
    figures lower bounds; one whose price was known when the plan was made fails `budget-overhead`. `unknown_surges` are
    groups that may cost more for a while, by nobody knows how much: no worst case holds a budget then. `mean`: over the
    hours of a schedule, whose busiest hour costs `cost`; None: every hour costs that.
    """
    hourly, monthly = budget.usd_per_hour, budget.usd_per_month
    total = None if cost is None else cost.total_usd_per_hour
    over_hours = cost if mean is None else mean
    month = None if over_hours is None else usd_per_month(over_hours.total_usd_per_hour)
    hour = "" if mean is None else " in the busiest hour"
    months = "the total over 730 hours" if mean is None else "the mean over the hours of the schedule, for 730 hours"
    bound = any(machine.today_usd_per_hour is None for machine in overhead)
    return (
        _check(
            "budget-total", total, hourly, Unit.USD_PER_HOUR, f"replicas and overhead at today's prices{hour}", bound
        ),
        _worst_case(cost, hourly, Unit.USD_PER_HOUR, bound, unknown_surges),
        _overhead(cost, budget.limit_usd_per_hour, overhead),
        _check("budget-monthly", month, monthly, Unit.USD_PER_MONTH, months, bound),
        _worst_case(over_hours, monthly, Unit.USD_PER_MONTH, bound, unknown_surges),
    )


def _token_costs(units: UnitCosts | None, policy: Policy) -> Iterator[Check]:
    for which, what in (("", "input and output "), ("input_", "input "), ("output_", "output ")):
        limit: float | None = getattr(policy, f"max_usd_per_million_{which}tokens")
        if limit is None:
            continue
        figure: float | None = None if units is None else getattr(units, f"usd_per_million_{which}tokens")
        is_bound = units is not None and units.rates.basis is TokenBasis.UPPER
        says = f"the whole cost over the planned {what}tokens"
        yield Check(
            name=f"policy-usd-per-million-{which.replace('_', '-')}tokens",
            verdict=Verdict.SKIPPED if figure is None else within(figure, limit),
            figure=figure,
            limit=limit,
            unit=Unit.USD_PER_MILLION_TOKENS,
            says=says if figure is not None else f"{says}; not judged, since a price is not known (see prices-known)",
            details=("tokens are counted by the upper edges of buckets; mean_tokens makes them exact",)
            if is_bound
            else (),
            of_prices=True,
            is_lower_bound=is_bound,
        )


def _places(plan: Plan, policy: Policy) -> Iterator[Check]:
    places = [
        *((group.name, group.cloud, group.region) for group in plan.groups),
        *((machine.purpose, machine.cloud, machine.region) for machine in plan.overhead),
    ]
    if policy.banned_clouds:
        found = [f"{name}: {cloud}" for name, cloud, _ in places if cloud in policy.banned_clouds]
        yield _count("policy-clouds", "machines on a banned cloud", found)
    if policy.banned_regions:
        banned = policy.banned_regions
        found = [f"{name}: {cloud} {region}" for name, cloud, region in places if region in banned.get(cloud, ())]
        yield _count("policy-regions", "machines in a banned region", found)


def _kinds(plan: Plan, policy: Policy) -> Iterator[Check]:
    if policy.allowed_accelerators is not None:
        allowed = policy.allowed_accelerators
        found = [f"{group.name}: {group.accelerator}" for group in plan.groups if group.accelerator not in allowed]
        yield _count("policy-accelerators", f"groups on other accelerators than {', '.join(allowed)}", found)
    if policy.max_spot_fraction is not None:
        spot = {group.name for group in plan.groups if group.use_spot}
        on_spot = plan.request_fraction(*spot)
        yield Check(
            name="policy-spot",
            verdict=within(on_spot, policy.max_spot_fraction),
            figure=on_spot,
            limit=policy.max_spot_fraction,
            unit=Unit.FRACTION,
            says="requests that are routed to spot machines",
            details=tuple(sorted(spot)),
        )
    if policy.min_profile_kind is not None:
        order = list(ProfileKind)
        least = order.index(policy.min_profile_kind)
        found = [f"{g.name}: {g.profile.kind}" for g in plan.groups if order.index(g.profile.kind) > least]
        yield _count("policy-profile-kind", f"groups whose throughput is less than {policy.min_profile_kind}", found)


def _count(name: str, says: str, found: Iterable[str]) -> Check:
    details = tuple(found)
    return Check(
        name=name,
        verdict=within(len(details), 0),
        figure=len(details),
        limit=0,
        unit=Unit.MACHINES,
        says=says,
        details=details,
    )


def _worst_case(
    cost: Cost | None, limit: float | None, unit: Unit, bound: bool, unknown_surges: Sequence[str]
) -> Check:
    worst = None if cost is None else cost.worst_case_usd_per_hour
    name, of_total, says = "budget-worst-case", "budget-total", "the most that the plan may cost for a while"
    if unit is Unit.USD_PER_MONTH:
        worst = None if worst is None else usd_per_month(worst)
        name, of_total, says = "budget-monthly-worst-case", "budget-monthly", f"{says}, over 730 hours"
    check = _check(name, worst, limit, unit, says, bound or bool(unknown_surges))
    if cost is not None and limit is not None and unknown_surges:
        says = (
            f"{says}; not known: what stands in for spot in {', '.join(unknown_surges)} has no known price on demand "
            "(take on demand there, or another machine)"
        )
        return replace(check, verdict=Verdict.FAIL, says=says)
    if cost is None or limit is None or cost.worst_case_usd_per_hour > cost.total_usd_per_hour:
        return check
    # One fault, one failure: this is the total, which has a check of its own.
    return replace(check, verdict=Verdict.SKIPPED, says=f"{says}; it is the total (see {of_total})")


def _overhead(cost: Cost | None, limit: float | None, machines: Sequence[PriceChange]) -> Check:
    says = "what the launch needs beside its replicas"
    unknown = [machine for machine in machines if machine.today_usd_per_hour is None]
    figure = None if cost is None else cost.overhead_usd_per_hour
    check = _check("budget-overhead", figure, limit, Unit.USD_PER_HOUR, says, bool(unknown))
    lost = [machine.name for machine in unknown if machine.planned_usd_per_hour is not None]
    if cost is None or limit is None or not lost:
        return check
    says = f"{says}; the price of {', '.join(lost)} is not known any more, so the total is not known either"
    return replace(check, verdict=Verdict.FAIL, says=says)


def _check(name: str, figure: float | None, limit: float | None, unit: Unit, says: str, is_lower_bound: bool) -> Check:
    verdict = Verdict.SKIPPED
    if limit is None:
        says = f"{says}; no budget {_PER[unit]} is given"
    elif figure is None:
        says = f"{says}; {_NO_PRICE}"
    else:
        verdict = within(figure, limit)
    return Check(
        name=name,
        verdict=verdict,
        figure=figure,
        limit=limit,
        unit=unit,
        says=says,
        of_prices=True,
        is_lower_bound=is_lower_bound and figure is not None,
    )
