"""What a plan says beside its groups: what routing costs, what spot may cost, what it survives, what it changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sky_melange.domain.commitments import as_if_committed, years_of
from sky_melange.domain.front_door import needs_router
from sky_melange.domain.hours import WEEK, Scaling
from sky_melange.domain.plan import HostedApi, LastKnownOffer, Plan, ReplicaGroup, SimulatedPlan
from sky_melange.domain.price_record import Commitment
from sky_melange.domain.router import RouterKind
from sky_melange.domain.simulation import Simulation
from sky_melange.domain.unit_costs import unit_costs
from sky_melange.domain.units import s_to_ms
from sky_melange.domain.workload import Objective, Workload
from sky_melange.render.money import dollars, hourly, monthly, served_sentences
from sky_melange.render.schedule_text import as_run
from sky_melange.render.text import counted

SCENARIO_HEAD: Final = ("Mean USD/h", "This plan", "Never committing", "Commitments cost")
SCENARIO_NUMBERS: Final = (1, 2, 3)

_SAME: Final = 1e-6
_MOST_SHOWN: Final = 3
KEEP: Final = "constraints.keep"


def free_of_changes(total_usd_per_hour: float, best_usd_per_hour: float) -> str:
    """What a plan that `keep` holds back could save with everything free to change."""
    return (
        f"Without {KEEP}, and with size_aware routing, the total would be USD {hourly(best_usd_per_hour)} per hour, "
        f"{hourly(total_usd_per_hour - best_usd_per_hour)} less."
    )


def simulated_sentences(plan: Plan) -> Iterator[str]:
    """What the simulation says, and what of the plan is proven."""
    found = plan.simulated
    if found is None:
        return
    more = "no plan was found that holds then"
    if found.slower_usd_per_hour is not None:
        more = f"a plan that holds then costs USD {hourly(found.slower_usd_per_hour)} per hour more"
    slower = percent(found.slower_attainment) + (f"; {more}" if found.slower_usd_per_hour != 0 else "")
    busiest, worst = ("", "") if plan.schedule is None else ("In the busiest hour ", " in the worst hour")
    yield f"{busiest}{attained_sentence(found)} With engines {found.slower_fraction:.0%} slower{worst}: {slower}."
    if found.draws:
        yield (
            f"Enough requests are within targets in {found.draws_held} of {found.draws} draws of what its profiles may "
            "be off by."
        )
    proof = (
        "the integer program proves that no other is cheaper"
        if plan.status == "optimal"
        else "the integer program did not rule out a cheaper one"
    )
    if plan.schedule is not None and plan.status == "optimal" and (plan.mip_gap or 0.0) >= 0.0005:
        proof = f"the integer program proves that no other schedule is more than {plan.mip_gap or 0.0:.1%} cheaper"
    yield (
        f"{found.plans} plan{'s were' if found.plans != 1 else ' was'} simulated; at the loads at which groups hold, "
        f"{proof}."
    )


def attained_sentence(found: SimulatedPlan | Simulation) -> str:
    """`99.4% of 50,000 simulated requests are within targets (Poisson); p99 TPOT 31 ms, p99 TTFT 420 ms.`"""
    tails = [
        f"p99 {name} {s_to_ms(spread.p99):.4g} ms"
        for name, spread in (("TPOT", found.tpot_s), ("TTFT", found.ttft_s))
        if spread is not None
    ]
    tails += [
        f"{each.name} target {s_to_ms(each.limit_s):.4g} ms: {percent(each.attainment)} within"
        for each in found.percentiles
    ]
    refused = f" {found.refused_fraction:.2%} are refused, as too long." if found.refused_fraction else ""
    thinned = "" if found.thinned_to is None else f" Simulated at {found.thinned_to:.3g} of its size."
    return (
        f"{percent(found.attainment)} of {found.requests:,} simulated requests are within targets ({found.arrivals}); "
        f"{', '.join(tails)}.{refused}{thinned}"
    )


def percent(fraction: float) -> str:
    """`99.4%`, `99.98%`: two digits more where it is nearly all, and never rounded up to all."""
    shown = f"{fraction:.1%}" if fraction < 0.99 else f"{fraction:.2%}"
    return "99.99%" if shown == "100.00%" and fraction < 1 else shown


def missing_sentences(plan: Plan) -> Iterator[str]:
    """Which clouds the plan could not use for want of their prices, and what they could change."""
    clouds_of: dict[str, list[str]] = {}
    for missing in plan.missing_clouds:
        clouds_of.setdefault(missing.problem, []).append(missing.cloud)
    for problem, clouds in clouds_of.items():
        yield f"NO PRICES of {', '.join(clouds)}, so the plan does not use them: {problem}."
    replicas = plan.cost.replicas_usd_per_hour
    offers = [(m.cloud, m.last_known) for m in plan.missing_clouds if m.last_known is not None]
    ranked = sorted((offer.alone_usd_per_hour, offer.name, offer) for _, offer in offers if offer.alone_usd_per_hour)
    cheaper = [offer for usd_per_hour, _, offer in ranked if usd_per_hour < replicas]
    for offer in cheaper[:_MOST_SHOWN]:
        yield (
            f"  {_last_known(offer)}: alone it would carry the traffic for USD {hourly(offer.alone_usd_per_hour or 0)} "
            f"per hour, {hourly(replicas - (offer.alone_usd_per_hour or 0))} less than these replicas."
        )
    if len(cheaper) > _MOST_SHOWN:
        yield f"  {len(cheaper) - _MOST_SHOWN} more of these clouds had such offers (prices.missing_clouds)."
    if not cheaper and ranked:
        usd_per_hour, _, offer = ranked[0]
        yield (
            f"  {_last_known(offer)}: alone it would carry the traffic for USD {hourly(usd_per_hour)} per hour; "
            f"these replicas cost {hourly(replicas)}."
        )
    unknown = [m.cloud for m in plan.missing_clouds if m.last_known is None]
    if unknown:
        yield f"  No earlier price of {', '.join(unknown)} fits this workload."
    partly = [offer for _, offer in offers if offer.alone_usd_per_hour is None]
    for offer in partly[:_MOST_SHOWN]:
        yield f"  {_last_known(offer)}: it cannot carry all of the traffic alone."


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


def _last_known(offer: LastKnownOffer) -> str:
    dated = offer.price.data_date or "of unknown date"
    return (
        f"Last known there: {offer.name} ({counted(offer.accelerators_per_instance, offer.accelerator)}) at "
        f"USD {hourly(offer.price_usd_per_hour)} per hour ({dated})"
    )


def plan_sentences(plan: Plan, workload: Workload) -> Iterator[str]:
    """Sentences, only where there is something to say."""
    yield from served_sentences(workload.model, unit_costs(plan.mean_usd_per_hour, workload.traffic))
    total, best = plan.cost.total_usd_per_hour, plan.size_aware_total_usd_per_hour
    if best is not None and total > best * (1 + _SAME):
        # The comparison is free of the charge for changes, so with it the policy is not all that differs.
        yield (
            free_of_changes(total, best)
            if plan.switching is not None
            else (
                f"{plan.policy.value} routing costs USD {hourly(total - best)} per hour more than size_aware would "
                f"({hourly(best)})."
            )
        )
    if workload.objective is Objective.MOST_TRAFFIC:
        rate_rps = workload.traffic.request_rate_rps
        yield f"{rate_rps:,.10g} req/s is the most traffic of these sizes that the budget buys."
    yield from _why_not_stopped(plan, workload)
    if plan.hosted_api is not None:
        yield hosted_sentence(plan, plan.hosted_api)
    if plan.contingencies:
        losses = workload.constraints.tolerate_replica_losses
        peak = max(contingency.peak_utilization for contingency in plan.contingencies)
        what = "any instance" if losses == 1 else f"any {losses} instances"
        yield f"It survives the loss of {what}: the rest is then used to {peak:.0%} at most."
    if plan.switching is not None:
        started, stopped = plan.switching.started_instances, plan.switching.stopped_instances
        if started or stopped:
            yield f"Against the running plan it starts {started} and stops {stopped} instances."
        else:
            yield "It is the running plan: no change is worth its switching cost."


def _why_not_stopped(plan: Plan, workload: Workload) -> Iterator[str]:
    """Why instances run in hours without requests."""
    rates_rps = () if workload.traffic.hours is None else workload.traffic.hours.rates_rps
    idle, least = rates_rps.count(0.0), workload.constraints.min_replicas
    if not workload.constraints.may_stop:
        if idle and plan.schedule is not None:
            yield (
                f"Hours without requests ({idle} of {len(rates_rps)}) run the instances of the quietest hour, since "
                f"constraints.min_replicas is {least}: with 0 they may run none."
            )
    elif not idle:
        yield "constraints.min_replicas: 0 stops nothing, since every hour has requests."
    elif workload.launch.scaling is Scaling.AUTOSCALE and _is_checked(plan, workload):
        yield (
            "At least one instance of each group runs in hours without requests, in spite of constraints.min_replicas: "
            "0: the router's health checks are requests to SkyServe. `launch.scaling: schedule` stops them."
        )
    else:
        schedule = as_run(plan, workload)
        if schedule is None or not schedule.idle_hours:
            told = None if schedule is None else schedule.autoscaling
            why = "stopping them and starting them again would cost more"
            if told is not None and told.least_fraction:
                why = "too many requests would miss their targets otherwise"
            yield f"Instances run in hours without requests, in spite of constraints.min_replicas: 0: {why}."


def _is_checked(plan: Plan, workload: Workload) -> bool:
    return workload.router.kind is RouterKind.HAPROXY and needs_router(plan.groups, workload)


def hosted_sentence(plan: Plan, api: HostedApi) -> str:
    """What an API asks for the same tokens, and where the two cost the same."""
    total, bill, price = plan.mean_usd_per_hour, api.usd_per_hour, api.price
    lead = (
        f"{price.provider} lists {price.served_as} at USD {price.usd_per_million_input:g} in, "
        f"{price.usd_per_million_output:g} out per million tokens ({price.dated}):"
    )
    rate = "" if api.own_from_rps is None else f"{api.own_from_rps:,.3g} req/s on"
    at_most = "at most " if api.is_upper_bound else ""
    if bill < total:
        then = f"; own GPUs cost no more from {rate}" if rate else ""
        if not rate and api.loaded_usd_per_hour is not None:
            then = "; own GPUs cost more even when fully loaded"
        less = f"{1 - bill / total:.0%} less than this plan, latency unknown"
        return f"{lead} {at_most}USD {dollars(bill)} per hour, {less}{then}."
    if api.is_upper_bound or total <= 0:
        return f"{lead} {at_most}USD {dollars(bill)} per hour."
    more = f"{bill / total - 1:.0%} more than this plan"
    return f"{lead} USD {dollars(bill)} per hour, {more}; this fleet pays off from {rate}, a smaller one sooner."


def emission_sentence(plan: Plan) -> str:
    """Grams per hour, or which groups they are not known of."""
    found = plan.emissions
    if found is None:
        return "CO2e is not known: the plan is of an earlier release."
    if found.grams_co2e_per_hour is None:
        unknown = "; ".join(
            f"{one.group} ({'board power' if one.board_watts is None else 'country'} not known)"
            for one in found.groups
            if one.grams_co2e_per_hour is None
        )
        return f"CO2e is not known of {unknown}."
    grids = dict.fromkeys(f"{one.country} {one.grams_co2e_per_kwh:g} g/kWh in {one.year}" for one in found.groups)
    return (
        f"{found.grams_co2e_per_hour:,.0f} g CO2e per hour at full board power of the GPUs ({', '.join(grids)}), "
        "without hosts and cooling."
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
