"""Everything that limits a plan, one file each. None imports a solver: `verify` reads the same records."""

from __future__ import annotations

from typing import Final

from sky_melange.optimizer.limits.accelerators import Cap
from sky_melange.optimizer.limits.budget import MaxCost
from sky_melange.optimizer.limits.groups import MaxGroups
from sky_melange.optimizer.limits.losses import ToleratedLosses
from sky_melange.optimizer.limits.replicas import MinOnDemandReplicas, MinReplicas
from sky_melange.optimizer.limits.shares import ShareLimit
from sky_melange.optimizer.limits.switching import KeepRunning
from sky_melange.optimizer.limits.utilization import MaxUtilization
from sky_melange.optimizer.problem import Limit, Problem

LIMITS: Final[dict[str, type[Limit]]] = {
    "utilization": MaxUtilization,
    "caps": Cap,
    "replicas": MinReplicas,
    "floors": MinOnDemandReplicas,
    "groups": MaxGroups,
    "shares": ShareLimit,
    "losses": ToleratedLosses,
    "budget": MaxCost,
    "switching": KeepRunning,
}
"""In the order of their rows, and of messages."""


def limits_of(problem: Problem) -> tuple[Limit, ...]:
    """Every limit that is set, those that the program is built around included."""
    order = {kind: position for position, kind in enumerate(LIMITS.values())}
    found = (*problem.limits, *(limit for kind in LIMITS.values() for limit in kind.set_in(problem)))
    return tuple(sorted(found, key=lambda limit: order.get(type(limit), len(order))))
