"""`launch.scaling: autoscale`: SkyServe takes the policies, and decides as our simulation of it does."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import router_plans
import yaml
from plans_by_hours import by_hours, scaled, write_folder

from sky_melange import pipeline
from sky_melange.domain.hours import Scaling
from sky_melange.domain.plan import Plan
from sky_melange.domain.scaling import ReplicaPolicy
from sky_melange.domain.workload import Workload
from sky_melange.plan_file import PlanDocument
from sky_melange.render.router_haproxy import health_checks_rps
from sky_melange.render.skypilot_yaml import render, replica_policies
from sky_melange.simulation.autoscaler import DECISION_SECONDS, autoscaled
from sky_melange.skypilot.validate import validate_plan

HERE = Path(__file__).resolve().parent
PLAN = by_hours(router_plans.plan())
WORKLOAD = scaled(router_plans.workload(), Scaling.AUTOSCALE)
GROUPS = [group.name for group in PLAN.groups]
INTERVALS = 3 * 60 * 24


def test_a_policy_goes_from_the_fewest_to_the_most_and_waits_by_the_start(repository: Path) -> None:
    services = {name: yaml.safe_load(text)["service"] for name, text in render(PLAN, WORKLOAD).items()}
    policy = services["chat-l4.sky.yaml"]["replica_policy"]
    assert (policy["min_replicas"], policy["max_replicas"]) == (1, 5)
    assert (policy["upscale_delay_seconds"], policy["downscale_delay_seconds"]) == (80, 2880)
    assert all("replicas" not in service for service in services.values())
    slow = replica_policies(by_hours(router_plans.plan(), startup_minutes=240), WORKLOAD)[GROUPS[0]]
    assert (slow.upscale_delay_seconds, slow.downscale_delay_seconds) == (300, 3600)
    fast = replica_policies(by_hours(router_plans.plan(), startup_minutes=0), WORKLOAD)[GROUPS[0]]
    assert (fast.upscale_delay_seconds, fast.downscale_delay_seconds) == (20, 1800)


def test_at_the_rate_of_each_period_skyserve_wants_at_least_its_instances() -> None:
    """With the router's health checks among its requests, which SkyServe's load balancer counts as it does any."""
    policies = replica_policies(PLAN, WORKLOAD)
    checks_rps = health_checks_rps(PLAN, WORKLOAD)
    assert set(policies) == set(checks_rps) == set(GROUPS)
    assert PLAN.schedule is not None
    for index, name in enumerate(GROUPS):
        peak_rps = sum(route.rate_rps * dict(route.shares).get(name, 0.0) for route in PLAN.routing)
        wanted = []
        for period in PLAN.schedule.periods:
            seen_rps = peak_rps * period.rate_rps / PLAN.schedule.periods[0].rate_rps + checks_rps[name]
            raw = math.ceil(seen_rps / policies[name].target_qps_per_replica)
            wanted.append(min(max(raw, policies[name].min_replicas), policies[name].max_replicas))
        assert all(has >= period.instances[index] for has, period in zip(wanted, PLAN.schedule.periods, strict=True))
        assert wanted[0] == PLAN.groups[index].instances


def test_the_router_sends_as_many_health_checks_as_are_counted(repository: Path) -> None:
    """Read off its configuration."""
    from sky_melange.render import router_haproxy

    (config, _) = router_haproxy.render(PLAN, WORKLOAD).values()
    interval_s, found = 0.0, dict.fromkeys(GROUPS, 0.0)
    for line in config.splitlines():
        words = line.split()
        if words[:2] == ["default-server", "check"]:
            interval_s = float(words[words.index("inter") + 1].removesuffix("ms")) / 1000
        elif words[:1] == ["server"] and "no-check" not in words:
            own_s = float(words[words.index("inter") + 1].removesuffix("s")) if "inter" in words else interval_s
            found[words[1]] += 1 / own_s
    assert found == pytest.approx(dict(health_checks_rps(PLAN, WORKLOAD)))


def test_where_every_hour_is_alike_or_nothing_is_autoscaled_replicas_are_fixed() -> None:
    even = by_hours(router_plans.plan(), counts=((5, 2, 3), (3, 2, 1), (1, 2, 1)))
    services = [yaml.safe_load(text)["service"] for text in render(even, WORKLOAD).values()]
    assert [service.get("replicas") for service in services] == [None, 2, None]
    for scaling in (None, Scaling.FIXED, Scaling.SCHEDULE):
        assert render(PLAN, scaled(WORKLOAD, scaling)) == render(replace(PLAN, schedule=None), WORKLOAD)


@pytest.mark.slow
@pytest.mark.parametrize("is_spot", [False, True])
def test_skypilot_s_own_checks_take_the_policies(tmp_path: Path, repository: Path, is_spot: bool) -> None:
    """And `validate` holds their bounds against the plan's hours."""
    document = yaml.safe_load((repository / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8"))
    document["candidates"] = {"clouds": ["aws"]}
    (tmp_path / "workload.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    planned = pipeline.plan_file(tmp_path / "workload.yaml")
    groups = len(planned.plan.groups)
    plan = by_hours(planned.plan, counts=[each[:groups] for each in ((5, 4, 3), (3, 2, 1), (1, 1, 1))])
    if is_spot:
        plan = replace(plan, groups=tuple(replace(group, use_spot=True) for group in plan.groups))
    workload = scaled(planned.workload, Scaling.AUTOSCALE)
    folder = write_folder(tmp_path / "plan", plan, workload)
    document = PlanDocument(path=folder / "plan.json", plan=plan, workload=workload)
    verdicts = validate_plan(document)
    assert [check for verdict in verdicts for check in verdict.failures] == []
    assert {"service", "replicas"} <= {check.name for check in verdicts[0].checks}
    path = folder / plan.groups[0].file
    path.write_text(path.read_text(encoding="utf-8").replace("max_replicas: 5", "max_replicas: 50"), encoding="utf-8")
    (failure,) = validate_plan(document)[0].failures
    assert failure.detail == "planned 1 to 5, the file 1 to 50"


def one_group_that_stops() -> tuple[Plan, Workload]:
    """No router, whose checks would be requests."""
    plan = by_hours(replace(router_plans.plan(), groups=router_plans.plan().groups[:1]), counts=((5,), (3,), (0,)))
    assert plan.schedule is not None
    periods = (*plan.schedule.periods[:2], replace(plan.schedule.periods[2], rate_rps=0.0))
    return replace(plan, schedule=replace(plan.schedule, periods=periods)), WORKLOAD


def test_skyserve_stops_the_last_replica_only_where_no_router_asks_for_its_health() -> None:
    plan, workload = one_group_that_stops()
    (policy,) = replica_policies(plan, workload).values()
    assert (policy.min_replicas, policy.max_replicas) == (0, 5)
    stopped = by_hours(router_plans.plan(), counts=((5, 4, 3), (3, 2, 1), (0, 0, 0)))
    assert {policy.min_replicas for policy in replica_policies(stopped, workload).values()} == {1}


def rates(seed: int) -> list[float]:
    """Requests/s in each interval of a day: a busy day, a burst, a standstill, and noise."""
    drawn = random.Random(seed)  # noqa: S311 - the same each time
    day = [3.0 + 3.0 * math.sin(2 * math.pi * number / INTERVALS) for number in range(INTERVALS)]
    for start, length, factor in ((500, 10, 4.0), (1500, 40, 0.0), (2200, 300, 1.5), (3000, 5, 8.0)):
        day[start : start + length] = [factor * rate for rate in day[start : start + length]]
    return [rate * drawn.uniform(0.7, 1.3) for rate in day]


def arrivals(seed: int) -> list[float]:
    """At random moments of each interval."""
    drawn = random.Random(seed)  # noqa: S311 - the same each time
    times: list[float] = []
    for number, rate in enumerate(rates(seed)):
        count = int(rate * DECISION_SECONDS + drawn.random())
        times += sorted((number + drawn.random()) * DECISION_SECONDS for _ in range(count))
    return times


def by_skyserve(cases: Sequence[Mapping[str, Any]], home: Path) -> list[list[list[int]]]:
    environment = {
        **os.environ,
        "HOME": str(home),
        "SKY_RUNTIME_DIR": str(home),
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "skyserve_autoscaler.py")],
        input=json.dumps(list(cases)), text=True, capture_output=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[list[list[int]]] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_skyserve_takes_every_policy_and_decides_as_we_simulate(tmp_path: Path) -> None:
    """Its own class, in a process of its own, given the same requests for a day: the same targets, every 20 seconds."""
    texts = render(PLAN, WORKLOAD)
    policies = replica_policies(PLAN, WORKLOAD)
    slow = {
        name: replace(each, upscale_delay_seconds=300, downscale_delay_seconds=60) for name, each in policies.items()
    }
    cases, expected = [], []
    for seed, (group, policy, startup_s) in enumerate(
        [
            *((group, each[group.name], s) for each, s in ((policies, 720.0), (slow, 45.0)) for group in PLAN.groups),
            (PLAN.groups[0], replace(slow[GROUPS[0]], min_replicas=0), 720.0),
        ]
    ):
        config = yaml.safe_load(texts[group.file])
        config["service"]["replica_policy"] |= {
            "min_replicas": policy.min_replicas,
            "upscale_delay_seconds": policy.upscale_delay_seconds,
            "downscale_delay_seconds": policy.downscale_delay_seconds,
        }
        times = arrivals(seed)
        cases.append({"text": yaml.safe_dump(config), "times_s": times, "intervals": INTERVALS, "startup_s": startup_s})
        counts = [0] * INTERVALS
        for time_s in times:
            counts[math.ceil(time_s / DECISION_SECONDS) - 1] += 1
        expected.append(list(autoscaled(policy, counts, startup_seconds=startup_s)))
    for ours, theirs in zip(expected, by_skyserve(cases, tmp_path), strict=True):
        assert [[step.target, step.serving] for step in ours] == [step[:2] for step in theirs]
        # Without those that are drained, which SkyServe keeps elsewhere.
        assert all(step.paid >= own for step, (_, _, own) in zip(ours, theirs, strict=True))
        assert len({step.target for step in ours}) > 1
    assert min(step.target for step in expected[-1]) == 0


def test_a_replica_serves_after_its_start_and_is_paid_while_it_is_drained() -> None:
    policy = ReplicaPolicy(
        min_replicas=1, max_replicas=3, target_qps_per_replica=1.0, upscale_delay_seconds=40, downscale_delay_seconds=60
    )
    busy, quiet = [60] * 10, [0] * 12
    found = list(autoscaled(policy, [*busy, *quiet], startup_seconds=60))
    # After 20 s it wants one for 1 request/s, then 2, which it waits 40 s for, taking the 3 that it wants by then.
    assert [step.target for step in found[:5]] == [1, 1, 3, 3, 3]
    assert [step.serving for step in found[:7]] == [1, 1, 1, 1, 1, 3, 3]
    assert [step.paid for step in found[:4]] == [1, 1, 3, 3]
    down = next(number for number, step in enumerate(found) if number > 10 and step.target == 1)
    assert [step.serving for step in found[down : down + 2]] == [1, 1]
    assert [step.paid for step in found[down : down + 7]] == [3] * 6 + [1]
