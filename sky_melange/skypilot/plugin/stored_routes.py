"""The routes of stored plans.

Running replicas beside the planned ones, by SkyServe's own state.

SkyPilot's server asks SkyServe as for `sky serve status`: a request in its own queue, run by its own executors, in the
user's name. What it does not say is not known, which is no 0.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from sky_melange.skypilot.plugin.answers import OF_BODIES, OF_WORK, RefusedError, body_of, failures, problem, read_body
from sky_melange.skypilot.plugin.models import PlanList, PolicyRequest, Replicas, Stored, StoreRequest
from sky_melange.skypilot.plugin.refuse import part_of, without_plans
from sky_melange.skypilot.plugin.service import Service, json_text, json_value, not_found, reader_of, user_of
from sky_melange.skypilot.plugin.store import PlanStore, StoredPlan

if TYPE_CHECKING:
    from fastapi import Request


_WAIT_S: Final = 45.0
_POLL_S: Final = 0.25
_READY: Final = "READY"
_WITHOUT_MACHINE: Final = frozenset(
    {"FAILED", "FAILED_INITIAL_DELAY", "FAILED_PROBING", "FAILED_PROVISION", "PREEMPTED"}
)
"""SkyServe lists replicas whose machine is gone, too; they cost nothing. One of `FAILED_CLEANUP` may still have its."""

_NOT_RUNNING: Final = "NOT RUNNING"


class UnknownStateError(Exception):
    """SkyServe's state could not be found out; the message says why."""


_AS_CLUSTERS: Final = "the plan launches clusters, not services: `sky status` knows of them"
_MOST_POLICY_BYTES: Final = 64 * 1024
_SHOWN: Final = ("requests_per_usd", "figures", "groups", "mode", "fleet_figures", "parts")
_OF_ONE: Final = "is a fleet: name one of its plans by `?workload=NAME`"
_Value = TypeVar("_Value")
_Workload = Annotated[
    str | None, Query(pattern="^[a-z][a-z0-9-]{0,99}$", description="Of a fleet: the workload whose plan is meant.")
]
_PlanId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="The id of a stored plan.")]


def add_stored_routes(router: APIRouter, service: Service) -> None:
    """Create, list, get, delete, check, report, replicas."""
    _add_collection(router, service)
    _add_plan(router, service)
    _add_state(router, service)


def _add_collection(router: APIRouter, service: Service) -> None:
    settings = service.settings

    @router.get(
        "/plans",
        summary="List stored plans",
        description="One's own, newest first; those of all users for SkyPilot's administrators.",
        responses={200: {"model": PlanList}, **failures(500)},
    )
    async def list_plans(request: Request) -> Response:
        user = user_of(request)
        plans = await service.with_store(lambda store: store.list(reader_of(user)))
        return json_value({"plans": [{**_head(plan), **json.loads(plan.summary)} for plan in plans]})

    @router.post(
        "/plans",
        summary="Store a plan",
        description="A plan.json, or the plan of a workload; a fleet, or that of a fleet.yaml.",
        status_code=201,
        openapi_extra=body_of(StoreRequest),
        responses={201: {"model": Stored}, **failures(409, 500, *OF_BODIES, *OF_WORK)},
    )
    async def store_plan(request: Request) -> Response:
        user = user_of(request)
        with service.place(user):
            made = await service.work("describe", await read_body(request, limit_bytes=settings.max_body_bytes))

        def create(store: PlanStore) -> str:
            described = json.loads(made)
            stored = store.create(
                name=described["name"],
                owner_id=user.id,
                owner_name=user.name,
                now=_now(),
                limit=settings.max_plans_per_user,
                summary=json.dumps(described["summary"]),
                shown=json.dumps({key: described[key] for key in _SHOWN if key in described}),
                plan=described["plan"],
            )
            return _whole(stored)

        return json_text(await service.with_store(create), 201)


