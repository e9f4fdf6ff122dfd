"""What runs already, and what it may cost at its worst: SkyPilot's own state of clusters, services, pools and jobs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Final

from sky_melange.domain.spending import Kind, Owner, Spending
from sky_melange.skypilot.budget.machine import unix_time_s
from sky_melange.skypilot.budget.pricing import UnknownPriceError, launched_price, worst_case
from sky_melange.skypilot.skypilot_errors import one_line, skypilot_errors

DEFAULT_WORKSPACE: Final = "default"
_REMEMBERED_S: Final = 600.0
_PRICED_KEYS: Final = ("name", "num_nodes", "resources", "service", "pool")
"""What of a task's YAML its price depends on; the rest (mounts, volumes, secrets) is not read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that runs and has no price (`thing`, its price left at 0), or a state that cannot be read (None)."""

    text: str
    thing: Spending | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What was seen, and what could not be."""

    spent: tuple[Spending, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that exists. `usd_per_hour_per_node` raises nothing: None when unknown."""

    name: str
    is_running: bool
    nodes: int
    usd_per_hour_per_node: float | None


def running() -> Running:
    """Everything that costs money now, controllers excepted."""
    problems: list[Problem] = []
    spent: list[Spending] = []
    for source in (_clusters, _services, _pools, _jobs):
        try:
            spent += source(problems)
        except skypilot_errors() as error:
            what = source.__name__.strip("_")
            problems.append(Problem(text=f"SkyPilot's {what} cannot be listed: {one_line(error)}"))
    return Running(spent=tuple(spent), problems=tuple(problems))


def cluster(name: str) -> Cluster | None:
    """The cluster of this name, in whatever state."""
    from sky import global_user_state

    record = global_user_state.get_cluster_from_name(name)
    if record is None or getattr(record["handle"], "launched_resources", None) is None:
        return None
    handle = record["handle"]
    try:
        price: float | None = launched_price(handle.launched_resources)
    except UnknownPriceError:
        price = None
    return Cluster(
        name=name, is_running=_is_running(record), nodes=handle.launched_nodes or 1, usd_per_hour_per_node=price
    )


def service_yaml(name: str, *, is_pool: bool) -> str | None:
    """The YAML that a service or pool runs by now. Raises what SkyPilot raises when its controller does not answer."""
    return next((record["yaml_content"] for record in _service_records(is_pool) if record["name"] == name), None)


def _clusters(problems: list[Problem]) -> Iterator[Spending]:
    from sky import global_user_state
    from sky.utils import common

    for record in global_user_state.get_clusters():
        resources = getattr(record["handle"], "launched_resources", None)
        # Replicas and jobs are counted through the service or job that starts them.
        if record.get("is_managed") or resources is None or not _is_running(record):
            continue
        if record["name"].startswith((common.SKY_SERVE_CONTROLLER_PREFIX, common.JOB_CONTROLLER_PREFIX)):
            continue
        owner = _owner(record["user_hash"], record.get("user_name"), record.get("workspace"))
        thing = Spending(kind=Kind.CLUSTER, name=record["name"], owner=owner, usd_per_hour=0.0)
        nodes = record["handle"].launched_nodes or 1
        yield from _priced(thing, partial(_machines_price, resources, nodes), problems)


def _is_running(record: Mapping[str, Any]) -> bool:
    from sky.utils import status_lib

    return bool(record["status"] != status_lib.ClusterStatus.STOPPED)


def _services(problems: list[Problem]) -> Iterator[Spending]:
    return _of_services(Kind.SERVICE, problems)


def _pools(problems: list[Problem]) -> Iterator[Spending]:
    return _of_services(Kind.POOL, problems)


def _of_services(kind: Kind, problems: list[Problem]) -> Iterator[Spending]:
    for record in _service_records(is_pool=kind is Kind.POOL):
        owner = _owner(record.get("user_hash"), None, None)
        thing = Spending(kind=kind, name=record["name"], owner=owner, usd_per_hour=0.0)
        yield from _priced(thing, partial(_service_price, record, is_pool=kind is Kind.POOL), problems)


def _service_price(record: Mapping[str, Any], is_pool: bool) -> float:
    """By its YAML, or by its machines where these cost more: SkyServe drains what a smaller update takes away."""
    stated = yaml_price(record.get("yaml_content") or "", has_replicas=True)
    try:
        newest = _replicas_price(record, is_pool, are_newest=True)
    except UnknownPriceError:
        # The YAML says what they are.
        newest = 0.0
    return max(stated, newest) + _replicas_price(record, is_pool, are_newest=False)


def outdated_price(name: str, *, is_pool: bool) -> float:
    """USD/h of the replicas of a service or pool that run an earlier version than its newest.

    They are kept until the newest version is ready, which may be never. Raises UnknownPriceError, and what SkyPilot
    raises when the controller does not answer.
    """
    found = [record for record in _service_records(is_pool) if record["name"] == name]
    return math.fsum(_replicas_price(record, is_pool, are_newest=False) for record in found)


def _replicas_price(record: Mapping[str, Any], is_pool: bool, *, are_newest: bool) -> float:
    """USD/h of the machines of its replicas, of the newest version or of earlier ones. Raises UnknownPriceError."""
    handles = [handle for version, handle in _replicas(record, is_pool) if (version == record["version"]) is are_newest]
    return math.fsum(
        _machines_price(handle.launched_resources, handle.launched_nodes or 1)
        for handle in handles
        if getattr(handle, "launched_resources", None) is not None
    )


