"""The files beside plan.json are those that it renders."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from sky_melange.check.outcome import within
from sky_melange.domain.check import Check, Unit

_MAX_DIFF_LINES: Final = 200
"""A file; more than a person reads."""


def files(expected: Mapping[str, str], found: Mapping[str, str | None]) -> Check:
    """`found` is the text by name of each expected file, None where it is missing, and of launch files beside them."""
    details: list[str] = []
    wrong = 0
    for name in sorted({*expected, *found}):
        if name not in expected:
            details.append(f"{name}: no group of the plan has this file; remove it, or it may be launched")
        elif found.get(name) is None:
            details.append(f"{name}: is missing; plan again, or restore it from version control")
        elif found[name] != expected[name]:
            details += _diff(name, expected[name], found[name] or "")
        else:
            continue
        wrong += 1
    return Check(
        name="files",
        verdict=within(wrong, 0),
        figure=wrong,
        limit=0,
        unit=Unit.FILES,
        says="files beside plan.json that this release does not render from it: edited by hand, missing, or left over",
        details=tuple(details),
    )


def _diff(name: str, expected: str, found: str) -> list[str]:
    lines = list(
        difflib.unified_diff(
            expected.splitlines(), found.splitlines(), f"{name} (as planned)", f"{name} (as it is)", lineterm="", n=1
        )
    )
    if not lines:
        return [f"{name}: differs in the ends of lines only"]
    if len(lines) > _MAX_DIFF_LINES:
        lines = [*lines[:_MAX_DIFF_LINES], f"… and {len(lines) - _MAX_DIFF_LINES} more lines"]
    return lines