def _add_plan(router: APIRouter, service: Service) -> None:
    @router.get(
        "/plans/{plan_id}",
        summary="Get a stored plan",
        responses={200: {"model": Stored}, **failures(404, 500)},
    )
    async def get_plan(request: Request, plan_id: _PlanId, workload: _Workload = None) -> Response:
        return json_text(await _visible(service, request, plan_id, _whole, workload))

    @router.delete(
        "/plans/{plan_id}",
        summary="Delete a stored plan",
        description="What was launched from it is left alone.",
        status_code=204,
        response_class=Response,
        responses=failures(404, 500),
    )
    async def delete_plan(request: Request, plan_id: _PlanId) -> Response:
        user = user_of(request)
        if not await service.with_store(lambda store: store.delete(plan_id, reader_of(user))):
            raise not_found()
        return Response(status_code=204)


def _add_state(router: APIRouter, service: Service) -> None:
    @router.post(
        "/plans/{plan_id}/check",
        summary="Check a stored plan against today's prices",
        openapi_extra=body_of(PolicyRequest, is_required=False),
        responses=failures(404, 500, *OF_BODIES, *OF_WORK),
    )
    async def check_plan(request: Request, plan_id: _PlanId, workload: _Workload = None) -> Response:
        with service.place(user_of(request)):
            policy = await read_body(request, limit_bytes=_MOST_POLICY_BYTES) if _has_body(request) else b"{}"
            plan = await _visible(service, request, plan_id, lambda stored: _single(stored).plan.encode(), workload)
            return json_text(await service.work("check_stored", plan, policy=policy.decode(errors="replace")))

    @router.get(
        "/plans/{plan_id}/report",
        summary="A stored plan as a page for whoever signs the bill",
        description="The page of `sky-melange report --no-simulate`.",
        response_class=HTMLResponse,
        responses=failures(404, 500, *OF_WORK),
    )
    async def report(request: Request, plan_id: _PlanId, workload: _Workload = None) -> Response:
        with service.place(user_of(request)):
            stored = await _visible(service, request, plan_id, lambda stored: stored, workload)
            is_fleet = "fleet_figures" in json.loads(stored.shown)
            return HTMLResponse(await service.work("report", stored.plan.encode(), is_fleet=is_fleet))

    @router.get(
        "/plans/{plan_id}/replicas",
        summary="Running replicas beside the planned ones",
        description="By SkyServe's own state on this server. What it does not say is null, with a reason.",
        responses={200: {"model": Replicas}, **failures(404, 500)},
    )
    async def replicas(request: Request, plan_id: _PlanId, workload: _Workload = None) -> Response:
        shown = await _visible(service, request, plan_id, lambda stored: json.loads(_single(stored).shown), workload)
        groups = shown["groups"]
        if shown["mode"] != "serve":
            found = _unknown_states(groups, _AS_CLUSTERS, is_service=False)
        else:
            try:
                found = _group_states(groups, await _service_records(request, [group["name"] for group in groups]))
            except UnknownStateError as error:
                found = _unknown_states(groups, str(error), is_service=True)
        return json_value({"groups": found, "observed_at": _now()})


async def _visible(
    service: Service, request: Request, plan_id: str, use: Callable[[StoredPlan], _Value], workload: str | None = None
) -> _Value:
    """What `use` makes of the plan, or of that of a workload of a fleet, on the store's thread: a plan may be long."""
    user = user_of(request)

    def read(store: PlanStore) -> _Value:
        stored = store.get(plan_id, reader_of(user))
        if stored is None:
            raise not_found()
        return use(stored if workload is None else _part(stored, workload))

    return await service.with_store(read)


def _part(stored: StoredPlan, workload: str) -> StoredPlan:
    """The plan of a workload of a fleet, as if it were stored by itself. Raises RefusedError where there is none."""
    shown = json.loads(stored.shown).get("parts", {}).get(workload)
    plan = None if shown is None else part_of(stored.plan, workload)
    if plan is None:
        raise not_found()
    return replace(stored, name=f"{stored.name}: {workload}", shown=json.dumps(shown), plan=plan)


def _single(stored: StoredPlan) -> StoredPlan:
    """Raises RefusedError for a fleet."""
    if "fleet_figures" in json.loads(stored.shown):
        raise RefusedError(422, 2, [problem(_OF_ONE)])
    return stored


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _head(plan: StoredPlan) -> dict[str, Any]:
    return {
        "id": plan.id,
        "name": plan.name,
        "owner": plan.owner_name or plan.owner_id,
        "created_at": plan.created_at,
        "updated_at": plan.updated_at,
    }


