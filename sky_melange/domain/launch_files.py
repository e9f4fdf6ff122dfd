"""Names of the files that a launch keeps in a plan's folder."""

from __future__ import annotations

from typing import Final

RECORD_FILE: Final = "launch.json"
"""What `up` has started."""

ENDPOINTS_FILE: Final = "endpoints.env"
"""Where the groups and the router answer: `NAME=host:port` lines."""

PROJECT_CONFIG_FILE: Final = ".sky.yaml"
"""SkyPilot's configuration for whoever launches from the folder."""

KEPT_FILES: Final = (RECORD_FILE, ENDPOINTS_FILE)
"""They stay when the plan is made again."""
