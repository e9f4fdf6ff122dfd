"""The plugin of SkyPilot's API server: plans, checks, prices and stored plans under /plugins/api/melange/.

plugin.py      what SkyPilot loads
routes.py, stored_routes.py   the routes; models.py says what they take and give
service.py     who asks, and what they may; the parameters of plugins.yaml; worker processes, bounded
answers.py     bodies, read bounded; errors as JSON
store.py       stored plans, through SQLAlchemy
worker.py      such a process: jobs.py does the work, refuse.py keeps a workload from the server's files

Importing this raises ImportError with what is missing when SkyPilot's API server is not installed.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sky_melange.skypilot.plugin.plugin import MelangePlugin

# Imported when it is asked for: worker processes do without SkyPilot.
__all__ = ["MelangePlugin"]

_NEEDED: Final = ("sky", "fastapi", "sqlalchemy", "starlette")


def _missing() -> list[str]:
    def is_there(name: str) -> bool:
        try:
            return importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            return False

    return [name for name in _NEEDED if not is_there(name)]


def _error(missing: str) -> ImportError:
    return ImportError(
        f"the API-server plugin of sky-melange needs SkyPilot's API server, and {missing} cannot be imported; "
        "install it with `pip install 'skypilot>=0.14.1,<0.15'` in the server. The command line works without it."
    )


if _missing():
    raise _error(" and ".join(_missing()))


def __getattr__(name: str) -> Any:
    if name != "MelangePlugin":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from sky_melange.skypilot.plugin.plugin import MelangePlugin
    except ImportError as error:
        raise _error(error.name or str(error)) from error
    return MelangePlugin
