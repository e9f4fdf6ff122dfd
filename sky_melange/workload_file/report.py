"""How mistakes are ordered, bounded and spelled, and what is read otherwise than a file spells it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sky_melange.errors import InputError, Mistake

MAX_MISTAKES: Final = 100
"""More than a person reads; a binary file given by accident has thousands."""

_LONGEST_QUOTE: Final = 60
_PLAIN_KEY: Final = re.compile(r"[\w./:-]{1,60}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A value that is not read as it is spelled; where it is, and may not be what is meant, `doubt` says why."""

    source: str
    line: int
    key: str
    text: str
    value: str | float
    doubt: str = ""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.key}: {self.sentence}"

    @property
    def sentence(self) -> str:
        """What is read, without its place."""
        if self.doubt:
            return f"{quote(self.text)} {self.doubt}"
        shown = self.value if isinstance(self.value, str) else f"{self.value:.12g}"
        return f"{quote(self.text)} is read as {shown}"


def input_error(mistakes: Iterable[Mistake]) -> InputError:
    """One error with every mistake, by line, each once; past `MAX_MISTAKES` only that there are more."""
    unique = {(mistake.line or 0, mistake.key, mistake.message): mistake for mistake in mistakes}
    # Stable, so that mistakes on one line stay in the order in which they were found.
    ordered = sorted(unique.values(), key=lambda mistake: mistake.line or 0)
    shown = ordered[:MAX_MISTAKES]
    if len(ordered) > len(shown):
        # How many is not known: whoever finds them may stop early, because wording thousands takes seconds.
        shown.append(Mistake(source=shown[0].source, message="and more mistakes, not shown: mend these first"))
    return InputError(shown)


def quote(text: str) -> str:
    """Text from a file in quotes, with control characters escaped and the end cut off when it is long."""
    return repr(text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…")


def key_path(path: Iterable[str | int]) -> str:
    """`traffic.histogram.weights[2]`. Keys with unusual characters are quoted, so that they cannot mimic output."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if _PLAIN_KEY.fullmatch(part) else quote(part)
            text += f".{word}" if text else word
    return text


def plural(count: int, noun: str) -> str:
    """`1 row`, `3 rows`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
