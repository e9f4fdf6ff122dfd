"""GitHub workflow commands: annotations at a file. Nothing in the text can start a command of its own."""

from __future__ import annotations


def annotation(level: str, title: str, message: str, file: str = "") -> str:
    """`::error file=…,title=…::…` on one line."""
    place = f"file={_property(file)}," if file else ""
    return f"::{level} {place}title={_property(title)}::{_data(message)}"


def plain(text: str) -> str:
    """A line of log that is no workflow command, whatever it says."""
    line = " ".join(text.split())
    # GitHub trims blanks before it looks for a command, but not a word joiner.
    return f"\u2060{line}" if line.startswith(("::", "##[")) else line


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
