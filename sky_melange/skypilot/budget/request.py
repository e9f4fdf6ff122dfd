"""What a request to SkyPilot would start, under which name, and for whom."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sky_melange.domain.spending import Kind, Owner
from sky_melange.errors import InputError
from sky_melange.skypilot.budget.machine import foreign_variables
from sky_melange.skypilot.budget.running import DEFAULT_WORKSPACE

_KINDS: Final = {
    "launch": Kind.CLUSTER,
    "jobs.launch": Kind.JOB,
    "jobs.pool_apply": Kind.POOL,
    "serve.up": Kind.SERVICE,
    "serve.update": Kind.SERVICE,
}
"""What is weighed. The rest starts nothing (`validate`, `optimize`, `exec`) or is a controller, or what one starts for
a service or job that was weighed when it was asked for."""

_WITH_REPLICAS: Final = frozenset({Kind.SERVICE, Kind.POOL})

_NO_REQUEST: Final = "dummy-request-id"
"""SkyPilot's own word for the absence of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that starts something.

    `copies`: how often it starts the task. `is_update`: a service or pool that exists gets new replicas. `minimize`:
    SkyPilot's word for what its optimizer is to make small, None for the cost.
    """

    kind: Kind
    name: str
    owner: Owner
    request_id: str
    is_dry_run: bool
    is_update: bool
    is_resize: bool
    copies: int = 1
    minimize: Any = None


def asked(user_request: Any) -> Asked | None:
    """What is asked for; None for a request that adds no cost, or whose cost was weighed before.

    Raises InputError for a request that brings variables which only the server may set.
    """
    kind = _kind(user_request.request_name.value)
    # A client with the same config file asks too; only the server knows what is spent.
    if kind is None or user_request.at_client_side:
        return None
    request_id = _request_id()
    body = _request_body(request_id)
    _refuse_own_variables(body)
    task = user_request.task
    if kind is Kind.JOB and getattr(body, "pool", None):
        return None
    # A launch and a managed job start one task whatever stands under `service:` or `pool:` in it.
    if kind in _WITH_REPLICAS and task.service is not None:
        kind = Kind.POOL if task.service.pool else Kind.SERVICE
    return Asked(
        kind=kind,
        name=_name(kind, user_request, body, request_id),
        owner=_owner(user_request),
        request_id=request_id,
        is_dry_run=bool(getattr(user_request.request_options, "dryrun", False)),
        is_update=user_request.request_name.value == "serve.update",
        is_resize=bool(getattr(body, "resize", False)),
        copies=max(1, getattr(body, "num_jobs", None) or 1) if kind is Kind.JOB else 1,
        minimize=getattr(body, "optimize_target", None) if kind is Kind.CLUSTER else None,
    )


def _kind(request_name: str) -> Kind | None:
    """What a request of this name starts. A client may say that it is a controller: that is believed only of a server
    that runs that controller itself."""
    if request_name == "serve.launch_replica":
        from sky.serve import serve_utils

        return None if serve_utils.is_consolidation_mode() or _has_jobs_controller() else Kind.CLUSTER
    if request_name == "jobs.launch_cluster":
        return None if _has_jobs_controller() else Kind.CLUSTER
    return _KINDS.get(request_name)


def _has_jobs_controller() -> bool:
    """Which also launches the machines of pools."""
    from sky.jobs import utils

    return bool(utils.is_consolidation_mode())


def finished(request_ids: Iterable[str]) -> frozenset[str]:
    """Those of the requests that have ended, well or not. One that the server does not know is not among them."""
    from sky.server.requests import requests

    ended = requests.RequestStatus.finished_status()
    found = set()
    for request_id in {*request_ids} - {_NO_REQUEST}:
        request = requests.get_request(request_id, fields=["request_id", "status"])
        if request is not None and request.status in ended:
            found.add(request_id)
    return frozenset(found)


def is_known(request_id: str) -> bool:
    """Whether the server has a record of a request."""
    from sky.server.requests import requests

    return request_id != _NO_REQUEST and requests.get_request(request_id, fields=["request_id"]) is not None


def _request_id() -> str:
    from sky.utils import common_utils

    return str(common_utils.get_current_request_id())


def _request_body(request_id: str) -> Any:
    """What the client posted: only there is the name of a service. None outside of an API server."""
    if request_id == _NO_REQUEST:
        return None
    from sky.server.requests import requests

    request = requests.get_request(request_id, fields=["request_id", "request_body"])
    return None if request is None else request.request_body


def _refuse_own_variables(body: Any) -> None:
    refuse_foreign_variables(getattr(body, "env_vars", {}))


def refuse_foreign_variables(names: Iterable[str]) -> None:
    """Raises InputError for a request that brings environment variables which only the server may set."""
    brought = foreign_variables(names)
    if brought:
        shown = ", ".join(ascii(name)[1:61].removesuffix("'") for name in brought[:5])
        more = f" and {len(brought) - 5} more" if len(brought) > 5 else ""
        raise InputError(f"the request sets {shown}{more}, which only the server may")


def _name(kind: Kind, user_request: Any, body: Any, request_id: str) -> str:
    if kind is Kind.JOB:
        # Jobs of one name run side by side; the tasks of a pipeline or a group come one by one, and SkyPilot names
        # those that have no name after it has asked.
        job = getattr(body, "name", None) or user_request.task.name or "job"
        return f"{job}#{request_id}/{user_request.task.name or uuid.uuid4().hex}"
    options = user_request.request_options
    given = (
        getattr(options, "cluster_name", None),
        getattr(body, "cluster_name", None),
        getattr(body, "service_name", None),
        getattr(body, "pool_name", None),
        user_request.task.service_name,
        user_request.task.name,
    )
    return next((str(name) for name in given if name), f"unnamed-{request_id}")


def _owner(user_request: Any) -> Owner:
    user = user_request.user
    if user is None:
        from sky.utils import common_utils

        user = common_utils.get_current_user()
    workspace = user_request.skypilot_config.get_nested(("active_workspace",), None)
    return Owner(user_id=str(user.id), user_name=user.name, workspace=workspace or DEFAULT_WORKSPACE)
