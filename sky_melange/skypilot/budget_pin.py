"""An API-server plugin that keeps clients from choosing another admin policy than the server's.

SkyPilot 0.14.1 merges the config that a client sends into the server's, `admin_policy` included: whoever sets that key
in their own config goes round every policy, a budget guard too. In `~/.sky/plugins.yaml` of the server:

    plugins:
      - class: sky_melange.skypilot.budget_pin.PinnedAdminPolicy
"""

from __future__ import annotations

from typing import Any

from sky.server.plugins import BasePlugin
from sky.skylet import constants

_KEY = ("admin_policy",)


class PinnedAdminPolicy(BasePlugin):  # type: ignore[misc]
    """Adds `admin_policy` to the keys of a client's config that SkyPilot ignores, in every process of the server."""

    def install(self, extension_context: Any) -> None:  # noqa: ARG002
        """SkyPilot's hook."""
        if _KEY not in constants.SKIPPED_CLIENT_OVERRIDE_KEYS:
            constants.SKIPPED_CLIENT_OVERRIDE_KEYS.append(_KEY)
