"""A fleet at the command line: planned, written, checked, and refused where anything of it was edited."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fleet_files import workload

from sky_melange.cli import cli
from sky_melange.domain.digest import json_sha256

FLEET = """version: 1
fleet:
  name: assistants
  workloads: [chat.yaml, {file: talk.yaml, priority: 7}]
  budget: {usd_per_hour: 60}
  constraints:
    max_accelerators: {H100: 3}
"""


def run(*arguments: Any) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fleet's files, planned into `out`."""
    folder = tmp_path_factory.mktemp("fleet")
    for name, rate in (("chat", 20), ("talk", 30)):
        workload(folder, name, rate=rate)
    (folder / "fleet.yaml").write_text(FLEET, encoding="utf-8")
    done = run("plan", folder / "fleet.yaml", "--out", folder / "out", "--offline")
    assert done.exit_code == 0, done.stderr
    return folder


@pytest.fixture
def fleet(planned: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(planned, tmp_path / "fleet"))


def document(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "out" / "fleet.json").read_text(encoding="utf-8")))


@pytest.mark.slow
def test_the_same_files_give_the_same_bytes_and_json_alone_on_stdout(fleet: Path) -> None:
    before = {path: path.read_bytes() for path in sorted((fleet / "out").rglob("*")) if path.is_file()}
    done = run("plan", fleet / "fleet.yaml", "--out", fleet / "out", "--offline", "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert {path: path.read_bytes() for path in sorted((fleet / "out").rglob("*")) if path.is_file()} == before
    answer = json.loads(done.stdout)
    assert set(answer["plans"]) == {"chat", "talk"}
    assert answer["usd_per_hour"] == document(fleet)["usd_per_hour"]
    totals = [plan["cost"]["total_usd_per_hour"] for plan in answer["plans"].values()]
    assert answer["usd_per_hour"] == pytest.approx(sum(totals) - answer["shared_usd_per_hour"])


def test_the_table_says_who_costs_what_and_what_is_shared(fleet: Path) -> None:
    done = run("plan", fleet / "fleet.yaml", "--no-files", "--offline")
    assert done.exit_code == 0, done.stderr
    assert "assistants: USD" in done.stdout
    assert "max_accelerators.H100" in done.stdout
    assert "Budget: USD 60.00 per hour" in done.stdout
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


@pytest.mark.slow
def test_markdown_and_the_page_say_what_the_table_says(fleet: Path) -> None:
    told = run("plan", fleet / "fleet.yaml", "--no-files", "--offline", "--format", "markdown")
    assert told.exit_code == 0, told.stderr
    assert told.stdout.startswith("**assistants: USD ")
    assert "| talk | " in told.stdout
    done = run("report", fleet / "out", "-o", fleet / "fleet.html")
    assert (done.exit_code, done.stdout) == (0, "")
    page = (fleet / "fleet.html").read_text(encoding="utf-8")
    for name in ("chat", "talk"):
        plan = json.loads((fleet / "out" / name / "plan.json").read_text(encoding="utf-8"))
        assert f"<h2>{name}</h2>" in page
        assert f"{plan['cost']['total_usd_per_hour']:.4f}" in page
        assert f"sky-melange report {fleet / 'out' / name}" in page
    assert '<th scope="row">max_accelerators.H100</th>' in page
    assert "<script" not in page


@pytest.mark.slow
def test_shares_and_losses_of_a_fleet_are_shown_checked_and_refused(fleet: Path) -> None:
    path, out = fleet / "fleet.yaml", fleet / "placed"
    limits = "constraints:\n    max_cloud_share: 0.6\n    tolerate_replica_losses: 1"
    path.write_text(FLEET.replace("constraints:", limits).replace("H100: 3", "H100: 6"), encoding="utf-8")
    done = run("plan", path, "--out", out, "--offline")
    assert done.exit_code == 0, done.stderr
    assert "max_cloud_share.lambda" in done.stdout
    assert "Any one instance of the fleet may be lost" in " ".join(done.stdout.split())
    answer = json.loads((out / "fleet.json").read_text(encoding="utf-8"))
    assert {place["name"].rpartition(".")[2] for place in answer["places"]} == {"aws", "lambda"}
    assert all(sum(place["fractions"]) <= 0.6 + 1e-6 for place in answer["places"])
    assert run("report", out, "-o", fleet / "placed.html").exit_code == 0
    assert '<th scope="row">max_cloud_share.lambda</th>' in (fleet / "placed.html").read_text(encoding="utf-8")
    assert "max_cloud_share.lambda" in run("explain", out).stdout
    explained = json.loads(run("explain", out, "--format", "json").stdout)
    assert max(place["total"] for place in explained["places"]) <= 0.6 + 1e-6
    checked = run("check", out, "--offline")
    assert checked.exit_code == 0, checked.stdout + checked.stderr
    # What the plans are is recounted, whatever the file says that they are.
    answer["constraints"]["max_cloud_share_fraction"] = 0.5
    del answer["fleet_plan_sha256"]
    (out / "fleet.json").write_text(json.dumps({**answer, "fleet_plan_sha256": json_sha256(answer)}), encoding="utf-8")
    edited = run("check", out, "--offline")
    assert edited.exit_code == 3
    assert "% of the traffic, 50.0000% are allowed" in edited.stderr
    path.write_text(path.read_text(encoding="utf-8").replace("0.6", "0.3"), encoding="utf-8")
    refused = run("plan", path, "--no-files", "--offline")
    assert refused.exit_code == 4
    assert "max_cloud_share = 0.3 cannot be met: " in refused.stderr


def test_a_fleet_is_explained_by_what_is_short(fleet: Path) -> None:
    told = run("explain", fleet / "out")
    assert told.exit_code == 0, told.stderr
    assert "One more saves" in told.stdout
    found = json.loads(run("explain", fleet / "out" / "fleet.json", "--format", "json").stdout)
    (quota,) = found["shared"]
    assert (quota["name"], quota["limit"]) == ("fleet.constraints.max_accelerators.H100", 3)
    assert [each["name"] for each in found["workloads"]] == ["chat", "talk"]
    for arguments, said in (
        ((fleet / "fleet.yaml",), "is not a plan: run `sky-melange plan"),
        ((fleet / "out", "--again"), "is a fleet: --again and --workload are of one plan"),
    ):
        refused = run("explain", *arguments)
        assert refused.exit_code == 2
        assert said in refused.stderr


def test_the_charges_of_a_fleet_are_those_of_its_plans_with_one_controller(fleet: Path) -> None:
    done = run("report", fleet / "out", "--as", "focus-csv", "-o", fleet / "fleet.csv")
    assert done.exit_code == 0, done.stderr
    written = (fleet / "fleet.csv").read_text(encoding="utf-8")
    assert written == run("plan", fleet / "fleet.yaml", "--no-files", "--offline", "--format", "focus-csv").stdout
    charged = sum(float(row["EffectiveCost"]) for row in csv.DictReader(io.StringIO(written)))
    assert charged == pytest.approx(document(fleet)["usd_per_hour"], abs=1e-6)


def test_what_changed_from_a_fleet_to_a_fleet(fleet: Path, tmp_path: Path) -> None:
    text = (fleet / "fleet.yaml").read_text(encoding="utf-8").replace("H100: 3", "H100: 1")
    (fleet / "fleet.yaml").write_text(text, encoding="utf-8")
    assert run("plan", fleet / "fleet.yaml", "--out", fleet / "less", "--offline").exit_code == 0
    told = run("diff", fleet / "out", fleet / "less", "--format", "json")
    assert told.exit_code == 0, told.stderr
    answer = json.loads(told.stdout)
    assert (answer["added"], answer["removed"], set(answer["plans"])) == ([], [], {"chat", "talk"})
    assert answer["new_usd_per_hour"] > answer["old_usd_per_hour"] == document(fleet)["usd_per_hour"]
    table = run("diff", fleet / "out", fleet / "less").stdout
    assert table.startswith("assistants -> assistants: USD ")
    for arguments in ((fleet / "out", fleet / "out" / "chat"), (fleet / "out", fleet / "less", "--format", "markdown")):
        assert run("diff", *arguments).exit_code == 2


@pytest.mark.slow
def test_check_holds_and_fails_closed(fleet: Path) -> None:
    out = fleet / "out"
    good = run("check", out, "--offline")
    assert good.exit_code == 0, good.stdout + good.stderr
    told = json.loads(run("check", out, "--offline", "--format", "json").stdout)
    assert [check["name"] for check in told["checks"]] == [
        "fleet-lock",
        "fleet-shared",
        "fleet-budget",
        "fleet-budget-monthly",
    ]
    path = fleet / "fleet.yaml"
    path.write_text(FLEET.replace("H100: 3", "H100: 2"), encoding="utf-8")
    edited = run("check", out, "--offline")
    assert edited.exit_code == 3
    assert "fleet-lock" in edited.stderr
    assert "was edited since" in edited.stderr
    path.unlink()
    assert run("check", out, "--offline").exit_code == 3


def test_a_plan_that_is_not_the_fleets_is_refused_by_every_command(fleet: Path) -> None:
    other = run("plan", fleet / "chat.yaml", "--out", fleet / "out" / "chat", "--offline")
    assert other.exit_code == 0, other.stderr
    same = json.loads((fleet / "out" / "chat" / "plan.json").read_text(encoding="utf-8"))["plan_sha256"]
    if same == document(fleet)["members"][0]["plan_sha256"]:
        pytest.skip("what is shared is not short: the plan by itself is that of the fleet")
    for command in (("check", "--offline"), ("up", "--dry-run", "--offline"), ("status",), ("simulate",)):
        name, *options = command
        done = run(name, fleet / "out", *options)
        assert done.exit_code == 2, (name, done.output)
        assert "is not the plan that" in done.stderr


def test_an_edited_fleet_json_and_a_missing_plan_are_refused(fleet: Path) -> None:
    path = fleet / "out" / "fleet.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"H100": 3', '"H100": 30'), encoding="utf-8")
    assert run("check", fleet / "out", "--offline").exit_code == 2
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    assert run("check", fleet / "out", "--offline").exit_code == 2
    path.write_text(text, encoding="utf-8")
    shutil.rmtree(fleet / "out" / "talk")
    done = run("status", fleet / "out")
    assert done.exit_code == 2
    assert "talk" in done.stderr


@pytest.mark.slow
def test_a_budget_that_is_too_small_prints_the_fleet_and_writes_nothing(fleet: Path) -> None:
    path = fleet / "fleet.yaml"
    path.write_text(FLEET.replace("usd_per_hour: 60", "usd_per_hour: 6"), encoding="utf-8")
    done = run("plan", path, "--out", fleet / "new", "--offline")
    assert done.exit_code == 3
    assert "over fleet.budget.usd_per_hour 6" in done.stderr
    assert "assistants: USD" in done.stdout
    assert not (fleet / "new").exists()


def test_a_workload_that_leaves_the_fleet_leaves_its_folder(fleet: Path) -> None:
    path = fleet / "fleet.yaml"
    path.write_text(FLEET.replace(", {file: talk.yaml, priority: 7}", ""), encoding="utf-8")
    (fleet / "out" / "talk" / "launch.json").write_text("{}", encoding="utf-8")
    done = run("plan", path, "--out", fleet / "out", "--offline")
    assert done.exit_code == 2
    assert "was launched and is not in the fleet any more" in done.stderr
    (fleet / "out" / "talk" / "launch.json").unlink()
    assert run("plan", path, "--out", fleet / "out", "--offline").exit_code == 0
    assert not (fleet / "out" / "talk").exists()


def test_a_folder_of_something_else_is_not_touched(fleet: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine", encoding="utf-8")
    done = run("plan", fleet / "fleet.yaml", "--out", foreign, "--offline")
    assert done.exit_code == 2
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("option", [("--explain",), ("--formulation", "sliced"), ("--rate", "3")])
def test_options_of_one_workload_are_refused(fleet: Path, option: tuple[str, ...]) -> None:
    done = run("plan", fleet / "fleet.yaml", "--no-files", "--offline", *option)
    assert done.exit_code == 2
    assert "of one workload" in done.stderr


@pytest.mark.slow
def test_steps_of_all_plans_are_shown_in_their_order(fleet: Path) -> None:
    done = run("up", fleet / "out", "--dry-run", "--offline")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.index("chat:") < done.stdout.index("talk:")
    told = json.loads(run("up", fleet / "out", "--dry-run", "--offline", "--format", "json").stdout)
    assert set(told["plans"]) == {"chat", "talk"}


def test_reserved_capacity_that_two_workloads_may_use_is_sold_once(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(
        "cloud,region,instance_type,price_usd_per_hour,reserved_instances\nlambda,us-east-1,gpu_1x_h100_sxm5,0.5,1\n",
        encoding="utf-8",
    )
    for name in ("chat", "talk"):
        path = tmp_path / workload(tmp_path, name, rate=12)
        path.write_text(path.read_text(encoding="utf-8") + "prices: {overrides: own.csv}\n", encoding="utf-8")
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("version: 1\nfleet: {name: both, workloads: [chat.yaml, talk.yaml]}\n", encoding="utf-8")
    done = run("plan", fleet, "--no-files", "--offline", "--format", "json")
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    groups = [group for plan in answer["plans"].values() for group in plan["groups"]]
    assert sum(group["instances"] for group in groups if group["reserved_instances"] is not None) == 1
    (shared,) = answer["shared"]
    assert shared["name"].startswith("reserved capacity")
    assert shared["worth_usd_per_hour"] > 0


def test_every_plan_names_the_controller_that_runs_all_services(fleet: Path) -> None:
    machines = []
    for name in ("chat", "talk"):
        plan = json.loads((fleet / "out" / name / "plan.json").read_text(encoding="utf-8"))
        machines += [machine for machine in plan["overhead"] if "controller" in machine["purpose"]]
    assert len(machines) == 2
    assert machines[0]["instance_type"] == machines[1]["instance_type"]
    assert document(fleet)["shared_usd_per_hour"] == pytest.approx(machines[0]["price_usd_per_hour"])


@pytest.mark.slow
def test_what_a_killed_plan_leaves_does_not_lock_the_folder(fleet: Path) -> None:
    out = fleet / "new"
    (out / ".chat-abcdef").mkdir(parents=True)
    (out / "chat").mkdir()
    assert run("plan", fleet / "fleet.yaml", "--out", out, "--offline").exit_code == 0


@pytest.mark.slow
def test_a_workload_keeps_its_own_budget_in_a_fleet(fleet: Path) -> None:
    path = fleet / "chat.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "budget: {usd_per_hour: 0.5}\n", encoding="utf-8")
    done = run("plan", fleet / "fleet.yaml", "--out", fleet / "new", "--offline")
    assert done.exit_code == 3
    assert "chat: the cheapest plan costs" in done.stderr
    assert not (fleet / "new").exists()


def test_plans_without_hours_are_not_scaled_and_drift_is_of_one_plan(fleet: Path) -> None:
    done = run("scale", fleet / "out", "--dry-run", "--format", "json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "has no plan with a schedule to follow" in done.stderr
    refused = run("check", fleet / "out", "--offline", "--max-drift", "5")
    assert refused.exit_code == 2
    assert "of one plan" in refused.stderr


def test_quotas_of_vcpus_count_machines_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(
        "cloud,region,instance_type,accelerator,accelerators,vcpus,memory_gib,price_usd_per_hour\n"
        "lambda,us-east-1,myh100,H100,1,20,200,0.5\n",
        encoding="utf-8",
    )
    path = tmp_path / workload(tmp_path, "chat", rate=12)
    path.write_text(path.read_text(encoding="utf-8") + "prices: {overrides: own.csv}\n", encoding="utf-8")
    fleet = tmp_path / "fleet.yaml"
    limits = 'constraints: {max_vcpus_in: {lambda: {"my*": 200}}}'
    fleet.write_text(f"version: 1\nfleet: {{name: one, workloads: [chat.yaml], {limits}}}\n", encoding="utf-8")
    done = run("plan", fleet, "--out", tmp_path / "out", "--offline")
    assert done.exit_code == 0, done.stderr
    assert "myh100" in (tmp_path / "out" / "chat" / "plan.json").read_text(encoding="utf-8")
    checked = run("check", tmp_path / "out", "--offline")
    assert checked.exit_code == 0, checked.stdout + checked.stderr
