"""Where the logs are, and how to write one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def extracts(repository: Path) -> Path:
    """Folder of the small extracts that are committed."""
    return repository / "tests" / "data" / "traces"


@pytest.fixture(scope="session")
def shared_traces(repository: Path) -> Path:
    """Folder of the whole traces; skips where they are not at hand."""
    folder = repository.parent / "shared" / "data" / "traces"
    if not folder.is_dir():
        pytest.skip("the whole traces (../shared/data/traces) are not here")
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    """`log("a.csv", text)` writes a file and gives its path."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
