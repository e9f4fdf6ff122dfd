"""The valid word nearest to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

_LONGEST_WORD: Final = 64
"""Nobody means a key this long, and difflib is quadratic in the length."""

_LEAST_SIMILARITY: Final = 0.55
_MOST_COMPARED: Final = 5


def nearest(word: str, valid_words: Iterable[str]) -> str | None:
    """The most similar of `valid_words`, whatever the case of its letters; None when none is similar."""
    if len(word) > _LONGEST_WORD:
        return None
    by_folded = {valid.casefold(): valid for valid in sorted(valid_words, reverse=True)}
    folded = word.casefold()
    close = difflib.get_close_matches(folded, by_folded, n=_MOST_COMPARED, cutoff=_LEAST_SIMILARITY)
    if not close:
        return None
    # A slip of the finger changes the length less than it changes the likeness: `sol` is `slo`, not `solver`.
    return by_folded[max(close, key=lambda valid: (_similarity(folded, valid), -abs(len(valid) - len(folded))))]


def _similarity(word: str, valid: str) -> float:
    return difflib.SequenceMatcher(None, valid, word).ratio()


def did_you_mean(word: str, valid_words: Iterable[str]) -> str:
    """`; did you mean 'tpot_ms'?`, or nothing when no valid word is similar. For the middle of a message."""
    suggestion = nearest(word, valid_words)
    return f"; did you mean {suggestion!r}?" if suggestion is not None else ";"
