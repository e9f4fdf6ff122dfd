"""The commitments of a plan: what to buy, from when on it pays, and what it costs when things change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sky_melange.domain.commitments import as_if_committed, years_of
from sky_melange.domain.hours import WEEK
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.price_record import Commitment
from sky_melange.render.money import hourly, monthly

SCENARIO_HEAD: Final = ("Mean USD/h", "This plan", "Never committing", "Commitments cost")
SCENARIO_NUMBERS: Final = (1, 2, 3)


def commitment_sentences(plan: Plan) -> Iterator[str]:
    """What is bought and owed, when it pays, who buys it; nothing where no commitment could be bought."""
    for group in plan.groups:
        if group.committed is not None:
            yield _of_group(group)
    found = plan.commitments
    if found is None:
        return
    bought = [group for group in plan.groups if group.committed is not None and group.committed.instances]
    owed = sum(group.committed.owed_usd for group in bought if group.committed is not None)
    committed = sum(group.committed.usd_per_hour for group in bought if group.committed is not None)
    total = plan.mean_usd_per_hour
    yield (
        f"Committed: USD {owed:,.0f} over the terms, owed even if nothing runs. Of the {monthly(total)} a month, "
        f"{monthly(committed)} are committed and {monthly(total - committed)} vary."
    )
    planned, never = found.scenarios[0], found.scenarios[0].never_usd_per_hour
    if never is None:
        yield "Without commitments no plan was found."
    elif found.least_traffic_factor is None:
        yield "They cost no more than never committing at any smaller traffic that still needs these machines."
    elif found.least_traffic_factor >= 1:
        yield (
            "NOT WORTH IT as planned: the plan found without commitments costs USD "
            f"{hourly(planned.usd_per_hour - never)} per hour less."
        )
    else:
        yield (
            f"They pay as long as the traffic stays above {found.least_traffic_factor:.0%} of the plan's for the whole "
            "term (counts in proportion)."
        )
    files = ", ".join(group.file for group in bought)
    yield (
        f"SkyPilot does not buy commitments: buy them at the cloud before the launch. What is launched ({files}) are "
        "machines on demand, which commitments of the same machine and region cover."
    )


def _of_group(group: ReplicaGroup) -> str:
    bought = group.committed
    if bought is None:
        return ""
    hours = bought.break_even_hours(group.price_usd_per_hour)
    pays = f"pays from {hours:.0f} of {WEEK} hours a week on" if hours <= WEEK else "never pays"
    machine = f"{group.instance_type} in {group.cloud} {group.region}"
    price = f"USD {hourly(bought.price_usd_per_hour)} per hour, price of {bought.as_of or 'unknown date'}"
    if not bought.instances:
        return f"Not committed: {machine}, for {years_of(bought.kind)} ({price}), {pays}."
    return (
        f"Commit {bought.instances} × {machine} for {years_of(bought.kind)} ({price}): {pays}; by the hour it costs "
        f"{hourly(group.price_usd_per_hour)}."
    )


def scenario_rows(plan: Plan) -> Iterator[tuple[str, ...]]:
    """Under SCENARIO_HEAD."""
    for scenario in () if plan.commitments is None else plan.commitments.scenarios:
        factors = ", ".join(f"{name} × {factor:.2f}" for name, factor in scenario.spot_factors)
        regret = scenario.regret_usd_per_hour
        yield (
            f"{scenario.name} ({factors})" if factors else scenario.name,
            hourly(scenario.usd_per_hour),
            "none" if scenario.never_usd_per_hour is None else hourly(scenario.never_usd_per_hour),
            "" if regret is None else f"{hourly(abs(regret))} {'more' if regret > 0 else 'less'}",
        )


def unasked_sentence(plan: Plan, commitments: Iterable[Commitment]) -> str | None:
    """What commitments would save on the machines of a plan that has none, and what they would owe."""
    fleet = as_if_committed(plan, commitments)
    if fleet is None:
        return None
    bought = [(group, group.committed) for group in fleet.groups if group.committed and group.committed.instances]
    saved = plan.mean_usd_per_hour - fleet.usd_per_hour()
    owed = sum(committed.owed_usd for _, committed in bought)
    hours = max(committed.break_even_hours(group.price_usd_per_hour) for group, committed in bought)
    dates = sorted({committed.as_of for _, committed in bought})
    return (
        "No commitments were asked for: `candidates: {purchase: [on_demand, commit_1y, commit_3y]}` could make these "
        f"machines USD {hourly(saved)} per hour cheaper (prices of {', '.join(dates)}). They pay from {hours:.0f} of "
        f"{WEEK} hours a week on, and USD {owed:,.0f} would be owed over their terms even if nothing runs."
    )
