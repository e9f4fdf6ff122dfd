"""A guarded API server, and what tests ask of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from api_server import ApiServer, api_server, catalogs_of
from tasks import cluster

from sky_melange.skypilot.budget.ledger import Ledger, Reservation

L4 = {"infra": "gcp", "instance_type": "g2-standard-4", "accelerators": "L4:1"}
POLICY = "sky_melange.skypilot.budget_policy.BudgetPolicy"
CLIENT = """
import sys
import sky, yaml
from sky import serve
kind, path, name = sys.argv[1:]
task = sky.Task.from_yaml_config(yaml.safe_load(open(path)))
try:
    if kind == "up":
        print("REQUEST", serve.up(task, name))
    elif kind == "up-and-wait":
        sky.get(serve.up(task, name))
    else:
        sky.get(sky.launch(task, cluster_name=name, dryrun=True))
        print("PASSED")
except Exception as error:
    print("REFUSED", type(error).__name__, error)
"""


@contextmanager
def guarded_server(home: Path, **config: Any) -> Iterator[ApiServer]:
    """With the guard and its plugin; `config` is added to the server's."""
    (home / "client.py").write_text(CLIENT, encoding="utf-8")
    settings: dict[str, Any] = {
        "clouds": ("aws", "gcp"),
        "catalogs": catalogs_of(["A100", "L4"], clouds=("aws", "gcp")),
        "config": {"admin_policy": POLICY, **config},
        "plugins": [{"class": "sky_melange.skypilot.budget_pin.PinnedAdminPolicy"}],
        "environment": {"SKY_MELANGE_BUDGETS": str(home / "budgets.yaml")},
    }
    with api_server(home, **settings) as server:
        yield server


def write_budgets(server: ApiServer, **sections: Any) -> None:
    (server.home / "budgets.yaml").write_text(yaml.safe_dump({"version": 1, **sections}), encoding="utf-8")


def ask(server: ApiServer, kind: str, task: dict[str, Any], name: str) -> str:
    (server.home / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    done = server.run(str(server.home / "client.py"), kind, "task.yaml", name)
    assert done.returncode == 0, done.stderr
    return done.stdout


def reservations(server: ApiServer) -> tuple[Reservation, ...]:
    return Ledger.at(server.home / ".sky" / "melange" / "budget-ledger.db").read()


def post(server: ApiServer, path: str, task: str, *, env_vars: dict[str, str] | None = None, **body: Any) -> str:
    """What the server says to a request that is posted to it by hand."""
    variables = {"SKYPILOT_USER_ID": "12345678", "SKYPILOT_USER": "mallory", **(env_vars or {})}
    started = server.post(path, json={"task": task, "env_vars": variables, **body})
    assert started.status_code == 200, started.text
    ended = server.get("/api/get", params={"request_id": started.headers["X-Skypilot-Request-ID"]})
    return str(ended.json()).replace("\\", "")


def post_launch(server: ApiServer, task: Any = None, **asked: Any) -> str:
    """A dry run of `sky launch`, which the guard weighs like any other."""
    text = yaml.safe_dump(cluster(**L4) if task is None else task)
    return post(server, "/launch", text, **{"cluster_name": "mine", "dryrun": True, **asked})
