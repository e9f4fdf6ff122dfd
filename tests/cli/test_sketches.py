"""`plan` from options, and `init`: a workload for those who have none yet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from sky_melange import pipeline
from sky_melange.cli import cli

SAID = ("--model", "meta-llama/Llama-3.1-8B-Instruct", "--rate", "10", "--ttft", "2s", "--tpot", "50ms")
SIZES = ("--input", "1000", "--output", "200")
WHERE = ("--clouds", "aws,gcp", "--accelerators", "L40S,H100")


def run(*arguments: str, folder: Path, text: str | None = None) -> Result:
    with CliRunner(mix_stderr=False).isolated_filesystem(temp_dir=folder):
        result = CliRunner(mix_stderr=False).invoke(cli, list(arguments), input=text)
        left = {path.name for path in Path().iterdir()}
    result.left = left  # type: ignore[attr-defined]
    return result


def test_a_plan_from_options_writes_nothing_and_says_how_to(tmp_path: Path) -> None:
    result = run("plan", *SAID, *SIZES, *WHERE, "--no-simulate", "-v", folder=tmp_path)
    assert (result.exit_code, result.left) == (0, set())  # type: ignore[attr-defined]
    assert "10 req/s" in result.stdout
    assert "TPOT ≤ 50 ms, TTFT ≤ 2000 ms" in " ".join(result.stdout.split())
    assert "--save workload.yaml" in result.stderr


def test_saved_it_is_the_plan_of_the_saved_file(tmp_path: Path) -> None:
    saved = run("plan", *SAID, *SIZES, *WHERE, "--no-simulate", "--save", "w.yaml", "--format", "json", folder=tmp_path)
    assert (saved.exit_code, saved.left) == (0, {"w.yaml", "plan"})  # type: ignore[attr-defined]
    assert json.loads(saved.stdout)["inputs"]["workload_file"] == "../w.yaml"
    made = run("init", *SAID, *SIZES, *WHERE, "-o", "w.yaml", folder=tmp_path)
    assert (made.exit_code, made.stdout, made.left) == (0, "", {"w.yaml"})  # type: ignore[attr-defined]


def test_every_request_has_the_size_that_was_said(tmp_path: Path) -> None:
    path = tmp_path / "workload.yaml"
    assert CliRunner().invoke(cli, ["init", *SAID, *SIZES, "-o", str(path)]).exit_code == 0
    workload = pipeline.read(path)
    (bucket,) = workload.traffic.buckets()
    assert (bucket.planned_input_tokens, bucket.planned_output_tokens) == (1000, 200)
    assert workload.traffic.mean_tokens == (((1000.0, 200.0),),)
    assert workload.model.max_model_len == 4800


def test_engine_and_evidence_are_said_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "workload.yaml"
    more = ["--engine", "any", "--min-profile-kind", "fitted"]
    assert CliRunner().invoke(cli, ["init", *SAID, *SIZES, *more, "-o", str(path)]).exit_code == 0
    workload = pipeline.read(path)
    assert workload.launch.engines == ("vllm", "sglang")
    assert workload.constraints.min_profile_kind == "fitted"


def test_a_preset_has_sizes_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "workload.yaml"
    arguments = ["init", *SAID, "--preset", "azure-code-2023", "--name", "code", "-o", str(path)]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    workload = pipeline.read(path)
    assert workload.name == "code"
    assert workload.traffic.arrivals.log == "azure-code-2023"
    both = run("plan", *SAID, *SIZES, "--preset", "azure-code-2023", folder=tmp_path)
    assert both.exit_code == 2
    assert "--preset: has sizes of its own" in both.stderr


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--rate", "0"), "--rate: must be at least 1e-06"),
        (("--rate", "nan"), "--rate: "),
        (("--input", "0"), "--input: must be at least 1"),
        (("--output", "-5"), "--output: must be at least 1"),
        (("--clouds", "amazonia"), "--clouds: unknown cloud 'amazonia'"),
        (("--accelerators", "h10"), "did you mean 'H100'"),
        (("--dtype", "bfloat"), "did you mean 'bfloat16'"),
        (("--engine", "trtllm"), "--engine: must be one of vllm, sglang, any"),
        (("--min-profile-kind", "guessed"), "--min-profile-kind: "),
        (("--preset", "azure"), "--preset"),
        (("--name", "No Name"), "--name: "),
        (("--out", "plan"), "--out: takes --save workload.yaml too"),
        (("--model", "a: b\nversion: 2"), "--model: "),
        (("--tpot", "50"), "want a time with its unit"),
        (("--ttft", "0s"), "--ttft: "),
        (("--max-model-len", "0"), "--max-model-len: "),
    ],
)
def test_what_is_wrong_is_said_by_option(arguments: tuple[str, ...], wanted: str, tmp_path: Path) -> None:
    result = run("plan", *SAID, *(() if "--preset" in arguments else SIZES), *arguments, folder=tmp_path)
    assert (result.exit_code, result.stdout, result.left) == (2, "", set())  # type: ignore[attr-defined]
    assert wanted in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 4


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    result = run("plan", "--dtype", "fp8", folder=tmp_path)
    assert result.exit_code == 2
    assert all(name in result.stderr for name in ("--model", "--rate", "--ttft or --tpot", "--input and --output"))
    nothing = run("plan", folder=tmp_path)
    assert nothing.exit_code == 2
    assert "sky-melange init" in nothing.stderr


def test_a_file_and_options_contradict_each_other(tmp_path: Path) -> None:
    result = run("plan", "w.yaml", "--rate", "10", "--save", "x.yaml", folder=tmp_path)
    assert result.exit_code == 2
    assert "w.yaml says what to plan for: leave out --rate, --save, or leave out the file" in result.stderr


def test_init_replaces_nothing_unasked(tmp_path: Path) -> None:
    path = tmp_path / "workload.yaml"
    path.write_text("mine")
    first = CliRunner(mix_stderr=False).invoke(cli, ["init", *SAID, *SIZES, "-o", str(path)])
    assert (first.exit_code, path.read_text()) == (2, "mine")
    assert "--force" in first.stderr
    forced = CliRunner().invoke(cli, ["init", *SAID, *SIZES, "-o", str(path), "--force"])
    assert forced.exit_code == 0
    assert yaml.safe_load(path.read_text())["traffic"]["request_rate"] == 10.0
    nowhere = CliRunner(mix_stderr=False).invoke(cli, ["init", *SAID, *SIZES, "-o", str(tmp_path / "no" / "w.yaml")])
    assert nowhere.exit_code == 2
    assert "cannot be written" in nowhere.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sky_melange", "init"], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, cwd=tmp_path
    )
    with open(ours, "wb", buffering=0) as answers:  # noqa: PTH123
        answers.write(b"Qwen/Qwen3-32B\n5\n1500\n\n1s\n\n")
        _, told_at_last = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"Next:\n  sky-melange plan workload.yaml" in told_at_last
    told = yaml.safe_load((tmp_path / "workload.yaml").read_text())
    assert told["model"]["id"] == "Qwen/Qwen3-32B"
    assert told["slo"] == {"ttft_ms": 1000, "tpot_ms": 50, "attainment": 0.99}
    assert told["traffic"]["histogram"] == {"input_tokens": [1500], "output_tokens": [200], "weights": [[1]]}


def test_options_may_be_spelled_otherwise_and_the_file_is_not(tmp_path: Path) -> None:
    other = ("--dtype", "BF16", "--clouds", "amazon,gcloud", "--accelerators", "l40s,h100")
    usual = ("--dtype", "bfloat16", "--clouds", "aws,gcp", "--accelerators", "L40S,H100")
    texts, said = [], []
    for options in (other, usual):
        path = tmp_path / f"{len(texts)}.yaml"
        result = CliRunner(mix_stderr=False).invoke(cli, ["init", *SAID, *SIZES, *options, "-o", str(path)])
        assert result.exit_code == 0
        texts.append(path.read_text(encoding="utf-8"))
        said.append(result.stderr)
    assert texts[0] == texts[1]
    assert "Note: --clouds: 'gcloud' is read as gcp\n" in said[0]
    assert "Note: --dtype: 'BF16' is read as bfloat16\n" in said[0]
    assert "Note" not in said[1]


@pytest.mark.parametrize(
    ("option", "count", "rate_rps"),
    [
        ("--requests-per-hour", "36e3", 10.0),
        ("--requests-per-day", "864000", 10.0),
        ("--tokens-per-month", "3.1536e10", 10.0),
    ],
)
def test_a_rate_by_other_counts(tmp_path: Path, option: str, count: str, rate_rps: float) -> None:
    path = tmp_path / "workload.yaml"
    arguments = ["init", *SAID[:2], *SAID[4:], *SIZES, option, count, "-o", str(path)]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert pipeline.read(path).traffic.request_rate_rps == pytest.approx(rate_rps)


def test_two_rates_contradict_each_other(tmp_path: Path) -> None:
    result = run("init", *SAID, *SIZES, "--requests-per-day", "5", folder=tmp_path)
    assert (result.exit_code, result.left) == (2, set())  # type: ignore[attr-defined]
    assert "--requests-per-day: cannot be combined with --rate; use one of them" in result.stderr


def test_a_file_spelled_otherwise_plans_alike_and_says_so(tmp_path: Path) -> None:
    usual = run("plan", *SAID, *SIZES, *WHERE, "--no-simulate", "--save", "w.yaml", "--format", "json", folder=tmp_path)
    path = tmp_path / "w.yaml"
    CliRunner().invoke(cli, ["init", *SAID, *SIZES, *WHERE, "-o", str(path)])
    text = path.read_text(encoding="utf-8")
    other = text.replace("2000", "2s").replace("[L40S", "[l40s").replace("10.0 ", "'10' ").replace("[aws", "[amazon")
    path.write_text(other, encoding="utf-8")
    arguments = ["plan", str(path), "--no-simulate", "--no-files", "--format", "json"]
    result = CliRunner(mix_stderr=False).invoke(cli, arguments)
    plans = [json.loads(each.stdout) for each in (usual, result)]
    for key in ("workload", "groups", "cost"):
        assert plans[0][key] == plans[1][key]
    assert f"Note: {path}:8: slo.ttft_ms: '2s' is read as 2000\n" in result.stderr
    assert result.stderr.count("Note: ") == 4


CONFIG = Path(__file__).resolve().parents[2] / "examples" / "own-model" / "config.json"
OWN = ("--model", "example-org/own", "--rate", "1", "--ttft", "2s", "--tpot", "90ms", *SIZES, *WHERE)


def test_a_model_of_ones_own_is_planned_from_its_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--config` is where the caller stands; in the file it is where the file lies."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_bytes(CONFIG.read_bytes())
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path)
    for command in (["plan", "--no-simulate"], ["plan", "--no-simulate", "--save", "deep/saved.yaml"]):
        result = CliRunner(mix_stderr=False).invoke(cli, [*command, *OWN, "--config", "model"])
        assert result.exit_code == 0, result.stderr
        assert "example-org/own at 1 req/s" in result.stdout
    made = CliRunner().invoke(cli, ["init", *OWN, "--config", "model/config.json", "-o", "deep/made.yaml"])
    assert made.exit_code == 0, made.output
    for name, path in (("saved", "../model"), ("made", "../model/config.json")):
        text = (tmp_path / "deep" / f"{name}.yaml").read_text(encoding="utf-8")
        assert yaml.safe_load(text)["model"]["config"] == path
    log = "TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-01 00:00:00,100,10\n"
    (tmp_path / "log.csv").write_text(log, encoding="utf-8")
    counted = [
        "workload",
        "from-trace",
        "log.csv",
        "--request-rate",
        "1",
        "--config",
        "model",
        "-o",
        "deep/counted.yaml",
    ]
    assert CliRunner().invoke(cli, counted).exit_code == 0
    assert yaml.safe_load((tmp_path / "deep" / "counted.yaml").read_text())["model"]["config"] == "../model"


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = run("init", *OWN, "--config", "nowhere/config.json", "-o", "w.yaml", folder=tmp_path)
    assert (result.exit_code, result.left) == (2, set())  # type: ignore[attr-defined]
    assert "nowhere/config.json: there is no such file" in result.stderr
