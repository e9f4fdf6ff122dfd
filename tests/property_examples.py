"""How many examples a property test draws."""

from __future__ import annotations

from typing import Any

from hypothesis import settings


def examples(most: int, **others: Any) -> settings:
    """`most` with `--hypothesis-profile ci`; a fifth of them without, which is what one waits for at a desk."""
    return settings(max_examples=max(1, most * settings.default.max_examples // 100), **others)
