"""Foreign text in messages."""

from __future__ import annotations

import re
from typing import Final

_LONGEST: Final = 300
_SECRET: Final = re.compile(r"(://[^/\s:@]*):[^@\s]*@")


def one_line(text: str) -> str:
    """Text of an engine or a file on one line, without control characters or passwords of URLs, cut off when long."""
    words = _SECRET.sub(r"\1:…@", " ".join(text.split()))
    shown = "".join(character if character.isprintable() else "?" for character in words)
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"
