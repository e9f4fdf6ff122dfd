"""router/haproxy.cfg: the routing of a plan as a configuration of HAProxy 2.4 or later with Lua.

One `backend` a request class, one `server` an address of a replica group, with the plan's shares as weights.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sky_melange.domain.front_door import RequestClass, is_routed, needs_router, request_classes, served_names
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.router import RouterKind
from sky_melange.domain.workload import RoutingPolicy, Workload
from sky_melange.render.router_names import (
    HAPROXY_FILE,
    LUA_FILE,
    METRICS_PORT,
    check_apart,
    check_names,
    endpoint_variables,
    some,
)
from sky_melange.render.templates import template_environment

_MAX_WEIGHT: Final = 256
"""Of a HAProxy server."""

HEADERS_BYTES: Final = 16 * 1024
"""Most of a request's headers."""

USUAL_HEADERS_BYTES: Final = 2 * 1024
"""Room in the buffer for headers beside the body: what API clients and proxies before the router send."""

MAX_URL_BYTES: Final = 4096
"""Engines close the connection on much longer ones."""

API_PATHS: Final = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/models",
    "/v1/responses",
)
"""What is let through, beside the name of a model under /v1/models. None of them changes an engine."""

TEMPLATE_BYTES: Final = 14
"""With the brackets around a message as much as the five tokens of its template (`<|im_start|>user`, line ends, …)."""

MIN_BUFFER_BYTES: Final = HEADERS_BYTES + 8 * 1024
MAX_BUFFER_BYTES: Final = 1024 * 1024
POLL_EVENTS: Final = 8
"""Taken from the kernel at once. With HAProxy's default of 200, buffers have left the processor's cache under load."""

REWRITE_BYTES: Final = 1024
"""HAProxy's `tune.maxrewrite`: of the buffer, kept free for headers that are added."""

RARE_FRACTION: Final = 0.001
"""Of the planned requests: the largest, which need not fit the buffer."""

MOST_JSON_TOKENS: Final = 50_000
"""Strings, brackets and commas of a body that are looked at for its `model`: of a chat of 3,000 messages."""

MIN_CONNECTIONS: Final = 8000
MAX_BACKENDS: Final = 64
"""Beyond it, classes that go to the same groups in the same proportions share a backend."""

ERROR_LIMIT: Final = 3
"""Answers 5xx in a row that take a server out."""

RETRIES: Final = 2 * (ERROR_LIMIT + 1)
"""A request that is alone goes past two broken groups: a failure is counted as the next attempt begins."""

RISE: Final = 3
"""Good checks that bring a server back: an engine that fails every request is tried again once in six seconds."""

CHECK_INTERVAL_MS: Final = 2000
CHECKS_PER_SECOND: Final = 4
"""Health checks that all classes together send to one address, at most."""

ALIVE_CHECKS_RPS: Final = 0.5
"""Those of the backend `alive`, in addition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One line `server`: an address of a group in one class. `weight` is 1..256 among servers of the same kind."""

    name: str
    group: str
    variable: str
    weight: int
    max_connections: int
    is_spare: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One class: its servers, and where to go when groups are full.

    `overflow` are (group, servers of it) in order of preference.
    """

    name: str
    comment: str
    servers: tuple[Server, ...]
    overflow: tuple[tuple[str, tuple[Server, ...]], ...]
    planned_groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What the router does with the requests of one plan.

    `only`: the condition that a request is for this plan; "" where the router has no other. `models`: what such a
    request names. `dispatch`: (backend, condition); what meets none goes to `last`. `occupancy`: see `_occupancy`.
    """

    plan: Plan
    workload: Workload
    only: str
    models: tuple[str, ...]
    backends: tuple[Backend, ...]
    dispatch: tuple[tuple[str, str], ...]
    last: str
    variables: tuple[str, ...]
    occupancy: tuple[tuple[str, int, list[tuple[str, str]]], ...]
    limits: Mapping[str, int]
    envelope_bytes: int

    @classmethod
    def of(cls, plan: Plan, workload: Workload, prefix: str = "") -> Door:
        """Backends begin with `prefix`. Raises InputError for names that no configuration can hold."""
        check_names(plan, workload)
        classes = request_classes(plan)
        homes = {name: prefix + home for name, home in _homes(classes).items()}
        backends = tuple(replace(backend, name=prefix + backend.name) for backend in _backends(plan, workload, classes))
        last = max(classes, key=lambda one: (one.max_input_tokens or 0, one.max_output_tokens or 0))
        limits = {group.name: _max_connections(group) for group in plan.groups}
        return cls(
            plan=plan,
            workload=workload,
            only=f"{{ var(txn.workload) -m str {plan.name} }}" if prefix else "",
            models=served_names(workload),
            backends=backends,
            dispatch=tuple(
                (homes[name], condition) for name, condition in _dispatch(classes, workload) if len(classes) > 1
            ),
            last=homes[last.name],
            variables=tuple(variable for group in plan.groups for variable in _variables(group, workload)),
            occupancy=tuple(_occupancy(plan, backends, limits)),
            limits=limits,
            envelope_bytes=envelope_bytes(workload),
        )

    @property
    def api_key(self) -> str | None:
        """The secret that clients need."""
        return self.workload.launch.api_key_secret

    @property
    def check_interval_ms(self) -> int:
        """Of the health checks of its addresses: `health_checks_rps` counts on it."""
        return _check_interval_ms(self.backends)

    @property
    def is_blind(self) -> bool:
        """Nothing of a request decides."""
        return self.plan.policy is RoutingPolicy.BLIND

    @property
    def reads_output(self) -> bool:
        """What a request allows of output decides."""
        return self.plan.policy is RoutingPolicy.SIZE_AWARE

    @property
    def counts_messages(self) -> bool:
        """The JSON of each message is told from the prompt."""
        return not self.is_blind and self.workload.router.envelope_bytes is None


