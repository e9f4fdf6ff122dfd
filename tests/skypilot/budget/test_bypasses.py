"""Ways round the guard that were open once, tried by hand on SkyPilot's own API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from api_server import ApiServer
from guarded import L4, guarded_server, post, post_launch, write_budgets
from tasks import cluster, gcp_price, service

A100 = {"infra": "gcp", "instance_type": "a2-highgpu-1g", "accelerators": "A100:1"}
NOTHING = {"users": {"*": {"usd_per_hour": 0}}}


@pytest.fixture(scope="module")
def a100(catalog: str) -> float:
    return gcp_price(catalog, "a2-highgpu-1g", "A100")


def test_a_configuration_named_by_the_request_does_not_switch_the_policy_off(server: ApiServer, tmp_path: Path) -> None:
    """`SKYPILOT_CONFIG` is what controllers on the server send, so it is read; what is pinned is the server's."""
    write_budgets(server, **NOTHING)
    for text in ("jobs: {}\n", "admin_policy: no.such.Policy\n", "admin_policy: http://127.0.0.1:9/yes\n"):
        path = tmp_path / "no-policy.yaml"
        path.write_text(text, encoding="utf-8")
        said = post_launch(server, env_vars={"SKYPILOT_CONFIG": str(path)})
        assert "Rejected by the budget guard" in said
        assert "cluster 'mine' costs up to" in said


@pytest.mark.parametrize(
    "name",
    ["SKYPILOT_GLOBAL_CONFIG", "SKYPILOT_PROJECT_CONFIG", "SKYPILOT_SERVER_PLUGINS_CONFIG", "HOME", "PYTHONPATH"],
)
def test_a_variable_that_no_client_sends_is_refused(server: ApiServer, tmp_path: Path, name: str) -> None:
    write_budgets(server, users={"*": {"usd_per_hour": 1000}})
    said = post_launch(server, env_vars={name: str(tmp_path)})
    assert "Rejected by the budget guard" in said
    assert f"the request sets {name}, which only the server may" in said


def test_who_states_to_run_on_a_controller_is_not_believed(server: ApiServer) -> None:
    """With this variable every server takes itself for its own controller, and a controller's launch was weighed."""
    write_budgets(server, **NOTHING)
    claim = {"is_launched_by_jobs_controller": True}
    assert "the request sets IS_SKYPILOT_JOB_CONTROLLER" in post_launch(
        server, env_vars={"IS_SKYPILOT_JOB_CONTROLLER": "true"}, **claim
    )
    assert "cluster 'mine' costs up to" in post_launch(server, **claim)


@pytest.mark.parametrize("section", [{"service": {"replicas": 0, "readiness_probe": "/"}}, {"pool": {"workers": 0}}])
def test_a_launch_is_priced_as_a_launch_whatever_replicas_it_states(
    server: ApiServer, a100: float, section: dict[str, Any]
) -> None:
    write_budgets(server, **NOTHING)
    task = {**cluster("job", nodes=2, **A100), **section}
    figure = f"costs up to {2 * a100:.4f} USD/h"
    assert f"cluster 'mine' {figure}" in post_launch(server, task)
    assert f"job 'many' {figure}" in post(server, "/jobs/launch", yaml.safe_dump(task), name="many")


def test_a_job_counts_as_often_as_it_is_started(server: ApiServer, a100: float) -> None:
    write_budgets(server, users={"*": {"usd_per_hour": 3 * a100}})
    said = post(server, "/jobs/launch", yaml.safe_dump(cluster("sweep", **A100)), name="sweep", num_jobs=4)
    assert f"job 'sweep' costs up to {4 * a100:.4f} USD/h (4 × a2-highgpu-1g" in said
    pool = {"name": "workers", "resources": A100, "pool": {"min_workers": 1, "max_workers": 4}}
    said = post(server, "/jobs/pool_apply", yaml.safe_dump(pool), pool_name="workers", mode="rolling")
    assert f"pool 'workers' costs up to {4 * a100:.4f} USD/h" in said


def test_the_tasks_of_a_pipeline_or_a_group_count_each(server: ApiServer, a100: float) -> None:
    """SkyPilot names those of a pipeline after it has asked: to a policy they all look alike."""
    task = {key: value for key, value in cluster(**A100).items() if key != "name"}
    pipeline = [{"name": "steps"}, task, task, task]
    group = [{"name": "group", "execution": "parallel"}, *({**task, "name": name} for name in "abc")]
    write_budgets(server, users={"*": {"usd_per_hour": 2.5 * a100}})
    for documents in (pipeline, group):
        said = post(server, "/jobs/launch", yaml.safe_dump_all(documents), name=None)
        assert f"{0.5 * a100:.4f} of {2.5 * a100:.4f} USD/h, {2 * a100:.4f} being spent or reserved" in said


def test_replicas_that_an_update_has_not_replaced_count(tmp_path: Path) -> None:
    """Update a service of four A100 to one that never gets ready: SkyServe keeps the A100 for as long as that lasts."""
    with guarded_server(tmp_path, serve={"controller": {"consolidation_mode": True}}) as server:
        catalog = (server.home / ".sky" / "catalogs" / "v8" / "gcp" / "vms.csv").read_text(encoding="utf-8")
        a100, l4 = gcp_price(catalog, "a2-highgpu-1g", "A100"), gcp_price(catalog, "g2-standard-4", "L4")
        (tmp_path / "state.yaml").write_text(
            yaml.safe_dump([service("chat", replicas=4, **A100), service("chat", replicas=1, **L4)]), encoding="utf-8"
        )
        script = Path(__file__).with_name("serve_state_of.py")
        written = server.run(str(script), "chat", "state.yaml", environment={"SKYPILOT_USER_ID": "12345678"})
        assert written.returncode == 0, written.stderr
        write_budgets(server, users={"*": {"usd_per_hour": 4 * a100}})
        said = post_launch(server, cluster("more", **A100))
        assert f"{4 * a100 + l4:.4f} being spent or reserved" in said
