"""Text that anyone may have written, in the Markdown of GitHub and GitLab, without becoming markup or a reference."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Final

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|~!@&$]|%(?=[\w\"]))")
_LINK: Final = re.compile(r"(?i)\b(https?|ftp)(?=:)|\bwww(?=\.)")
_FENCE: Final = re.compile(r"`{3,}")


def escape(text: str) -> str:
    """One line of plain text: no markup, no mention of people, no link."""
    # A zero-width joiner after the scheme and after @ keeps GitHub from making links and mentions of bare text.
    plain = _LINK.sub(lambda match: match.group() + "\u2060", " ".join(text.split()))
    return _SPECIAL.sub(r"\\\1", plain).replace("\\@", "@\u2060")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """A table; cells are escaped. `right` are the columns to align right."""
    rule = ["---:" if index in right else "---" for index in range(len(head))]
    return [
        f"| {' | '.join(head)} |",
        f"| {' | '.join(rule)} |",
        *(f"| {' | '.join(escape(cell) for cell in row)} |" for row in rows),
    ]


def fenced(lines: Iterable[str], language: str = "text") -> list[str]:
    """A code block that its own content cannot end."""
    found = list(lines)
    longest = max((len(run) for line in found for run in _FENCE.findall(line)), default=2)
    fence = "`" * (longest + 1)
    return [f"{fence}{language}", *found, fence]


def folded(summary: str, lines: Iterable[str]) -> list[str]:
    """Details that open on a click."""
    # Markdown is not read inside an HTML block.
    return [f"<details><summary>{html.escape(' '.join(summary.split()))}</summary>", "", *lines, "", "</details>"]


def within(lines: Sequence[str], most: int) -> str:
    """The text; when it is longer than `most` characters, the part before `<details>` whole and a note in its place."""
    text = "\n".join(lines) + "\n"
    if len(text) <= most:
        return text
    cut = next((index for index, line in enumerate(lines) if line.startswith("<details>")), len(lines))
    head = "\n".join(lines[:cut])[: most - 200]
    return f"{head}\n\nThe details are too long for a comment; run the command in a terminal to see them.\n"