def render(plan: Plan, workload: Workload) -> dict[str, str]:
    """File name -> text; empty when the plan needs no router."""
    if not needs_router(plan.groups, workload):
        return {}
    return _files(f"plan {plan.name}", [Door.of(plan, workload)], is_fleet=False)


def render_fleet(name: str, plans: Sequence[tuple[Plan, Workload]]) -> dict[str, str]:
    """The router of a fleet, which picks the plan by `model` in the body. Raises InputError as `Door.of` does."""
    doors = [Door.of(plan, workload, f"{plan.name}.") for plan, workload in plans]
    check_apart([door.variables for door in doors], [door.models for door in doors])
    return _files(f"fleet {name}", doors, is_fleet=True)


def server_weights(shares: Sequence[tuple[str, float]], servers: Mapping[str, int]) -> dict[str, int]:
    """The weight of each server of a group, 1..256, by group name.

    `shares` are (group, fraction); a group divides its share evenly over `servers[group]` addresses. Of all scales the
    one is taken whose groups come closest to their shares; of equals the smallest.
    """
    per_server = {group: share / servers[group] for group, share in shares}
    largest = max(per_server.values())

    def at(top: int) -> dict[str, int]:
        return {group: max(1, math.floor(each / largest * top + 0.5)) for group, each in per_server.items()}

    return min(
        (at(top) for top in range(1, _MAX_WEIGHT + 1)), key=lambda w: (_worst(w, shares, servers), sum(w.values()))
    )


def worst_error_fraction(
    weights: Mapping[str, int], shares: Sequence[tuple[str, float]], servers: Mapping[str, int]
) -> float:
    """The largest distance (0..1) of a group's part by weight from its share."""
    whole = sum(weights[group] * servers[group] for group, _ in shares)
    return max(abs(weights[group] * servers[group] / whole - share) for group, share in shares)


