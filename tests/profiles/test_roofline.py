"""Roofline estimates: sizes of models, what GPUs support, monotone in the hardware, honest about their error."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import itertools
import math
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_melange.domain.profile import Capacity, PointsForm, Profile, Skipped, SkipReason
from sky_melange.domain.workload import Slo
from sky_melange.errors import MissingDataError
from sky_melange.profiles import bundled
from sky_melange.profiles.architectures import known_models
from sky_melange.profiles.capacity import max_capacity
from sky_melange.profiles.gpu_compute import kv_cache_tokens, machines
from sky_melange.profiles.profile_json import profile_text, read_profile
from sky_melange.profiles.roofline import (
    Setup,
    estimate,
    estimated_profiles,
    latencies,
    load_calibration,
    model_shape,
    setup_of,
    stated_error,
)

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
MIXTURE = "openai/gpt-oss-120b"

# Billions of parameters, as the model cards state them.
CARDS = {
    LLAMA: 8.03,
    "meta-llama/Llama-3.1-70B-Instruct": 70.6,
    "meta-llama/Llama-3.1-405B-Instruct": 405.9,
    "Qwen/Qwen3-32B": 32.8,
    "Qwen/Qwen3-4B": 4.0,
    "Qwen/Qwen3-30B-A3B": 30.5,
    "Qwen/Qwen3-235B-A22B": 235.0,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": 46.7,
    "openai/gpt-oss-20b": 20.9,
    "openai/gpt-oss-120b": 116.8,
    "deepseek-ai/DeepSeek-V3": 671.0,
    "MiniMaxAI/MiniMax-M2.5": 230.0,
    "zai-org/GLM-5": 744.0,
}


@pytest.mark.parametrize(("model", "billions"), CARDS.items())
def test_sizes_add_up_to_the_stated_parameters(model: str, billions: float) -> None:
    assert known_models()[model].parameters / 1e9 == pytest.approx(billions, rel=0.01)


def test_every_model_with_a_bundled_profile_is_in_the_table() -> None:
    assert all(entry.key.model in known_models() for entry in bundled.entries())


def test_experts_are_read_as_they_are_chosen() -> None:
    shape = known_models()["openai/gpt-oss-120b"]
    assert shape.read_weights(1) == pytest.approx(shape.active_weights)
    assert shape.read_weights(10_000) == pytest.approx(shape.layer_weights)
    reads = [shape.read_weights(n) for n in (1, 2, 8, 64, 512)]
    assert reads == sorted(reads)


EVEN = sorted(model for model, shape in known_models().items() if shape.heads % 2 == 0)

SILICON = [entry for entry in bundled.entries() if entry.kind == "estimated"]


@pytest.mark.parametrize("entry", SILICON, ids=lambda entry: entry.file)
def test_memory_is_near_that_of_the_bundled_estimates(entry: bundled.Entry) -> None:
    key = entry.key
    profile = bundled.read(entry)
    machine = machines()[key.accelerator]
    held = kv_cache_tokens(
        known_models()[key.model],
        memory_bytes=machine.memory_bytes,
        tensor_parallel=key.tensor_parallel,
        dtype=key.dtype,
    )
    assert profile.kv_cache_tokens is not None
    # Where weights fill nearly all of the memory, the rest is a small difference of large numbers.
    slack = 2.5e9 * key.tensor_parallel / known_models()[key.model].kv_gpu_bytes_per_token(1)
    assert abs(held - profile.kv_cache_tokens) <= max(slack, 0.05 * profile.kv_cache_tokens)


@pytest.mark.parametrize(
    ("accelerator", "dtype", "tensor_parallel", "words"),
    [
        ("T4", "bfloat16", 1, "T4 does not run bfloat16; ask for float16"),
        ("V100", "fp8", 1, "V100 does not run fp8"),
        ("L4", "bfloat16", 4, "PCIe"),
        ("L4", "bfloat16", 3, "32 attention heads do not divide into 3"),
        ("K80", "float16", 1, "datasheet figures of K80"),
        ("no such", "float16", 1, "datasheet figures of no such"),
        ("L4", "fp3", 1, "fp3 is no precision"),
        ("T4", "float16", 1, "leave no room for a KV cache"),
    ],
)
def test_what_cannot_be_estimated_says_why(accelerator: str, dtype: str, tensor_parallel: int, words: str) -> None:
    found = estimate(known_models()[LLAMA], accelerator, tensor_parallel=tensor_parallel, dtype=dtype)
    assert isinstance(found, Skipped)
    assert words in found.detail


def test_a_precision_without_tensor_cores_runs_at_the_speed_of_16_bits() -> None:
    found = estimate(known_models()[LLAMA], "A100", tensor_parallel=1, dtype="fp8")
    assert isinstance(found, Profile)
    assert any("No fp8 tensor cores" in note for note in found.provenance.notes)
    assert machines()["A100"].flop_per_s("fp8") == machines()["A100"].flop_per_s("bfloat16")
    assert machines()["H100"].flop_per_s("fp8") != machines()["H100"].flop_per_s("bfloat16")


@pytest.mark.parametrize("accelerator", ["L4", "A10G", "A100", "MI300X", "H100", "RTX4090"])
def test_an_estimate_is_a_profile_that_says_what_it_is(accelerator: str, tmp_path: Path) -> None:
    found = estimate(known_models()[LLAMA], accelerator, tensor_parallel=1, dtype="bfloat16")
    assert isinstance(found, Profile)
    assert found.provenance.kind == "estimated"
    error = found.provenance.error
    assert error is not None
    assert "held-out" in error.statistic or "beyond any GPU" in error.statistic
    assert error.request_rate_fraction is not None
    assert "Nothing was run on this accelerator" in found.provenance.notes[0]
    path = tmp_path / "estimate.json"
    path.write_text(profile_text(found))
    again = read_profile(path)
    assert again.key == found.key
    assert again.provenance.error == error
    slo = Slo(tpot_s=0.1)
    assert max_capacity(again, 1000, 250, slo) == max_capacity(found, 1000, 250, slo)
    assert isinstance(max_capacity(found, 1000, 250, slo), Capacity)


def test_amd_is_doubted() -> None:
    found = estimate(known_models()[LLAMA], "MI300X", tensor_parallel=1, dtype="bfloat16")
    assert isinstance(found, Profile)
    assert any("AMD" in note for note in found.provenance.notes)


@given(
    st.sampled_from(EVEN),
    st.floats(1, 500),
    st.integers(10, 16_000),
    st.integers(10, 2_000),
    st.sampled_from(["memory_bytes_per_s", "fp16_flop_per_s", "fp8_flop_per_s", "link_bytes_per_s"]),
)
def test_a_faster_machine_is_never_estimated_slower(model: str, n: float, i: int, o: int, part: str) -> None:
    setup = setup_of(known_models()[model], "H100", tensor_parallel=2, dtype="fp8")
    assert not isinstance(setup, Skipped)
    machine = dataclasses.replace(setup.machine, **{part: getattr(setup.machine, part) * 2})
    flop = machine.flop_per_s("fp8")
    assert flop is not None
    faster = dataclasses.replace(setup, machine=machine, flop_per_s=flop)
    calibration = load_calibration()
    for new, old in zip(latencies(faster, calibration, n, i, o), latencies(setup, calibration, n, i, o), strict=True):
        assert 0 < new <= old * (1 + 1e-12)


@given(st.sampled_from(EVEN), st.integers(1, 400), st.integers(10, 15_000), st.integers(10, 2_000))
def test_estimates_never_fall_with_more_requests_or_longer_prompts(model: str, n: int, i: int, o: int) -> None:
    setup = setup_of(known_models()[model], "H100", tensor_parallel=2, dtype="fp8")
    assert not isinstance(setup, Skipped)
    calibration = load_calibration()
    base = latencies(setup, calibration, n, i, o)
    for more in (latencies(setup, calibration, n * 2, i, o), latencies(setup, calibration, n, i * 2, o)):
        assert all(a >= b * (1 - 1e-12) for a, b in zip(more, base, strict=True))


def test_the_stated_error_is_the_worst_tested_and_within_the_target(repository: Path) -> None:
    with (repository / "catalogs" / "roofline_errors.csv").open(newline="") as stream:
        rows = {row["left_out"]: row for row in csv.DictReader(stream)}
    assert set(rows) == {"A100-80GB", "B200", "H100", "H200", "L40S", "all"}
    assert all(float(row["rate_median"]) <= 0.2 for row in rows.values())


@pytest.mark.parametrize(
    ("nearer", "farther"),
    [
        (("H100", LLAMA), ("A100", LLAMA)),
        (("H100", LLAMA), ("L4", LLAMA)),
        (("L40S", LLAMA), ("RTX4090", LLAMA)),
        (("L4", LLAMA), ("T4", LLAMA)),
        (("A10G", LLAMA), ("MI300X", LLAMA)),
        (("L40", LLAMA), ("V100", LLAMA)),
        (("H200", LLAMA), ("H200", MIXTURE)),
        (("H200", MIXTURE), ("L40S", MIXTURE)),
    ],
)
def test_error_never_falls_with_the_distance(nearer: tuple[str, str], farther: tuple[str, str]) -> None:
    errors = []
    for accelerator, model in (nearer, farther):
        dtype = "bfloat16" if machines()[accelerator].bfloat16 else "float16"
        setup = setup_of(known_models()[model], accelerator, tensor_parallel=1, dtype=dtype)
        assert not isinstance(setup, Skipped)
        errors.append(stated_error(setup))
    near, far = errors
    assert near.tpot_fraction is not None
    assert far.tpot_fraction is not None
    assert near.tpot_fraction <= far.tpot_fraction
    assert ("beyond" in far.statistic) == (farther[0] in {"T4", "MI300X", "V100"} or farther == ("L40S", MIXTURE))


@pytest.mark.parametrize(("nearer", "farther"), [("H100", "A100"), ("L40S", "RTX4090")])
def test_interval_never_narrows_with_the_distance(nearer: str, farther: str) -> None:
    for model in (LLAMA, "Qwen/Qwen3-0.6B"):
        near, far = (stated_error(setup(model, name)) for name in (nearer, farther))
        for name in ("tpot_interval", "request_rate_interval"):
            (low, high), (lower, higher) = getattr(near, name), getattr(far, name)
            assert lower <= low < 1 < high <= higher


def test_pessimistic_end_is_no_slower_than_the_slow_end() -> None:
    for accelerator in machines():
        error = stated_error(setup("Qwen/Qwen3-0.6B", accelerator))
        assert error.tpot_within is not None
        assert error.request_rate_within is not None
        assert (1 + (error.tpot_fraction or 0)) ** 1.3219 <= error.tpot_within[1] * (1 + 1e-3)
        assert (1 + (error.request_rate_fraction or 0)) ** 1.3219 <= 1 / error.request_rate_within[0] * (1 + 1e-3)


def test_a_model_that_is_slower_wherever_it_was_measured_is_stated_to_be_so() -> None:
    usual, slower = (stated_error(setup(name, "H100")) for name in (MIXTURE, "Qwen/Qwen3-235B-A22B-FP8"))
    fine_tune = stated_error(setup("my-org/Qwen3-235B-A22B-tuned", "H100"))
    assert fine_tune == slower
    assert "slower than others" in slower.basis
    assert usual.tpot_fraction is not None
    assert slower.tpot_fraction is not None
    assert slower.tpot_fraction > 2 * usual.tpot_fraction
    assert slower.tpot_within is not None
    assert usual.tpot_within is not None
    assert slower.tpot_within[1] > usual.tpot_within[1]


def setup(model: str, accelerator: str) -> Setup:
    dtype = "bfloat16" if machines()[accelerator].bfloat16 else "float16"
    found = setup_of(known_models()[model], accelerator, tensor_parallel=1, dtype=dtype)
    assert not isinstance(found, Skipped)
    return found


def test_ends_are_those_of_each_side_and_the_binomial_interval_is_exact(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    errors = importlib.import_module("profile_fit.roofline_errors")
    # Truth ÷ prediction from 0.9 to 1.5: a tenth faster at most, half slower.
    logs = [math.log(0.9 + 0.6 * place / 1000) for place in range(1001)]
    guesses = [SimpleNamespace(quantity=name, log=log) for name in ("tpot", "rate") for log in logs]
    low, high = errors.ends(guesses, "tpot")
    assert (low, high) == pytest.approx((0.9 + 0.6 * 0.08, 0.9 + 0.6 * 0.92), rel=1e-3)
    assert errors.ends(guesses, "rate") == pytest.approx((1 / high, 1 / low))
    assert (1 + errors.stated(guesses, "tpot")) ** errors.POWER == pytest.approx(0.9 + 0.6 * 0.8, rel=1e-3)
    # Tables of Clopper and Pearson.
    assert errors.binomial(8, 10) == pytest.approx((0.4439, 0.9748), abs=1e-4)
    assert errors.binomial(0, 20) == pytest.approx((0.0, 0.1684), abs=1e-4)
    assert errors.binomial(20, 20) == pytest.approx((0.8316, 1.0), abs=1e-4)


@pytest.mark.slow
def test_groups_of_an_exact_interval_are_right_as_often_as_their_layouts_allow(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    errors = importlib.import_module("profile_fit.coverage")
    noise = random.Random(1)  # noqa: S311

    def drawn(between: float, within: float) -> list[object]:
        found = []
        for layout in range(60):
            mean = noise.gauss(0.0, between)
            found += [
                errors.Case(
                    groups=(f"group {layout // 3}",),
                    model="m",
                    layout=(False, layout),
                    log=mean + noise.gauss(0.0, within),
                    is_planned=True,
                    is_within=True,
                )
                for _ in range(100)
            ]
        return found

    # 20 groups of 300 comparisons: independent ones are nearly always right, three layouts that err as one hardly ever.
    alone, _, _ = errors.right_groups(drawn(0.0, 0.1), models=False, draws=40)
    alike, low, high = errors.right_groups(drawn(0.3, 0.01), models=False, draws=40)
    assert alone > 17
    assert low <= alike <= high
    assert alike < 4
    assert errors.spreads(drawn(0.3, 0.1))[1:] == pytest.approx((0.3, 0.1), rel=0.25)
    assert [each.comparisons for each in errors.coverage(drawn(0.1, 0.1))] == [300] * 20


def test_every_gpu_of_the_roofline_has_an_error() -> None:
    for accelerator, machine in machines().items():
        dtype = "bfloat16" if machine.bfloat16 else "float16"
        setup = setup_of(known_models()["Qwen/Qwen3-0.6B"], accelerator, tensor_parallel=1, dtype=dtype)
        assert not isinstance(setup, Skipped)
        error = stated_error(setup)
        assert error.request_rate_fraction
        assert error.tpot_fraction


@pytest.mark.parametrize("accelerator", ["H100", "A100-80GB", "L40S"])
def test_estimates_agree_with_the_silicon_profiles(accelerator: str) -> None:
    """A check of its own, by medians over all sizes: in-sample, so it must be well within the stated error."""
    entry = next(e for e in SILICON if e.key.model == LLAMA and e.key.accelerator == accelerator)
    truth = bundled.read(entry)
    found = estimate(known_models()[LLAMA], accelerator, tensor_parallel=1, dtype="bfloat16")
    assert isinstance(found, Profile)
    assert isinstance(truth.form, PointsForm)
    assert isinstance(found.form, PointsForm)
    errors = sorted(
        abs(a[2] / b[2] - 1)
        for size in truth.form.latencies
        for a, b in itertools.product(found.form.latencies[size], truth.form.latencies[size])
        if a[0] == b[0]
    )
    assert errors[len(errors) // 2] < 0.2


def test_estimates_for_a_plan_name_the_accelerators_without_one() -> None:
    profiles, remarks = estimated_profiles(known_models()[LLAMA], "bfloat16", "vllm", ["L4", "T4", "A100"])
    assert {profile.key.accelerator for profile in profiles} == {"L4", "A100"}
    assert remarks == ("No estimate for T4: T4 does not run bfloat16; ask for float16.",)
    assert estimated_profiles(known_models()[LLAMA], "bfloat16", "trtllm", ["L4"])[0] == ()


def test_an_unknown_model_says_the_way_out_and_lists_near_ones() -> None:
    with pytest.raises(MissingDataError, match=r"^write `model\.config: config\.json`") as caught:
        model_shape("my-org/qwen3-33b")
    assert "\n  Qwen/Qwen3-" in str(caught.value)
    with pytest.raises(MissingDataError, match="GGUF"):
        model_shape("bartowski/Qwen3-8B-GGUF")


def test_a_model_that_does_not_fit_is_refused_for_memory() -> None:
    found = estimate(known_models()["Qwen/Qwen3-32B"], "L4", tensor_parallel=1, dtype="bfloat16")
    assert isinstance(found, Skipped)
    assert found.reason is SkipReason.MEMORY
    assert "66 GB of weights" in found.detail
