"""`.sky.yaml` places SkyServe's controller on the machine that the plan priced: by SkyPilot's own functions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from sky_melange.cli import cli
from sky_melange.domain.offer import Offer
from sky_melange.plan_file import read_plan
from sky_melange.prices import load_snapshot
from sky_melange.skypilot.seed_catalogs import offer_of, seed_catalogs

# What a client sends, and what a server that knows nothing of the folder makes of it.
SCRIPT = """
import json, os, sys
import sky
from sky import skypilot_config
from sky.server.requests import payloads
from sky.utils import annotations, controller_utils

annotations.is_on_api_server = False  # as in every client
sent = payloads.get_override_skypilot_config_from_client()
os.chdir("/")
os.environ.pop("SKYPILOT_PROJECT_CONFIG", None)
skypilot_config.reload_config()
task = sky.Task.from_yaml(sys.argv[1])
with skypilot_config.override_skypilot_config(sent):
    (found,) = controller_utils.get_controller_resources(
        controller_utils.Controllers.SKY_SERVE_CONTROLLER, task.resources
    )
answer = {
    "cloud": str(found.cloud).lower(), "region": found.region, "instance_type": found.instance_type,
    "price": found.get_cost(3600), "autostop": found.autostop_config is not None,
    "sent": {key: sent[key] for key in ("serve", "kubernetes") if key in sent},
}
print("ANSWER" + json.dumps(answer))
"""


def _plan(repository: Path, folder: Path, **launch: str) -> Path:
    document = yaml.safe_load((repository / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8"))
    document["launch"] = {**document["launch"], **launch}
    (folder / "workload.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    done = CliRunner().invoke(cli, ["plan", str(folder / "workload.yaml"), "--offline", "--out", str(folder / "plan")])
    assert done.exit_code == 0, done.output
    return folder / "plan"


def _asked(plan: Path, home: Path, before: str = "", **environment: str) -> dict[str, object]:
    groups = read_plan(plan).plan.groups
    planned = [offer_of(group) for group in groups]
    offers = load_snapshot().offers
    catalogs = seed_catalogs(planned, offers)
    overhead = json.loads((plan / "plan.json").read_text(encoding="utf-8"))["overhead"]
    for machine in overhead:
        same = [o for o in offers if (o.cloud, o.instance_type) == (machine["cloud"], machine["instance_type"])]
        assert same
    catalogs |= seed_catalogs([*planned, *_elsewhere(planned[0], {machine["cloud"] for machine in overhead})], offers)
    for path, csv in catalogs.items():
        target = home / ".sky" / "catalogs" / "v8" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(csv, encoding="utf-8")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SKYPILOT_")}
    done = subprocess.run(
        [sys.executable, "-c", before + SCRIPT, str(plan.resolve() / groups[0].file)],
        cwd=plan,
        env={**clean, "HOME": str(home), "SKY_RUNTIME_DIR": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.partition("ANSWER")[2])
    return found


def _elsewhere(offer: Offer, clouds: set[str]) -> list[Offer]:
    """The machine again in each cloud, so that its catalog is seeded."""
    return [replace(offer, cloud=cloud, region="seeded", zone=None) for cloud in sorted(clouds)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def _controller(plan: Path) -> dict[str, object]:
    overhead = json.loads((plan / "plan.json").read_text(encoding="utf-8"))["overhead"]
    (machine,) = [machine for machine in overhead if machine["purpose"] == "SkyServe controller"]
    return {
        "cloud": machine["cloud"],
        "region": machine["region"],
        "instance_type": machine["instance_type"],
        "price": pytest.approx(machine["price_usd_per_hour"]),
    }


def test_a_server_places_the_controller_where_the_plan_priced_it(repository: Path, tmp_path: Path, home: Path) -> None:
    plan = _plan(repository, tmp_path)
    found = _asked(plan, home)
    wanted = _controller(plan)
    assert {key: found[key] for key in wanted} == wanted
    assert found["autostop"]


def test_up_has_the_same_from_any_folder_beside_the_users_own_configuration(
    repository: Path, tmp_path: Path, home: Path
) -> None:
    plan = _plan(repository, tmp_path)
    own = tmp_path / "own.yaml"
    own.write_text(
        "kubernetes: {remote_identity: mine}\nserve: {controller: {resources: {disk_size: 77}}}\n", encoding="utf-8"
    )
    before = (
        "import os, pathlib\nfrom sky_melange.skypilot.launch.sdk import SkyPilot\n"
        "text = pathlib.Path('.sky.yaml').read_text()\nos.chdir('/')\nkept = SkyPilot(project_config=text)\n"
    )
    found = _asked(plan, home, before, SKYPILOT_PROJECT_CONFIG=str(own))
    wanted = _controller(plan)
    assert {key: found[key] for key in wanted} == wanted
    assert found["sent"]["kubernetes"] == {"remote_identity": "mine"}  # type: ignore[index]
    assert found["sent"]["serve"]["controller"]["resources"]["disk_size"] == 77  # type: ignore[index]


@pytest.mark.parametrize("launch", [{"mode": "cluster"}, {"controller": "consolidated"}])
def test_without_a_controller_machine_there_is_no_configuration(
    repository: Path, tmp_path: Path, launch: dict[str, str]
) -> None:
    plan = _plan(repository, tmp_path, **launch)
    assert not (plan / ".sky.yaml").exists()
    overhead = json.loads((plan / "plan.json").read_text(encoding="utf-8"))["overhead"]
    assert [machine["purpose"] for machine in overhead] == ["router"]


def test_the_folder_can_be_planned_again(repository: Path, tmp_path: Path) -> None:
    plan = _plan(repository, tmp_path)
    assert (plan / ".sky.yaml").is_file()
    _plan(repository, tmp_path)
    _plan(repository, tmp_path, mode="cluster")
    assert not (plan / ".sky.yaml").exists()
