"""Child process: applies the budget guard as SkyPilot does, over SkyPilot's own state, in the home that it was given.

One JSON object a line on stdin, one on what stdout was at the start. Clouds count as enabled by pretence; the network
is shut.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import io
import json
import logging
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

CONFIG = {"admin_policy": "sky_melange.skypilot.budget_policy.BudgetPolicy"}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from fake_clouds import enable

    from sky_melange.skypilot.offline_worker import _refuse_network

    sys.addaudithook(_refuse_network)
    enable(("aws", "gcp"))
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = globals()[f"do_{command.pop('op')}"](**command)
        except Exception:  # noqa: BLE001 - the test shows it
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)
    # SkyPilot's threads would outlive this one.
    os._exit(0)


def do_reset() -> None:
    """No clusters, services and requests."""
    from sky import global_user_state
    from sky.serve import serve_state

    for record in global_user_state.get_clusters():
        global_user_state.remove_cluster(record["name"], terminate=True)
    for service in serve_state.get_services():
        serve_state.remove_service_completely(service["name"])


def do_clouds(names: list[str]) -> None:
    from fake_clouds import enable

    enable(tuple(names))


def do_environment(**changes: str | None) -> None:
    for name, value in changes.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def do_cluster(
    *, name: str, resources: dict[str, Any], user: str, nodes: int = 1, is_up: bool = True, is_managed: bool = False
) -> None:
    import sky

    machines = next(iter(sky.Resources.from_yaml_config(resources)))
    write_cluster(name, machines, user, nodes=nodes, is_up=is_up, is_managed=is_managed)


def write_cluster(
    name: str, resources: Any, user: str, *, nodes: int = 1, is_up: bool = True, is_managed: bool = False
) -> None:
    """As SkyPilot does when it launches."""
    from sky import backends, global_user_state

    add_user(user)
    handle = backends.CloudVmRayResourceHandle(
        cluster_name=name,
        cluster_name_on_cloud=name,
        cluster_yaml=None,
        launched_nodes=nodes,
        launched_resources=resources,
    )
    with acting(user):
        global_user_state.add_or_update_cluster(name, handle, None, ready=True, is_managed=is_managed)
        if not is_up:
            global_user_state.remove_cluster(name, terminate=False)


def do_unpriced_cluster(name: str, user: str) -> None:
    """A machine of a type that is in the catalog no more."""
    import sky

    gone = next(iter(sky.Resources.from_yaml_config({"infra": "gcp", "instance_type": "g2-standard-4"})))
    gone._instance_type = "g2-standard-5"
    write_cluster(name, gone, user)


def do_service(name: str, text: str, user: str, is_pool: bool = False) -> None:
    import sky
    from sky.serve import serve_state

    add_user(user)
    serve_state.remove_service_completely(name)
    serve_state.add_service(
        name, 1, "", "", "round_robin", serve_state.ServiceStatus.READY, False, is_pool, 1, "", user_hash=user_id(user)
    )
    serve_state.add_or_update_version(name, 1, sky.Task.from_yaml_str(text).service, text)


def do_versions(name: str, versions: list[dict[str, Any]], user: str) -> None:
    """A service that was updated, with the replicas of each version but the newest."""
    from serve_state_of import write_service

    add_user(user)
    write_service(name, versions, user=user_id(user))


def do_replicas(name: str, count: int) -> None:
    """All that a service has, of its newest version, each on the machine that its YAML asks for."""
    import sky
    from serve_state_of import write_replica
    from sky.serve import serve_state

    text = serve_state.get_yaml_content(name, 1)
    assert text is not None
    (resources,) = sky.Task.from_yaml_str(text).resources
    for info in serve_state.get_replica_infos(name):
        serve_state.remove_replica(name, info.replica_id)
    for number in range(count):
        write_replica(name, number, 1, resources)


def do_service_ended(name: str) -> None:
    from sky.serve import serve_state

    serve_state.remove_service_completely(name)


def do_job(name: str, text: str, user: str, workspace: str = "default") -> int:
    """A managed job that waits to be started, on a server that runs the jobs controller itself."""
    from sky.jobs import constants, state

    Path(constants.JOBS_CONSOLIDATION_RELOADED_SIGNAL_FILE).expanduser().parent.mkdir(parents=True, exist_ok=True)
    Path(constants.JOBS_CONSOLIDATION_RELOADED_SIGNAL_FILE).expanduser().touch()
    add_user(user)
    job_id: int = state.set_job_info_without_job_id(name, workspace, "", None, None, user_id(user))
    state.set_pending(job_id, 0, name, "", "{}")
    state.scheduler_set_waiting([job_id], text, text, "", None, 500)
    return job_id


def do_job_ended(job_id: int) -> None:
    from sky.jobs import constants, state

    state.set_pending_cancelled(job_id)
    Path(constants.JOBS_CONSOLIDATION_RELOADED_SIGNAL_FILE).expanduser().unlink()


def do_request(request_id: str, status: str, **body: Any) -> None:
    """A request in the server's own records."""
    from sky.server.requests import payloads, requests

    given = {"task": "", "env_vars": {}, **body}
    record = requests.Request(
        request_id=request_id,
        name="serve.up",
        entrypoint=do_reset,
        request_body=payloads.LaunchBody(**given)
        if "cluster_name" in body
        else payloads.ServeUpBody(**{"service_name": "", **given}),
        status=requests.RequestStatus(status),
        created_at=time.time(),
        user_id="x",
    )
    asyncio.run(requests.create_if_not_exists_async(record))
    with requests.update_request(request_id) as known:
        known.status = requests.RequestStatus(status)


