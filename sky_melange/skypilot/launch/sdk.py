"""`Cloud` by SkyPilot's SDK, in the user's own environment: the API server is started where none runs."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sky_melange.domain.own_gpus import OwnGpus
from sky_melange.errors import InputError, MissingDataError, Mistake
from sky_melange.prices.names import resolve
from sky_melange.skypilot.launch.cloud import ClusterState, LaunchError, ServiceState, Task
from sky_melange.skypilot.launch_files import sections, written


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node: `free_gpus` None where SkyPilot may not see its pods. `accelerator` is SkyPilot's name for its GPUs."""

    name: str
    accelerator: str | None
    gpus: int
    free_gpus: int | None
    vcpus: float | None
    memory_gib: float | None
    is_ready: bool
    is_cordoned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnNodes:
    """Nodes of one kind, and of their GPUs those that nobody uses now; None: not known."""

    gpus: OwnGpus
    free_gpus: int | None


_FAILED: Final = frozenset({"CONTROLLER_FAILED", "FAILED_CLEANUP", "FAILED"})
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_NO_NETWORK: Final = "due to network error"
_CONTROLLER: Final = "sky-serve-controller-"
_PROJECT_CONFIG: Final = "SKYPILOT_PROJECT_CONFIG"
_HEALTH_TIMEOUT_S: Final = 5.0


