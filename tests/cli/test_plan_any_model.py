"""`plan` with nothing but a model's id: from the table, its config.json, a cache, or its page."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from sky_melange.cli import cli

CASES = Path(__file__).parents[1] / "data" / "model_configs"
CONFIG = (CASES / "Qwen3-30B-A3B-FP8.json").read_text()
TOKEN = "hf_secret_of_a_test"


@pytest.fixture(autouse=True)
def _no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def plan(tmp_path: Path, model: dict[str, str], *options: str, **changes: object) -> Result:
    document: dict[str, Any] = {
        "version": 1,
        "name": "any",
        "model": model,
        "slo": {"tpot_ms": 80},
        "traffic": {"request_rate": 1, "preset": "azure-conversation-2023"},
        "candidates": {"clouds": ["aws"], "accelerators": ["H100", "L40S"]},
        "profiles": {"estimate": True},
        **changes,
    }
    path = tmp_path / "workload.yaml"
    path.write_text(yaml.safe_dump(document))
    arguments = ["plan", path, "--offline", "--no-simulate", "--out", tmp_path / "plan", *options]
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


def planned(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "plan" / "plan.json").read_text())
    return found


@contextmanager
def page(status: int, body: bytes) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A stub of huggingface.co: its address, and (path, Authorization) of each request."""
    seen: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization")))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


def test_an_id_is_enough(tmp_path: Path) -> None:
    result = plan(tmp_path, {"id": "acme/qwen3-8B-tuned"})
    assert result.exit_code == 0, result.stderr
    model = planned(tmp_path)["workload"]["model"]
    assert (model["dtype"], model["quantization"], model["sizes"]) == ("bfloat16", None, None)


def test_a_fine_tune_is_planned_on_its_base_model_s_profiles(tmp_path: Path) -> None:
    result = plan(tmp_path, {"id": "acme/Llama-3.1-8B-tuned"})
    assert result.exit_code == 0, result.stderr
    said = planned(tmp_path)["assumptions"]
    assert any("profile of meta-llama/Llama-3.1-8B-Instruct, same architecture" in line for line in said)


def test_a_quantised_checkpoint_is_launched_as_it_is(tmp_path: Path) -> None:
    assert plan(tmp_path, {"id": "Qwen/Qwen3-8B-FP8"}).exit_code == 0
    files = "".join(path.read_text() for path in (tmp_path / "plan").glob("*.yaml"))
    assert "--dtype auto" in files
    assert "--quantization" not in files
    assert plan(tmp_path, {"id": "Qwen/Qwen3-8B", "dtype": "fp8"}).exit_code == 0
    files = "".join(path.read_text() for path in (tmp_path / "plan").glob("*.yaml"))
    assert "--quantization fp8" in files
    assert any("quantises Qwen/Qwen3-8B to fp8" in line for line in planned(tmp_path)["assumptions"])


