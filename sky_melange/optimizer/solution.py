"""What the solver answers, free of PuLP."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """`counts[c]` instances; `shares[r][c]` fraction (0..1) of class r sent to candidate c; rows sum to 1.

    `status` is `optimal` (proven within the gap asked for) or `feasible` (a time limit came first). `mip_gap` is
    relative; infinity when the solver has no bound yet.
    """

    counts: tuple[int, ...]
    shares: tuple[tuple[float, ...], ...]
    cost_usd_per_hour: float
    status: str
    mip_gap: float
