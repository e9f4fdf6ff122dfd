"""Where the guard finds its files, and the time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

BUDGETS_VARIABLE: Final = "SKY_MELANGE_BUDGETS"
_RUNTIME_VARIABLE: Final = "SKY_RUNTIME_DIR"
_FOLDER: Final = Path(".sky", "melange")

OWN_VARIABLES: Final = (BUDGETS_VARIABLE, _RUNTIME_VARIABLE, "HOME")
"""SkyPilot lays the variables that a client sends over those of the server. No client may send these: whoever chooses
where the budgets are chooses the budgets. SkyPilot's own client sends none of them."""


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
