"""The plugin's parameters in SkyPilot's plugins.yaml."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from sky_melange.errors import InputError, Mistake

BYTES_PER_MIB: Final = 1024 * 1024
_MOST: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits and places. `database_url` None: where SkyPilot's server keeps its own state."""

    offline: bool = False
    workers: int = 2
    max_waiting: int = 100
    max_waiting_per_user: int = 50
    max_seconds: int = 60
    max_body_mib: int = 4
    max_plans_per_user: int = 200
    database_url: str | None = None

    @property
    def max_body_bytes(self) -> int:
        """The most that is read of a request's body."""
        return self.max_body_mib * BYTES_PER_MIB


def read_settings(parameters: dict[str, Any]) -> Settings:
    """Raises InputError with every unknown name and every value that is not of its kind."""
    known = {field.name: field for field in dataclasses.fields(Settings)}
    mistakes = [_mistake(name, value, known) for name, value in parameters.items()]
    if any(mistakes):
        source = "plugins.yaml: MelangePlugin"
        raise InputError(
            [
                Mistake(source=source, key=f"parameters.{name}", message=message)
                for name, message in zip(parameters, mistakes, strict=True)
                if message
            ]
        )
    return Settings(**parameters)


def _mistake(name: str, value: object, known: dict[str, Any]) -> str:
    if name not in known:
        return f"is unknown; there are: {', '.join(known)}"
    default = known[name].default
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else f"want true or false, found {value!r}"
    if isinstance(default, int):
        fits = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST
        return "" if fits else f"want a whole number from 1 to {_MOST}, found {value!r}"
    return "" if value is None or isinstance(value, str) else f"want a text, found {type(value).__name__}"
