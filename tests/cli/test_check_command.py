"""`check` and `diff` as a CI job meets them: live prices from a server on loopback, exit codes, messages, files."""

from __future__ import annotations

import importlib.util
import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from sky_melange.cli import cli

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "means" / "workload.yaml"
EXTRACTS = ROOT / "tests" / "data" / "check"
SHARED = ROOT.parent / "shared" / "data"
CATALOGS = [
    pytest.param((EXTRACTS / "older", EXTRACTS / "newer"), id="extracts"),
    pytest.param(
        (SHARED / "catalogs-older", SHARED / "catalogs"),
        id="whole catalogs",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(not SHARED.is_dir(), reason="no folder of public data beside the repository"),
        ],
    ),
]


def _load(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


loopback = _load("catalog_server_of_prices", ROOT / "tests" / "prices" / "server.py")


def run(*arguments: str | Path) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


class Scene:
    """A plan on Lambda at the older prices, and the server that has the later ones at a word."""

    def __init__(self, folder: Path, server: Any, later: Path) -> None:
        self.folder, self.server, self._later = folder, server, later
        self.workload = folder / "workload.yaml"
        document = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
        document["candidates"] = {"clouds": ["lambda"], "accelerators": ["H100", "B200"]}
        # Machines beside the replicas are the subject of tests/check.
        document["constraints"] = {"max_groups": 1}
        document["launch"] = {"mode": "cluster"}
        self.write(document)

    @property
    def plan(self) -> Path:
        return self.folder / "plan" / "plan.json"

    def write(self, document: object) -> None:
        self.workload.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    def make_plan(self) -> dict[str, Any]:
        result = run("plan", self.workload, "--out", self.folder / "plan")
        assert result.exit_code == 0, result.stderr
        document: dict[str, Any] = json.loads(self.plan.read_text(encoding="utf-8"))
        return document

    def prices_rise(self) -> None:
        self.server.serve(self._later)

    def check(self, *options: str | Path) -> tuple[int, dict[str, Any], str]:
        """Exit code, the JSON report, stderr."""
        result = run("check", self.plan, "--format", "json", *options)
        return result.exit_code, json.loads(result.stdout) if result.stdout else {}, result.stderr


@pytest.fixture(params=CATALOGS)
def scene(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    older, newer = request.param
    monkeypatch.setenv("SKY_MELANGE_CACHE_DIR", str(tmp_path / "cache"))
    with loopback.CatalogServer(older) as server:
        monkeypatch.setenv("SKY_MELANGE_CATALOG_URL", server.url)
        yield Scene(tmp_path, server, newer)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("SKY_MELANGE_CACHE_DIR", str(tmp_path / "cache"))
    with loopback.CatalogServer(EXTRACTS / "older") as server:
        monkeypatch.setenv("SKY_MELANGE_CATALOG_URL", server.url)
        scene = Scene(tmp_path, server, EXTRACTS / "newer")
        scene.make_plan()
        yield scene


def check_of(report: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(check for check in report["checks"] if check["name"] == name)
    return found


def test_a_rise_at_lambda_fails_the_budget_with_its_amount(scene: Scene) -> None:
    plan = scene.make_plan()
    planned = plan["cost"]["total_usd_per_hour"]
    code, report, stderr = scene.check("--budget", f"{planned:.4f}")
    assert (code, report["verdict"]) == (0, "pass"), stderr
    scene.prices_rise()
    code, report, stderr = scene.check("--budget", f"{planned:.4f}")
    assert code == 3
    assert [check["name"] for check in report["checks"] if check["verdict"] == "fail"] == ["budget-total"]
    rises = [price for price in report["prices"] if price["cloud"] == "lambda"]
    assert all(price["change_usd_per_hour"] > 0 for price in rises)
    total = check_of(report, "budget-total")["figure"]
    assert total - planned == pytest.approx(sum(price["change_usd_per_hour"] for price in rises), abs=1e-9)
    for price in rises:
        amount = f"{price['change_usd_per_hour']:+.4f} USD/h"
        said = [line for line in stderr.splitlines() if "lambda" in line and "rose from" in line]
        assert any(amount in line and price["name"] in line for line in said)
    code, report, _ = scene.check("--budget", f"{total + 0.01:.4f}")
    assert (code, report["verdict"]) == (0, "pass")


def test_offline_says_how_old_its_prices_are(small: Scene) -> None:
    small.server.forget()
    result = run("check", small.plan, "--offline")
    assert result.exit_code == 0, result.stderr
    assert small.server.seen == []
    assert "Used lambda: skypilot of 20" in result.stdout
    assert " h old." in result.stdout
    embedded = run("check", small.plan, "--offline", "--format", "json")
    ages = json.loads(embedded.stdout)["price_ages"]
    assert all(age["fetched_at"] for age in ages if age["cloud"] == "lambda")


def test_a_source_that_is_down_warns_within_the_age_and_exits_6_beyond(small: Scene) -> None:
    small.server.fail(loopback.EVERY_CLOUD, loopback.status(500))
    code, report, stderr = small.check("--max-age-hours", "1000000")
    assert (code, report["verdict"]) == (0, "pass")
    assert "HTTP 500" in stderr
    assert any("lambda" in warning for warning in report["warnings"])
    code, report, stderr = small.check("--max-age-hours", "0")
    assert code == 6
    assert check_of(report, "prices-fresh")["verdict"] == "fail"
    assert "prices-fresh" in stderr


def test_the_age_limit_of_the_workload_is_exit_6_too(small: Scene) -> None:
    document = yaml.safe_load(small.workload.read_text(encoding="utf-8"))
    small.write({**document, "prices": {"max_age_hours": 1e-9}})
    small.server.fail(loopback.EVERY_CLOUD, loopback.status(500))
    code, report, stderr = small.check()
    assert code == 6, stderr
    assert check_of(report, "lock")["verdict"] == "fail"


def test_a_file_edited_by_hand_fails_with_its_diff(small: Scene) -> None:
    path = next(small.plan.parent.glob("*.sky.yaml"))
    path.write_text(path.read_text(encoding="utf-8").replace("disk_size: 512", "disk_size: 64"), encoding="utf-8")
    code, report, stderr = small.check()
    assert code == 3
    assert [check["name"] for check in report["checks"] if check["verdict"] == "fail"] == ["files"]
    assert "-  disk_size: 512" in stderr
    assert "+  disk_size: 64" in stderr


def test_another_workload_is_not_served(small: Scene) -> None:
    document = yaml.safe_load(small.workload.read_text(encoding="utf-8"))
    document["traffic"]["request_rate"] = 500
    small.write(document)
    code, report, stderr = small.check("--workload", small.workload)
    assert code == 3
    assert check_of(report, "serves")["verdict"] == "fail"
    assert "is used to" in stderr


def edit(workload: Path, **sections: Any) -> None:
    document = yaml.safe_load(workload.read_text(encoding="utf-8"))
    for name, entries in sections.items():
        document.setdefault(name, {}).update(entries)
    workload.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"traffic": {"request_rate": 320}}, "traffic.request_rate: 32 req/s when planned, 320 req/s in"),
        ({"traffic": {"request_rate": 32.0000001}}, "traffic.request_rate: 32 req/s when planned, 32 req/s in"),
        ({"slo": {"tpot_ms": 39}}, "slo.tpot_s: 0.04 when planned, 0.039 in"),
        ({"budget": {"usd_per_hour": 1000}}, "budget.usd_per_hour: None when planned, 1000 in"),
        ({"launch": {"secrets": ["OTHER"]}}, "launch.secrets: HF_TOKEN when planned, OTHER in"),
        ({"solver": {"formulation": "exact"}}, "was edited since; what it asks for is the same"),
    ],
    ids=["ten times the traffic", "a little more traffic", "target", "budget", "launch", "spelled out"],
)
@pytest.mark.parametrize("given", [False, True], ids=["found", "given"])
def test_an_edited_workload_fails_until_it_is_planned_again(
    small: Scene, sections: dict[str, Any], said: str, given: bool
) -> None:
    edit(small.workload, **sections)
    options = ["--workload", small.workload] if given else []
    code, report, stderr = small.check(*options)
    assert code == 3
    lock = check_of(report, "lock")
    assert lock["verdict"] == "fail"
    assert any(said in detail for detail in lock["details"]), lock
    assert "lock" in stderr
    small.make_plan()
    assert small.check(*options)[0] == 0


