"""The plan still carries the workload."""

from __future__ import annotations

from collections.abc import Sequence

from sky_melange.check.outcome import within
from sky_melange.domain.check import Check, Unit


def serves(violations: Sequence[str]) -> Check:
    """`violations` are what the independent verification says, with today's profiles."""
    return Check(
        name="serves",
        verdict=within(len(violations), 0),
        figure=len(violations),
        limit=0,
        unit=Unit.VIOLATIONS,
        says="ways in which the plan does not carry the workload within its targets, by today's profiles",
        details=tuple(violations),
    )