class SkyPilot:
    """SkyPilot 0.14. Its own messages go to stderr.

    `project_config`: text of a `.sky.yaml` whose keys go over those of the user's own project configuration.
    """

    def __init__(self, *, project_config: str = "") -> None:
        if importlib.util.find_spec("sky") is None:
            raise MissingDataError("SkyPilot is not installed; install it with `pip install 'skypilot>=0.14.1,<0.15'`")
        if project_config:
            self._folder = _use_project_config(project_config)
        with _quiet():
            import sky
            from sky import serve

        self._sky: Any = sky
        self._serve: Any = serve
        self._tickets: dict[str, Any] = {}

    def services(self, names: Sequence[str]) -> Mapping[str, ServiceState]:
        """By `sky serve status`; none where there is no controller."""
        with self._asking():
            try:
                found = self._sky.get(self._serve.status(list(names)))
            except self._sky.exceptions.ClusterNotUpError:
                return {}
            except RuntimeError as error:
                # SkyPilot looks for the internet before it looks for the controller: without one there is no service.
                if _NO_NETWORK in str(error) and not self._has_controller():
                    return {}
                raise
        return {service["name"]: _service(service) for service in found}

    def clusters(self, names: Sequence[str]) -> Mapping[str, ClusterState]:
        """By `sky status --refresh`, so that a machine that is gone counts as gone."""
        with self._asking():
            refresh = self._sky.StatusRefreshMode.AUTO
            found = self._sky.get(self._sky.status(cluster_names=list(names), refresh=refresh))
        return {cluster["name"]: _cluster(cluster) for cluster in found}

    def begin_service(self, name: str, task: Task) -> str:
        """`sky serve up`."""
        with self._asking():
            return self._ticket(self._serve.up(self._task(task), name))

    def begin_service_update(self, name: str, task: Task) -> str:
        """`sky serve update`: rolling, the new replicas first."""
        with self._asking():
            mode = self._serve.UpdateMode.ROLLING
            return self._ticket(self._serve.update(self._task(task), name, mode))

    def begin_cluster(self, name: str, task: Task) -> str:
        """`sky launch`."""
        with self._asking():
            return self._ticket(self._sky.launch(self._task(task), cluster_name=name))

    def begin_service_down(self, name: str) -> str:
        """`sky serve down`."""
        with self._asking():
            return self._ticket(self._serve.down([name]))

    def begin_cluster_down(self, name: str) -> str:
        """`sky down`."""
        with self._asking():
            return self._ticket(self._sky.down(name))

    def finish(self, ticket: str) -> None:
        """Streams SkyPilot's own log of the request to stderr while waiting."""
        with self._asking():
            self._sky.stream_and_get(self._tickets.pop(ticket), output_stream=sys.stderr)

    def endpoint(self, cluster: str, port: int) -> str:
        """`sky status --endpoint`."""
        with self._asking():
            found = self._sky.get(self._sky.endpoints(cluster, port))
        address = next((value for key, value in found.items() if str(key) == str(port)), None)
        if address is None:
            raise LaunchError(f"{cluster} has no address for port {port}")
        return str(address)

    def answers(self, address: str) -> bool:
        """Without following redirects: an address of somebody else is not ours."""
        import requests

        try:
            answer = requests.get(f"http://{address}/health", timeout=_HEALTH_TIMEOUT_S, allow_redirects=False)
        except requests.RequestException:
            return False
        return bool(answer.status_code == 200)

    def nodes(self, infra: str) -> list[Node]:
        """The nodes of a place of one's own, `k8s/<context>` or `ssh/<pool>`."""
        kind, _, place = infra.partition("/")
        with self._asking():
            # SkyPilot's name for the context of a pool.
            context = f"ssh-{place}" if kind == "ssh" else place
            try:
                found = self._sky.get(self._sky.client.sdk.kubernetes_node_info(context=context))
            except ImportError as error:
                extra = "install it with `pip install 'skypilot[kubernetes]>=0.14.1,<0.15'`"
                raise MissingDataError(f"SkyPilot lacks what it asks Kubernetes with; {extra}") from error
        return [_node(name, each) for name, each in found.node_info_dict.items()]

    def _has_controller(self) -> bool:
        clusters = self._sky.get(self._sky.status(all_users=True))
        return any(cluster["name"].startswith(_CONTROLLER) for cluster in clusters)

    def _ticket(self, request: Any) -> str:
        self._tickets[str(request)] = request
        return str(request)

    def _task(self, task: Task) -> Any:
        config = sections(task.text)
        mounts = config.get("file_mounts") or {}
        config["file_mounts"] = {there: str((task.folder / here).resolve()) for there, here in mounts.items()}
        if not mounts:
            del config["file_mounts"]
        return self._sky.Task.from_yaml_config(
            config, env_overrides=list(task.envs.items()), secrets_overrides=list(task.secrets.items())
        )

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """SkyPilot's refusals as LaunchError, its talk on stderr."""
        with _quiet():
            try:
                yield
            except self._failures() as error:
                raise LaunchError(_one_line(error)) from error

    def _failures(self) -> tuple[type[Exception], ...]:
        """What SkyPilot raises for refusals: its own errors, and plain ones for values that it does not take."""
        import requests

        exceptions = vars(self._sky.exceptions).values()
        own = [value for value in exceptions if isinstance(value, type) and issubclass(value, Exception)]
        return (*own, requests.RequestException, RuntimeError, ValueError, OSError)


