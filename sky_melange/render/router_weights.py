"""Shares of traffic as the whole-number weights that load balancers want."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

MAX_WEIGHT: Final = 256
"""Of a HAProxy server."""


def server_weights(shares: Sequence[tuple[str, float]], servers: Mapping[str, int]) -> dict[str, int]:
    """The weight of each server of a group, 1..256, by group name.

    `shares` are (group, fraction); a group divides its share evenly over `servers[group]` addresses. Of all scales the
    one is taken whose groups come closest to their shares; of equals the smallest.
    """
    per_server = {group: share / servers[group] for group, share in shares}
    largest = max(per_server.values())

    def at(top: int) -> dict[str, int]:
        return {group: max(1, math.floor(each / largest * top + 0.5)) for group, each in per_server.items()}

    return min(
        (at(top) for top in range(1, MAX_WEIGHT + 1)), key=lambda w: (_worst(w, shares, servers), sum(w.values()))
    )


def worst_error_fraction(
    weights: Mapping[str, int], shares: Sequence[tuple[str, float]], servers: Mapping[str, int]
) -> float:
    """The largest distance (0..1) of a group's part by weight from its share."""
    whole = sum(weights[group] * servers[group] for group, _ in shares)
    return max(abs(weights[group] * servers[group] / whole - share) for group, share in shares)


def _worst(weights: Mapping[str, int], shares: Sequence[tuple[str, float]], servers: Mapping[str, int]) -> float:
    return round(worst_error_fraction(weights, shares, servers), 9)
