"""An API-server plugin that keeps requests from choosing another admin policy than the server's.

SkyPilot 0.14.1 lays the environment and the configuration that a request brings over those of the server. Where they
name another `admin_policy` or another configuration, the server's policy is not asked. In `~/.sky/plugins.yaml` of the
server:

    plugins:
      - class: sky_melange.skypilot.budget_pin.PinnedAdminPolicy
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from sky import exceptions, skypilot_config
from sky.server.plugins import BasePlugin, PluginContext
from sky.skylet import constants

from sky_melange.errors import InputError
from sky_melange.skypilot.budget.request import refuse_foreign_variables

PINNED_KEYS: Final = (
    ("admin_policy",),
    ("jobs", "controller", "consolidation_mode"),
    ("serve", "controller", "consolidation_mode"),
    ("kubernetes", "pricing"),
    ("slurm", "pricing"),
)
"""What decides whether the guard is asked, whom it believes, and what the machines of one's own cost."""

_CONTEXTS: Final = ("kubernetes", "context_configs")
_OVERRIDE: Final = "override_request_env_and_config"

_Override = Callable[[Any, str, str], contextlib.AbstractContextManager[None]]


class PinnedAdminPolicy(BasePlugin):  # type: ignore[misc]
    """Runs every request with the server's own `PINNED_KEYS`, and refuses one that brings the server's variables."""

    def install(self, extension_context: Any) -> None:
        """SkyPilot's hook. Raises AttributeError where SkyPilot has no such place: then the server does not start."""
        for key in PINNED_KEYS:
            if key not in constants.SKIPPED_CLIENT_OVERRIDE_KEYS:
                constants.SKIPPED_CLIENT_OVERRIDE_KEYS.append(key)
        if extension_context.context is PluginContext.CONTROLLER:
            return
        from sky.server.requests import executor

        override = getattr(executor, _OVERRIDE)
        if not getattr(override, "is_pinned", False):
            setattr(executor, _OVERRIDE, _pinned(override))


def _pinned(override: _Override) -> _Override:
    @contextlib.contextmanager
    def pinned(request_body: Any, request_id: str, request_name: str) -> Iterator[None]:
        from sky.server import daemons

        if daemons.is_daemon_request_id(request_id):
            with override(request_body, request_id, request_name):
                yield
            return
        try:
            refuse_foreign_variables(request_body.env_vars)
        except InputError as error:
            raise exceptions.UserRequestRejectedByPolicy(f"Rejected by the budget guard: {error}") from None
        # With the server's own environment, which is in place until the request's is laid over it.
        skypilot_config.reload_config()
        own = skypilot_config.to_dict()
        with (
            override(request_body, request_id, request_name),
            skypilot_config.replace_skypilot_config(_with_pinned(skypilot_config.to_dict(), own)),
        ):
            yield

    pinned.is_pinned = True  # type: ignore[attr-defined]
    return pinned


def _with_pinned(config: Any, own: Any) -> Any:
    """A request's configuration with the server's own values of what is pinned."""
    contexts = {*(config.get_nested(_CONTEXTS, None) or {}), *(own.get_nested(_CONTEXTS, None) or {})}
    for key in (*PINNED_KEYS, *((*_CONTEXTS, name, "pricing") for name in contexts)):
        # Taken away first: setting a value merges it with what is there.
        if config.get_nested(key, None) is not None:
            config.pop_nested(key, default_value=None)
        value = own.get_nested(key, None)
        if value is not None:
            config.set_nested(key, value)
    return config
