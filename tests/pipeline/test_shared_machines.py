"""Machines whose GPUs several workloads divide: planned from files, priced once, verified from the finished plans."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fleet_files import SHARING, fleet, sharing_fleet, workload

from sky_melange import pipeline
from sky_melange.domain.fleet import FleetConstraints, SharedMachine, machine_place
from sky_melange.domain.plan import Plan
from sky_melange.errors import InfeasibleError, InputError
from sky_melange.optimizer.verify_fleet import fleet_violations
from sky_melange.pipeline.fleets import PlannedFleet, plan_fleet


def parts(planned: PlannedFleet) -> list[float]:
    """What each part of a machine costs, USD per hour."""
    groups = [group for member in planned.members for group in member.plan.groups if group.part is not None]
    return [group.price_usd_per_hour for group in groups for _ in range(group.instances)]


def test_two_workloads_on_one_machine_pay_for_it_once(tmp_path: Path) -> None:
    planned = plan_fleet(sharing_fleet(tmp_path))
    (machine,) = planned.plan.machines
    assert {engine.workload for engine in machine.engines} == {"chat", "talk"}
    gpus = [gpu for engine in machine.engines for gpu in engine.gpus]
    assert len(set(gpus)) == len(gpus)
    assert len({engine.port for engine in machine.engines}) == len(machine.engines)
    assert math.fsum(parts(planned)) == pytest.approx(machine.price_usd_per_hour, abs=1e-9)
    routers = math.fsum(member.plan.cost.overhead_usd_per_hour for member in planned.members)
    assert planned.plan.usd_per_hour == pytest.approx(machine.price_usd_per_hour + routers)
    assert planned.plan.status == "optimal"
    # By themselves each would buy a machine.
    assert sum(part.alone_usd_per_hour or 0 for part in planned.plan.members) == 2 * machine.price_usd_per_hour


def test_gpus_that_nobody_uses_are_paid_for_by_those_who_use_the_rest(tmp_path: Path) -> None:
    planned = plan_fleet(
        sharing_fleet(tmp_path, chat=2, talk=1, more="  constraints: {max_accelerators: {A100-80GB: 8}}\n")
    )
    (machine,) = planned.plan.machines
    used = sum(len(engine.gpus) for engine in machine.engines)
    assert used < 8
    assert math.fsum(parts(planned)) == pytest.approx(machine.price_usd_per_hour, abs=1e-9)
    (shared,) = planned.plan.shared
    assert (sum(shared.used), shared.idle, shared.total) == (used, 8 - used, 8)


def test_a_fleet_that_gains_nothing_has_the_plans_of_one_that_may_not_share(tmp_path: Path) -> None:
    apart = plan_fleet(fleet(tmp_path, *_files(tmp_path, 40, 44)))
    planned = plan_fleet(fleet(tmp_path, *_files(tmp_path, 40, 44), more="  share_machines: true\n"))
    assert planned.plan.usd_per_hour <= apart.plan.usd_per_hour * (1 + 1e-9)
    if not planned.plan.machines:
        assert [member.plan.groups for member in planned.members] == [member.plan.groups for member in apart.members]


@pytest.mark.slow
@pytest.mark.parametrize("rates", [(2, 3), (12, 12), (16, 9), (25, 5)])
def test_sharing_costs_the_fewest_machines_that_hold_the_gpus_of_all(tmp_path: Path, rates: tuple[int, int]) -> None:
    planned = plan_fleet(sharing_fleet(tmp_path, chat=rates[0], talk=rates[1]))
    needed = sum(_fewest_gpus(tmp_path, name) for name in ("chat", "talk"))
    assert planned.plan.status == "optimal"
    bought = sum(group.instances for member in planned.members for group in member.plan.whole_groups)
    assert bought + len(planned.plan.machines) == math.ceil(needed / 8)


def _fewest_gpus(folder: Path, name: str) -> int:
    """By another road: as many as a node of one's own has to have for the workload alone."""
    text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
    node = "{infra: k8s/prod, accelerator: A100-80GB, per_node: 8, nodes: 9, usd_per_gpu_hour: 0.001}"
    own = folder / f"{name}-own.yaml"
    own.write_text(text.replace("candidates:", f"candidates:\n  own: [{node}]"), encoding="utf-8")
    return sum(group.instances * group.accelerators_per_instance for group in pipeline.plan_file(own).plan.groups)


def _files(folder: Path, *rates: float) -> list[str]:
    return [workload(folder, f"w{number}", rate=rate, **SHARING) for number, rate in enumerate(rates)]


def test_a_quota_of_one_machine_serves_two_workloads_that_share_it(tmp_path: Path) -> None:
    limit = "  constraints: {max_accelerators: {A100-80GB: 8}, max_vcpus_in: {lambda: {gpu_8x_*: 240}}}\n"
    planned = plan_fleet(sharing_fleet(tmp_path, more=limit))
    assert len(planned.plan.machines) == 1
    assert {use.total for use in planned.plan.shared} == {8, 240}
    files = _files(tmp_path, 12, 8)
    with pytest.raises(InfeasibleError, match="16 are needed"):
        plan_fleet(fleet(tmp_path, *files, more=limit))
    # Where machines that are shared do not fit either, what is short is named all the same.
    with pytest.raises(InfeasibleError, match=r"A100-80GB: 16 are needed \(chat 8, talk 8\), 7 are there"):
        plan_fleet(sharing_fleet(tmp_path, more=limit.replace("A100-80GB: 8", "A100-80GB: 7")))


