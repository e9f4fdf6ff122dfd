"""Text that anyone may have written, in Markdown, XML and GitHub's log, without becoming markup, link or command."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_IN_ATTRIBUTES: Final = {**_ESCAPES, '"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}

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


def annotation(level: str, title: str, message: str, file: str = "") -> str:
    """`::error file=…,title=…::…` on one line."""
    place = f"file={_property(file)}," if file else ""
    return f"::{level} {place}title={_property(title)}::{_data(message)}"


def plain(text: str) -> str:
    """A line of log that is no workflow command, whatever it says."""
    line = " ".join(text.split())
    # GitHub trims blanks before it looks for a command, but not a word joiner.
    return f"\u2060{line}" if line.startswith(("::", "##[")) else line


def xml_attribute(value: str) -> str:
    """A quoted attribute value; line breaks survive, characters that XML cannot hold come as U+FFFD."""
    return f'"{_escaped(value, _IN_ATTRIBUTES)}"'


def xml_text(value: str) -> str:
    """The content of an element."""
    return _escaped(value, _ESCAPES)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _escaped(value: str, escapes: Mapping[str, str]) -> str:
    return "".join(escapes.get(character, character) for character in _NOT_XML.sub("\ufffd", value))
