"""What one place may get of the traffic of all workloads: fleets planned from files, and counted from their routing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fleet_files import SHARING, fleet, sharing_fleet, workload

from sky_melange import pipeline
from sky_melange.domain.fleet import FleetConstraints
from sky_melange.errors import InfeasibleError, InputError
from sky_melange.optimizer.verify_fleet import fleet_violations
from sky_melange.pipeline.fleets import PlannedFleet, plan_fleet

BOTH = {"chat": 20.0, "talk": 34.0}


def limited(folder: Path, limits: str, rates: dict[str, float] = BOTH, **others: str) -> PlannedFleet:
    files = [workload(folder, name, rate=rate, **others) for name, rate in rates.items()]
    return plan_fleet(fleet(folder, *files, more=f"  constraints: {{{limits}}}\n" if limits else ""))


def counted(planned: PlannedFleet, cloud: str) -> float:
    """By another road: the cost alone of what is served there, over that of everything."""
    there = total = 0.0
    for member, told in zip(planned.members, planned.plan.members, strict=True):
        assert told.alone_usd_per_hour is not None
        groups = {group.name for group in member.plan.groups if group.cloud == cloud}
        for route in member.plan.routing:
            cost = told.alone_usd_per_hour * route.routed_rps / member.workload.traffic.request_rate_rps
            total += cost
            there += cost * sum(share for name, share in route.shares if name in groups)
    return there / total


@pytest.mark.slow
def test_no_cloud_gets_more_than_its_share_and_that_never_makes_it_cheaper(tmp_path: Path) -> None:
    free = limited(tmp_path, "")
    most = max(counted(free, cloud) for cloud in ("aws", "lambda"))
    assert most > 0.7
    costs = [free.plan.usd_per_hour]
    for share in (0.7, 0.55):
        planned = limited(tmp_path, f"max_cloud_share: {share}")
        assert planned.plan.status == "optimal"
        places = {each.name.rpartition(".")[2]: each for each in planned.plan.places}
        for cloud, place in places.items():
            assert place.total == pytest.approx(counted(planned, cloud), abs=1e-6)
            assert place.total <= share + 1e-6
        assert sum(place.total for place in places.values()) == pytest.approx(1, abs=1e-6)
        costs.append(planned.plan.usd_per_hour)
    assert costs == sorted(costs)
    # The workloads' sizes count: the same limit on each of them alone is dearer, or costs as much.
    own = [workload(tmp_path, name, rate=rate, constraints="max_cloud_share: 0.55") for name, rate in BOTH.items()]
    assert plan_fleet(fleet(tmp_path, *own)).plan.usd_per_hour >= costs[-1] * (1 - 1e-9)


def test_the_share_of_a_fleet_of_one_is_that_of_its_workload(tmp_path: Path) -> None:
    planned = limited(tmp_path, "max_region_share: 0.6", {"chat": 20.0})
    own = pipeline.plan_file(tmp_path / workload(tmp_path, "chat", rate=20, constraints="max_region_share: 0.6")).plan
    assert planned.plan.usd_per_hour == pytest.approx(own.cost.total_usd_per_hour, rel=1e-9)
    assert [group.name for group in planned.members[0].plan.groups] == [group.name for group in own.groups]


@pytest.mark.slow
def test_what_cannot_be_met_says_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError) as caught:
        limited(tmp_path, "max_cloud_share: 0.4")
    found = re.search(r"max_cloud_share = 0\.4 cannot be met: .* write (\S+),", str(caught.value))
    assert found is not None
    assert float(found[1]) == pytest.approx(0.5, abs=1e-3)
    assert limited(tmp_path, f"max_cloud_share: {found[1]}").plan.places


@pytest.mark.slow
def test_the_share_holds_with_quotas_and_on_shared_machines(tmp_path: Path) -> None:
    planned = limited(tmp_path, "max_cloud_share: 0.6, max_accelerators: {H100: 2}")
    assert {use.name.rpartition(".")[2]: use.total <= use.limit for use in planned.plan.shared} == {"H100": True}
    assert max(place.total for place in planned.plan.places) <= 0.6 + 1e-6
    apart = plan_fleet(sharing_fleet(tmp_path, more="  constraints: {max_region_share: 0.6}\n"))
    assert max(place.total for place in apart.plan.places) <= 0.6 + 1e-6


@pytest.mark.parametrize("key", ["max_cloud_share", "max_region_share"])
def test_the_most_traffic_has_no_shares(tmp_path: Path, key: str) -> None:
    """Weights by what a workload costs alone fall by jumps as it yields, so the most is not found by yielding."""
    files = [workload(tmp_path, name, rate=rate, accelerators="L40S, H100") for name, rate in BOTH.items()]
    more = f"  objective: most_traffic\n  budget: {{usd_per_hour: 40}}\n  constraints: {{{key}: 0.6}}\n"
    with pytest.raises(InputError, match=rf"constraints\.{key}: is only of the least cost yet"):
        plan_fleet(fleet(tmp_path, *files, more=more))


def test_the_verifier_counts_the_routing_by_itself(tmp_path: Path) -> None:
    planned = limited(tmp_path, "")
    plans = [member.plan for member in planned.members]
    alone = [member.alone_usd_per_hour or 0.0 for member in planned.plan.members]
    (told,) = fleet_violations(plans, FleetConstraints(max_cloud_share_fraction=0.5), {}, (), (), alone)
    assert told.startswith("fleet.constraints.max_cloud_share.")
    assert told.endswith("% of the traffic, 50.0000% are allowed")
    assert not list(fleet_violations(plans, FleetConstraints(max_cloud_share_fraction=1.0), {}, (), (), alone))


def test_traffic_that_costs_nothing_cannot_be_counted(tmp_path: Path) -> None:
    own = "{infra: k8s/prod, accelerator: H100, per_node: 8, nodes: 2, usd_per_gpu_hour: 0}"
    others = SHARING | {"accelerators": "H100"}
    files = [workload(tmp_path, name, rate=8, **others) for name in BOTH]
    for file in files:
        text = (
            (tmp_path / file)
            .read_text(encoding="utf-8")
            .replace("clouds: [aws, lambda]", f"clouds: none\n  own: [{own}]")
        )
        (tmp_path / file).write_text(re.sub(r"  regions: .*\n", "", text), encoding="utf-8")
    with pytest.raises(InputError, match="every workload costs nothing"):
        plan_fleet(fleet(tmp_path, *files, more="  constraints: {max_cloud_share: 0.5}\n"))