def test_comments_and_layout_of_a_workload_are_no_edit(small: Scene) -> None:
    document = yaml.safe_load(small.workload.read_text(encoding="utf-8"))
    text = "# a comment\r\n" + yaml.safe_dump(dict(reversed(document.items())), sort_keys=False, indent=7)
    small.workload.write_bytes(text.replace("\n", "\r\n").encode())
    assert small.check()[0] == 0


def test_a_workload_that_is_gone_fails_and_one_with_mistakes_is_exit_2(small: Scene) -> None:
    moved = small.workload.rename(small.folder / "moved.yaml")
    code, report, _ = small.check()
    assert code == 3
    assert "is not there; plan again, or give --workload" in check_of(report, "lock")["details"][0]
    assert small.check("--workload", moved)[0] == 0
    edit(moved, slo={"tpot_ms": -1})
    moved.rename(small.workload)
    code, _, stderr = small.check()
    assert code == 2
    assert "slo.tpot_ms" in stderr


def test_a_workload_that_no_path_leads_to_needs_the_option(small: Scene) -> None:
    odd = small.workload.rename(small.folder / "workload.txt")
    assert run("plan", odd, "--out", small.folder / "plan").exit_code == 0
    code, report, _ = small.check()
    assert code == 3
    assert "names no workload file" in check_of(report, "lock")["details"][0]
    assert small.check("--workload", odd)[0] == 0


