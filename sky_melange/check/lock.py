"""The plan was made for what the workload file asks for now."""

from __future__ import annotations

from collections.abc import Sequence

from sky_melange.check.outcome import within
from sky_melange.domain.check import Check, Unit, Verdict


def lock(differences: Sequence[str] | None, *, reason: str = "") -> Check:
    """`differences` between the file and what was planned, None with the `reason` where they are not compared."""
    says = "differences between the workload file and what was planned: edited since, and not planned again"
    return Check(
        name="lock",
        verdict=Verdict.SKIPPED if differences is None else within(len(differences), 0),
        figure=None if differences is None else len(differences),
        limit=0,
        unit=Unit.VIOLATIONS,
        says=f"{says}; {reason}" if reason else says,
        details=tuple(differences or ()),
    )
