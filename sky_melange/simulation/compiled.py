"""Imports the compiled loop, with a folder for what was compiled."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final

FOLDER: Final = "simulation"
"""In the user's cache folder, never next to the sources."""

Progress = Callable[[str], None]


def loop(cache_folder: Path | None, progress: Progress | None = None) -> ModuleType:
    """`sky_melange.simulation.loop`. The first caller decides where compiled code is kept; None: nowhere.

    Compiling takes some ten seconds, which `progress` is told of.
    """
    import numba

    folder = None if cache_folder is None else private_folder(cache_folder / FOLDER)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = "" if folder is None else str(folder)
    try:
        from sky_melange.simulation import loop as module
    finally:
        numba.config.CACHE_DIR = before
    if progress is not None and not module.is_ready() and (folder is None or not any(folder.rglob("*.nbc"))):
        progress("Compiling the simulator, once: some ten seconds")
    return module


def private_folder(folder: Path) -> Path | None:
    """The folder, made if it is missing; None where it cannot be written, or others may write to it.

    Compiled code runs as it is read back, so it is read only from where nobody else can put it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError:
        return None
    if os.name == "posix" and (found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return None
    return folder if os.access(folder, os.W_OK) else None
