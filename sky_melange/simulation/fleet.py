"""What is simulated: replica groups with their profiles, and how the front door divides requests among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sky_melange.domain.front_door import RequestClass, Routed, is_routed, request_classes
from sky_melange.domain.profile import LatencyModelForm, Profile
from sky_melange.domain.router import RouterKind, RouterSettings
from sky_melange.domain.workload import LaunchMode, RoutingPolicy, Workload
from sky_melange.errors import InputError, Mistake
from sky_melange.simulation.arrivals import stream

MOST_REPLICAS: Final = 128
"""Larger fleets are simulated thinned: a group of so many is as steady as a larger one, nearly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """`instances` machines of `ranks` replicas each, of one profile; at most `running_limit` requests run on a replica.

    `in_turn`: its instances are separate addresses of the router, which asks them in turn; otherwise the one with the
    fewest requests in flight gets the next. `slower_by`: every step takes so many times as long as the profile says.
    """

    name: str
    profile: Profile
    instances: int
    ranks: int
    running_limit: int
    in_turn: bool = False
    slower_by: float = 1.0

    @property
    def replicas(self) -> int:
        """All of them."""
        return self.instances * self.ranks

    @property
    def most_running(self) -> int:
        """What engine and profile let run on one replica."""
        form = self.profile.form
        of_profile = form.max_running if isinstance(form, LatencyModelForm) else None
        return self.running_limit if of_profile is None else min(self.running_limit, of_profile)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Groups, and the classes of requests that the front door distinguishes (`domain.front_door`).

    `spills`: requests go to another group that can serve them while a planned one is full. `size_error_fraction`: of
    the estimate of input tokens. `max_model_len`: input and output tokens, beyond which engines refuse; None: no limit.
    `slower_fraction`: every step of every group takes so much longer.
    """

    groups: tuple[Group, ...]
    classes: tuple[RequestClass, ...]
    policy: RoutingPolicy
    spills: bool = True
    size_error_fraction: float = RouterSettings().size_error_fraction
    max_model_len: int | None = None
    slower_fraction: float = 0.0
    thinned_to: float | None = None
    lost: tuple[tuple[str, int], ...] = ()


def fleet_of(plan: Routed, workload: Workload, profiles: Mapping[str, Profile]) -> Fleet:
    """A plan as its router and launch files run it; `profiles` by name of the group."""
    has_router = is_routed(plan.groups, workload)
    is_haproxy = workload.router.kind is RouterKind.HAPROXY
    return Fleet(
        groups=tuple(
            Group(
                name=group.name,
                profile=profiles[group.name],
                instances=group.instances,
                ranks=group.replicas_per_instance,
                running_limit=group.max_concurrency,
                in_turn=has_router and workload.launch.mode is LaunchMode.CLUSTER,
            )
            for group in plan.groups
        ),
        classes=request_classes(plan),
        policy=plan.policy,
        spills=has_router and is_haproxy,
        size_error_fraction=workload.router.size_error_fraction if has_router and is_haproxy else 0.0,
        max_model_len=workload.model.max_model_len,
    )


def without(fleet: Fleet, lost: Sequence[tuple[str, int]]) -> Fleet:
    """The fleet while instances are lost. Raises InputError for groups that it has not, or has too few instances of."""
    left = {group.name: group.instances for group in fleet.groups}
    mistakes = []
    for name, count in lost:
        if name not in left:
            message = f"there is no group {name!r}; the plan has {', '.join(left)}"
            mistakes.append(Mistake(source="--lose", message=message))
        elif count > left[name]:
            message = f"{name} has {left[name]} instance{'s' if left[name] != 1 else ''}, not {count}"
            mistakes.append(Mistake(source="--lose", message=message))
        else:
            left[name] -= count
    if mistakes:
        raise InputError(mistakes)
    if not any(left.values()):
        message = "no instance is left, so there is nothing to simulate"
        raise InputError([Mistake(source="--lose", message=message)])
    groups = tuple(replace(group, instances=left[group.name]) for group in fleet.groups)
    return replace(fleet, groups=groups, lost=tuple((name, count) for name, count in lost if count))


def thinned(fleet: Fleet) -> Fleet:
    """A fleet of at most about MOST_REPLICAS, for as much less traffic; `thinned_to` is the fraction.

    A group of which less than one instance would be left keeps one, and gets as much more of the requests.
    """
    replicas = sum(group.replicas for group in fleet.groups)
    if replicas <= MOST_REPLICAS:
        return fleet
    most_ranks = max(group.ranks for group in fleet.groups)
    fraction = max(MOST_REPLICAS, most_ranks) / replicas
    counts = {
        group.name: 0 if group.instances == 0 else max(1, round(group.instances * fraction)) for group in fleet.groups
    }
    grown = {
        group.name: counts[group.name] / (group.instances * fraction) if group.instances else 1.0
        for group in fleet.groups
    }
    lost = dict(fleet.lost)
    # A group that lost instances keeps its share for the planned number.
    grown = {name: grown[name] if name not in lost else 1.0 for name in grown}
    classes = []
    for one in fleet.classes:
        weights = {name: share * grown[name] for name, share in one.shares}
        whole = math.fsum(weights.values())
        shares = tuple(sorted(((n, w / whole) for n, w in weights.items()), key=lambda entry: (-entry[1], entry[0])))
        classes.append(replace(one, shares=shares))
    groups = tuple(replace(group, instances=counts[group.name]) for group in fleet.groups)
    return replace(fleet, groups=groups, classes=tuple(classes), thinned_to=fraction)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The router as arrays by class of requests, see `loop.Router`."""

    order: NDArray[np.int32]
    planned: NDArray[np.int32]
    known: NDArray[np.int32]
    shares: NDArray[np.float64]


