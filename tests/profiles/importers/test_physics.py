"""Imported figures against what the GPU can do: a wrong unit or layout is refused with its factor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from importing import Import, import_profile

from sky_melange.domain.profile import PointsForm
from sky_melange.profiles import bundled
from sky_melange.profiles.architectures import known_models
from sky_melange.profiles.importers.request import Verdict, judge
from sky_melange.profiles.roofline import Setup, latencies, load_calibration, setup_of

SIZES = [(128, 128), (1024, 1024), (8192, 512)]
SETUPS = [
    ("meta-llama/Llama-3.1-8B-Instruct", "L4", 1, "bfloat16"),
    ("meta-llama/Llama-3.1-8B-Instruct", "H100", 1, "fp8"),
    ("meta-llama/Llama-3.1-70B-Instruct", "A100-80GB", 4, "bfloat16"),
    ("Qwen/Qwen3-0.6B", "H100", 1, "bfloat16"),
    ("Qwen/Qwen3-30B-A3B", "H100", 2, "bfloat16"),
    ("moonshotai/Kimi-K2.5", "B200", 8, "fp4"),
]


def _rows(setup: tuple[str, str, int, str], sizes: Sequence[tuple[int, int]] = SIZES) -> list[tuple[float, ...]]:
    """What a server of this setup takes, by the calibrated roofline, seconds."""
    model, gpu, count, dtype = setup
    found = setup_of(known_models()[model], gpu, tensor_parallel=count, dtype=dtype)
    assert isinstance(found, Setup)
    calibration = load_calibration()
    return [(i, o, n, *latencies(found, calibration, n, i, o)) for i, o in sizes for n in (1, 32)]


def _import(tmp_path: Path, rows: list[tuple[float, ...]], setup: tuple[str, str, int, str], *more: str) -> Import:
    lines = [",".join(map(str, row)) for row in rows]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(["input_tokens,output_tokens,concurrency,ttft_s,tpot_s", *lines]))
    model, gpu, count, dtype = setup
    options = {"model": model, "accelerator": gpu, "tensor_parallel": str(count), "dtype": dtype}
    return import_profile(tmp_path / "out.json", "table", path, *more, "--kind", "measured", **options)


@pytest.mark.parametrize("setup", SETUPS, ids=lambda setup: f"{setup[0]}-{setup[1]}")
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("of_ttft", "of_tpot"), [(1, 1), (1e-3, 1e-3), (1e3, 1e3), (1, 1e-3), (1, 1e3)])
def test_a_wrong_unit_is_refused(
    tmp_path: Path, setup: tuple[str, str, int, str], known: bool, of_ttft: float, of_tpot: float
) -> None:
    rows = [(i, o, n, ttft_s * of_ttft, tpot_s * of_tpot) for i, o, n, ttft_s, tpot_s in _rows(setup)]
    named = setup if known else ("org/unknown", *setup[1:])
    found = _import(tmp_path, rows, named)
    if of_tpot == 1:
        assert (found.exit_code, " times " in found.stderr) == (0, False), found.stderr
        return
    assert found.exit_code == 2
    read, wanted = ("milliseconds", "seconds") if of_tpot > 1 else ("seconds", "milliseconds")
    assert f"the unit is probably wrong, {read} where {wanted} were expected" in found.stderr
    assert not found.out.exists()


def test_bundled_profiles_are_possible_and_impossible_in_another_unit() -> None:
    judged = 0
    for profile in map(bundled.read, bundled.entries()):
        if not isinstance(profile.form, PointsForm):
            continue
        assert judge(profile.key, profile.form, speculative=False) == Verdict(mistakes=(), warnings=())
        for scale in (1e-3, 1e3):
            scaled = {
                size: tuple((n, ttft_s * scale, tpot_s * scale) for n, ttft_s, tpot_s in curve)
                for size, curve in profile.form.latencies.items()
            }
            assert judge(profile.key, PointsForm(latencies=scaled), speculative=False).mistakes
        judged += 1
    assert judged > 50


@pytest.mark.parametrize("of_ttft", [1e-3, 1e3])
def test_a_wrong_unit_of_the_first_token_alone_is_refused(tmp_path: Path, of_ttft: float) -> None:
    rows = [(i, o, n, ttft_s * of_ttft, tpot_s) for i, o, n, ttft_s, tpot_s in _rows(SETUPS[0])]
    assert "the unit is probably wrong" in _import(tmp_path, rows, SETUPS[0]).stderr


def test_fewer_gpus_than_the_runs_had_are_refused_with_the_factor(tmp_path: Path) -> None:
    """Four GPUs read their weights in a quarter of the time that one takes."""
    model, gpu, _, dtype = SETUPS[2]
    found = _import(tmp_path, _rows(SETUPS[2]), (model, gpu, 1, dtype))
    assert found.exit_code == 2
    assert "times faster than reading the weights once from memory takes" in found.stderr
    assert "check --accelerator, --tensor-parallel and --dtype" in found.stderr
    guessed = _import(tmp_path, _rows(SETUPS[2]), (model, gpu, 1, dtype), "--engine-arg", "speculative-config=x")
    assert guessed.exit_code == 0, "several tokens a step may be so fast"


def test_prompts_that_were_cached_are_marked(tmp_path: Path) -> None:
    rows = [(i, o, n, ttft_s / 20, tpot_s) for i, o, n, ttft_s, tpot_s in _rows(SETUPS[0], [(8192, 512)])]
    found = _import(tmp_path, rows, SETUPS[0])
    assert found.exit_code == 0
    assert "prompts that were cached before say nothing of others" in found.stderr


@pytest.mark.parametrize(("rate_rps", "exit_code"), [(15.0, 0), (300.0, 2), (30_000.0, 2)])
def test_rates_above_the_peak_are_refused(tmp_path: Path, rate_rps: float, exit_code: int) -> None:
    """A matrix has rates alone: 16 TFLOP a request of 1,000 tokens and 8 billion weights."""
    content = {"gpu_info": {"A100-80GB": {"cost": 3.67, "tputs": [[rate_rps]]}}, "workload_distribution": [[1.0]]}
    path = tmp_path / "m.json"
    path.write_text(json.dumps(content))
    edges = {"input_edges": "800", "output_edges": "200", "ntpot_ms": "120"}
    model = {"model": "meta-llama/Llama-3.1-8B-Instruct", "accelerator": "A100-80GB"}
    found = import_profile(tmp_path / "out.json", "melange", path, **edges, **model)
    assert found.exit_code == exit_code, found.stderr
    assert ("times the GPUs' peak FLOP/s" in found.stderr) == (exit_code == 2)
