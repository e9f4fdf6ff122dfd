"""The figure that the guard names is what SkyPilot would pay at worst: replicas, nodes, stand-ins, dearest choice."""

from __future__ import annotations

from typing import Any

import pytest
from guard_child import SkyChild
from tasks import aws_price, cluster, gcp_price, service

pytestmark = pytest.mark.smoke

A100 = {"infra": "gcp", "instance_type": "a2-highgpu-1g", "accelerators": "A100:1"}
L4 = {"infra": "gcp", "instance_type": "g2-standard-4", "accelerators": "L4:1"}


def figure(sky: SkyChild, task: dict[str, Any], **asked: Any) -> float:
    """What the guard says a task costs when nothing at all may be spent."""
    sky.write_budgets(users={"*": {"usd_per_hour": 0}})
    answer = sky.ask(task, **asked)
    assert not answer["passed"]
    return float(answer["message"].split("costs up to ")[1].split(" USD/h")[0])


@pytest.mark.slow
def test_three_a100_are_over_two_dollars_and_one_l4_is_not(sky: SkyChild) -> None:
    a100 = gcp_price(sky.catalog("gcp"), "a2-highgpu-1g", "A100")
    sky.write_budgets(users={"*": {"usd_per_hour": 2}})
    answer = sky.ask(service())
    assert not answer["passed"]
    assert f"costs up to {3 * a100:.4f} USD/h (3 replicas × a2-highgpu-1g" in answer["message"]
    assert "users.'*' (here 'alice'): 2.0000 of 2.0000 USD/h" in answer["message"]
    cheaper = sky.ask(service(replicas=1, **L4))
    assert cheaper["passed"], cheaper["message"]
    l4 = gcp_price(sky.catalog("gcp"), "g2-standard-4", "L4")
    assert l4 < 2
    assert cheaper["labels"] == [{"sky-melange-micro-usd-per-hour": str(round(l4 * 1e6))}]


@pytest.mark.parametrize(
    ("task", "machines"),
    [
        (service(replicas=1), 1),
        (service(policy={"min_replicas": 1, "max_replicas": 5, "target_qps_per_replica": 1}), 5),
        (
            service(policy={"min_replicas": 2, "max_replicas": 2, "target_qps_per_replica": 1, "num_overprovision": 1}),
            3,
        ),
        (cluster(), 1),
        (cluster(nodes=4), 4),
        ({**service(replicas=3), "num_nodes": 2}, 6),
    ],
)
def test_replicas_and_nodes_are_counted(sky: SkyChild, task: dict[str, Any], machines: int) -> None:
    request = "serve.up" if "service" in task else "launch"
    expected = machines * gcp_price(sky.catalog("gcp"), "a2-highgpu-1g", "A100")
    assert figure(sky, task, request=request) == pytest.approx(expected, abs=1e-4)


def test_dynamic_fallback_is_priced_as_the_surge_that_it_is(sky: SkyChild) -> None:
    """N=4, base=1: three spot machines, and four on-demand ones while the spot machines come up."""
    policy = {
        "min_replicas": 1,
        "max_replicas": 4,
        "target_qps_per_replica": 1,
        "base_ondemand_fallback_replicas": 1,
        "dynamic_ondemand_fallback": True,
    }
    spot = aws_price(sky.catalog("aws"), "p5.4xlarge", spot=True)
    on_demand = aws_price(sky.catalog("aws"), "p5.4xlarge")
    task = service(policy=policy, infra="aws", instance_type="p5.4xlarge", accelerators="H100:1", use_spot=True)
    assert figure(sky, task) == pytest.approx(3 * spot + 4 * on_demand, abs=1e-4)
    static = {key: value for key, value in policy.items() if key != "dynamic_ondemand_fallback"}
    task = service(policy=static, infra="aws", instance_type="p5.4xlarge", accelerators="H100:1", use_spot=True)
    assert figure(sky, task) == pytest.approx(3 * spot + on_demand, abs=1e-4)


@pytest.mark.parametrize("choice", ["any_of", "ordered"])
def test_a_choice_is_priced_at_its_dearest(sky: SkyChild, choice: str) -> None:
    task = cluster()
    task["resources"] = {choice: [L4, A100]}
    expected = gcp_price(sky.catalog("gcp"), "a2-highgpu-1g", "A100")
    assert figure(sky, task, request="launch") == pytest.approx(expected, abs=1e-4)
    sky.write_budgets(users={"*": {"usd_per_hour": 100}})
    answer = sky.ask(task, request="launch")
    prices = [expected, gcp_price(sky.catalog("gcp"), "g2-standard-4", "L4")]
    wanted = {str(round(price * 1e6)) for price in prices}
    assert {labels["sky-melange-micro-usd-per-hour"] for labels in answer["labels"]} == wanted