def test_another_workload_is_compared_with_the_plan_and_not_with_its_file(small: Scene) -> None:
    other = small.folder / "other.yaml"
    other.write_bytes(small.workload.read_bytes())
    edit(other, traffic={"request_rate": 1})
    code, report, _ = small.check("--workload", other)
    assert code == 0
    assert check_of(report, "lock")["verdict"] == "skipped"


def test_a_log_that_is_not_committed_leaves_its_counts(small: Scene) -> None:
    log = small.folder / "requests.csv"
    log.write_text("startTime,prompt_tokens,completion_tokens\n" + "2024-05-01T00:00:01Z,400,90\n" * 50)
    document = yaml.safe_load(small.workload.read_text(encoding="utf-8"))
    small.write({**document, "traffic": {"trace": "requests.csv", "request_rate": 5}})
    small.make_plan()
    assert small.check()[0] == 0
    log.write_text(log.read_text(encoding="utf-8").replace("400", "900"), encoding="utf-8")
    assert small.check()[0] == 3
    log.unlink()
    code, report, _ = small.check()
    assert code == 0
    assert any("requests.csv" in warning for warning in report["warnings"])
    edit(small.workload, traffic={"request_rate": 50})
    assert small.check()[0] == 3


@pytest.mark.parametrize("place", ["/etc/hosts.yaml", "../workload.txt"])
def test_a_plan_names_no_file_but_a_workload_near_it(small: Scene, place: str) -> None:
    document = json.loads(small.plan.read_text(encoding="utf-8"))
    del document["plan_sha256"]
    document["inputs"]["workload_file"] = place
    small.plan.write_text(json.dumps(document), encoding="utf-8")
    code, _, stderr = small.check()
    assert code == 2
    assert "inputs.workload_file" in stderr


def test_a_workload_that_is_a_link_is_not_read(small: Scene) -> None:
    (small.folder / "secret").write_text("token: hunter2\n")
    small.workload.unlink()
    small.workload.symlink_to("secret")
    code, _, stderr = small.check()
    assert code == 2
    assert "is a link" in stderr
    assert "hunter2" not in stderr


def test_drift_is_searched_for_on_demand(small: Scene) -> None:
    code, report, _ = small.check("--max-drift", "5")
    assert code == 0
    drift = check_of(report, "drift")
    assert (drift["verdict"], drift["figure"]) == ("pass", pytest.approx(0.0, abs=1e-9))


