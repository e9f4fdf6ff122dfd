"""How much a property test tries: all of it with `--hypothesis-profile ci`, a fifth at a desk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import pytest
from hypothesis import settings

T = TypeVar("T")


def is_complete() -> bool:
    """Whether this run leaves nothing out."""
    return settings.default.max_examples >= 100


def some(cases: Iterable[T]) -> list[T]:
    """All the cases, or every fifth of them."""
    return list(cases)[:: 1 if is_complete() else 5]


def mostly_slow(values: Iterable[Any], *quick: Any) -> list[Any]:
    """Parameters of a test that takes long for each: all but the `quick` ones are marked `slow`."""
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]


def examples(most: int, **others: Any) -> settings:
    """`most` with `--hypothesis-profile ci`; a fifth of them without, which is what one waits for at a desk."""
    return settings(max_examples=max(1, most * settings.default.max_examples // 100), **others)
