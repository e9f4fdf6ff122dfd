"""SkyServe's autoscaler of request rates, on requests counted by the interval of its decisions."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sky_melange.domain.scaling import DECISION_SECONDS, ReplicaPolicy

WINDOW_SECONDS: Final = 60
"""Requests of so long before a decision are its rate."""

DRAIN_SECONDS: Final = 120
"""A replica that goes serves no new requests for so long before its machine is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """After a decision: `target` replicas are wanted, `serving` answer, `paid` have machines."""

    target: int
    serving: int
    paid: int


class Autoscaler:
    """Its decisions alone: how many replicas it wants, given the requests since the last decision.

    It wants `ceil(rate / target_qps_per_replica)` replicas, within its bounds, and acts once it has wanted more (or
    fewer) than there are in as many decisions in a row as its delay has intervals; then with what it wants last. Where
    it wanted none it acts at once.
    """

    def __init__(self, policy: ReplicaPolicy) -> None:
        self._policy = policy
        self._counts: deque[int] = deque(maxlen=WINDOW_SECONDS // DECISION_SECONDS)
        self._more = self._fewer = 0
        self.target = policy.min_replicas

    def decide(self, requests: int) -> int:
        """The replicas that are to run from now on."""
        policy = self._policy
        self._counts.append(requests)
        rate_rps = sum(self._counts) / WINDOW_SECONDS
        wanted = math.ceil(rate_rps / policy.target_qps_per_replica)
        wanted = max(policy.min_replicas, min(policy.max_replicas, wanted))
        if not self.target:
            self.target = wanted
        elif wanted == self.target:
            self._more = self._fewer = 0
        elif wanted > self.target:
            self._more, self._fewer = self._more + 1, 0
            if self._more >= policy.upscale_delay_seconds // DECISION_SECONDS:
                self._more, self.target = 0, wanted
        else:
            self._more, self._fewer = 0, self._fewer + 1
            if self._fewer >= policy.downscale_delay_seconds // DECISION_SECONDS:
                self._fewer, self.target = 0, wanted
        return self.target


def autoscaled(
    policy: ReplicaPolicy, requests: Sequence[int], *, startup_seconds: float, ready_at_start: int | None = None
) -> Iterator[Fleet]:
    """The fleet after each interval of `requests`. `ready_at_start` replicas serve at first; None: the fewest.

    A replica serves `startup_seconds` after the decision for it. Those that do not serve yet go first, the latest of
    them before the others; of those that serve, too, the latest.
    """
    autoscaler = Autoscaler(policy)
    ready_s = [-math.inf] * (policy.min_replicas if ready_at_start is None else ready_at_start)
    draining_s: list[float] = []
    autoscaler.target = max(autoscaler.target, len(ready_s))
    for number, count in enumerate(requests, start=1):
        now_s = float(number * DECISION_SECONDS)
        target = autoscaler.decide(count)
        draining_s = [until_s for until_s in draining_s if until_s > now_s]
        while len(ready_s) > target:
            # Sorted by when they serve: a machine that is still starting is given up at once.
            if ready_s.pop() <= now_s:
                draining_s.append(now_s + DRAIN_SECONDS)
        ready_s += [now_s + startup_seconds] * (target - len(ready_s))
        serving = sum(1 for each_s in ready_s if each_s <= now_s)
        yield Fleet(target=target, serving=serving, paid=len(ready_s) + len(draining_s))
