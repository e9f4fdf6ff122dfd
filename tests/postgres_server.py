"""A real PostgreSQL on a Unix socket, started by tests as an ordinary user.

Tests that need it are skipped where it is not installed; with SKY_MELANGE_REQUIRE_ENGINES=1, as CI sets it, that is a
failure.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    if os.environ.get("SKY_MELANGE_REQUIRE_ENGINES"):
        pytest.fail(f"required, but {reason}")
    pytest.skip(reason)


@contextlib.contextmanager
def running_postgres() -> Iterator[str]:
    """The address of a fresh server; it is stopped and removed at the end."""
    programs, user = _programs(), _as_user()
    # Not pytest's own folder: socket paths are short, and its parents are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o777)
    data = folder / "data"
    try:
        _quietly(*user, programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres")
        control = [*user, programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        _quietly(*control, "-o", f"-c listen_addresses='' -k {folder}", "start")
        try:
            yield f"postgres://postgres@/postgres?host={folder}"
        finally:
            _quietly(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = shutil.which("initdb")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    if found is None and not versions:
        missing("PostgreSQL's initdb is not installed (Debian: postgresql)")
    return Path(found).parent if found else versions[0].parent


def _as_user() -> list[str]:
    """The server refuses to run as root."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        missing("this is root, and there is no user postgres to run the server as")
    return ["runuser", "-u", "postgres", "--"]


def _quietly(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120)