def _replicas(record: Mapping[str, Any], is_pool: bool) -> Iterator[tuple[int, Any]]:
    """Version and machines of each replica; machines None where there are none, yet or any more."""
    from sky.serve import serve_state, serve_utils

    if serve_utils.is_consolidation_mode(is_pool):
        yield from ((info.version, info.handle()) for info in serve_state.get_replica_infos(record["name"]))
    else:
        yield from ((info["version"], info.get("handle")) for info in record.get("replica_info") or ())


def _service_records(is_pool: bool) -> list[Mapping[str, Any]]:
    from sky.serve import serve_state, serve_utils
    from sky.utils import controller_utils

    if serve_utils.is_consolidation_mode(is_pool):
        return [record for record in serve_state.get_services() if record["pool"] == is_pool]
    handle = _controller(controller_utils.get_controller_for_pool(is_pool))
    if handle is None:
        return []
    from sky.serve import runner
    from sky.serve.server import impl as _registers_the_runner  # noqa: F401

    return list(runner.current().get_service_status(handle=handle, service_names=None, pool=is_pool))


def _controller(controller: Any) -> Any | None:
    """The handle of a controller's machine; None where there is none, or it is stopped: then nothing runs under it."""
    from sky import global_user_state
    from sky.backends import backend_utils

    record = global_user_state.get_cluster_from_name(controller.value.cluster_name)
    if record is None or not _is_running(record):
        return None
    return backend_utils.is_controller_accessible(controller=controller, stopped_message="")


def _jobs(problems: list[Problem]) -> Iterator[Spending]:
    seen: set[int] = set()
    for job in _job_records():
        # One row a task; a job on a pool runs on machines that the pool counts.
        if job["job_id"] in seen or job.get("pool"):
            continue
        seen.add(job["job_id"])
        owner = _owner(job.get("user_hash"), job.get("user_name"), job.get("workspace"))
        thing = Spending(kind=Kind.JOB, name=f"{job['job_name']}#{job['job_id']}", owner=owner, usd_per_hour=0.0)
        yield from _priced(thing, partial(yaml_price, job.get("user_yaml") or "", has_replicas=False), problems)


def _job_records() -> Iterable[Mapping[str, Any]]:
    """Rows of jobs that have not ended."""
    from sky.jobs import state, utils
    from sky.utils import controller_utils

    if utils.is_consolidation_mode():
        # Without the detour by a command line of its own, which takes ten seconds.
        return list(state.get_managed_jobs_with_filters(skip_finished=True)[0])
    if _controller(controller_utils.Controllers.JOBS_CONTROLLER) is None:
        return ()
    from sky.jobs.server import core

    fields = ["job_id", "job_name", "status", "user_hash", "user_name", "workspace", "user_yaml", "pool"]
    return list(core.queue_v2(refresh=False, skip_finished=True, all_users=True, fields=fields)[0])


def _machines_price(resources: Any, nodes: int) -> float:
    return launched_price(resources) * nodes


def _priced(thing: Spending, price: Callable[[], float], problems: list[Problem]) -> Iterator[Spending]:
    try:
        yield replace(thing, usd_per_hour=price())
    except UnknownPriceError as error:
        problems.append(Problem(text=f"{thing.kind} {thing.name.split('#')[0]} runs: {error}", thing=thing))


def yaml_price(text: str, *, has_replicas: bool) -> float:
    """USD/h of all tasks in a YAML text together, at their worst. Raises UnknownPriceError.

    Remembered for some minutes: the optimizer takes a fifth of a second, and catalogs change every few hours.
    """
    return _yaml_price(text, has_replicas, int(unix_time_s() // _REMEMBERED_S))


@lru_cache(maxsize=1024)
def _yaml_price(text: str, has_replicas: bool, _period: int) -> float:
    import sky
    from sky.utils import yaml_utils

    try:
        configs = [config for config in yaml_utils.read_yaml_all_str(text) if config]
        tasks = [sky.Task.from_yaml_config(kept) for kept in map(_priced_part, configs) if kept]
    except skypilot_errors() as error:
        raise UnknownPriceError(f"its YAML cannot be read: {one_line(error)}") from error
    if not tasks:
        raise UnknownPriceError("SkyPilot keeps no YAML of it")
    return math.fsum(worst_case(task, has_replicas=has_replicas).usd_per_hour for task in tasks)


def _priced_part(config: Mapping[str, Any]) -> dict[str, Any]:
    # The header of a pipeline holds a name only.
    kept = {key: config[key] for key in _PRICED_KEYS if config.get(key) is not None}
    return {} if set(kept) <= {"name"} and "run" not in config else kept


def in_workspaces_of(spent: Iterable[Spending], reserved: Iterable[Spending]) -> tuple[Spending, ...]:
    """Services with the workspace that the ledger saw them launched in: SkyPilot's records of them name none."""
    known: dict[tuple[Kind, str, str], str] = {}
    for entry in reserved:
        known.setdefault((*entry.key, entry.owner.user_id), entry.owner.workspace)
    placed = []
    for entry in spent:
        workspace = known.get((*entry.key, entry.owner.user_id), entry.owner.workspace)
        placed.append(replace(entry, owner=replace(entry.owner, workspace=workspace)))
    return tuple(placed)


def _owner(user_id: str | None, user_name: str | None, workspace: str | None) -> Owner:
    from sky.utils import common_utils

    # SkyPilot reads a missing user as whoever asks.
    user = user_id or common_utils.get_user_hash()
    return Owner(user_id=user, user_name=user_name, workspace=workspace or DEFAULT_WORKSPACE)
