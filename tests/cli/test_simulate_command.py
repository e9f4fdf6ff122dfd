"""`sky-melange simulate`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sky_melange.cli import cli

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "means" / "workload.yaml"
TRACES = ROOT / "tests" / "data" / "traces"


def run(*arguments: str | Path) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "plan"
    assert run("plan", QUICKSTART, "--offline", "--out", folder).exit_code == 0
    return folder


def test_the_table_begins_with_the_answer_and_fits_a_screen(plan: Path) -> None:
    result = run("simulate", plan)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("chat: 99.98%")
    assert max(len(line) for line in lines) <= 100
    assert len(lines) <= 24
    assert (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8").count(result.stdout) == 1


def test_the_json_has_its_keys_and_is_the_same_twice_but_for_its_speed(plan: Path) -> None:
    first, second = (json.loads(run("simulate", plan, "--requests", "3000", "--format", "json").stdout) for _ in "ab")
    for key in ("ttft_s", "tpot_s", "itl_s", "latency_s"):
        assert list(first[key]) == ["mean", "p50", "p90", "p95", "p99"]
        assert first[key]["p50"] <= first[key]["p90"] <= first[key]["p99"]
    assert first["requests"] == 3000
    assert first["refused_fraction"] == 0
    assert first["is_stable"] is True
    assert [group["name"] for group in first["groups"]] == ["chat-b200", "chat-h100"]
    assert sum(bucket["requests"] for bucket in first["buckets"]) == 3000
    assert first.pop("simulated_requests_per_second") > 0
    second.pop("simulated_requests_per_second")
    assert first == second


def test_requirements_and_losses(plan: Path) -> None:
    assert run("simulate", plan, "--require", "0.99").exit_code == 0
    failed = run("simulate", plan, "--require", "0.99", "--rate", "200", "--requests", "5000")
    assert failed.exit_code == 3
    assert "fewer than --require 99.0000%" in failed.stderr
    assert "NOT STABLE" in failed.stdout
    lost = run("simulate", plan, "--lose", "chat-b200=1", "--slower", "10%", "--requests", "5000")
    assert lost.exit_code == 0
    assert re.search(r"chat-b200 +0 +0.0%", lost.stdout)


@pytest.mark.parametrize("name", ["azure-conversation.csv", "mooncake.jsonl", "vidur-code.csv"])
def test_logs_are_replayed(plan: Path, name: str) -> None:
    result = run("simulate", plan, "--trace", TRACES / name, "--requests", "2000")
    assert result.exit_code == 0, result.stderr
    assert name in result.stdout


def test_a_log_without_times_gives_its_sizes(plan: Path) -> None:
    log = TRACES / "vidur-arxiv.csv"
    refused = run("simulate", plan, "--trace", log)
    assert refused.exit_code == 2
    assert "has no times to replay; draw them, with the sizes of this log: `arrivals: poisson`" in refused.stderr
    result = run("simulate", plan, "--trace", log, "--arrivals", "poisson", "--requests", "2000")
    assert result.exit_code == 0, result.stderr
    assert "Poisson, sizes of vidur-arxiv.csv" in result.stdout.replace("\n", " ")


def test_a_plot_marks_the_rate(plan: Path, tmp_path: Path) -> None:
    path = tmp_path / "plot.html"
    result = run("simulate", plan, "--requests", "500", "--plot", path, "--require", "0.5")
    assert result.exit_code == 0, result.stderr
    text = path.read_text(encoding="utf-8")
    assert text.count("<circle") == 10
    assert text.count("<svg") == 3
    assert "48 req/s" in text
    assert "<script" not in text


def test_every_mistake_is_reported_at_once(plan: Path) -> None:
    wrong = ("--rate", "0", "--requests", "0", "--require", "99", "--slower", "fast", "--lose", "x")
    result = run("simulate", plan, *wrong)
    assert result.exit_code == 2
    assert result.stdout == ""
    for option in ("--rate", "--requests", "--require", "--slower", "--lose"):
        assert option in result.stderr
    assert "99 percent is 0.99" in result.stderr
    assert run("simulate", plan, "--lose", "nobody=1").exit_code == 2
    assert run("simulate", plan, "--arrivals", "cv=-1").exit_code == 2
    assert run("simulate", plan, "--plot", "plot.gif").exit_code == 2
    assert run("simulate", plan / "missing").exit_code == 2


def test_a_log_is_read_as_from_trace_reads_it(plan: Path) -> None:
    """The same options, the same questions: a log of several models asks for one."""
    log = TRACES / "gateways" / "litellm-mixed.csv"
    several = run("simulate", plan, "--trace", log)
    assert several.exit_code == 2
    assert "holds the requests of 2 models" in several.stderr
    where = "model = 'hosted_vllm/meta-llama/Llama-3.1-8B-Instruct'"
    assert run("simulate", plan, "--trace", log, "--where", where, "--requests", "500").exit_code == 0
    none = run("simulate", plan, "--trace", log, "--where", where, "--since", "2040-01-01")
    assert (none.exit_code, "holds no valid request" in none.stderr) == (2, True)
    unused = run("simulate", plan, "--where", where, "--time-unit", "s")
    assert unused.exit_code == 2
    assert "--where, --time-unit: says how a log is read: give it with --trace" in unused.stderr
