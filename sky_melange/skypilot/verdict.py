"""Whether what SkyPilot picks is what was planned. Pure: an observation and a replica group in, a verdict out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sky_melange.domain.own_gpus import OWN_CLOUDS
from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.scaling import ReplicaPolicy
from sky_melange.domain.workload import LaunchMode
from sky_melange.skypilot.offline import Observation, Resources

PRICE_TOLERANCE_USD_PER_HOUR: Final = 0.5e-4
"""Prices agree when they round to the same 4 decimals."""

_AWS_ZONE_ID: Final = re.compile(r"[a-z0-9]+-az[0-9]+")
"""`use1-az2`, as in price catalogs. With credentials, SkyPilot knows only the account's own names (`us-east-1a`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at. `detail` holds both figures, planned and found, or SkyPilot's own message."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupVerdict:
    """All checks of one replica group's file."""

    group: str
    file: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if not check.passed)


def judge(group: ReplicaGroup, observation: Observation, policy: ReplicaPolicy | None = None) -> tuple[Check, ...]:
    """Compare what SkyPilot picks; where it refused the file, what the file asks for, as far as SkyPilot read it.

    `policy`: by which SkyServe scales the group, as planned; None: it does not.
    """
    steps = [Check(name=step.name, passed=step.passed, detail=step.detail) for step in observation.steps]
    picked, price = observation.picked, observation.price_usd_per_hour
    if picked is None or price is None:
        return (*steps, *(_refused(group, observation, policy) if observation.asked else ()))
    return (
        *steps,
        _pinned(observation),
        *_machine_checks(group, picked, finder="SkyPilot"),
        _instances(group, observation, policy),
        _price(group, price),
    )


def judge_mode(mode: LaunchMode, observation: Observation) -> Check:
    """A file without its `service:` still launches: once, without controller or recovery."""
    found = LaunchMode.CLUSTER if observation.replicas is None else LaunchMode.SERVE
    return _equal("mode", mode.value, found.value, "the file")


def _refused(group: ReplicaGroup, observation: Observation, policy: ReplicaPolicy | None) -> Iterator[Check]:
    """Which of the file's own words differ from the plan: more use than SkyPilot's refusal alone."""
    yield _pinned(observation)
    if len(observation.asked) == 1:
        yield from _machine_checks(group, observation.asked[0], finder="the file")
    yield _instances(group, observation, policy)


def _pinned(observation: Observation) -> Check:
    """A file that leaves SkyPilot a choice may agree today and cost something else tomorrow."""
    if len(observation.asked) != 1:
        return Check(name="pinned", passed=False, detail=f"asks for any of {len(observation.asked)} resources, not one")
    asked = observation.asked[0]
    cloud, region, zone = asked.place
    wanted: dict[str, object] = {"infra: cloud": cloud, "infra: region": region, "accelerators": asked.accelerators}
    is_own = cloud in OWN_CLOUDS
    wanted |= {"cpus and memory": asked.is_sized} if is_own else {"instance_type": asked.instance_type}
    missing = [key for key, value in wanted.items() if not value]
    if missing:
        return Check(name="pinned", passed=False, detail=f"leaves open: {', '.join(missing)}")
    if cloud == "aws" and zone is not None and _AWS_ZONE_ID.fullmatch(zone):
        detail = f"{zone} is a zone ID, which names another zone in each AWS account: write cloud/region only"
        return Check(name="pinned", passed=False, detail=detail)
    size = "cpus, memory" if is_own else "instance type"
    return Check(name="pinned", passed=True, detail=f"cloud, region, {size} and accelerators")


def _machine_checks(group: ReplicaGroup, machine: Resources, *, finder: str) -> Iterator[Check]:
    cloud, region, zone = machine.place
    yield _equal("cloud", group.cloud, cloud, finder)
    yield _equal("region", group.region, region, finder)
    if group.zone is not None and group.cloud != "aws":
        yield _equal("zone", group.zone, zone, finder)
    if machine.instance_type is not None or group.cloud not in OWN_CLOUDS:
        # SkyPilot names a pod by what the file asks for; the file itself does not.
        yield _equal("instance_type", group.instance_type, machine.instance_type, finder)
    planned = {group.catalog_accelerator: float(group.accelerators_per_instance)}
    found = {name: float(count) for name, count in (machine.accelerators or {}).items()}
    yield _equal("accelerators", _accelerators(planned), _accelerators(found), finder)
    yield _equal("use_spot", group.use_spot, machine.use_spot, finder)


def _instances(group: ReplicaGroup, observation: Observation, policy: ReplicaPolicy | None) -> Check:
    """A service runs `replicas` machines, a cluster `num_nodes`; both must be fixed, or within what was planned.

    Where the cloud launches no clusters of several nodes, the file is one node and is launched once per instance.
    """
    if observation.replicas is None and not observation.multi_node:
        detail = f"planned {group.instances} launches of 1 node, the file has {observation.num_nodes}"
        return Check(name="num_nodes", passed=observation.num_nodes == 1, detail=detail)
    if observation.replicas is None:
        return _equal("num_nodes", group.instances, observation.num_nodes, "the file")
    least, most = observation.replicas
    if policy is not None:
        planned = f"{policy.min_replicas} to {policy.max_replicas}"
        return _equal("replicas", planned, f"{least} to {least if most is None else most}", "the file")
    if most is not None and most != least:
        detail = f"planned {group.instances}, the file scales between {least} and {most}"
        return Check(name="replicas", passed=False, detail=detail)
    return _equal("replicas", group.instances, least * observation.num_nodes, "the file")


def _price(group: ReplicaGroup, price_usd_per_hour: float) -> Check:
    if group.price.is_own:
        detail = (
            f"planned {group.price_usd_per_hour:.4f} by your own list; SkyPilot lists {price_usd_per_hour:.4f} USD/h"
        )
        return Check(name="price", passed=True, detail=detail)
    passed = abs(group.price_usd_per_hour - price_usd_per_hour) < PRICE_TOLERANCE_USD_PER_HOUR
    detail = f"planned {group.price_usd_per_hour:.4f}, SkyPilot {price_usd_per_hour:.4f} USD/h per instance"
    return Check(name="price", passed=passed, detail=detail)


def _equal(name: str, planned: object, found: object, finder: str) -> Check:
    return Check(name=name, passed=planned == found, detail=f"planned {planned}, {finder} {found}")


def _accelerators(counts: dict[str, float]) -> str:
    return ", ".join(f"{name}:{count:g}" for name, count in sorted(counts.items())) or "none"
