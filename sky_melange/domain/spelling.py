"""Other spellings of names: the one known name that a text can mean."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final

_LONGEST_WORD: Final = 64
"""Nobody means a key this long, and difflib is quadratic in the length."""

_LEAST_SIMILARITY: Final = 0.55
_MOST_COMPARED: Final = 5
_ROOM: Final = 120
_OPPOSITE: Final = {"min": "max", "max": "min"}

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


def nearest(word: str, valid_words: Iterable[str]) -> str | None:
    """The most similar of `valid_words`, whatever the case of its letters; None when none is similar.

    A `max_…` is never a mistyped `min_…`.
    """
    if len(word) > _LONGEST_WORD:
        return None
    by_folded = {valid.casefold(): valid for valid in sorted(valid_words, reverse=True)}
    folded = word.casefold()
    opposite = _OPPOSITE.get(folded[:3])
    possible = [valid for valid in by_folded if opposite is None or not valid.startswith(opposite)]
    close = difflib.get_close_matches(folded, possible, n=_MOST_COMPARED, cutoff=_LEAST_SIMILARITY)
    if not close:
        return None
    # A slip of the finger changes the length less than it changes the likeness: `sol` is `slo`, not `solver`.
    return by_folded[max(close, key=lambda valid: (_similarity(folded, valid), -abs(len(valid) - len(folded))))]


def did_you_mean(word: str, valid_words: Iterable[str], noun: str) -> str:
    """`; did you mean 'tpot_ms'?`, or what there is where nothing is similar: `; valid keys: id, dtype`."""
    valid = tuple(valid_words)
    suggestion = nearest(word, valid)
    return f"; did you mean {suggestion!r}?" if suggestion is not None else f"; {noun}: {listed(valid)}"


def listed(words: Iterable[str]) -> str:
    """The words that a line has room for, and how many more there are."""
    all_words = tuple(words)
    shown, length = 0, 0
    while shown < len(all_words) and length + len(all_words[shown]) + 2 <= _ROOM:
        length += len(all_words[shown]) + 2
        shown += 1
    more = [f"and {len(all_words) - shown} more"] if shown < len(all_words) else []
    return ", ".join([*all_words[:shown], *more]) or "none"


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


def _similarity(word: str, valid: str) -> float:
    return difflib.SequenceMatcher(None, valid, word).ratio()