@pytest.mark.slow
def test_plans_that_share_hold_in_simulation(tmp_path: Path) -> None:
    files = [workload(tmp_path, name, rate=rate, attainment="0.99", **SHARING) for name, rate in (("a", 6), ("b", 4))]
    planned = plan_fleet(fleet(tmp_path, *files, more="  share_machines: true\n"), simulator=pipeline.simulator())
    assert planned.plan.machines
    for member in planned.members:
        assert member.plan.simulated is not None
        assert member.plan.simulated.attainment >= 0.99


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"more": ""}, "SkyServe runs it"),
        ({"constraints": "tolerate_replica_losses: 1"}, "tolerate_replica_losses"),
    ],
)
def test_who_shares_no_machine_is_told_why(tmp_path: Path, changed: dict[str, str], why: str) -> None:
    files = [
        workload(tmp_path, "chat", rate=12, **SHARING),
        workload(tmp_path, "talk", rate=8, **{**SHARING, **changed}),
    ]
    planned = plan_fleet(fleet(tmp_path, *files, more="  share_machines: true\n"))
    assert not planned.plan.machines
    (warning,) = [each for each in planned.plan.warnings if "shares no machine" in each]
    assert warning.startswith("talk shares no machine: ")
    assert why in warning


def test_a_fleet_too_large_for_one_program_shares_machines_and_states_its_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "  constraints: {max_accelerators: {A100-80GB: 8}}\n"
    small = plan_fleet(sharing_fleet(tmp_path, chat=2, talk=1, more=more))
    monkeypatch.setattr("sky_melange.optimizer.solve.fleet._SMALL", 0)
    large = plan_fleet(sharing_fleet(tmp_path, chat=2, talk=1, more=more))
    assert len(large.plan.machines) == 1
    assert large.plan.usd_per_hour == pytest.approx(small.plan.usd_per_hour)
    assert (small.plan.status, large.plan.status) == ("optimal", "feasible")
    # Some GPUs are idle, and prices by parts do not know that.
    assert large.plan.mip_gap is not None
    assert 0 < large.plan.mip_gap < 1


def test_the_most_traffic_on_shared_machines_is_refused(tmp_path: Path) -> None:
    more = "  objective: most_traffic\n  budget: {usd_per_hour: 20}\n"
    with pytest.raises(InputError, match=r"fleet\.share_machines: is only of the least cost yet"):
        plan_fleet(sharing_fleet(tmp_path, more=more))


def _without_an_engine(plans: list[Plan], machine: SharedMachine) -> tuple[list[Plan], SharedMachine]:
    return plans, replace(machine, engines=machine.engines[1:])


def _same_gpus(plans: list[Plan], machine: SharedMachine) -> tuple[list[Plan], SharedMachine]:
    first, *rest = machine.engines
    return plans, replace(machine, engines=(first, *(replace(each, gpus=first.gpus) for each in rest)))


def _same_port(plans: list[Plan], machine: SharedMachine) -> tuple[list[Plan], SharedMachine]:
    return plans, replace(machine, engines=tuple(replace(each, port=8000) for each in machine.engines))


def _gpu_that_is_not_there(plans: list[Plan], machine: SharedMachine) -> tuple[list[Plan], SharedMachine]:
    *rest, last = machine.engines
    return plans, replace(machine, engines=(*rest, replace(last, gpus=(*last.gpus[:-1], 8))))


def _cheaper(plans: list[Plan], machine: SharedMachine) -> tuple[list[Plan], SharedMachine]:
    (group,) = plans[0].groups
    return [replace(plans[0], groups=(replace(group, price_usd_per_hour=1.0),)), *plans[1:]], machine


def _elsewhere(plans: list[Plan], machine: SharedMachine) -> tuple[list[Plan], SharedMachine]:
    return plans, replace(machine, region="us-west-2")


def _more_of_it(plans: list[Plan], machine: SharedMachine) -> tuple[list[Plan], SharedMachine]:
    (group,) = plans[0].groups
    return [replace(plans[0], groups=(replace(group, instances=2),)), *plans[1:]], machine


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (_without_an_engine, "1 parts of chat-a100-80gb-x4 are planned, 0 are on shared machines"),
        (_same_gpus, "have the GPUs [0, 0, 1, 1, 2, 2, 3, 3], it has 8"),
        (_same_port, "have the same port"),
        (_gpu_that_is_not_there, "have the GPUs [0, 1, 2, 3, 4, 5, 6, 8], it has 8"),
        (_cheaper, "cost USD 12.160000 per hour, the machines 22.320000"),
        (_elsewhere, "another machine"),
        (_more_of_it, "2 parts of chat-a100-80gb-x4 are planned, 1 are on shared machines"),
    ],
)
def test_the_verifier_finds_what_does_not_add_up(
    tmp_path: Path,
    broken: Callable[[list[Plan], SharedMachine], tuple[list[Plan], SharedMachine]],
    said: str,
) -> None:
    planned = plan_fleet(sharing_fleet(tmp_path))
    plans, machine = [member.plan for member in planned.members], planned.plan.machines[0]
    assert not list(fleet_violations(plans, FleetConstraints(), {}, (), [machine]))
    plans, machine = broken(plans, machine)
    assert any(said in each for each in fleet_violations(plans, FleetConstraints(), {}, (), [machine]))


def test_the_verifier_counts_shared_machines_as_a_whole(tmp_path: Path) -> None:
    planned = plan_fleet(sharing_fleet(tmp_path, chat=2, talk=1))
    plans, machines = [member.plan for member in planned.members], planned.plan.machines
    limits = FleetConstraints(max_accelerators={"A100-80GB": 7}, max_vcpus_in={"lambda": {"gpu_8x_*": 239}})
    told = list(fleet_violations(plans, limits, {machine_place(machines[0].machine): 240.0}, (), machines))
    assert [each.split(",")[0] for each in told] == [
        "8 × A100-80GB are planned",
        "240 vCPUs of gpu_8x_* are planned in lambda",
    ]
