"""The valid word nearest to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

_LONGEST_WORD: Final = 64
"""Nobody means a key this long, and difflib is quadratic in the length."""

_LEAST_SIMILARITY: Final = 0.55
_MOST_COMPARED: Final = 5
_ROOM: Final = 120
_OPPOSITE: Final = {"min": "max", "max": "min"}


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


def _similarity(word: str, valid: str) -> float:
    return difflib.SequenceMatcher(None, valid, word).ratio()


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
