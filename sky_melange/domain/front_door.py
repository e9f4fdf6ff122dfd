"""What the front door does with a plan: which requests it tells apart, and where each kind may go."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sky_melange.domain.plan import ReplicaGroup, Route
from sky_melange.domain.router import RouterKind
from sky_melange.domain.workload import LaunchMode, RoutingPolicy, Workload

ROUTER_PURPOSE: Final = "router"


class Routed(Protocol):
    """What a front door is made from: a plan, or as much of one."""

    @property
    def policy(self) -> RoutingPolicy:
        """What it knows of a request."""

    @property
    def routing(self) -> tuple[Route, ...]:
        """How each bucket is divided."""

    @property
    def groups(self) -> tuple[ReplicaGroup, ...]:
        """Among these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestClass:
    """Requests that the front door cannot tell apart.

    Those of up to `max_input_tokens` and `max_output_tokens` that no smaller class takes; None: of any size. In a
    `size_aware` plan a class without `max_output_tokens` takes the requests that state no limit of their answer.
    `shares` are (group name, fraction 0..1), summing to 1, largest first. `spare` names the other groups that meet the
    targets on every request of the class, the least used first. `rate_rps` is the planned rate of what is taken for
    it; 0 for a class that stands in for others.
    """

    name: str
    max_input_tokens: int | None
    max_output_tokens: int | None
    rate_rps: float
    shares: tuple[tuple[str, float], ...]
    spare: tuple[str, ...]


def needs_router(groups: Sequence[ReplicaGroup], workload: Workload) -> bool:
    """Whether the plan launches a router of its own."""
    return not workload.router.of_fleet and is_routed(groups, workload)


def is_routed(groups: Sequence[ReplicaGroup], workload: Workload) -> bool:
    """Whether a router is in front, be it the fleet's: a single SkyServe service by itself is its own front door."""
    if workload.router.kind is RouterKind.NONE:
        return False
    if workload.router.of_fleet:
        return True
    return len(groups) > 1 or (workload.launch.mode is LaunchMode.CLUSTER and groups[0].instances > 1)


def served_names(workload: Workload) -> tuple[str, ...]:
    """What requests may name as their `model`: the model or its `--served-model-name`, and its adapters."""
    given: list[str] = []
    is_name = False
    for argument in workload.launch.engine_args:
        flag, equals, value = argument.partition("=")
        if flag.startswith("-"):
            is_name = flag.replace("_", "-") == "--served-model-name"
            given += [value] if is_name and equals else []
        elif is_name:
            given.append(argument)
    return (*(given or [workload.model.id]), *(adapter.id for adapter in workload.model.adapters))


def endpoints_of(group: ReplicaGroup, mode: LaunchMode) -> int:
    """Addresses that a group answers at: one of its SkyServe service, or one an instance."""
    return 1 if mode is LaunchMode.SERVE else group.instances


def request_classes(plan: Routed) -> tuple[RequestClass, ...]:
    """The classes of a plan's routing policy, from the smallest requests to the largest.

    A request belongs to the first class that it fits in, or, where it fits in none, to the last of its kind.
    """
    if plan.policy is RoutingPolicy.BLIND:
        return (_class(plan, "all", None, None, plan.routing),)
    by_input: defaultdict[int, list[Route]] = defaultdict(list)
    for route in plan.routing:
        by_input[route.input_tokens].append(route)
    classes: list[RequestClass] = []
    for input_tokens, routes in sorted(by_input.items()):
        name = f"in-{input_tokens}"
        if plan.policy is RoutingPolicy.SIZE_AWARE:
            for route in sorted(routes, key=lambda route: route.output_tokens):
                bounds = (input_tokens, route.output_tokens)
                classes.append(_class(plan, f"{name}-out-{route.output_tokens}", *bounds, [route]))
        if plan.policy is RoutingPolicy.INPUT_AWARE or len(routes) > 1:
            classes.append(_class(plan, name, input_tokens, None, routes))
    return tuple(classes)


def _class(
    plan: Routed, name: str, input_tokens: int | None, output_tokens: int | None, routes: Sequence[Route]
) -> RequestClass:
    able = set.intersection(*(_able(route) for route in routes))
    shares = _mean_shares(routes, able)
    spare_replicas = {group.name: (1 - group.utilization) * group.replicas for group in plan.groups}
    planned = {group for group, _ in shares}
    stands_in = plan.policy is RoutingPolicy.SIZE_AWARE and output_tokens is None
    return RequestClass(
        name=name,
        max_input_tokens=input_tokens,
        max_output_tokens=output_tokens,
        rate_rps=0.0 if stands_in else math.fsum(route.routed_rps for route in routes),
        shares=shares,
        spare=tuple(sorted(able - planned, key=lambda group: (-spare_replicas.get(group, 0.0), group))),
    )


def _able(route: Route) -> set[str]:
    return {*route.can_serve, *(group for group, share in route.shares if share > 0)}


def _mean_shares(routes: Sequence[Route], able: Iterable[str]) -> tuple[tuple[str, float], ...]:
    """The shares of the routes, weighted by their rates; only groups that can serve all of them, where there are any.

    The routes of one class have the same shares, except where a request does not say which of several it is.
    """
    if len({route.shares for route in routes}) == 1:
        return _largest_first({group: share for group, share in routes[0].shares if share > 0})
    sums: defaultdict[str, float] = defaultdict(float)
    for route in routes:
        for group, share in route.shares:
            sums[group] += share * route.routed_rps
    kept = {group: total for group, total in sums.items() if group in set(able) and total > 0}
    kept = kept or {group: total for group, total in sums.items() if total > 0}
    whole = math.fsum(kept.values())
    return _largest_first({group: total / whole for group, total in kept.items()})


def _largest_first(shares: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(shares.items(), key=lambda entry: (-entry[1], entry[0])))
