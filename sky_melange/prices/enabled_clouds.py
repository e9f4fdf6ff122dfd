"""The clouds that SkyPilot found enabled when it last looked: read from its own file, without SkyPilot."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from sky_melange.errors import InputError
from sky_melange.prices.clouds import LAUNCHABLE_CLOUDS
from sky_melange.untrusted import parse_json

_HOME_VARIABLES: Final = ("SKY_MELANGE_SKYPILOT_HOME", "SKY_RUNTIME_DIR")
_ELSEWHERE: Final = ("SKYPILOT_API_SERVER_ENDPOINT", "SKYPILOT_DB_CONNECTION_URI")
"""Where one of them is set, a server on another machine or another database knows the clouds."""

_QUERY: Final = (
    "SELECT key, substr(value, 1, 10000) FROM config WHERE key LIKE 'enabled\\_clouds\\_%\\_compute' ESCAPE '\\'"
)
_USUAL_WORKSPACE: Final = "enabled_clouds_default_compute"
_BUSY_SECONDS: Final = 0.5


class EnabledClouds(NamedTuple):
    """`clouds` None: no list is at hand; `problem` says why where there should be one."""

    clouds: tuple[str, ...] | None
    problem: str = ""


def enabled_clouds() -> EnabledClouds:
    """Those of which prices are known, sorted. Kubernetes and SSH node pools are never among them: see candidates.own.

    Of several workspaces SkyPilot's usual one counts.
    """
    if any(os.environ.get(name) for name in _ELSEWHERE):
        return EnabledClouds(None)
    home = next((os.environ[name] for name in _HOME_VARIABLES if os.environ.get(name)), "~")
    path = Path(home).expanduser() / ".sky" / "state.db"
    try:
        if not path.is_file():
            return EnabledClouds(None)
        with closing(_opened(path)) as database:
            lists = dict(database.execute(_QUERY).fetchmany(100))
        text = lists.get(_USUAL_WORKSPACE) or (next(iter(lists.values())) if len(lists) == 1 else None)
        return EnabledClouds(None if text is None else _names(parse_json(text, "value")))
    except (OSError, sqlite3.Error, InputError, ValueError, TypeError) as error:
        return EnabledClouds(None, f"SkyPilot's list of enabled clouds ({path}) cannot be read: {error}")


def _opened(path: Path) -> sqlite3.Connection:
    """To read alone: where nothing is being written, without the files that SQLite would put beside it."""
    is_quiet = not path.with_name(f"{path.name}-wal").exists()
    mode = "mode=ro&immutable=1" if is_quiet else "mode=ro"
    return sqlite3.connect(f"file:{quote(str(path.resolve()))}?{mode}", uri=True, timeout=_BUSY_SECONDS)


def _names(found: object) -> tuple[str, ...]:
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise TypeError("it is no list")
    names = {name.lower() for name in found if isinstance(name, str)}
    return tuple(sorted(names & set(LAUNCHABLE_CLOUDS)))