@pytest.mark.parametrize(("usd_per_month", "code"), [(3000, 3), (20_000, 0)])
def test_a_monthly_budget_holds_what_spot_may_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usd_per_month: int, code: int
) -> None:
    """About 2,400 USD a month while spot machines are up, 5,300 while on-demand ones stand in."""
    monkeypatch.setenv("SKY_MELANGE_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "workload.yaml"
    path.write_text(
        "version: 1\nname: chat\nslo: {attainment: mean, tpot_ms: 50, ttft_ms: 2000}\n"
        "model: {id: meta-llama/Llama-3.1-8B-Instruct, dtype: bfloat16, max_model_len: 4096}\n"
        "traffic:\n  request_rate: 10\n  histogram: {input_tokens: [1000], output_tokens: [250], weights: [[1]]}\n"
        "candidates: {clouds: [aws], spot: allow, accelerators: [H100, L40S, A100-80GB, H200]}\n"
        "constraints: {min_replicas: 2, min_on_demand_replicas: 1}\n"
        f"budget: {{usd_per_month: {usd_per_month}}}\n",
        encoding="utf-8",
    )
    planned = run("plan", path, "--offline", "--out", tmp_path / "plan")
    assert planned.exit_code == 0
    said = "is over budget.usd_per_month 3000: `check` and `up` refuse this plan" in " ".join(planned.stdout.split())
    assert said == (code == 3)
    checked = run("check", tmp_path / "plan", "--offline", "--format", "json")
    assert checked.exit_code == code
    worst = check_of(json.loads(checked.stdout), "budget-monthly-worst-case")
    assert worst["verdict"] == ("fail" if code else "pass")
    assert worst["figure"] > 2 * check_of(json.loads(checked.stdout), "budget-monthly")["figure"]


def test_a_policy_is_held_up(small: Scene) -> None:
    policy = small.folder / "policy.yaml"
    policy.write_text("version: 1\nbanned_clouds: [lambda]\nmin_profile_kind: measured\n", encoding="utf-8")
    code, report, _ = small.check("--policy", policy)
    assert code == 3
    failed = [check["name"] for check in report["checks"] if check["verdict"] == "fail"]
    assert failed == ["policy-clouds", "policy-profile-kind"]


def test_reports_are_also_written(small: Scene) -> None:
    names = {"markdown": "r.md", "json": "r.json", "junit": "r.xml", "github": "r.log", "table": "r.txt"}
    writes = [word for kind, name in names.items() for word in ("--write", f"{kind}={small.folder / name}")]
    assert run("check", small.plan, "--budget", "0.01", *writes).exit_code == 3
    root = ET.parse(small.folder / "r.xml").getroot()  # noqa: S314 - our own text
    assert root.get("failures") == "1"
    assert json.loads((small.folder / "r.json").read_text())["verdict"] == "fail"
    assert all((small.folder / name).stat().st_size > 0 for name in names.values())


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (["--budget", "nan"], ["--budget"]),
        (["--budget", "-1", "--max-drift", "-2"], ["--budget", "--max-drift"]),
        (["--monthly-budget", "inf"], ["--monthly-budget"]),
        (["--write", "pdf=x"], ["--write", "FORMAT=FILE"]),
        (["--write", "json=none/x.json"], ["--write", "existing folder"]),
        (["--policy", "none.yaml"], ["none.yaml"]),
        (["--workload", "none.yaml"], ["none.yaml"]),
    ],
)
def test_bad_options_are_exit_2(small: Scene, options: list[str], fragments: list[str]) -> None:
    result = run("check", small.plan, *options)
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    assert all(fragment in result.stderr for fragment in fragments)


def test_a_broken_plan_is_exit_2_before_any_request(small: Scene) -> None:
    small.plan.write_text(small.plan.read_text(encoding="utf-8")[:1000], encoding="utf-8")
    small.server.forget()
    result = run("check", small.plan)
    assert result.exit_code == 2
    assert "truncated" in result.stderr
    assert small.server.seen == []


def test_diff_of_two_real_plans(small: Scene) -> None:
    old = small.plan.read_text(encoding="utf-8")
    (small.folder / "old.json").write_text(old, encoding="utf-8")
    small.prices_rise()
    small.make_plan()
    result = run("diff", small.folder / "old.json", small.plan, "--format", "json")
    assert result.exit_code == 0, result.stderr
    diff = json.loads(result.stdout)
    costs = diff["cost"]["new"]["total_usd_per_hour"] - diff["cost"]["old"]["total_usd_per_hour"]
    assert diff["changed"] is True
    assert sum(diff["effects"].values()) == pytest.approx(costs, abs=1e-9)
    assert diff["inputs_changed"] == {"workload": False, "profiles": False, "prices": True}
    same = run("diff", small.plan, small.plan.parent, "--write", f"markdown={small.folder / 'd.md'}")
    assert "nothing changed" in same.stdout
    assert (small.folder / "d.md").exists()


def test_diff_names_the_mistakes_of_both_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    result = run("diff", tmp_path / "a.json", tmp_path / "b.json")
    assert result.exit_code == 2
    assert "a.json" in result.stderr
    assert "b.json" in result.stderr
