"""Digests of a plan's inputs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from sky_melange.domain.digest import json_sha256
from sky_melange.workload_file import file_values


def workload_digest(path: Path) -> str:
    """sha256 of the keys and values of a workload file: comments and layout make no difference."""
    return json_sha256(file_values(path))


def relative_path(path: Path, folder: Path) -> str | None:
    """A file's path from a folder, with `/`; None where no such path leads there (another drive)."""
    try:
        # Folders that are links are followed: `..` from within them leads elsewhere.
        return Path(
            os.path.relpath(path.parent.resolve() / path.name, folder.parent.resolve() / folder.name)
        ).as_posix()
    except ValueError:
        return None


def digest_of(lines: Iterable[str]) -> str:
    """sha256 over the lines, in whatever order they come."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
