"""A SkyPilot plugin that gives an API server's executors a SkyServe: the services that a file lists.

The file is `.sky/fake_services.json` in the server's home: what `sky.serve.status` returns, or `{"error": "..."}` for a
controller that is not up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sky.server.plugins import BasePlugin, ExtensionContext

FILE = "fake_services.json"


class FakeServe(BasePlugin):
    @property
    def hidden_from_display(self) -> bool:
        return True

    def install(self, extension_context: ExtensionContext) -> None:
        from sky.serve.server import core

        core.status = status


def status(service_names: list[str] | None = None) -> list[dict[str, Any]]:
    """In SkyPilot's own form. Only what is asked for."""
    from sky import exceptions
    from sky.serve import serve_state

    found = json.loads((Path.home() / ".sky" / FILE).read_text(encoding="utf-8"))
    if isinstance(found, dict):
        raise exceptions.ClusterNotUpError(found["error"], cluster_status=None)
    return [
        {
            **service,
            "status": serve_state.ServiceStatus(service["status"]),
            "replica_info": [
                {"replica_id": number, "status": serve_state.ReplicaStatus(word), "handle": None}
                for number, word in enumerate(service["replicas"])
            ],
        }
        for service in found
        if service_names is None or service["name"] in service_names
    ]
