"""Machines beside the replicas: their size, where they go, and what they charge a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sky_melange import pipeline
from sky_melange.domain.machine import CloudFeatures
from sky_melange.domain.offer import OWN_PRICES
from sky_melange.domain.plan import Overhead, ReplicaGroup
from sky_melange.domain.router import RouterKind, RouterSettings
from sky_melange.domain.workload import CandidateFilter, ControllerPlace, Launch, LaunchMode
from sky_melange.optimizer.overhead import OverheadMachines, overhead_machines

CLOUDS = {
    name: CloudFeatures(cloud=name, open_ports=True, multi_node=True, spot=True, host_controllers=hosts)
    for name, hosts in (("aws", True), ("gcp", True), ("runpod", False), ("vast", True))
}


@pytest.fixture(scope="module")
def group(make_workload: Any, make_offer: Any, make_profile: Any, make_book: Any) -> ReplicaGroup:
    router = RouterSettings(kind=RouterKind.NONE)
    workload = make_workload(launch=Launch(mode=LaunchMode.CLUSTER), router=router)
    book = make_book(make_offer("L4", 0.7))
    return pipeline.make_plan(workload, book, [make_profile("L4")], workload_digest="0").plan.groups[0]


Beside = Callable[..., OverheadMachines]


@pytest.fixture
def machines(make_workload: Any) -> Beside:
    def of(*offers: Any, clouds: tuple[str, ...] | None = None, **changes: Any) -> OverheadMachines:
        regions = changes.pop("regions", {})
        workload = make_workload(candidates=CandidateFilter(clouds=clouds, regions=regions), **changes)
        return overhead_machines(workload, offers, CLOUDS)

    return of


@pytest.fixture
def controller(machines: Beside, group: ReplicaGroup) -> Callable[..., Overhead]:
    def of(*offers: Any, services: int = 1, **changes: Any) -> Overhead:
        return machines(*offers, **changes).beside([group] * services)[0]

    return of


def test_the_cheapest_machine_that_is_large_enough(controller: Callable[..., Overhead], cpu_offer: Any) -> None:
    own = cpu_offer(0.02, instance_type="own-price")
    found = controller(
        replace(own, provenance=replace(own.provenance, source=OWN_PRICES)),
        replace(cpu_offer(0.0, instance_type="reserved"), reserved_instances=3),
        cpu_offer(0.01, instance_type="two-cpus", vcpus=2.0),
        cpu_offer(0.02, instance_type="little-memory", memory_gib=7.9),
        cpu_offer(0.03, instance_type="unknown-size", vcpus=None),
        cpu_offer(0.04, instance_type="unknown-memory", memory_gib=None),
        cpu_offer(0.05, instance_type="spot", use_spot=True),
        cpu_offer(0.06, instance_type="cannot-host", cloud="runpod"),
        cpu_offer(0.19, instance_type="dearer"),
        cpu_offer(0.17, instance_type="this", region="us-west-2"),
        cpu_offer(0.18, instance_type="larger", memory_gib=64.0),
    )
    assert (found.instance_type, found.price_usd_per_hour, found.note) == ("this", 0.17, "")
    assert (found.purpose, found.cloud, found.region) == ("SkyServe controller", "aws", "us-west-2")


def test_only_clouds_and_regions_that_the_plan_may_use(controller: Callable[..., Overhead], cpu_offer: Any) -> None:
    offers = [
        cpu_offer(0.1, cloud="gcp", region="far"),
        cpu_offer(0.2, cloud="gcp", region="near"),
        cpu_offer(0.3, cloud="aws"),
    ]
    assert controller(*offers).price_usd_per_hour == 0.1
    assert controller(*offers, regions={"gcp": ("near",)}).price_usd_per_hour == 0.2
    assert controller(*offers, clouds=("aws",)).price_usd_per_hour == 0.3


@pytest.mark.parametrize(("services", "memory_gib"), [(1, 8), (2, 8), (3, 16), (6, 16), (7, 32), (13, 32)])
def test_memory_by_the_number_of_services(
    controller: Callable[..., Overhead], cpu_offer: Any, services: int, memory_gib: int
) -> None:
    offers = [cpu_offer(0.01 * gib, instance_type=f"m{gib}", memory_gib=float(gib)) for gib in (4, 8, 16, 32, 64)]
    found = controller(*offers, services=services)
    assert (found.instance_type, found.note) == (f"m{memory_gib}", "")


def test_the_sizes_are_steps_of_the_program(machines: Beside, cpu_offer: Any) -> None:
    offers = [cpu_offer(0.01 * gib, instance_type=f"m{gib}", memory_gib=float(gib)) for gib in (8, 16, 32)]
    charges = machines(*offers).charges([])
    assert charges.base_usd_per_hour == 0.08
    assert charges.steps == ((2, pytest.approx(0.08)), (6, pytest.approx(0.16)))
    assert charges.most_groups == 13
    # A plan that no controller of a known price runs is not made.
    assert machines(offers[0]).charges([]).most_groups == 2


def test_where_no_cloud_sells_a_plain_machine_one_with_a_gpu_serves_and_that_is_reported(
    controller: Callable[..., Overhead], make_offer: Any, cpu_offer: Any
) -> None:
    with_gpu = replace(make_offer("H100", 1.8), vcpus=32.0, memory_gib=64.0)
    found = controller(with_gpu, make_offer("H100", 2.0))
    assert found.price_usd_per_hour == 1.8
    assert "it rents 1 × H100, which idles" in found.note
    assert "launch.controller: consolidated" in found.note
    plain = controller(with_gpu, cpu_offer(1.9, region="anywhere"))
    assert (plain.price_usd_per_hour, plain.note) == (1.9, "")


def test_a_cloud_that_cannot_host_one_is_reported_and_no_price_is_taken_for_zero(
    controller: Callable[..., Overhead], cpu_offer: Any
) -> None:
    found = controller(cpu_offer(0.05, cloud="runpod"), cpu_offer(0.1, cloud="aws"), clouds=("runpod",))
    assert (found.price_usd_per_hour, found.price, found.instance_type) == (None, None, "")
    assert "candidates.clouds (runpod) has no machine with a known price that can host it" in found.note
    assert "its cost is not in the total" in found.note


def test_ties_go_to_the_first_name(controller: Callable[..., Overhead], cpu_offer: Any) -> None:
    names = ("b", "a", "c")
    assert controller(*(cpu_offer(0.1, instance_type=name) for name in names)).instance_type == "a"


@pytest.mark.parametrize(
    "launch", [Launch(mode=LaunchMode.CLUSTER), Launch(controller=ControllerPlace.CONSOLIDATED)], ids=lambda _: ""
)
def test_clusters_and_consolidated_services_have_no_controller_machine(
    machines: Beside, cpu_offer: Any, group: ReplicaGroup, launch: Launch
) -> None:
    found = machines(cpu_offer(0.1), launch=launch)
    assert found.beside([replace(group, instances=1)]) == ()
    assert (found.charges([]).base_usd_per_hour, found.charges([]).most_groups) == (0.0, None)


def test_the_router_is_the_cheapest_in_a_region_of_the_replicas(
    machines: Beside, cpu_offer: Any, group: ReplicaGroup
) -> None:
    offers = [
        cpu_offer(0.1, region="far"),
        cpu_offer(0.3, region="a"),
        cpu_offer(0.2, region="b"),
        cpu_offer(0.1, region="b", vcpus=1.0),
    ]
    found = machines(*offers)
    groups = [replace(group, name=region, region=region) for region in ("a", "b", "c")]
    router = found.beside(groups)[1]
    assert (router.purpose, router.region, router.price_usd_per_hour, router.note) == ("router", "b", 0.2, "")
    elsewhere = found.beside(groups[2:] * 2)[1]
    assert (elsewhere.region, elsewhere.price_usd_per_hour) == ("far", 0.1)
    assert "not in a region of the replicas" in elsewhere.note
    assert len(found.beside(groups[:1])) == 1
    assert found.charges([]).router is not None
    assert machines(*offers, router=RouterSettings(kind=RouterKind.NONE)).charges([]).router is None
