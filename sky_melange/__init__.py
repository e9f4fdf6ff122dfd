"""sky-melange: the cheapest mix of GPUs that serves a language model's traffic within its latency targets.

The public API is `sky_melange.api`, which SkyPilot shows as `sky.melange`. It is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "api":
        return importlib.import_module("sky_melange.api")
    raise AttributeError(f"module 'sky_melange' has no attribute {name!r}")
