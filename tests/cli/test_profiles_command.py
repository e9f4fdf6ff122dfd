"""`sky-melange profiles` as a user meets it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from sky_melange.cli import cli

ROOT = Path(__file__).resolve().parents[2]
LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Llama-3.1-70B-Instruct"


def run(*arguments: str | Path) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, ["profiles", *(str(argument) for argument in arguments)])


def test_help_names_every_subcommand() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name in ("list", "show", "estimate", "import", "measure"):
        assert name in result.stdout


def test_list_is_stable_and_fits_100_columns() -> None:
    first, second = run("list"), run("list")
    assert (first.exit_code, first.stdout) == (0, second.stdout)
    assert max(map(len, first.stdout.splitlines())) <= 100
    profiles = json.loads(run("list", "--format", "json").stdout)["profiles"]
    assert len(profiles) >= 200
    assert {profile["kind"] for profile in profiles} == {"estimated", "fitted"}
    assert all(profile["error"]["basis"] for profile in profiles)


def test_list_filters() -> None:
    found = json.loads(run("list", "-m", LLAMA_70B, "-a", "H100", "--kind", "fitted", "--format", "json").stdout)
    assert {(p["model"], p["accelerator"], p["kind"]) for p in found["profiles"]} == {(LLAMA_70B, "H100", "fitted")}
    nothing = run("list", "-m", "none")
    assert nothing.exit_code == 5
    assert "Traceback" not in nothing.stderr


def test_show_at_one_point_has_the_documented_keys() -> None:
    result = run("show", LLAMA_70B, "H100", "-t", "2", "--dtype", "fp8", "--at", "2048,1024,16", "--format", "json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["kind"] == "fitted"
    assert found["error"]["tpot_fraction"] <= 0.15
    assert found["extrapolated"] is False
    latency_s = found["ttft_s"] + found["tpot_s"] * 1023
    assert found["request_rate_rps"] == pytest.approx(16 / latency_s)


def test_show_is_near_a_measured_run() -> None:
    """Llama 3.1 70B fp8, 2 × H100, vLLM, 1024 + 1024 tokens, concurrency 32: 23.54 ms TPOT, 273 ms TTFT measured."""
    result = run("show", LLAMA_70B, "H100", "-t", "2", "--engine", "vllm", "--at", "1024,1024,32", "--format", "json")
    found = json.loads(result.stdout)
    assert found["tpot_s"] == pytest.approx(0.02354, rel=0.1)
    assert found["ttft_s"] == pytest.approx(0.2727, rel=0.3)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("100,1024,16", "100 input tokens, but the profile covers 1024…8192"),
        ("2048,9000,16", "9000 output tokens, but the profile covers 1024…8192"),
        ("8192,8192,4", "16384 input + output tokens, but the profile covers at most 9216"),
        ("1024,1024,65", "concurrency 65, but the profile covers 4…64"),
        ("1024,1024,1", "concurrency 1, but the profile covers 4…64"),
    ],
)
def test_show_refuses_outside_the_range_and_extrapolates_when_asked(at: str, words: str) -> None:
    arguments = ("show", LLAMA_70B, "H100", "-t", "2", "--at", at)
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (5, "")
    assert words in result.stderr
    allowed = run(*arguments, "--extrapolate", "--format", "json")
    assert allowed.exit_code == 0
    assert json.loads(allowed.stdout)["extrapolated"] is True


@pytest.mark.parametrize(
    "at", ["1,2", "a,b,c", "0,1,1", "1,1,-1", "1,1,1e9", "1,1,1,1", "", "1,1,99999999999999999999", "٣,١,١", "1.5,1,1"]
)
def test_a_point_that_is_none_is_bad_usage(at: str) -> None:
    result = run("show", LLAMA_8B, "L40S", "--at", at)
    assert result.exit_code == 2
    assert "INPUT,OUTPUT,CONCURRENCY" in result.stderr


def test_show_without_a_point_draws_the_grid() -> None:
    text = run("show", LLAMA_8B, "L40S", "--tpot-ms", "30", "--ttft-ms", "500")
    assert text.exit_code == 0
    assert max(map(len, text.stdout.splitlines())) <= 100
    assert "TPOT ≤ 30 ms, TTFT ≤ 500 ms" in text.stdout
    cells = json.loads(run("show", LLAMA_8B, "L40S", "--tpot-ms", "30", "--format", "json").stdout)["cells"]
    assert len(cells) == 60
    served = [cell for cell in cells if "request_rate_rps" in cell]
    assert all(cell["tpot_s"] <= 0.030 * (1 + 1e-9) for cell in served)
    assert all(cell["detail"] for cell in cells if "skipped" in cell)
    assert served


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "name a MODEL and an ACCELERATOR"),
        ((LLAMA_8B,), 2, "name a MODEL and an ACCELERATOR"),
        (("no/model", "H100"), 5, LLAMA_8B),
        ((LLAMA_8B, "K80"), 5, "L40S tensor parallel 1"),
        ((LLAMA_8B, "H100", "-t", "3"), 5, "H100 tensor parallel 1"),
        ((LLAMA_8B, "H100", "--engine", "tgi"), 5, "vllm"),
        ((LLAMA_8B, "H100", "--file", "x.json"), 2, "not both"),
        (("--file", "missing.json"), 2, "there is no such file"),
        ((LLAMA_8B, "H100", "--tpot-ms", "nan"), 2, "tpot-ms"),
        ((LLAMA_8B, "H100", "--tpot-ms", "0"), 2, "tpot-ms"),
    ],
)
def test_wrong_arguments_say_what_there_is(arguments: tuple[str, ...], code: int, words: str) -> None:
    result = run("show", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_estimate_says_its_error_and_writes_files_that_show_reads(tmp_path: Path) -> None:
    result = run("estimate", LLAMA_8B, "L4", "T4", "-t", "1", "--out", tmp_path / "new", "--format", "json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    (profile,) = found["profiles"]
    assert (profile["kind"], profile["accelerator"]) == ("estimated", "L4")
    assert 0.2 <= profile["error"]["request_rate_fraction"] <= 0.4
    assert found["not_estimated"] == ["T4 tensor parallel 1: T4 does not run bfloat16; ask for float16"]
    (path,) = found["files"]
    shown = run("show", "--file", path, "--at", "1000,250,4", "--format", "json")
    assert shown.exit_code == 0, shown.stderr
    assert json.loads(shown.stdout)["kind"] == "estimated"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((LLAMA_8B,), 2, "ACCELERATOR"),
        ((LLAMA_8B, "L5"), 2, "there is no 'L5'"),
        ((LLAMA_8B, "K80"), 4, "datasheet"),
        ((LLAMA_8B, "T4"), 4, "ask for float16"),
        (("my/model", "L4"), 5, "--config"),
        ((LLAMA_8B, "L4", "--config", "missing.json"), 2, "there is no such file"),
        ((LLAMA_8B, "L4", "--dtype", "fp3"), 4, "fp3 is no precision"),
        ((LLAMA_8B, "L4", "-t", "0"), 2, "tensor-parallel"),
    ],
)
def test_wrong_estimates_say_why(arguments: tuple[str, ...], code: int, words: str) -> None:
    result = run("estimate", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_estimate_of_a_model_by_its_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "model_type": "llama",
                "num_hidden_layers": 28,
                "hidden_size": 3072,
                "num_attention_heads": 24,
                "num_key_value_heads": 8,
                "intermediate_size": 8192,
                "vocab_size": 128256,
            }
        )
    )
    result = run("estimate", "my/model", "L4", "-t", "1", "--config", config, "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["profiles"][0]["model"] == "my/model"


def test_an_estimate_is_at_the_checkpoint_s_precision() -> None:
    result = run("estimate", "openai/gpt-oss-20b", "H100", "-t", "1", "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["profiles"][0]["dtype"] == "fp4"


def test_estimate_into_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    result = run("estimate", LLAMA_8B, "L4", "-t", "1", "--out", blocked / "below")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def plan(tmp_path: Path, changes: dict[str, Any]) -> tuple[Result, Any]:
    """A plan of Llama 3.1 70B fp8, and its plan.json."""
    document: dict[str, Any] = {
        "version": 1,
        "name": "long",
        "model": {"id": LLAMA_70B, "dtype": "fp8", "max_model_len": 9216},
        "slo": {"tpot_ms": 40, "attainment": "mean"},
        "traffic": {
            "request_rate": 4,
            "histogram": {"input_tokens": [2000, 4000], "output_tokens": [1100], "weights": [[0.5], [0.5]]},
        },
        "candidates": {"accelerators": ["H100"]},
    }
    path = tmp_path / "workload.yaml"
    path.write_text(yaml.safe_dump(document | changes))
    result = CliRunner(mix_stderr=False).invoke(cli, ["plan", str(path), "--no-files", "--format", "json"])
    return result, json.loads(result.stdout) if result.exit_code == 0 else None


def test_a_plan_uses_the_fitted_profile_where_it_covers_the_traffic(tmp_path: Path) -> None:
    result, document = plan(tmp_path, {})
    assert result.exit_code == 0, result.stderr
    assert {group["profile"]["kind"] for group in document["groups"]} == {"fitted"}


def test_beyond_the_fit_the_smaller_error_decides_and_a_continued_law_is_marked(tmp_path: Path) -> None:
    short = {
        "traffic": {
            "request_rate": 4,
            "histogram": {"input_tokens": [500, 4000], "output_tokens": [1100], "weights": [[0.5], [0.5]]},
        }
    }
    result, document = plan(tmp_path, short)
    assert result.exit_code == 0, result.stderr
    assert {group["profile"]["kind"] for group in document["groups"]} == {"estimated"}
    own = max(group["profile"]["error"]["tpot_fraction"] for group in document["groups"])
    result, document = plan(tmp_path, short | {"constraints": {"min_profile_kind": "fitted"}})
    assert result.exit_code == 0, result.stderr
    for group in document["groups"]:
        assert group["profile"]["kind"] == "fitted"
        assert group["profile"]["continued_from"] == "1024…8192 input and 1024…8192 output tokens"
        assert group["profile"]["error"]["tpot_fraction"] > own
    assert any("continued by the fitted law" in line for line in document["warnings"])


@pytest.mark.slow
def test_a_plan_estimates_unless_forbidden_and_says_that_it_could(tmp_path: Path) -> None:
    wanted = {
        "model": {"id": LLAMA_8B, "dtype": "bfloat16", "max_model_len": 4000},
        "traffic": {
            "request_rate": 4,
            "histogram": {"input_tokens": [1000], "output_tokens": [200], "weights": [[1]]},
        },
        "candidates": {"accelerators": ["A10G", "L4"]},
        "slo": {"tpot_ms": 120},
    }
    result, _ = plan(tmp_path, wanted | {"profiles": {"estimate": False}})
    assert result.exit_code == 5
    assert "estimate: true" in result.stderr
    result, document = plan(tmp_path, wanted)
    assert result.exit_code == 0, result.stderr
    assert {group["profile"]["kind"] for group in document["groups"]} == {"estimated"}
    assert {group["profile"]["source"] for group in document["groups"]} == {"roofline"}


@pytest.mark.slow
def test_a_plan_reads_the_users_own_profiles(tmp_path: Path) -> None:
    assert run("estimate", LLAMA_8B, "L4", "-t", "1", "--out", tmp_path / "own").exit_code == 0
    wanted = {
        "model": {"id": LLAMA_8B, "dtype": "bfloat16", "max_model_len": 4000},
        "traffic": {
            "request_rate": 1,
            "histogram": {"input_tokens": [1000], "output_tokens": [200], "weights": [[1]]},
        },
        "candidates": {"accelerators": ["L4"]},
        "slo": {"tpot_ms": 120},
        "profiles": {"files": ["own/meta-llama--Llama-3.1-8B-Instruct-L4-tp1-bfloat16-vllm-roofline.json"]},
    }
    result, document = plan(tmp_path, wanted)
    assert result.exit_code == 0, result.stderr
    assert {group["accelerator"] for group in document["groups"]} == {"L4"}
    result, _ = plan(tmp_path, wanted | {"profiles": {"files": ["own/none.json"]}})
    assert result.exit_code == 2
    assert "none.json" in result.stderr


@pytest.mark.parametrize(
    ("profiles", "words"),
    [
        ({"extrapolate": "yes"}, "profiles.extrapolate"),
        ({"estimates": True}, "did you mean 'estimate'"),
        ({"files": "own.json"}, "profiles.files"),
        ([], "profiles"),
    ],
)
def test_wrong_profile_settings_are_told(tmp_path: Path, profiles: Any, words: str) -> None:
    result, _ = plan(tmp_path, {"profiles": profiles})
    assert result.exit_code == 2
    assert words in result.stderr


def test_all_bundled_profiles_of_one_plan_load_in_time() -> None:
    """The target is 100 ms; a shared machine is given three times that. benchmarks/profile_accuracy has the figure."""
    from sky_melange.profiles import known_models, load_profiles

    load_profiles(*known_models()[0], "vllm")
    for model, dtype in known_models():
        times = []
        for _ in range(3):
            start = time.perf_counter()
            load_profiles(model, dtype, "vllm")
            times.append(time.perf_counter() - start)
        assert min(times) < 0.3, (model, dtype)
