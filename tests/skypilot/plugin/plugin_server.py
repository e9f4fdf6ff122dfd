"""The plugin as an administrator writes it into plugins.yaml, with a SkyServe of our own beside it."""

from __future__ import annotations

from typing import Any, Final

PLUGIN: Final = "sky_melange.skypilot.plugin.MelangePlugin"
API: Final = "/plugins/api/melange"


def plugins(**parameters: Any) -> list[dict[str, Any]]:
    return [
        {"class": "fake_serve.FakeServe"},
        {"class": PLUGIN, "parameters": {"offline": True, **parameters}},
    ]