def own_nodes(infra: str, nodes: Iterable[Node], usd_per_gpu_hour: float) -> tuple[list[OwnNodes], list[str]]:
    """The nodes by GPU and number of GPUs, with the least of their vCPUs and memory; and what was left out, and why.

    A plan takes one entry for each accelerator of a place: of several numbers of GPUs that with the most GPUs in all.
    """
    kinds: dict[tuple[str, int], list[Node]] = {}
    left_out: list[str] = []
    for node in sorted(nodes, key=lambda node: node.name):
        found = resolve("kubernetes", node.accelerator or "", "")
        if not node.gpus:
            continue
        if node.is_cordoned or not node.is_ready:
            left_out.append(f"{node.name}: is {'cordoned' if node.is_cordoned else 'not ready'}")
        elif not found.accelerator:
            left_out.append(f"{node.name}: {found.reason or 'SkyPilot does not name its GPUs'}")
        else:
            kinds.setdefault((found.accelerator, node.gpus), []).append(node)
    chosen: dict[str, OwnNodes] = {}
    for (accelerator, per_node), members in sorted(kinds.items(), key=lambda kind: -kind[0][1] * len(kind[1])):
        if accelerator in chosen:
            what = f"{len(members)} × {per_node} × {accelerator}"
            left_out.append(f"{what}: a place has one entry for each accelerator, that of {chosen[accelerator].gpus}")
            continue
        gpus = OwnGpus(
            infra=infra,
            accelerator=accelerator,
            per_node=per_node,
            nodes=len(members),
            usd_per_gpu_hour=usd_per_gpu_hour,
            vcpus=_least([node.vcpus for node in members]),
            memory_gib=_least([node.memory_gib for node in members]),
        )
        free = [node.free_gpus for node in members if node.free_gpus is not None]
        chosen[accelerator] = OwnNodes(gpus=gpus, free_gpus=sum(free) if len(free) == len(members) else None)
    return [chosen[accelerator] for accelerator in sorted(chosen)], left_out


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """SkyPilot writes to stdout, which is ours for answers."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _use_project_config(text: str) -> tempfile.TemporaryDirectory[str]:
    """Has SkyPilot read the user's project configuration with `text` over it, which it does when it is imported.

    The file that it reads is private, and gone with the folder that is returned.
    """
    own = Path(os.environ.get(_PROJECT_CONFIG) or ".sky.yaml").expanduser()
    try:
        config = sections(own.read_text(encoding="utf-8")) if own.is_file() else {}
    except (OSError, ValueError) as error:
        raise InputError([Mistake(source=str(own), message=f"SkyPilot's project configuration: {error}")]) from error
    folder = tempfile.TemporaryDirectory(prefix="sky-melange-")
    path = Path(folder.name) / "project.yaml"
    path.write_text(written(_merged(config, sections(text))), encoding="utf-8")
    os.environ[_PROJECT_CONFIG] = str(path)
    loaded = sys.modules.get("sky.skypilot_config")
    if loaded is not None:
        loaded.reload_config()
    return folder


def _merged(under: Any, over: Any) -> Any:
    if not isinstance(under, dict) or not isinstance(over, dict):
        return over
    return {**under, **{key: _merged(under.get(key), value) for key, value in over.items()}}


def _service(record: Mapping[str, Any]) -> ServiceState:
    status = _word(record["status"])
    ready = sum(_word(replica["status"]) == "READY" for replica in record.get("replica_info") or [])
    # SkyPilot says 0 where the controller's answer cannot be read, too.
    asked = record.get("target_num_replicas") or (0 if status == "NO_REPLICA" else None)
    return ServiceState(
        status=status,
        ready_replicas=ready,
        endpoint=record.get("endpoint") or None,
        has_failed=status in _FAILED,
        asked_replicas=asked,
    )


def _cluster(record: Mapping[str, Any]) -> ClusterState:
    status = _word(record["status"])
    handle = record.get("handle")
    hosts = getattr(handle, "cached_external_ips", None) or ()
    return ClusterState(status=status, is_up=status == "UP", hosts=tuple(str(host) for host in hosts))


def _word(value: object) -> str:
    return str(getattr(value, "value", value))


def _one_line(error: Exception) -> str:
    text = _COLOURS.sub("", str(error)) or type(error).__name__
    return " ".join(text.split())[:1000]


def _node(name: str, found: Any) -> Node:
    gpus, free = found.total["accelerator_allocatable"], found.free["accelerators_available"]
    return Node(
        name=name,
        accelerator=found.accelerator_type,
        gpus=gpus,
        # -1: SkyPilot may not list the pods of all namespaces.
        free_gpus=free if 0 <= free <= gpus else None,
        vcpus=found.cpu_count,
        memory_gib=found.memory_gb,
        is_ready=found.is_ready,
        is_cordoned=found.is_cordoned,
    )


def _least(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(int(min(known))) if len(known) == len(values) else None
