"""What a model's name says of its size ("30B-A3B"), held against what its configuration adds up to."""

from __future__ import annotations

import re
from typing import Final

from sky_melange.profiles.model_shape import ModelShape

TOLERANCE: Final = 0.2
"""Names round: Qwen2.5-7B has 7.6 billion parameters, Gemma-7b 8.5."""

TOLERANCE_B: Final = 0.7
"""Billions on top: embeddings, which some names leave out, weigh most in small models."""

_EXPERTS_OF: Final = re.compile(r"(?<![a-z0-9.])(\d{1,3})x(\d+(?:\.\d+)?)b(?![a-z0-9])")
_ACTIVE_OF: Final = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)b-\d+e(?![a-z0-9])")
_ACTIVE: Final = re.compile(r"(?<![a-z0-9.])a(\d+(?:\.\d+)?)b(?![a-z0-9])")
_TOTAL: Final = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)(b|m)(?![a-z0-9])")


def contradiction(shape: ModelShape, model: str) -> str | None:
    """Why sizes cannot be those of a model of this name; None when they can, or the name states none."""
    name = re.sub(r"[_/]", "-", model.lower())
    total, active = shape.parameters / 1e9, shape.active_parameters / 1e9
    for pattern in (_EXPERTS_OF, _ACTIVE_OF):
        found = pattern.search(name)
        if found is None:
            continue
        if pattern is _ACTIVE_OF:
            return _apart("active ", active, [float(found[1])])
        whole = int(found[1]) * float(found[2])
        # Attention is not multiplied: Mixtral-8x7B has 46.7 billion.
        return None if 0.6 * whole <= total <= 1.1 * whole else _sentence("", total, found[0].upper())
    active_stated = _ACTIVE.search(name)
    stated = [float(match[1]) / (1 if match[2] == "b" else 1000) for match in _TOTAL.finditer(_ACTIVE.sub("", name))]
    fault = _apart("", total, stated) if stated else None
    if fault is None and active_stated is not None:
        fault = _apart("active ", active, [float(active_stated[1])])
    return fault


def _apart(what: str, found: float, stated: list[float]) -> str | None:
    if any(abs(found - one) <= TOLERANCE * one + TOLERANCE_B for one in stated):
        return None
    return _sentence(what, found, " or ".join(f"{one:g}B" for one in stated))


def _sentence(what: str, found: float, stated: str) -> str:
    return (
        f"the sizes add up to {found:.1f} billion {what}parameters, but the name says {stated}, which is more than "
        f"{TOLERANCE:.0%} and {TOLERANCE_B:g} billion apart"
    )