def _files(of: str, doors: Sequence[Door], *, is_fleet: bool) -> dict[str, str]:
    limits = [limit for door in doors for limit in door.limits.values()]
    backends = [backend for door in doors for backend in door.backends]
    keys = [door.api_key for door in doors]
    models = models_json([model for door in doors for model in door.models]) if is_fleet else ""
    servers = {server.name: server for backend in backends for server in backend.servers}
    # A fleet's router has to find the model, which clients may write after the messages.
    rare_fraction = 0.0 if is_fleet else RARE_FRACTION
    buffers = [_buffer_bytes(door.plan, door.workload, rare_fraction) for door in doors]
    buffer_bytes = max(*buffers, len(models) + HEADERS_BYTES)
    text = (
        template_environment()
        .get_template("haproxy.cfg.j2")
        .render(
            of=of,
            doors=doors,
            is_fleet=is_fleet,
            api_keys=list(dict.fromkeys(key for key in keys if key is not None)),
            all_keyed=None not in keys,
            port=doors[0].workload.router.port,
            models=models,
            models_words=some([model for door in doors for model in door.models]),
            least_limit=min(limits),
            max_connections=max(MIN_CONNECTIONS, 4 * sum(limits)),
            template_bytes=TEMPLATE_BYTES,
            first_message_bytes=len('"role": "user", "content": ') - TEMPLATE_BYTES,
            poll_events=POLL_EVENTS,
            buffer_bytes=buffer_bytes,
            first_bytes=buffer_bytes - HEADERS_BYTES - REWRITE_BYTES,
            check_interval_ms=min(door.check_interval_ms for door in doors),
            metrics_port=METRICS_PORT,
            paths=API_PATHS,
            headers_bytes=HEADERS_BYTES,
            most_url_bytes=MAX_URL_BYTES,
            error_limit=ERROR_LIMIT,
            retries=RETRIES,
            rise=RISE,
            addresses=sorted(servers.values(), key=lambda server: server.name),
        )
    )
    lua = (
        template_environment()
        .get_template("haproxy.lua.j2")
        .render(error_limit=ERROR_LIMIT, is_fleet=is_fleet, most_tokens=MOST_JSON_TOKENS)
    )
    return {HAPROXY_FILE: text, LUA_FILE: lua}


def models_json(names: Sequence[str]) -> str:
    """What `/v1/models` answers, in OpenAI's form."""
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "sky-melange"} for name in names]
    return json.dumps({"object": "list", "data": models}, separators=(",", ":"))


def health_checks_rps(plan: Plan, workload: Workload) -> Mapping[str, float]:
    """Health checks that one router sends to each group's address, per second, while the group answers."""
    if workload.router.kind is not RouterKind.HAPROXY or not is_routed(plan.groups, workload):
        return {}
    backends = _backends(plan, workload, request_classes(plan))
    checked = Counter(server.group for backend in backends for server in backend.servers)
    each_rps = 1000 / _check_interval_ms(backends)
    return {name: count * each_rps + ALIVE_CHECKS_RPS for name, count in checked.items()}


def _backends(plan: Plan, workload: Workload, classes: Sequence[RequestClass]) -> tuple[Backend, ...]:
    homes = _homes(classes)
    return tuple(_backend(plan, workload, one) for one in classes if homes[one.name] == one.name)


def _check_interval_ms(backends: Sequence[Backend]) -> int:
    return max(CHECK_INTERVAL_MS, math.ceil(len(backends) * 1000 / CHECKS_PER_SECOND))


def envelope_bytes(workload: Workload) -> int:
    """Bytes of a request that are not prompt; by default those of the JSON that a chat request needs at least."""
    if workload.router.envelope_bytes is not None:
        return workload.router.envelope_bytes
    longest = workload.traffic.grid.output_edges[-1]
    message = [{"role": "user", "content": ""}]
    request = {"model": workload.model.id, "messages": message, "max_tokens": longest, "stream": True}
    return len(json.dumps(request, ensure_ascii=False).encode())


def _homes(classes: Sequence[RequestClass]) -> dict[str, str]:
    """The class whose backend serves each class: its own, or, where there are very many, the first that is alike."""
    if len(classes) <= MAX_BACKENDS:
        return {one.name: one.name for one in classes}
    first: dict[tuple[object, ...], str] = {}
    return {one.name: first.setdefault((one.shares, one.spare), one.name) for one in classes}


def _backend(plan: Plan, workload: Workload, one: RequestClass) -> Backend:
    groups = {group.name: group for group in plan.groups}
    counts = {name: len(_variables(group, workload)) for name, group in groups.items()}
    weights = server_weights(one.shares, counts)
    spare_weights = _spare_weights([groups[name] for name in one.spare])
    servers = {
        name: _servers(groups[name], workload, weight, is_spare=name not in weights)
        for name, weight in {**weights, **spare_weights}.items()
    }
    error = worst_error_fraction(weights, one.shares, counts)
    planned = ", ".join(f"{name} {share:.4%}" for name, share in one.shares)
    return Backend(
        name=one.name,
        comment=f"{planned}; off by at most {error:.3%} for whole-number weights",
        servers=tuple(server for group in servers.values() for server in group),
        overflow=tuple(servers.items()) if len(servers) > 1 else (),
        planned_groups=tuple(weights),
    )


def _max_body_bytes(workload: Workload, input_tokens: int) -> int:
    return envelope_bytes(workload) + math.floor(input_tokens * workload.router.bytes_per_token)


