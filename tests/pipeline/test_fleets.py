"""Fleets planned from files: against every division of what is shared, and who yields when money is short."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulp
import pytest
from fleet_files import fleet, workload

from sky_melange import pipeline
from sky_melange.domain.fleet import FleetConstraints, machine_place
from sky_melange.domain.front_door import ROUTER_PURPOSE
from sky_melange.domain.own_gpus import OwnGpus
from sky_melange.domain.plan import CONTROLLER_PURPOSE, Plan
from sky_melange.errors import InfeasibleError, InputError
from sky_melange.optimizer.verify_fleet import fleet_violations
from sky_melange.pipeline.fleets import PlannedFleet, check_fleet_budget, plan_fleet
from sky_melange.pipeline.planning import Planned, prepared_file


def total(planned: PlannedFleet) -> float:
    return sum(but_controller(member.plan) for member in planned.members)


def but_controller(plan: Plan) -> float:
    """USD per hour without the controller, whose size depends on the services of all."""
    controllers = [each.price_usd_per_hour or 0.0 for each in plan.overhead if each.purpose == CONTROLLER_PURPOSE]
    return plan.cost.total_usd_per_hour - sum(controllers)


def alone(folder: Path, name: str, *, rate: float, h100: int) -> float | None:
    """USD per hour of a workload planned by itself with a quota of its own."""
    file = workload(folder, name, rate=rate, constraints=f"max_accelerators: {{H100: {h100}, A100-80GB: 8}}")
    try:
        return but_controller(pipeline.plan_file(folder / file).plan)
    except InfeasibleError:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("quota", [0, 1, 3])
def test_a_fleet_costs_what_the_best_division_of_its_quota_costs(tmp_path: Path, quota: int) -> None:
    rates = {"chat": 20.0, "talk": 30.0}
    divisions = []
    for first in range(quota + 1):
        parts = (first, quota - first)
        costs = [
            alone(tmp_path, name, rate=rate, h100=part) for (name, rate), part in zip(rates.items(), parts, strict=True)
        ]
        divisions += [sum(cost for cost in costs if cost is not None)] if None not in costs else []
    own = "max_accelerators: {A100-80GB: 8}"
    files = [workload(tmp_path, name, rate=rate, constraints=own) for name, rate in rates.items()]
    limits = f"  constraints: {{max_accelerators: {{H100: {quota}}}}}\n"
    planned = plan_fleet(fleet(tmp_path, *files, more=limits))
    assert total(planned) == pytest.approx(min(divisions), rel=1e-6)
    assert planned.plan.status == "optimal"
    (shared,) = planned.plan.shared
    assert shared.total <= quota
    # One controller, of a size for all services, instead of two.
    assert planned.plan.shared_usd_per_hour > 0
    assert planned.plan.usd_per_hour == pytest.approx(total(planned) + planned.plan.shared_usd_per_hour)


def test_what_is_enough_for_all_leaves_every_plan_as_it_is_alone(tmp_path: Path) -> None:
    files = [workload(tmp_path, name, rate=rate) for name, rate in (("chat", 10), ("talk", 20))]
    planned = plan_fleet(fleet(tmp_path, *files, more="  constraints: {max_accelerators: {H100: 64}}\n"))
    by_themselves = [pipeline.plan_file(tmp_path / file).plan for file in files]
    assert [member.plan.groups for member in planned.members] == [plan.groups for plan in by_themselves]


@pytest.mark.slow
def test_plans_that_share_hold_in_simulation_and_say_what_they_would_cost_alone(tmp_path: Path) -> None:
    files = [workload(tmp_path, name, rate=rate, attainment="0.99") for name, rate in (("chat", 12), ("talk", 24))]
    free = plan_fleet(fleet(tmp_path, *files), simulator=pipeline.simulator())
    used = sum(
        group.instances * group.accelerators_per_instance
        for member in free.members
        for group in member.plan.groups
        if group.accelerator == "H100"
    )
    assert used > 1
    short = plan_fleet(
        fleet(tmp_path, *files, more="  constraints: {max_accelerators: {H100: 1}}\n"), simulator=pipeline.simulator()
    )
    assert total(short) > total(free)
    for member in short.members:
        assert member.plan.simulated is not None
        assert member.plan.simulated.attainment >= 0.99
    changed = [m for m, before in zip(short.members, free.members, strict=True) if m.plan.groups != before.plan.groups]
    assert changed
    assert all("Part of a fleet" in member.plan.assumptions[0] for member in changed)
    # What is said of other plans is of the loads at which this one was proven.
    for member in short.members:
        costs = [each.total_usd_per_hour for each in member.plan.alternatives if each.total_usd_per_hour is not None]
        assert member.plan.status != "optimal" or min(costs) >= member.plan.cost.total_usd_per_hour * (1 - 1e-9)


def test_vcpu_quotas_count_the_machines_of_a_family(tmp_path: Path) -> None:
    files = [workload(tmp_path, name, rate=rate) for name, rate in (("chat", 10), ("talk", 20))]
    limits = '  constraints: {max_vcpus_in: {lambda: {"gpu_*": 26}}}\n'
    planned = plan_fleet(fleet(tmp_path, *files, more=limits))
    on_lambda = [group for member in planned.members for group in member.plan.groups if group.cloud == "lambda"]
    (shared,) = planned.plan.shared
    assert shared.total <= 26
    assert sum(group.instances for group in on_lambda) <= 1


@pytest.mark.slow
def test_the_lower_priority_yields_first_and_never_below_its_floor(tmp_path: Path) -> None:
    chat, talk = (workload(tmp_path, name, rate=40) for name in ("chat", "talk"))
    everything = plan_fleet(fleet(tmp_path, chat, talk)).plan.usd_per_hour
    entries = (f"{{file: {chat}, priority: 7}}", f"{{file: {talk}, priority: 3, min_fraction: 0.2}}")

    def served(budget: float) -> tuple[float, ...]:
        more = f"  budget: {{usd_per_hour: {budget}}}\n  objective: most_traffic\n"
        planned = plan_fleet(fleet(tmp_path, *entries, more=more))
        assert planned.plan.usd_per_hour <= budget * (1 + 1e-9)
        check_fleet_budget(planned)
        assert planned.plan.needed_usd_per_hour == pytest.approx(everything, rel=0.02)
        for member, part in zip(planned.members, planned.plan.members, strict=True):
            assert member.workload.traffic.request_rate_rps == pytest.approx(40 * part.served_fraction)
        return tuple(member.served_fraction for member in planned.plan.members)

    assert served(everything * 1.01) == (1.0, 1.0)
    tight = served(everything * 0.8)
    assert tight[0] == 1.0
    assert 0.2 <= tight[1] < 1
    assert served(everything * 0.9)[1] >= tight[1]
    with pytest.raises(InfeasibleError, match=r"the floors of the workloads \(`min_fraction`\) cost USD"):
        served(everything * 0.3)


def two_models(folder: Path, *entries: str, more: str) -> PlannedFleet:
    """Chat and talk of different models, so that one router can tell them apart."""
    for name, rate in (("chat", 12.0), ("talk", 30.0)):
        workload(folder, name, rate=rate)
    path = folder / "talk.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-7B"), "utf-8")
    return plan_fleet(fleet(folder, *(entries or ("chat.yaml", "talk.yaml")), more=more))


def test_one_router_costs_no_more_than_a_router_each(tmp_path: Path) -> None:
    each = two_models(tmp_path, more="")
    one = two_models(tmp_path, more="  router: one\n")
    routers = [
        machine for member in each.members for machine in member.plan.overhead if machine.purpose == ROUTER_PURPOSE
    ]
    assert len(routers) == 2
    assert one.plan.router_machine is not None
    assert one.plan.router_machine.price_usd_per_hour == min(machine.price_usd_per_hour or 0.0 for machine in routers)
    assert one.plan.usd_per_hour <= each.plan.usd_per_hour - one.plan.router_machine.price_usd_per_hour + 1e-9
    replicas = sum(group.cost_usd_per_hour for member in one.members for group in member.plan.groups)
    controller = next(machine for member in one.members for machine in member.plan.overhead).price_usd_per_hour
    assert one.plan.usd_per_hour == pytest.approx(
        replicas + (controller or 0.0) + one.plan.router_machine.price_usd_per_hour, rel=1e-9
    )


@pytest.mark.slow
def test_the_router_of_all_is_within_the_budget(tmp_path: Path) -> None:
    everything = two_models(tmp_path, more="  router: one\n").plan.usd_per_hour
    entries = ("chat.yaml", "{file: talk.yaml, priority: 3, min_fraction: 0.2}")
    for budget in (everything * 0.8, everything + 0.01, everything - 0.05):
        more = f"  router: one\n  budget: {{usd_per_hour: {budget}}}\n  objective: most_traffic\n"
        planned = two_models(tmp_path, *entries, more=more)
        assert planned.plan.usd_per_hour <= budget * (1 + 1e-9)
        assert (planned.plan.members[1].served_fraction == 1) is (budget >= everything)


def test_the_mistakes_of_all_files_are_told_together(tmp_path: Path) -> None:
    chat = workload(tmp_path, "chat")
    (tmp_path / "copy.yaml").write_text((tmp_path / chat).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "broken.yaml").write_text("version: 1\nname: broken\n", encoding="utf-8")
    itself = fleet(tmp_path, chat, "copy.yaml", "broken.yaml", "absent.yaml", "fleet.yaml")
    with pytest.raises(InputError) as caught:
        plan_fleet(itself)
    text = str(caught.value)
    for part in ("both called 'chat'", "broken.yaml", "absent.yaml", "is a fleet, and no workload"):
        assert part in text, part


def test_too_little_says_who_needs_how_much(tmp_path: Path) -> None:
    files = [
        workload(tmp_path, name, rate=40, constraints="max_accelerators: {L40S: 0, A100-80GB: 0}") for name in "ab"
    ]
    with pytest.raises(InfeasibleError, match=r"max_accelerators\.H100: \d+ are needed \(a \d+, b \d+\), 1 are there"):
        plan_fleet(fleet(tmp_path, *files, more="  constraints: {max_accelerators: {H100: 1}}\n"))


def test_the_verifier_counts_plans_by_itself(tmp_path: Path) -> None:
    planned = plan_fleet(fleet(tmp_path, *(workload(tmp_path, name, rate=20) for name in ("chat", "talk"))))
    plans = [member.plan for member in planned.members]
    group = plans[0].groups[0]
    limits = FleetConstraints(
        max_accelerators={group.accelerator: 0},
        max_accelerators_in={group.cloud: {group.accelerator: 0}},
        max_vcpus_in={group.cloud: {group.instance_type: 0}},
    )
    told = list(fleet_violations(plans, limits, {machine_place(group.machine): 26.0}))
    assert len(told) == 3
    assert any("vCPUs" in each for each in told)
    assert any("not known" in each for each in fleet_violations(plans, limits, {}))
    assert not list(fleet_violations(plans, FleetConstraints(), {}))
    nodes = OwnGpus(infra="k8s/prod", accelerator="H100", per_node=8, nodes=1, usd_per_gpu_hour=0.5)
    pods = [
        replace(
            plan,
            groups=(
                replace(
                    plan.groups[0],
                    cloud="kubernetes",
                    region="prod",
                    accelerator="H100",
                    instances=n,
                    accelerators_per_instance=size,
                ),
            ),
        )
        for plan, n, size in zip(plans, (1, 2), (8, 4), strict=True)
    ]
    assert "16 × H100 are planned on k8s/prod, which has 8" in list(
        fleet_violations(pods, FleetConstraints(), {}, [nodes, nodes])
    )


@pytest.mark.slow
def test_any_losses_of_the_fleet_leave_every_workload_its_traffic(tmp_path: Path) -> None:
    rates, losses = {"chat": 10.0, "talk": 14.0}, 2
    files = [workload(tmp_path, name, rate=rate) for name, rate in rates.items()]
    limit = f"  constraints: {{tolerate_replica_losses: {losses}}}\n"
    planned = plan_fleet(fleet(tmp_path, *files, more=limit))
    assert planned.plan.usd_per_hour > plan_fleet(fleet(tmp_path, *files)).plan.usd_per_hour
    groups = [(k, group) for k, each in enumerate(planned.members) for group in each.plan.groups]
    running = [(k, group.name) for k, group in groups for _ in range(group.instances)]
    for gone in set(itertools.combinations(running, losses)):
        for k, member in enumerate(planned.members):
            left = {group.name: group.instances for group in member.plan.groups}
            for _, name in (each for each in gone if each[0] == k):
                left[name] -= 1
            assert _carries(tmp_path / files[k], member, left), (member.plan.name, gone)
    nothing = dict.fromkeys((group.name for group in planned.members[0].plan.groups), 0)
    assert not _carries(tmp_path / files[0], planned.members[0], nothing)
    plans = [replace(member.plan, contingencies=()) for member in planned.members]
    told = list(fleet_violations(plans, FleetConstraints(tolerated_losses=losses), {}))
    assert [each.partition(",")[0] for each in told] == [f"{name} tolerates 0 losses" for name in rates]


def _carries(path: Path, member: Planned, left: dict[str, int]) -> bool:
    """Whether these instances can carry all requests, however they are routed."""
    text = path.read_text(encoding="utf-8")
    book = pipeline.embedded_book(member.workload)
    model = prepared_file(path, text, member.workload, book, is_simulated=False).model
    column = {(c.offer.machine, c.profile.key.tensor_parallel): at for at, c in enumerate(model.candidates)}
    lp = pulp.LpProblem("left")
    x: dict[tuple[int, str], Any] = {
        (r, name): lp.add_variable(f"x_{r}_{number}", lowBound=0)
        for r in range(model.problem.class_count)
        for number, name in enumerate(left)
    }
    for group in member.plan.groups:
        at = column[group.machine, group.tensor_parallel]
        loads = [row[at] for row in model.problem.loads]
        busy = pulp.lpSum(x[r, group.name] * (load or 0.0) for r, load in enumerate(loads))
        lp.addConstraint(busy <= left[group.name] * model.problem.max_utilization * (1 + 1e-6))
        for r, load in enumerate(loads):
            if load is None or not left[group.name]:
                lp.addConstraint(x[r, group.name] <= 0)
    for r in range(model.problem.class_count):
        lp.addConstraint(pulp.lpSum(x[r, name] for name in left) == 1)
    lp.solve(pulp.HiGHS(msg=False))
    return bool(lp.sol_status == pulp.LpSolutionOptimal)
