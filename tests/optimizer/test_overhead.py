"""The SkyServe controller: its size by the number of services, and where it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sky_melange import pipeline
from sky_melange.domain.cloud import CloudFeatures
from sky_melange.domain.plan import Overhead, ReplicaGroup
from sky_melange.domain.router import RouterKind, RouterSettings
from sky_melange.domain.workload import Launch, LaunchMode
from sky_melange.optimizer.overhead import controller

CLOUDS = {
    name: CloudFeatures(cloud=name, open_ports=True, multi_node=True, spot=True, host_controllers=hosts)
    for name, hosts in (("aws", True), ("gcp", True), ("runpod", False), ("vast", False))
}


@pytest.fixture(scope="module")
def group(make_workload: Any, make_offer: Any, make_profile: Any, make_book: Any) -> ReplicaGroup:
    router = RouterSettings(kind=RouterKind.NONE)
    workload = make_workload(launch=Launch(mode=LaunchMode.CLUSTER), router=router)
    book = make_book(make_offer("L4", 0.7))
    return pipeline.make_plan(workload, book, [make_profile("L4")], workload_digest="0").plan.groups[0]


@pytest.fixture
def size(group: ReplicaGroup) -> Callable[..., Overhead]:
    def place(*offers: Any, clouds: tuple[str, ...] = ("aws",)) -> Overhead:
        return controller([replace(group, cloud=cloud) for cloud in clouds], offers, CLOUDS)

    return place


def test_the_cheapest_machine_that_is_large_enough(size: Callable[..., Overhead], cpu_offer: Any) -> None:
    found = size(
        cpu_offer(0.01, instance_type="two-cpus", vcpus=2.0),
        cpu_offer(0.02, instance_type="little-memory", memory_gib=7.9),
        cpu_offer(0.03, instance_type="unknown-size", vcpus=None),
        cpu_offer(0.04, instance_type="unknown-memory", memory_gib=None),
        cpu_offer(0.05, instance_type="spot", use_spot=True),
        cpu_offer(0.06, instance_type="elsewhere", region="us-west-2"),
        cpu_offer(0.07, instance_type="other-cloud", cloud="gcp"),
        cpu_offer(0.19, instance_type="dearer"),
        cpu_offer(0.17, instance_type="this"),
        cpu_offer(0.18, instance_type="larger", memory_gib=64.0),
    )
    assert (found.instance_type, found.price_usd_per_hour, found.note) == ("this", 0.17, "")
    assert (found.purpose, found.cloud, found.region) == ("SkyServe controller", "aws", "us-east-1")


@pytest.mark.parametrize(("services", "memory_gib"), [(1, 8), (2, 8), (3, 16), (6, 16), (7, 32), (13, 32)])
def test_memory_by_the_number_of_services(
    size: Callable[..., Overhead], cpu_offer: Any, services: int, memory_gib: int
) -> None:
    offers = [cpu_offer(0.01 * gib, instance_type=f"m{gib}", memory_gib=float(gib)) for gib in (4, 8, 16, 32, 64)]
    found = size(*offers, clouds=("aws",) * services)
    assert found.instance_type == f"m{memory_gib}"
    wanted = f"{services} services need `serve.controller.resources: {{cpus: 4+, memory: {memory_gib}+}}`"
    assert (wanted in found.note) == (memory_gib > 8)


def test_a_controller_on_a_machine_with_a_gpu_is_said(
    size: Callable[..., Overhead], make_offer: Any, cpu_offer: Any
) -> None:
    with_gpu = replace(make_offer("H100", 1.8), vcpus=32.0, memory_gib=64.0)
    found = size(with_gpu)
    assert found.price_usd_per_hour == 1.8
    assert "has 1 × H100, which a controller leaves idle" in found.note
    assert "infra: CLOUD" in found.note
    assert size(with_gpu, cpu_offer(0.2)).note == ""


def test_more_services_than_any_size_holds_has_no_price(size: Callable[..., Overhead], cpu_offer: Any) -> None:
    found = size(cpu_offer(9.0, memory_gib=4096.0), clouds=("aws",) * 14)
    assert found.price_usd_per_hour is None
    assert "no price of such a machine is known" in found.note


def test_more_services_than_any_size_holds_gives_no_advice_that_cannot_be_typed(
    size: Callable[..., Overhead], cpu_offer: Any
) -> None:
    assert "inf" not in size(cpu_offer(), clouds=("aws",) * 14).note


def test_a_cloud_that_cannot_host_one(size: Callable[..., Overhead], cpu_offer: Any, make_offer: Any) -> None:
    offers = [
        cpu_offer(0.05, cloud="vast", instance_type="cannot-host"),
        cpu_offer(0.10, cloud="aws", instance_type="not-in-the-plan"),
        cpu_offer(0.20, cloud="gcp", region="r", instance_type="in-the-plan"),
        make_offer("L4", 0.01, cloud="gcp", instance_type="with-gpu"),
    ]
    found = size(*offers, clouds=("runpod", "gcp"))
    assert (found.cloud, found.region, found.instance_type) == ("gcp", "r", "in-the-plan")
    assert found.note.startswith("runpod cannot host a controller")
    alone = size(*offers, clouds=("runpod",))
    assert alone.instance_type == "not-in-the-plan"


def test_where_a_cloud_sells_no_plain_machine_the_cheapest_gpu_machine_serves(
    size: Callable[..., Overhead], make_offer: Any
) -> None:
    offers = [make_offer("L4", 0.5, instance_type="gpu"), make_offer("H100", 2.0)]
    assert size(*offers).instance_type == "gpu"


def test_no_price_is_said_not_taken_for_zero(size: Callable[..., Overhead]) -> None:
    found = size()
    assert (found.price_usd_per_hour, found.price, found.instance_type) == (None, None, "")
    assert found.note == "no price of such a machine is known"


def test_ties_go_to_the_first_name(size: Callable[..., Overhead], cpu_offer: Any) -> None:
    names = ("b", "a", "c")
    assert size(*(cpu_offer(0.1, instance_type=name) for name in names)).instance_type == "a"


def test_a_cluster_needs_no_controller(make_workload: Any, make_offer: Any, make_profile: Any, make_book: Any) -> None:
    workload = make_workload(launch=Launch(mode=LaunchMode.CLUSTER), router=RouterSettings(kind=RouterKind.NONE))
    plan = pipeline.make_plan(
        workload, make_book(make_offer("L4", 0.7)), [make_profile("L4")], workload_digest="0"
    ).plan
    assert plan.overhead == ()
    assert plan.cost.total_usd_per_hour == plan.cost.replicas_usd_per_hour