def _spare_weights(groups: Sequence[ReplicaGroup]) -> dict[str, int]:
    """By what each has left: replicas × unused fraction."""
    left = {group.name: max(1e-3, (1 - group.utilization) * group.replicas) for group in groups}
    most = max(left.values(), default=1.0)
    return {name: max(1, round(value / most * _MAX_WEIGHT)) for name, value in left.items()}


def _servers(group: ReplicaGroup, workload: Workload, weight: int, *, is_spare: bool) -> tuple[Server, ...]:
    variables = _variables(group, workload)
    return tuple(
        Server(
            name=group.name if len(variables) == 1 else f"{group.name}-{number}",
            group=group.name,
            variable=variable,
            weight=weight,
            max_connections=max(1, _max_connections(group) // len(variables)),
            is_spare=is_spare,
        )
        for number, variable in enumerate(variables, start=1)
    )


def _variables(group: ReplicaGroup, workload: Workload) -> tuple[str, ...]:
    return endpoint_variables(group, workload.launch.mode)


def _max_connections(group: ReplicaGroup) -> int:
    """Requests in flight on the whole group at which the profile still meets the targets."""
    return group.max_concurrency * group.replicas


def _occupancy(
    plan: Plan, backends: Sequence[Backend], limits: dict[str, int]
) -> list[tuple[str, int, list[tuple[str, str]]]]:
    """(group, its limit, the (backend, server) pairs whose connections count) where there is another group to go to."""
    if not any(backend.overflow for backend in backends):
        return []
    return [
        (
            group.name,
            limits[group.name],
            [(b.name, server.name) for b in backends for server in b.servers if server.group == group.name],
        )
        for group in plan.groups
    ]


def _dispatch(classes: Sequence[RequestClass], workload: Workload) -> list[tuple[str, str]]:
    """(class, condition), the most frequent class first: a request meets one condition, or none (no size is known).

    What is larger than every class goes to the last.
    """
    rules: list[tuple[RequestClass, str]] = []
    rows: dict[int | None, list[RequestClass]] = {}
    for one in classes:
        rows.setdefault(one.max_input_tokens, []).append(one)
    above = ""
    for number, (input_tokens, row) in enumerate(rows.items(), start=1):
        below = ""
        if input_tokens is not None and number < len(rows):
            below = str(_max_body_bytes(workload, input_tokens))
        bound = f"{{ var(txn.body_bytes) -m int {above}:{below} }}" if above or below else ""
        rules += [(one, f"{bound} {condition}".strip()) for one, condition in _by_output(row)]
        above = str(int(below) + 1) if below else ""
    return [(one.name, condition) for one, condition in sorted(rules, key=lambda rule: -rule[0].rate_rps)]


def _by_output(row: Sequence[RequestClass]) -> Iterator[tuple[RequestClass, str]]:
    """(class, condition) of the classes of one input."""
    *smaller, largest = [one for one in row if one.max_output_tokens is not None] or row
    unknown = [one for one in row if one.max_output_tokens is None and one is not largest]
    above = ""
    for one in smaller:
        yield one, f"{{ var(txn.max_output) -m int {above}:{one.max_output_tokens} }}"
        above = str((one.max_output_tokens or 0) + 1)
    for one in unknown:
        yield one, "!{ var(txn.max_output) -m found }"
    if unknown:
        yield largest, f"{{ var(txn.max_output) -m int {above}: }}"
    else:
        yield largest, f"!{{ var(txn.max_output) -m int :{smaller[-1].max_output_tokens} }}" if smaller else ""


def _buffer_bytes(plan: Plan, workload: Workload, rare_fraction: float) -> int:
    """Holds all planned requests but the rarest, so that they can be sent again; HAProxy copies it for each request."""
    left = rare_fraction * math.fsum(route.rate_rps for route in plan.routing)
    longest = 0
    for route in sorted(plan.routing, key=lambda route: -route.input_tokens):
        longest, left = route.input_tokens, left - route.rate_rps
        if left < 0:
            break
    wanted = USUAL_HEADERS_BYTES + _max_body_bytes(workload, longest)
    return min(MAX_BUFFER_BYTES, max(MIN_BUFFER_BYTES, wanted))


def _worst(weights: Mapping[str, int], shares: Sequence[tuple[str, float]], servers: Mapping[str, int]) -> float:
    return round(worst_error_fraction(weights, shares, servers), 9)