def _whole(plan: StoredPlan) -> str:
    """JSON text; the plan in it is as it was stored."""
    head = json.dumps(_head(plan), ensure_ascii=False)
    shown = json.loads(plan.shown)
    if "fleet_figures" in shown:
        beside = {"plan": None, "requests_per_usd": None, "figures": None, "fleet_figures": shown["fleet_figures"]}
        return f'{head[:-1]}, "fleet": {without_plans(plan.plan)}, {json.dumps(beside, ensure_ascii=False)[1:]}'
    # Plans that an earlier release stored have none.
    beside = {"requests_per_usd": shown["requests_per_usd"], "figures": shown.get("figures")}
    return f'{head[:-1]}, "plan": {plan.plan.strip()}, {json.dumps(beside, ensure_ascii=False)[1:]}'


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


async def _service_records(request: Request, names: Sequence[str]) -> list[Mapping[str, Any]]:
    """What SkyServe says of these services; those that it does not have are left out. Raises UnknownStateError."""
    from sky.serve.server import core
    from sky.server.requests import executor, payloads, request_names
    from sky.server.requests import requests as api_requests
    from sky.skylet import constants
    from sky.utils import common

    request_id = api_requests.get_new_request_id()
    body = await asyncio.to_thread(payloads.ServeStatusBody, service_names=list(names))
    body.env_vars.setdefault(constants.USER_ID_ENV_VAR, "")
    await executor.schedule_request_async(
        request_id=request_id,
        request_name=request_names.RequestName.SERVE_STATUS,
        request_body=body,
        func=core.status,
        schedule_type=api_requests.ScheduleType.SHORT,
        request_cluster_name=common.SKY_SERVE_CONTROLLER_NAME,
        auth_user=request.state.auth_user,
    )
    finished = await _finished(request_id)
    if finished.status is not api_requests.RequestStatus.SUCCEEDED:
        raise UnknownStateError(_why(finished.error))
    return list(finished.return_value or [])


async def _finished(request_id: str) -> Any:
    from sky.server.requests import requests as api_requests

    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        found = await api_requests.get_request_status_async(request_id)
        if found is None:
            break
        if found.status in api_requests.RequestStatus.finished_status():
            return await api_requests.get_request_async(request_id)
        await asyncio.sleep(_POLL_S)
    raise UnknownStateError(f"SkyServe did not answer within {_WAIT_S:g} s")


def _why(error: Mapping[str, Any] | None) -> str:
    kind = "" if error is None else str(error.get("type", ""))
    if kind == "ClusterNotUpError":
        return "SkyServe has no controller that is up on this server"
    message = "" if error is None else " ".join(str(error.get("message", "")).split())[:300]
    return f"SkyServe did not say: {message or kind or 'the request was cancelled'}"


def _group_states(groups: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each planned group beside its service; SkyServe names a service as the plan names the group."""
    by_name = {record["name"]: record for record in records}
    return [_state(group, by_name.get(group["name"])) for group in groups]


def _unknown_states(groups: Sequence[Mapping[str, Any]], reason: str, *, is_service: bool) -> list[dict[str, Any]]:
    """Each planned group, and why no more is known."""
    return [
        {
            "group": group["name"],
            "service": group["name"] if is_service else None,
            "planned": group["planned"],
            "ready": None,
            "total": None,
            "status": None,
            "reason": reason,
        }
        for group in groups
    ]


def _state(group: Mapping[str, Any], record: Mapping[str, Any] | None) -> dict[str, Any]:
    found = [] if record is None else record.get("replica_info") or []
    replicas = [word for replica in found if (word := _word(replica.get("status"))) not in _WITHOUT_MACHINE]
    return {
        "group": group["name"],
        "service": group["name"],
        "planned": group["planned"],
        "ready": replicas.count(_READY),
        "total": len(replicas),
        "status": _NOT_RUNNING if record is None else _word(record.get("status")),
        "reason": None,
    }


def _word(value: object) -> str:
    return str(getattr(value, "value", value))
