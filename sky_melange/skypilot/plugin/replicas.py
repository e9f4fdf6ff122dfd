"""Running replicas beside the planned ones, by SkyServe's own state.

SkyPilot's server asks SkyServe as for `sky serve status`: a request in its own queue, run by its own executors, in the
user's name. What it does not say is not known, which is no 0.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

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


async def service_records(request: Request, names: Sequence[str]) -> list[Mapping[str, Any]]:
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


def group_states(groups: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each planned group beside its service; SkyServe names a service as the plan names the group."""
    by_name = {record["name"]: record for record in records}
    return [_state(group, by_name.get(group["name"])) for group in groups]


def unknown_states(groups: Sequence[Mapping[str, Any]], reason: str, *, is_service: bool) -> list[dict[str, Any]]:
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