def test_without_a_place_the_optimizers_choice_is_the_price(sky: SkyChild) -> None:
    task = cluster(accelerators="H100:1")
    assert figure(sky, task, request="launch") == pytest.approx(
        min(
            aws_price(sky.catalog("aws"), "p5.4xlarge"),
            gcp_price(sky.catalog("gcp"), "a3-highgpu-1g", "H100"),
        ),
        abs=1e-4,
    )


def test_a_price_that_is_not_known_is_not_zero(sky: SkyChild) -> None:
    task = cluster(infra="gcp", accelerators="V100:1")
    sky.write_budgets(users={"*": {"usd_per_hour": 1000}})
    answer = sky.ask(task, request="launch")
    assert not answer["passed"]
    assert "cannot be weighed against the budgets: SkyPilot's optimizer finds no machine" in answer["message"]
    assert "when_unknown: allow" in answer["message"]
    sky.write_budgets(users={"*": {"usd_per_hour": 1000}}, when_unknown="allow")
    answer = sky.ask(task, request="launch")
    assert answer["passed"]
    assert "It is let through" in answer["said"]
    assert answer["labels"] == [None]


def test_a_candidate_that_has_no_price_is_not_left_out(sky: SkyChild) -> None:
    """SkyPilot's optimizer takes a machine without a price for the cheapest, and would launch it."""
    task = cluster()
    task["resources"] = {"any_of": [L4, {"infra": "aws", "instance_type": "free.1x", "accelerators": "T4:1"}]}
    sky.write_budgets(users={"*": {"usd_per_hour": 1000}})
    answer = sky.ask(task, request="launch")
    assert not answer["passed"]
    assert "the catalog's price of free.1x (aws " in answer["message"]
    assert "is 0, which is none" in answer["message"]


def test_a_launch_that_minimizes_time_is_priced_so(sky: SkyChild) -> None:
    sky.call("request", request_id="quick", status="RUNNING", cluster_name="quick", optimize_target=1)
    task = cluster("quick", accelerators="H100:1")
    prices = {
        "aws": aws_price(sky.catalog("aws"), "p5.4xlarge"),
        "gcp": gcp_price(sky.catalog("gcp"), "a3-highgpu-1g", "H100"),
    }
    picked = sky.call("optimized", resources={"accelerators": "H100:1"}, minimize="TIME")
    assert figure(sky, task, request="launch", request_id="quick") == pytest.approx(prices[picked], abs=1e-4)


@pytest.mark.parametrize("request_name", ["launch", "jobs.launch"])
def test_what_stands_under_service_does_not_matter_to_a_launch(sky: SkyChild, request_name: str) -> None:
    a100 = gcp_price(sky.catalog("gcp"), "a2-highgpu-1g", "A100")
    for replicas in (0, 7):
        assert figure(sky, service(replicas=replicas), request=request_name) == pytest.approx(a100, abs=1e-4)


def test_a_request_keeps_no_configuration_that_decides_what_is_weighed(sky: SkyChild) -> None:
    free = {"accelerators": {"H100": 0.0}}
    own = {"admin_policy": "the.servers", "kubernetes": {"pricing": {"cpu": 0.04}, "context_configs": {"a": {"x": 1}}}}
    brought = {
        "admin_policy": "the.clients",
        "jobs": {"controller": {"consolidation_mode": True}},
        "kubernetes": {"pricing": free, "context_configs": {"a": {"pricing": free}, "b": {"pricing": free, "y": 2}}},
        "slurm": {"pricing": free},
        "aws": {"use_internal_ips": True},
    }
    pinned = sky.call("pinned", config=brought, own=own)
    assert pinned["admin_policy"] == "the.servers"
    assert pinned["kubernetes"] == {"pricing": {"cpu": 0.04}, "context_configs": {"a": {}, "b": {"y": 2}}}
    assert pinned["jobs"] == {"controller": {}}
    assert pinned["slurm"] == {}
    assert pinned["aws"] == {"use_internal_ips": True}