def router_tables(fleet: Fleet) -> Tables:
    """Groups without instances are down: their requests go to the others that are planned, and when there are none to
    the spare ones. A class that is left without any is refused (`known` 0).
    """
    number = {group.name: index for index, group in enumerate(fleet.groups)}
    up = {group.name for group in fleet.groups if group.instances}
    count = max(1, len(fleet.groups))
    size = len(fleet.classes)
    order = np.zeros((size, count), np.int32)
    planned, known, shares = np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros((size, count))
    for row, one in enumerate(fleet.classes):
        first = [(name, share) for name, share in one.shares if name in up and share > 0]
        spare = [name for name in one.spare if name in up]
        if not first and spare:
            first, spare = [(name, 1.0 / len(spare)) for name in spare], []
        whole = math.fsum(share for _, share in first)
        for name, share in first:
            shares[row, number[name]] = share / whole
        names = [name for name, _ in first] + spare
        order[row, : len(names)] = [number[name] for name in names]
        planned[row], known[row] = len(first), len(names)
    return Tables(order=order, planned=planned, known=known, shares=shares)


def kinds(fleet: Fleet, inputs: NDArray[np.int64], outputs: NDArray[np.int64], seed: int) -> NDArray[np.int32]:
    """The class that the front door takes each request for.

    Input tokens are estimated, evenly within the error around the truth; the limit of the answer that a
    request states is taken to be its length.
    """
    guess = inputs.astype(np.float64)
    if fleet.size_error_fraction > 0 and fleet.policy is not RoutingPolicy.BLIND:
        guess *= 1.0 + fleet.size_error_fraction * (2.0 * stream(seed, 4).random(len(inputs)) - 1.0)
    stating = [
        (row, one)
        for row, one in enumerate(fleet.classes)
        if fleet.policy is not RoutingPolicy.SIZE_AWARE or one.max_output_tokens is not None
    ]
    found = np.zeros(len(inputs), np.int32)
    edges = sorted({one.max_input_tokens or 0 for _, one in stating})
    place = np.minimum(np.searchsorted(edges, guess), len(edges) - 1)
    for index, edge in enumerate(edges):
        rows = sorted(
            ((one.max_output_tokens or 0, row) for row, one in stating if (one.max_input_tokens or 0) == edge)
        )
        within = np.flatnonzero(place == index)
        outs = np.minimum(np.searchsorted([most for most, _ in rows], outputs[within]), len(rows) - 1)
        found[within] = np.array([row for _, row in rows], np.int32)[outs]
    return found
