"""Comparing a plan with what SkyPilot reports, without SkyPilot."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plan_folders import planned_group

from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.workload import LaunchMode
from sky_melange.skypilot.offline import Observation, Resources, Step
from sky_melange.skypilot.verdict import GroupVerdict, judge, judge_mode

GROUP = planned_group("aws", "chat", file="chat.yaml")
MACHINE = Resources(
    place=("aws", "us-east-1", None),
    instance_type="g6.2xlarge",
    accelerators={"L4": 1},
    use_spot=False,
)
OBSERVATION = Observation(
    steps=(Step(name="schema", passed=True, detail=""),),
    asked=(MACHINE,),
    num_nodes=1,
    multi_node=True,
    replicas=(2, None),
    picked=MACHINE,
    price_usd_per_hour=0.9776,
)


def failures(observation: Observation, group: ReplicaGroup = GROUP) -> dict[str, str]:
    return {check.name: check.detail for check in judge(group, observation) if not check.passed}


def test_all_agrees() -> None:
    assert failures(OBSERVATION) == {}
    verdict = GroupVerdict(group="chat", file="chat.yaml", checks=judge(GROUP, OBSERVATION))
    assert verdict.passed
    assert verdict.failures == ()


@pytest.mark.parametrize(("price", "passed"), [(0.97764, True), (0.97756, True), (0.97766, False), (0.9775, False)])
def test_prices_agree_to_four_decimals(price: float, passed: bool) -> None:
    found = failures(replace(OBSERVATION, price_usd_per_hour=price))
    assert ("price" not in found) is passed


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [
        ("cloud", "gcp", "planned aws, SkyPilot gcp"),
        ("region", "us-east-2", "planned us-east-1, SkyPilot us-east-2"),
        ("instance_type", "g6.xlarge", "planned g6.2xlarge, SkyPilot g6.xlarge"),
        ("accelerators", {"L4": 4}, "planned L4:1, SkyPilot L4:4"),
        ("accelerators", None, "planned L4:1, SkyPilot none"),
        ("use_spot", True, "planned False, SkyPilot True"),
    ],
)
def test_another_machine_fails_with_both_figures(field: str, value: object, detail: str) -> None:
    place = {"cloud": "aws", "region": "us-east-1", "zone": None}
    changed = {"place": tuple((place | {field: value}).values())} if field in place else {field: value}
    other = replace(MACHINE, **changed)  # type: ignore[arg-type]
    assert failures(replace(OBSERVATION, picked=other)) == {field: detail}


def test_the_zone_counts_only_where_the_plan_has_one() -> None:
    elsewhere = replace(OBSERVATION, picked=replace(MACHINE, place=("gcp", "us-east-1", "us-east1-b")))
    google = replace(GROUP, cloud="gcp")
    assert failures(elsewhere, google) == {}
    assert failures(elsewhere, replace(google, zone="us-east1-a")) == {
        "zone": "planned us-east1-a, SkyPilot us-east1-b"
    }


def test_an_aws_zone_id_of_a_catalog_must_not_reach_a_launch_file() -> None:
    assert failures(OBSERVATION, replace(GROUP, zone="use1-az2")) == {}
    pinned = replace(OBSERVATION, asked=(replace(MACHINE, place=("aws", "us-east-1", "use1-az2")),))
    assert list(failures(pinned, replace(GROUP, zone="use1-az2"))) == ["pinned"]
    assert failures(replace(OBSERVATION, asked=(replace(MACHINE, place=("aws", "us-east-1", "us-east-1a")),))) == {}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"replicas": (3, None)}, {"replicas": "planned 2, the file 3"}),
        ({"replicas": (2, 2)}, {}),
        ({"replicas": (2, 5)}, {"replicas": "planned 2, the file scales between 2 and 5"}),
        ({"num_nodes": 2}, {"replicas": "planned 2, the file 4"}),
        ({"replicas": None, "num_nodes": 2}, {}),
        ({"replicas": None}, {"num_nodes": "planned 2, the file 1"}),
        ({"replicas": None, "multi_node": False}, {}),
        (
            {"replicas": None, "multi_node": False, "num_nodes": 2},
            {"num_nodes": "planned 2 launches of 1 node, the file has 2"},
        ),
    ],
)
def test_the_number_of_machines_is_fixed(changes: dict[str, object], expected: dict[str, str]) -> None:
    assert failures(replace(OBSERVATION, **changes)) == expected  # type: ignore[arg-type]


def test_a_refused_file_still_shows_what_it_asks_for() -> None:
    refused = Step(name="optimizer", passed=False, detail="Invalid instance type")
    asked = replace(MACHINE, instance_type="g6.4xlarge", place=("aws", None, None))
    observation = replace(OBSERVATION, steps=(refused,), asked=(asked,), picked=None, price_usd_per_hour=None)
    assert failures(observation) == {
        "optimizer": "Invalid instance type",
        "pinned": "leaves open: infra: region",
        "region": "planned us-east-1, the file None",
        "instance_type": "planned g6.2xlarge, the file g6.4xlarge",
    }
    assert list(failures(replace(observation, asked=()))) == ["optimizer"]


@pytest.mark.parametrize(("mode", "passed"), [(LaunchMode.SERVE, True), (LaunchMode.CLUSTER, False)])
def test_a_service_is_no_cluster(mode: LaunchMode, passed: bool) -> None:
    assert judge_mode(mode, OBSERVATION).passed is passed
    assert judge_mode(mode, replace(OBSERVATION, replicas=None)).passed is not passed
