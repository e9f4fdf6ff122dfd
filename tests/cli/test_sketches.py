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
    result = run("plan", *SAID, *SIZES, *WHERE, "--no-simulate", folder=tmp_path)
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
        (("--clouds", "amazon"), "--clouds: unknown cloud 'amazon'"),
        (("--accelerators", "h100"), "did you mean 'H100'"),
        (("--dtype", "bf16"), "did you mean 'bfloat16'"),
        (("--engine", "trtllm"), "--engine: must be one of vllm, sglang, any"),
        (("--min-profile-kind", "guessed"), "--min-profile-kind: "),
        (("--preset", "azure"), "--preset"),
        (("--name", "No Name"), "--name: "),
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
