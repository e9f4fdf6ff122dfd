"""Digests of a plan's inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from sky_melange.domain.workload import Workload


def workload_digest(path: Path, workload: Workload) -> str:
    """sha256 of a workload file, of the counts of the log or preset that it names, and of what runs already."""
    counted = repr(workload.traffic).encode() if workload.traffic.is_counted else b""
    kept = b"" if workload.constraints.keep is None else repr(workload.constraints.keep.groups).encode()
    return hashlib.sha256(path.read_bytes() + counted + kept).hexdigest()


def digest_of(lines: Iterable[str]) -> str:
    """sha256 over the lines, in whatever order they come."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
