"""Where the guard finds its files, and the time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

BUDGETS_VARIABLE: Final = "SKY_MELANGE_BUDGETS"
_RUNTIME_VARIABLE: Final = "SKY_RUNTIME_DIR"
_FOLDER: Final = Path(".sky", "melange")

_CLIENTS_PREFIX: Final = "SKYPILOT_"
_CREDENTIALS: Final = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_PROFILE",
        "AWS_PROFILE",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_SUBSCRIPTION_ID",
        "AZURE_TENANT_ID",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "KUBECONFIG",
    }
)
_SERVERS_OWN: Final = ("SKYPILOT_SERVER_", "SKYPILOT_GLOBAL_CONFIG", "SKYPILOT_PROJECT_CONFIG")


def foreign_variables(names: Iterable[str]) -> tuple[str, ...]:
    """Those of a request's environment variables that SkyPilot's own client never sends, sorted.

    SkyPilot lays the variables of a request over those of the server: whoever chooses `HOME`, `SKYPILOT_GLOBAL_CONFIG`
    or `IS_SKYPILOT_JOB_CONTROLLER` chooses the configuration, the budgets, or who is believed. A list of what is
    allowed holds against names that nobody thought of.
    """
    return tuple(sorted(name for name in names if not _is_a_clients(name)))


def _is_a_clients(name: str) -> bool:
    return name in _CREDENTIALS or (name.startswith(_CLIENTS_PREFIX) and not name.startswith(_SERVERS_OWN))


def melange_folder() -> Path:
    """`~/.sky/melange` of the server."""
    return Path(os.environ.get(_RUNTIME_VARIABLE) or "~").expanduser() / _FOLDER


def budgets_path() -> Path:
    """The file with the budgets: `SKY_MELANGE_BUDGETS` of the server, else `~/.sky/melange/budgets.yaml`."""
    chosen = os.environ.get(BUDGETS_VARIABLE, "").strip()
    return Path(chosen).expanduser() if chosen else melange_folder() / "budgets.yaml"


def ledger_path() -> Path:
    """The ledger, where budgets.yaml names none."""
    return melange_folder() / "budget-ledger.db"


def unix_time_s() -> float:
    """Now."""
    return time.time()
