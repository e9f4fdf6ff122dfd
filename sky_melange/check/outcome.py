"""How a figure is held against a limit."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.check import Verdict

TOLERANCE: Final = 1e-9
"""Sums of prices are exact to this; 3 × 0.1 is not over a budget of 0.3."""


def within(figure: float, limit: float) -> Verdict:
    """Pass while figure ≤ limit."""
    return Verdict.PASS if figure <= limit + TOLERANCE * max(1.0, abs(limit)) else Verdict.FAIL
