"""Child process: lets SkyPilot read launch files and optimise them, without network and in a temporary home.

    python -m sky_melange.skypilot.offline_worker <request.json >response.json

Request: `{"clouds": [name, ...], "own": [[cloud, name], ...], "yamls": [text, ...]}`. Response: `{"version": ...,
"files": [...]}`, one object a file, as `observation.Observation` reads it; or `{"import_error": ...}`. `HOME` and
`SKY_RUNTIME_DIR` must point at seeded catalogs before the start: SkyPilot fixes its paths while it is imported. It logs
to stdout, hence the private copy of it that the response is written to.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from sky_melange.skypilot.skypilot_errors import one_line, refusals
from sky_melange.untrusted import own_json

_NETWORK_EVENTS: Final = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"})
_UNIX_SOCKET_EVENTS: Final = frozenset({"socket.connect", "socket.sendto"})

_Json: TypeAlias = dict[str, Any]


def main() -> None:
    """Read the request from stdin, write the response to what stdout was when the process started."""
    response = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.addaudithook(_refuse_network)
    request = own_json(sys.stdin.read())
    with response:
        json.dump(_respond(request["clouds"], request["own"], request["yamls"]), response)


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: an answer that came from the network would not be the answer for these catalogs."""
    if event not in _NETWORK_EVENTS:
        return
    if event in _UNIX_SOCKET_EVENTS and isinstance(arguments[1], str | bytes):
        return
    raise OSError("no network while a plan is validated")


def _respond(clouds: Sequence[str], own: Sequence[Sequence[str]], yamls: Sequence[str]) -> _Json:
    try:
        import sky
    except ImportError as error:
        return {"import_error": str(error)}
    _enable_clouds([*clouds, *{cloud for cloud, _ in own}])
    if own:
        _set_up(own)
    failures = refusals()
    return {"version": sky.__version__, "files": [_observe(text, failures) for text in yamls]}


def _enable_clouds(names: Sequence[str]) -> None:
    """Make exactly the seeded clouds count as enabled: asking the others would download their catalogs."""
    from sky import check
    from sky.utils import registry

    enabled = [registry.CLOUD_REGISTRY[name] for name in names if name in registry.CLOUD_REGISTRY]
    check.get_cached_enabled_clouds_or_refresh = lambda *_arguments, **_options: enabled


def _set_up(own: Sequence[Sequence[str]]) -> None:
    """Make exactly these contexts and pools exist, with room: there is no cluster to ask, nor Kubernetes' client."""
    from sky.clouds import SSH, Kubernetes
    from sky.provision.kubernetes import utils

    names = {name: [place for cloud, place in own if cloud == name] for name in ("kubernetes", "ssh")}
    pools = [f"ssh-{name}" for name in names["ssh"]]
    plain = utils.KubernetesHighPerformanceNetworkType.NONE
    utils.get_all_kube_context_names = lambda: [*names["kubernetes"], *pools]
    Kubernetes.existing_allowed_contexts = classmethod(lambda *_, **__: names["kubernetes"])
    SSH.existing_allowed_contexts = classmethod(lambda *_, **__: pools)
    Kubernetes._detect_network_type = classmethod(lambda *_: (plain, None))
    utils.get_spot_label = lambda _context: (None, None)
    utils.check_instance_fits = lambda *_arguments, **_options: (True, None)


def _observe(text: str, failures: tuple[type[Exception], ...]) -> _Json:
    """Take one file through SkyPilot; the first refusal ends it. `steps` are (name, passed, detail)."""
    observed: _Json = {"steps": [], "asked": [], "picked": None}

    def step(name: str, action: Callable[[], Any]) -> Any:
        try:
            result = action()
        except failures as error:
            observed["steps"].append((name, False, one_line(error, limit=600)))
            raise _StoppedError from error
        observed["steps"].append((name, True, ""))
        return result

    with contextlib.suppress(_StoppedError):
        _take_through(text, observed, step)
    return observed


class _StoppedError(Exception):
    """A step failed; those after it have nothing to work on."""


def _take_through(text: str, observed: _Json, step: Callable[[str, Callable[[], Any]], Any]) -> None:
    import sky
    from sky.serve import serve_utils
    from sky.utils import common_utils, schemas, yaml_utils

    config = yaml_utils.safe_load(text)
    step("schema", lambda: common_utils.validate_schema(config, schemas.get_task_schema(), ""))
    task = step("task", lambda: sky.Task.from_yaml_config(config))
    observed["asked"] = [_resources(resources) for resources in task.resources]
    observed["num_nodes"] = task.num_nodes
    observed["multi_node"] = all(_links_nodes(resources) for resources in task.resources)
    if task.service is not None:
        observed["service"] = {"min": task.service.min_replicas, "max": task.service.max_replicas}
        step("service", lambda: serve_utils.validate_service_task(task, pool=False))
    picked = step("optimizer", lambda: _optimize(task))
    observed["picked"] = {**_resources(picked), "price_usd_per_hour": picked.get_cost(3600)}


def _links_nodes(resources: Any) -> bool:
    """Whether the cloud launches clusters of more than one node; unknown counts as yes."""
    from sky import clouds, exceptions

    if resources.cloud is None:
        return True
    try:
        wanted = {clouds.CloudImplementationFeatures.MULTI_NODE}
        resources.cloud.check_features_are_supported(resources, wanted)
    except exceptions.NotSupportedError:
        return False
    return True


def _optimize(task: Any) -> Any:
    import sky
    from sky import optimizer

    dag = sky.Dag()
    dag.add(task)
    optimizer.Optimizer.optimize(dag, quiet=True)
    return task.best_resources


def _resources(resources: Any) -> _Json:
    return {
        "cloud": None if resources.cloud is None else str(resources.cloud).lower(),
        "region": _region(resources),
        "zone": resources.zone,
        "instance_type": resources.instance_type,
        "accelerators": resources.accelerators,
        "use_spot": resources.use_spot,
        "is_sized": _is_sized(resources),
    }


def _is_sized(resources: Any) -> bool:
    """Whether a pod's vCPUs and memory are stated; elsewhere the instance type says them, which may not exist."""
    if str(resources.cloud).lower() not in {"kubernetes", "ssh"}:
        return False
    return resources.cpus is not None and resources.memory is not None


def _region(resources: Any) -> str | None:
    """As it stands in the file: within SkyPilot, pools have a mark."""
    region: str | None = resources.region
    return region.removeprefix("ssh-") if region is not None and str(resources.cloud) == "SSH" else region


if __name__ == "__main__":
    main()
