"""Names in router files: files, environment variables, and the refusal of names that could be configuration."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from sky_melange.domain.front_door import endpoints_of
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.workload import LaunchMode, Workload
from sky_melange.errors import InputError, Mistake

HAPROXY_FILE: Final = "router/haproxy.cfg"
LUA_FILE: Final = "router/haproxy.lua"
LITELLM_FILE: Final = "router/litellm.yaml"
HOOK_FILE: Final = "router/litellm_hook.py"
TASK_FILE: Final = "router.sky.yaml"

METRICS_PORT: Final = 8404
_MOST_NAMED: Final = 12

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,200}")
MODEL_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")
"""What a router reads as a model's name."""


def check_names(plan: Plan, workload: Workload) -> None:
    """Raises InputError for names and figures that a router's configuration cannot hold as they are.

    A workload.yaml cannot have them; a plan.json that somebody wrote by hand can.
    """
    mistakes = [
        Mistake(source="plan.json", key=key, message=f"{text[:60]!r} cannot be written into a router's configuration")
        for key, text, pattern in (
            ("name", plan.name, _NAME),
            *(("groups[].name", group.name, _NAME) for group in plan.groups),
            ("workload.model.id", workload.model.id, MODEL_ID),
        )
        if not pattern.fullmatch(text)
    ]
    settings = workload.router
    if not (math.isfinite(settings.bytes_per_token) and 0 < settings.bytes_per_token <= 1e6):
        message = f"want a number above 0, found {settings.bytes_per_token!r}"
        mistakes.append(Mistake(source="plan.json", key="workload.router.bytes_per_token", message=message))
    if not 1 <= settings.port <= 65535:
        mistakes.append(Mistake(source="plan.json", key="workload.router.port", message="want 1 to 65535"))
    if mistakes:
        raise InputError(mistakes)


def check_apart(variables: Sequence[Sequence[str]], models: Sequence[Sequence[str]]) -> None:
    """Raises InputError where plans behind one router share an address's variable, or a model."""
    names = [model for each in models for model in each]
    mistakes = [
        Mistake(source="plan.json", key="workload.model", message=f"{name[:60]!r} cannot be a model's name at a router")
        for name in names
        if not MODEL_ID.fullmatch(name)
    ]
    for what, found in (("a model", names), ("an address", [variable for each in variables for variable in each])):
        twice = [name for name, count in Counter(found).items() if count > 1]
        if twice:
            message = f"plans behind one router have {what} in common: {some(twice)}"
            mistakes.append(Mistake(source="fleet.json", key="router", message=message))
    if mistakes:
        raise InputError(mistakes)


def some(names: Sequence[str]) -> str:
    """The first of many names."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def endpoint_variables(group: ReplicaGroup, mode: LaunchMode) -> tuple[str, ...]:
    """Environment variables that hold the addresses (`host:port`) of a group.

    `CHAT_L40S_ENDPOINT`; with several addresses `CHAT_L40S_ENDPOINT_1` and so on.
    """
    base = f"{group.name.upper().replace('-', '_')}_ENDPOINT"
    count = endpoints_of(group, mode)
    return (base,) if count == 1 else tuple(f"{base}_{number}" for number in range(1, count + 1))
