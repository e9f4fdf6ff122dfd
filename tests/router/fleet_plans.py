"""Plans of two models made by hand, for one router: of three groups, and of a single group with an adapter."""

from __future__ import annotations

from dataclasses import replace

import router_plans as plans

from sky_melange.domain.adapter import Adapter
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import RoutingPolicy, Workload

CHAT, CODE, SQL = "example/model-8b", "org/code-32b", "org/sql"
CODE_GROUP = "code-h100"


def two_models(*keys: str | None) -> list[tuple[Plan, Workload]]:
    """A plan of three groups, and one of a single group with an adapter, each with its key."""
    chat_key, code_key = keys or (None, None)
    chat, code = plans.workload(), plans.workload(RoutingPolicy.SIZE_AWARE)
    model = replace(code.model, id=CODE, adapters=(Adapter(id=SQL, share=0.3, rank=8),), adapter_overhead=0.1)
    code = replace(code, name="code", model=model, launch=replace(code.launch, api_key_secret=code_key))
    chat = replace(chat, launch=replace(chat.launch, api_key_secret=chat_key))
    routing = plans.routes({(100, 100): {CODE_GROUP: 1.0}, (1000, 100): {CODE_GROUP: 1.0}})
    routing = tuple(replace(route, can_serve=(CODE_GROUP,)) for route in routing)
    small = plans.plan(RoutingPolicy.SIZE_AWARE, name="code", groups=(plans.group(CODE_GROUP),), routing=routing)
    return [(plans.plan(), chat), (small, code)]
