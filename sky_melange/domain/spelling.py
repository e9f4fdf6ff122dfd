"""Other spellings of names: the one known name that a text can mean."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Final

_CLOUDS: Final = {
    "amazon": "aws",
    "google": "gcp",
    "gcloud": "gcp",
    "googlecloud": "gcp",
    "microsoft": "azure",
    "oracle": "oci",
    "digitalocean": "do",
    "lambdalabs": "lambda",
    "k8s": "kubernetes",
}
_ACCELERATORS: Final = {"a10040gb": "A100"}


def same_letters(text: str, known: Collection[str]) -> str | None:
    """The one known name with the same letters and digits, whatever their case and what stands between them."""
    letters = _letters(text)
    if text in known:
        return text if letters else None
    by_case, by_letters = _spellings(tuple(sorted(known)))
    same = by_case.get(text.casefold()) or by_letters.get(letters, [])
    return same[0] if len(same) == 1 and letters else None


def accelerator_name(text: str, known: Collection[str]) -> str | None:
    """The known accelerator that is meant."""
    return same_letters(_ACCELERATORS.get(_letters(text), text), known)


def cloud_name(text: str, known: Collection[str]) -> str | None:
    """The known cloud that is meant, by its own name or its maker's."""
    meant = _CLOUDS.get(_letters(text), "")
    return same_letters(text, known) or (meant if meant in known else None)


@lru_cache(maxsize=64)
def _spellings(known: tuple[str, ...]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Known names by what they are whatever their case, and by their letters and digits."""
    by_case: dict[str, list[str]] = {}
    by_letters: dict[str, list[str]] = {}
    for name in known:
        by_case.setdefault(name.casefold(), []).append(name)
        by_letters.setdefault(_letters(name), []).append(name)
    return by_case, by_letters


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
