"""Text that anyone may have written, in XML 1.0."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_IN_ATTRIBUTES: Final = {**_ESCAPES, '"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}


def attribute(value: str) -> str:
    """A quoted attribute value; line breaks survive, characters that XML cannot hold come as U+FFFD."""
    return f'"{_escaped(value, _IN_ATTRIBUTES)}"'


def text(value: str) -> str:
    """The content of an element."""
    return _escaped(value, _ESCAPES)


def _escaped(value: str, escapes: Mapping[str, str]) -> str:
    return "".join(escapes.get(character, character) for character in _NOT_XML.sub("\ufffd", value))
