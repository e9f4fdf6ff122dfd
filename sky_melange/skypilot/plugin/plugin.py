"""What SkyPilot's API server loads from plugins.yaml."""

from __future__ import annotations

import gc
from typing import Any, Final

from sky.server.plugins import BasePlugin, ExtensionContext, PluginContext, RBACRule

from sky_melange import __version__
from sky_melange.skypilot.plugin.routes import PREFIX, router_of
from sky_melange.skypilot.plugin.service import Service, read_settings
from sky_melange.skypilot.plugin.stored_routes import add_stored_routes

_FOR_VIEWERS: Final = (
    ("/plan", "POST"),
    ("/check", "POST"),
    ("/prices", "GET"),
    ("/plans", "GET"),
    ("/plans/:id", "GET"),
    ("/plans/:id/check", "POST"),
    ("/plans/:id/replicas", "GET"),
    ("/dashboard/:name", "GET"),
)
"""What changes nothing. Storing and deleting are not among them, so SkyPilot refuses those to its viewers."""


class MelangePlugin(BasePlugin):  # type: ignore[misc]  # SkyPilot is untyped
    """Plans, checks, prices and stored plans under /plugins/api/melange/, and a page in the dashboard.

    The parameters are those of `settings.Settings`. Raises InputError for others.
    """

    load_contexts = frozenset({PluginContext.UVICORN})

    def __init__(self, **parameters: Any) -> None:
        self._settings = read_settings(parameters)
        self._service: Service | None = None

    @property
    def name(self) -> str:
        """In the list of plugins."""
        return "melange"

    @property
    def version(self) -> str:
        """That of sky-melange."""
        return __version__

    @property
    def js_extension_path(self) -> str:
        """The script that adds the page to the dashboard."""
        return f"{PREFIX}/dashboard/melange.js"

    @property
    def viewer_allowlist(self) -> list[RBACRule]:
        """For SkyPilot's role `viewer`."""
        return [RBACRule(path=f"{PREFIX}{path}", method=method) for path, method in _FOR_VIEWERS]

    def install(self, extension_context: ExtensionContext) -> None:
        """Adds the routes. Nothing is opened or started before the first request."""
        if extension_context.app is None:
            return
        _exempt_what_is_loaded_from_garbage_collection()
        self._service = Service(self._settings)
        router = router_of(self._service)
        add_stored_routes(router, self._service)
        extension_context.app.include_router(router)

    def shutdown(self) -> None:
        """Ends the worker processes."""
        if self._service is not None:
            self._service.close()


def _exempt_what_is_loaded_from_garbage_collection() -> None:
    """Many requests at once make Python search all objects of the process, and nobody is answered meanwhile.

    Most of those objects are modules that stay until the server ends (docs/decisions/092).
    """
    gc.collect()
    gc.freeze()