def do_pinned(config: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A request's configuration as the plugin leaves it."""
    from sky.utils import config_utils

    from sky_melange.skypilot.budget_pin import _with_pinned

    return dict(_with_pinned(config_utils.Config.from_dict(config), config_utils.Config.from_dict(own)))


def do_overridden(config: dict[str, Any]) -> Any:
    """The policy that SkyPilot itself asks for a request that brings a configuration."""
    from sky import skypilot_config
    from sky.utils import config_utils

    with (
        skypilot_config.replace_skypilot_config(config_utils.Config.from_dict(CONFIG)),
        skypilot_config.override_skypilot_config(config),
    ):
        return skypilot_config.get_nested(("admin_policy",), None)


def do_optimized(resources: dict[str, Any], minimize: str) -> str:
    """What SkyPilot picks."""
    import sky
    from sky.utils import common

    with sky.Dag() as dag:
        task = sky.Task(name="x")
        task.set_resources(sky.Resources.from_yaml_config(resources))
    sky.optimizer.Optimizer.optimize(dag, minimize=common.OptimizeTarget[minimize], quiet=True)
    return str(dag.tasks[0].best_resources.cloud).lower()


def do_own_machine(cloud: str) -> float:
    """The price of a machine that SkyPilot knows no price of."""
    import types

    from sky_melange.skypilot.budget.pricing import launched_price

    machine = types.SimpleNamespace(cloud=cloud, use_spot=False, region="here", instance_type="x")
    return launched_price(types.SimpleNamespace(get_cost=lambda _seconds: 0.0, **vars(machine)))


def do_readable_workspaces(user: str, workspaces: dict[str, Any]) -> list[str]:
    """Those whose jobs a remote jobs controller lists for a user."""
    import sky
    from sky import skypilot_config
    from sky.users import permission
    from sky.utils import common_utils, config_utils, context
    from sky.workspaces import core

    add_user(user)
    for name, settings in workspaces.items():
        allowed = [user_id(member) for member in settings.get("allowed_users", ())] or ["*"]
        permission.permission_service.add_workspace_policy(name, allowed)
    context.initialize()
    common_utils.set_request_context(None, None, False, sky.models.User(id=user_id(user), name=user), None)
    with skypilot_config.replace_skypilot_config(config_utils.Config.from_dict({"workspaces": workspaces})):
        return sorted(core.get_workspaces())


def do_ask(**asked: Any) -> dict[str, Any]:
    return contextvars.copy_context().run(ask, **asked)


def do_race(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All at once, each in a thread with a context of its own."""
    with concurrent.futures.ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(lambda one: do_ask(**one), asked))


def ask(
    *,
    text: str,
    request: str = "serve.up",
    user: str = "alice",
    workspace: str = "default",
    request_id: str | None = None,
    options: dict[str, Any] | None = None,
    at_client_side: bool = False,
    is_consolidated: bool = True,
) -> dict[str, Any]:
    """What SkyPilot's server does with a request before anything else: `admin_policy_utils.apply`."""
    import sky
    from sky import exceptions, skypilot_config
    from sky.admin_policy import RequestOptions
    from sky.server.requests import request_names
    from sky.utils import admin_policy_utils, annotations, common_utils, config_utils, context

    # As the server does between requests.
    annotations.clear_request_level_cache()
    context.initialize()
    # Outside of the DAG: a task that is made inside adds itself.
    task = sky.Task.from_yaml_config(sky.utils.yaml_utils.safe_load(text))
    with sky.Dag() as dag:
        dag.add(task)
    defaults = {"cluster_name": None, "idle_minutes_to_autostop": None, "down": False, "dryrun": False}
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger("sky.melange.budget_policy").addHandler(handler)
    common_utils.set_request_context(None, None, False, sky.models.User(id=user_id(user), name=user), request_id)
    config = {**CONFIG, "active_workspace": workspace, "serve": {"controller": {"consolidation_mode": is_consolidated}}}
    started = time.monotonic()
    answer: dict[str, Any] = {"passed": True, "message": ""}
    try:
        with skypilot_config.replace_skypilot_config(config_utils.Config.from_dict(config)):
            mutated, _ = admin_policy_utils.apply(
                dag,
                request_names.AdminPolicyRequestName(request),
                None if options is None else RequestOptions(**{**defaults, **options}),
                at_client_side,
            )
        answer["labels"] = [candidate.labels for candidate in mutated.tasks[0].resources]
        answer["yaml"] = sky.utils.yaml_utils.dump_yaml_str(mutated.tasks[0].to_yaml_config())
    except exceptions.UserRequestRejectedByPolicy as error:
        answer = {"passed": False, "message": str(error)}
    logging.getLogger("sky.melange.budget_policy").removeHandler(handler)
    return {**answer, "said": said.getvalue(), "seconds": time.monotonic() - started}


def user_id(name: str) -> str:
    return name.encode().hex()[:8].rjust(8, "0")


def add_user(name: str) -> None:
    from sky import global_user_state, models

    global_user_state.add_or_update_user(models.User(id=user_id(name), name=name))


@contextlib.contextmanager
def acting(name: str) -> Any:
    os.environ["SKYPILOT_USER_ID"] = user_id(name)
    yield
    del os.environ["SKYPILOT_USER_ID"]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