@pytest.mark.slow
def test_a_config_next_to_the_workload_gives_sizes_and_dtype(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(CONFIG)
    for config in ("config.json", "."):
        result = plan(tmp_path, {"id": "acme/secret", "config": config})
        assert result.exit_code == 0, result.stderr
        model = planned(tmp_path)["workload"]["model"]
        assert (model["dtype"], model["quantization"]) == ("fp8", "fp8")
    checked = CliRunner(mix_stderr=False).invoke(cli, ["check", str(tmp_path / "plan"), "--offline"])
    assert "model.sizes" not in checked.stdout + checked.stderr
    (tmp_path / "config.json").write_text(CONFIG.replace('"num_hidden_layers":48', '"num_hidden_layers":40'))
    checked = CliRunner(mix_stderr=False).invoke(cli, ["check", str(tmp_path / "plan"), "--offline"])
    assert checked.exit_code == 3
    assert "model.sizes" in checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("model", "candidates", "lines"),
    [
        (
            {"id": "deepseek-ai/DeepSeek-R1"},
            {},
            ["`profiles: {estimate: true}`", "25 bundled profiles of it are of other engines or layouts: sglang fp4"],
        ),
        (
            {"id": "Qwen/Qwen3-32B-AWQ"},
            {},
            ["`profiles: {estimate: true}`", "There are profiles of it in bfloat16 and fp8", "nearest models"],
        ),
        (
            {"id": "Qwen/Qwen3-32B"},
            {"accelerators": ["L4", "A10G"]},
            ["(bfloat16) on any of L4, A10G that vllm can launch", "There are profiles on A100-80GB, B200"],
        ),
        ({"id": "google/gemma-3-27b-it"}, {}, ["`profiles: {estimate: true}`", "profiles: Qwen/Qwen3-32B, "]),
    ],
)
def test_without_estimates_the_first_line_says_what_to_write(
    tmp_path: Path, model: dict[str, str], candidates: dict[str, Any], lines: list[str]
) -> None:
    result = plan(tmp_path, model, candidates=candidates, profiles={"estimate": False})
    assert (result.exit_code, result.stdout) == (5, "")
    said = result.stderr[result.stderr.index("Error: ") :].splitlines()
    assert said[0].startswith("Error: write `profiles: {estimate: true}`")
    assert all(any(line in found for found in said) for line in lines), said


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ({"id": "acme/secret"}, 5, "Error: write `model.config: config.json`"),
        ({"id": "acme/Qwen3-8B-GGUF"}, 5, "GGUF"),
        ({"id": "Qwen/Qwen3-8B", "dtype": "model.safetensors"}, 2, "model.dtype"),
        ({"id": "Qwen/Qwen3-8B", "dtype": "int4"}, 2, "has bfloat16 weights"),
        ({"id": "acme/secret", "config": "none.json"}, 2, "there is no such file"),
        ({"id": "acme/secret", "config": "."}, 2, "has no config.json"),
        ({"id": "acme/secret", "config": "a.gguf"}, 2, "is a GGUF file"),
    ],
)
def test_what_cannot_be_planned_says_what_to_write(
    tmp_path: Path, model: dict[str, str], code: int, words: str
) -> None:
    result = plan(tmp_path, model)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert not (tmp_path / "plan").exists()


def test_a_config_in_huggingface_hub_s_cache_is_used(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--acme--secret"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    assert plan(tmp_path, {"id": "acme/secret"}).exit_code == 5
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(CONFIG)
    result = plan(tmp_path, {"id": "acme/secret"})
    assert result.exit_code == 0, result.stderr
    assert planned(tmp_path)["workload"]["model"]["dtype"] == "fp8"
    (repository / "refs" / "main").write_text("../../x")
    assert plan(tmp_path, {"id": "acme/secret"}).exit_code == 5


def test_a_config_is_fetched_on_request_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with page(200, CONFIG.encode()) as (address, seen):
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert plan(tmp_path, {"id": "acme/secret"}).exit_code == 5
        assert seen == []
        result = plan(tmp_path, {"id": "acme/secret"}, "--fetch-config")
        assert result.exit_code == 0, result.stderr
        assert seen == [("/acme/secret/resolve/main/config.json", f"Bearer {TOKEN}")]
    assert TOKEN not in (tmp_path / "plan" / "plan.json").read_text() + result.stdout + result.stderr


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        (401, b"", 5, "is gated, private or does not exist, and there is no HF_TOKEN"),
        (403, b"", 5, "accept its licence"),
        (404, b"", 2, "check the id"),
        (500, b"", 5, "answers 500"),
        (200, b"<html>", 2, "is not valid JSON"),
        (200, b"{}", 2, "model_type"),
        (200, b" " * (4 * 1024**2 + 1), 5, "is larger than 4 MiB"),
    ],
)
def test_a_page_that_gives_no_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, code: int, words: str
) -> None:
    with page(status, body) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        result = plan(tmp_path, {"id": "acme/secret"}, "--fetch-config")
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr


def test_offline_says_what_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    result = plan(tmp_path, {"id": "acme/secret"}, "--fetch-config")
    assert result.exit_code == 5
    assert "Error: write `model.config: config.json`" in result.stderr
    assert "cannot be reached" in result.stderr
