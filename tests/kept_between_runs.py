"""What takes long to compile is compiled once, for all processes of a run and for the runs that follow."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).resolve().parents[1] / ".pytest_cache" / "d"


def keep_bytecode() -> None:
    """Where Python is not to write it beside the sources, it is kept with pytest's other caches."""
    if sys.dont_write_bytecode:
        sys.dont_write_bytecode = False
        sys.pycache_prefix = str(_FOLDER / "bytecode")
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def with_compiled_simulator(cache: Path) -> Path:
    """A cache folder of a test's own, in which nothing else is known."""
    # Numba compiles again what changed: the loop, its own version, the processor.
    compiled = _FOLDER / "simulation"
    with contextlib.suppress(OSError):  # a checkout that others own: each process compiles for itself
        compiled.mkdir(parents=True, exist_ok=True, mode=0o700)
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / "simulation").exists():
        (cache / "simulation").symlink_to(compiled)
    return cache
