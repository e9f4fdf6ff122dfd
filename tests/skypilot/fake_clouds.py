"""A SkyPilot plugin that makes clouds count as enabled in every process of an API server, as SkyPilot's own tests do.

SkyPilot loads it from the server's plugins.yaml, by its own means, before any request is run. The check of credentials
that a server does when it boots is left out: it would ask each cloud.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sky.server.plugins import BasePlugin, ExtensionContext


class FakeClouds(BasePlugin):
    def __init__(self, clouds: Sequence[str]) -> None:
        self._clouds = tuple(clouds)

    @property
    def hidden_from_display(self) -> bool:
        return True

    def install(self, extension_context: ExtensionContext) -> None:
        enable(self._clouds)


def enable(names: Sequence[str]) -> None:
    """Make exactly these clouds enabled in this process."""
    from sky import check
    from sky.utils import registry

    enabled = [registry.CLOUD_REGISTRY[name] for name in names]
    check.get_cached_enabled_clouds_or_refresh = lambda *_arguments, **_options: enabled
    check.check_capability = nothing_to_check
    check.check = nothing_to_check


def nothing_to_check(*_arguments: Any, **_options: Any) -> dict[str, list[str]]:
    """By name, as SkyPilot hands it to another process."""
    return {}
