"""A fleet for people: what it costs together, who costs what, what is shared; each plan in full where asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from sky_melange.domain.fleet import FleetPlan, SharedMachine
from sky_melange.domain.plan import Plan
from sky_melange.domain.units import usd_per_month
from sky_melange.domain.workload import Budget, Objective, Workload
from sky_melange.render import plan_table
from sky_melange.render.foreign_text import escape, folded, table, within
from sky_melange.render.money import dollars, monthly
from sky_melange.render.plan_answer import attained
from sky_melange.render.text import WIDTH, Breakable, counted, new_table, to_text

MEMBER_HEAD: Final = ("Workload", "What", "Where", "USD/h", "Alone", "Traffic", "Held")
MEMBER_NUMBERS: Final = (3, 4, 5, 6)
SHARED_HEAD: Final = ("Shared", "Used", "Of", "By", "One more saves")
SHARED_NUMBERS: Final = (1, 2, 4)


def render(
    fleet: FleetPlan,
    plans: Sequence[tuple[Plan, Workload]],
    *,
    color: bool,
    width: int = WIDTH,
    is_verbose: bool = False,
) -> str:
    """The text; `plans` in the order of the members."""
    return to_text(*_answer(fleet, plans, width), color=color, width=width) + "".join(
        "\n" + plan_table.render(plan, workload, color=color, width=width, is_verbose=True)
        for plan, workload in (plans if is_verbose else ())
    )


def explained(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]], *, color: bool, width: int = WIDTH) -> str:
    """What is short and what more of it would save, what sharing costs each workload, and what each priority costs."""
    return to_text(*_explained(fleet, plans), color=color, width=width)


def headline(fleet: FleetPlan) -> str:
    """What all cost together."""
    mean = "" if fleet.mean_usd_per_hour == fleet.usd_per_hour else " on average"
    total = fleet.mean_usd_per_hour
    return f"{fleet.name}: USD {dollars(total)} per hour{mean}, {monthly(total)} per month"


def proof(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> str:
    """What stands behind the total."""
    count = f"{len(fleet.members)} workload{'s' if len(fleet.members) != 1 else ''}"
    is_simulated = any(plan.simulated for plan, _ in plans)
    loads = " at the loads that hold" if is_simulated else ""
    best = "the cheapest" if fleet.objective is Objective.LEAST_COST else "the most traffic that the budget pays for"
    found = f"{best} found that hold{'s' if 'traffic' in best else ''} in simulation" if is_simulated else best
    gap = "gap not known" if fleet.mip_gap is None else f"gap {fleet.mip_gap:.2%}"
    proven = "proven" if fleet.status == "optimal" else f"not proven, {gap}"
    of_plans = "" if fleet.objective is Objective.LEAST_COST else "the plans' cost is "
    return f"{count}: {found}; {of_plans}{proven}{loads}"


def sentences(fleet: FleetPlan) -> Iterator[str]:
    """What else is to be known of the total: the controller, the budget, who yields."""
    if fleet.shared_usd_per_hour:
        yield (
            f"One SkyServe controller runs all services: USD {dollars(fleet.shared_usd_per_hour)} per hour less than "
            "the plans by themselves add up to."
        )
    router = fleet.router_machine
    if router is not None:
        price = router.price_usd_per_hour
        paid = "at a price that is not known" if price is None else f"USD {dollars(price)} per hour"
        where = f"{router.instance_type or 'a small machine'} in {router.cloud} {router.region}".rstrip()
        yield f"One router serves all workloads, by the model that a request names: {where}, {paid}."
    yield from map(machine_sentence, fleet.machines)
    losses = fleet.constraints.tolerated_losses
    if losses:
        any_of = "Any one instance" if losses == 1 else f"Any {losses} instances"
        yield f"{any_of} of the fleet may be lost: each workload's other instances still carry all of its traffic."
    budget = fleet.budget or Budget()
    for unit, limit, cost in (
        ("hour", budget.usd_per_hour, fleet.usd_per_hour),
        ("month", budget.usd_per_month, usd_per_month(fleet.mean_usd_per_hour)),
    ):
        if limit is not None:
            left = limit - cost
            said = f"{dollars(left)} left" if left >= 0 else f"{dollars(-left)} over"
            yield f"Budget: USD {dollars(limit)} per {unit}, {said}."
    if fleet.objective is Objective.MOST_TRAFFIC:
        lost = [member for member in fleet.members if member.served_fraction < 1]
        if not lost:
            yield "The budget pays for all traffic."
        else:
            who = ", ".join(f"{member.name} {1 - member.served_fraction:.1%}" for member in lost)
            needed = fleet.needed_usd_per_hour
            all_of_it = "" if needed is None else f" All traffic needs USD {dollars(needed)} per hour."
            yield f"Not served: {who}.{all_of_it}"
        for each in fleet.priorities:
            yield (
                f"Priority {each.priority}: USD {dollars(each.usd_per_hour)} per hour above the floors, for "
                f"{each.served_fraction:.1%} of what they leave."
            )


def _answer(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]], width: int) -> Iterator[RenderableType]:
    yield Text(headline(fleet), style="bold")
    yield Text(f"{proof(fleet, plans)}.")
    yield ""
    table = new_table()
    for position, name in enumerate(MEMBER_HEAD):
        if position != 4 or width >= 90:
            table.add_column(name, justify="right" if position in MEMBER_NUMBERS else "left")
    for cells in member_rows(fleet, plans):
        kept = [Breakable(cell) for position, cell in enumerate(cells) if position != 4 or width >= 90]
        table.add_row(*kept)
    yield table
    yield ""
    if fleet.shared or fleet.places:
        yield _shared_table(fleet)
        yield ""
    for sentence in sentences(fleet):
        yield Text(sentence)
    for plan, workload in plans:
        yield Text(f"{plan.name}: {attained(plan, workload.slo)}")
    doubts = [f"! {warning}" for warning in fleet.warnings]
    doubts += [
        f"! {plan.name}: {len(plan.warnings)} warning{'s' if len(plan.warnings) != 1 else ''}; "
        f"`sky-melange plan {member.workload_file}`, or -v, shows them"
        for (plan, _), member in zip(plans, fleet.members, strict=True)
        if plan.warnings
    ]
    yield from map(Text, doubts)


def _explained(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> Iterator[RenderableType]:
    yield Text(headline(fleet), style="bold")
    yield Text(f"{proof(fleet, plans)}.")
    yield ""
    if fleet.shared or fleet.places:
        yield _shared_table(fleet)
        yield ""
    else:
        yield Text("The workloads share no quota and no GPUs of their own.")
    is_short = any(each.worth_usd_per_hour for each in fleet.shared)
    if fleet.shared and not is_short:
        full = any(each.total >= each.limit for each in fleet.shared)
        yield Text("What one more would save is not known." if full else "No quota is short: more of it saves nothing.")
    for member in fleet.members:
        alone = member.alone_usd_per_hour
        more = 0.0 if alone is None else member.mean_usd_per_hour - alone
        if abs(more) >= 0.005:
            said = "more" if more > 0 else "less"
            yield Text(f"{member.name} costs USD {dollars(abs(more))} per hour {said} than it would alone.")
    yield from map(Text, sentences(fleet))


def _shared_table(fleet: FleetPlan) -> RenderableType:
    shared = new_table()
    for position, name in enumerate(SHARED_HEAD):
        shared.add_column(name, justify="right" if position in SHARED_NUMBERS else "left")
    for cells in shared_rows(fleet):
        shared.add_row(*map(Breakable, cells))
    return shared


def member_rows(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> Iterator[tuple[str, ...]]:
    """By workload: what runs where, its cost, alone, the traffic that is served, the share that holds."""
    for member, (plan, workload) in zip(fleet.members, plans, strict=True):
        what = "\n".join(
            f"{counted(group.instances, counted(group.gpus_text, group.accelerator))}" for group in plan.groups
        )
        where = "\n".join(f"{group.cloud} {group.region}" for group in plan.groups)
        rate = f"{workload.traffic.request_rate_rps:,.4g} req/s"
        served = rate if member.served_fraction == 1 else f"{rate}, {member.served_fraction:.1%}"
        alone = "" if member.alone_usd_per_hour is None else dollars(member.alone_usd_per_hour)
        held = "" if plan.simulated is None else f"{plan.simulated.attainment:.2%}"
        yield plan.name, what, where, dollars(member.mean_usd_per_hour), alone, served, held


def machine_sentence(machine: SharedMachine) -> str:
    """Who has how much of a shared machine, and what it costs."""
    gpus: Counter[str] = Counter()
    for engine in machine.engines:
        gpus[engine.workload] += len(engine.gpus)
    idle = machine.accelerators_per_instance - gpus.total()
    parts = [f"{count} {name}" for name, count in gpus.items()] + ([f"{idle} idle"] if idle else [])
    return (
        f"{machine.name}: 1 × {machine.instance_type} in {machine.cloud} {machine.region}, USD "
        f"{dollars(machine.price_usd_per_hour)} per hour in all. GPUs: {', '.join(parts)}."
    )


def shared_rows(fleet: FleetPlan) -> Iterator[tuple[str, ...]]:
    """By limit: how much of it is used, and by whom."""
    for shared in fleet.shared:
        users = ", ".join(
            f"{member.name} {used}" for member, used in zip(fleet.members, shared.used, strict=True) if used
        )
        worth = f"{dollars(shared.worth_usd_per_hour)} USD/h" if shared.worth_usd_per_hour else ""
        name = shared.name.removeprefix("fleet.constraints.")
        yield name, str(shared.total), str(shared.limit), users, worth
    for place in fleet.places:
        users = ", ".join(
            f"{member.name} {part:.1%}" for member, part in zip(fleet.members, place.fractions, strict=True) if part
        )
        name = place.name.removeprefix("fleet.constraints.")
        yield name, f"{place.total:.1%}", f"{place.limit_fraction:.1%}", users, ""


def render_markdown(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> str:
    """The text; `plans` in the order of the members."""
    lines = [f"**{escape(headline(fleet))}**", "", f"{escape(proof(fleet, plans))}.", ""]
    rows = ([cell.replace("\n", " · ") for cell in row] for row in member_rows(fleet, plans))
    lines += [*table(MEMBER_HEAD, rows, right=MEMBER_NUMBERS), ""]
    if fleet.shared or fleet.places:
        lines += [*table(SHARED_HEAD, shared_rows(fleet), right=SHARED_NUMBERS), ""]
    said = (*sentences(fleet), *(f"{plan.name}: {attained(plan, workload.slo)}" for plan, workload in plans))
    lines += [text for sentence in said for text in (escape(sentence), "")]
    lines += [text for warning in fleet.warnings for text in (f"⚠️ {escape(warning)}", "")]
    for plan, workload in plans:
        lines += folded(escape(plan.name), plan_table.render_markdown(plan, workload).splitlines())
    return within(lines, plan_table.MOST_CHARACTERS)
