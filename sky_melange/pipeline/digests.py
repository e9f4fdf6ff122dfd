"""Digests of a plan's inputs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sky_melange.domain.digest import json_sha256
from sky_melange.workload_file import file_text, file_values

WORKLOAD_ENDINGS: Final = (".yaml", ".yml")


def workload_digest(path: Path, text: str | None = None) -> str:
    """sha256 of the keys and values of a workload file: comments and layout make no difference."""
    return json_sha256(file_values(path, file_text(path) if text is None else text))


def relative_path(path: Path, folder: Path) -> str | None:
    """The way from a plan's folder to its workload file, with `/`; None where no such way can be followed later.

    That is: a pipe, a file that is no .yaml or .yml, or one on another drive.
    """
    if path.suffix not in WORKLOAD_ENDINGS or not path.is_file():
        return None
    try:
        # Folders that are links are followed: `..` from within them leads elsewhere.
        way = os.path.relpath(path.parent.resolve() / path.name, folder.parent.resolve() / folder.name)
    except ValueError:
        return None
    return Path(way).as_posix()


def digest_of(lines: Iterable[str]) -> str:
    """sha256 over the lines, in whatever order they come."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
