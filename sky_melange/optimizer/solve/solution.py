"""What the solver answers, free of PuLP."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Contingency:
    """What to do while instances are lost: `lost[c]` of them gone, `shares[r][c]` as in `Solution`.

    `peak_utilization` is the largest load on a group's remaining instances ÷ their number.
    """

    lost: tuple[int, ...]
    shares: tuple[tuple[float, ...], ...]
    peak_utilization: float


@dataclass(frozen=True, kw_only=True)
class Proven:
    """`status` is `optimal` (proven within the gap asked for) or `feasible` (a time limit came first).

    `mip_gap` is relative: the optimum costs at most that fraction less.
    """

    __slots__ = ()
    cost_usd_per_hour: float
    status: str
    mip_gap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution(Proven):
    """`counts[c]` instances; `shares[r][c]` fraction (0..1) of class r sent to candidate c; rows sum to 1.

    `cost_usd_per_hour` is the total: replicas, and the problem's charges beside them.

    `contingencies`: one for each loss that must be survived.
    `ended_by`: which limit ended the search of a large problem, `work` or `time`; None: none, or it is not known.
    `committed[c]` of the instances are bought for a term; None: all of those that can be.
    """

    counts: tuple[int, ...]
    shares: tuple[tuple[float, ...], ...]
    contingencies: tuple[Contingency, ...] = ()
    committed: tuple[int, ...] | None = None
    ended_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSolution(Proven):
    """`counts[l][c]` in period l, `shares[r][c]` in all of them; as in `Solution` otherwise, of the mean USD per hour.

    `bound_usd_per_hour`: no schedule costs less at these factors, charges for changes included.
    """

    counts: tuple[tuple[int, ...], ...]
    shares: tuple[tuple[float, ...], ...]
    bound_usd_per_hour: float
    contingencies: tuple[Contingency, ...] = ()
