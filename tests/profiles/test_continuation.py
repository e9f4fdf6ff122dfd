"""Fitted laws at sizes that were not measured: what they answer, and with which error."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest

from sky_melange import pipeline
from sky_melange.domain.profile import Capacity, LatencyModelForm, Profile, ProfileKind, Skipped
from sky_melange.domain.workload import Slo
from sky_melange.profiles import bundled, continued, select
from sky_melange.profiles.capacity import max_capacity
from sky_melange.profiles.continuation import LARGEST_RATIO, held_out
from sky_melange.traces import preset_names

ROOT = Path(__file__).resolve().parents[2]
SLO = Slo(tpot_s=0.06)
FITTED = [bundled.read(entry) for entry in bundled.entries() if entry.kind is ProfileKind.FITTED]
LAUNCHED = [p for p in FITTED if p.key.engine == "vllm" and not p.key.layout]


def law(profile: Profile) -> LatencyModelForm:
    assert isinstance(profile.form, LatencyModelForm)
    return profile.form


def tpot_error(profile: Profile) -> float:
    assert profile.provenance.error is not None
    assert profile.provenance.error.tpot_fraction is not None
    return profile.provenance.error.tpot_fraction


def test_profile_is_unchanged_within_its_ranges_and_a_tenth_around_them() -> None:
    for profile in FITTED:
        ranges = law(profile).ranges
        low = (ranges.input_tokens[0], ranges.output_tokens[0])
        near = [(math.ceil(low[0] / 1.09), math.ceil(low[1] / 1.09), 1.0)]
        assert continued(profile, [(*low, 1.0), *near], Slo()) is profile
        assert isinstance(max_capacity(profile, *near[0][:2], Slo(tpot_s=100.0)), Capacity)


def test_continued_profile_never_shows_its_error_within_the_ranges() -> None:
    for profile in FITTED:
        ranges = law(profile).ranges
        for size in (
            (ranges.input_tokens[0] // 2, ranges.output_tokens[0]),
            (ranges.input_tokens[0], ranges.output_tokens[0] // 2),
            (ranges.input_tokens[1] * 2, ranges.output_tokens[0]),
            (ranges.input_tokens[0], ranges.output_tokens[1] * 2),
        ):
            found = continued(profile, [(*size, 1.0)], Slo())
            assert tpot_error(found) > tpot_error(profile), (profile.key, size)
            assert found.provenance.continued_from
        beyond = continued(profile, [(ranges.input_tokens[0], ranges.output_tokens[0], 1.0)], Slo(), is_unlimited=True)
        assert tpot_error(beyond) > tpot_error(profile)


def test_error_grows_with_the_distance_and_with_the_share_of_requests() -> None:
    profile = LAUNCHED[0]
    low = law(profile).ranges.input_tokens[0]
    outputs = law(profile).ranges.output_tokens[0]
    errors = [
        tpot_error(continued(profile, [(max(1, int(low / ratio)), outputs, 1.0)], Slo())) for ratio in (2, 4, 8, 99)
    ]
    assert errors == sorted(errors)
    assert errors[0] < errors[-1]
    mixed = continued(profile, [(low // 8, outputs, 1.0), (low, outputs, 3.0)], Slo())
    assert tpot_error(mixed) == pytest.approx(tpot_error(profile) + (errors[2] - tpot_error(profile)) / 4, rel=1e-3)


def test_no_capacity_appears_where_a_law_is_continued() -> None:
    # Shorter prompts are never slower, shorter answers never cheaper per token, longer requests never faster.
    for profile in LAUNCHED:
        ranges = law(profile).ranges
        inputs, outputs = ranges.input_tokens[0], ranges.output_tokens[0]
        sizes = [
            (inputs // 2, outputs),
            (inputs // 8, outputs),
            (inputs, outputs // 8),
            (ranges.input_tokens[1] * 2, outputs),
        ]
        found = continued(profile, [(*size, 1.0) for size in sizes], Slo())
        rates = {size: max_capacity(found, *size, Slo(tpot_s=1.0)) for size in [(inputs, outputs), *sizes]}
        figures = {size: rate.request_rate_rps for size, rate in rates.items() if isinstance(rate, Capacity)}
        assert figures[sizes[1]] >= figures[sizes[0]] >= figures[inputs, outputs]
        assert figures[sizes[2]] / outputs * (outputs // 8) <= figures[inputs, outputs] * 1.5
        # A prompt costs the engine its prefill, however short the answer.
        assert figures[sizes[2]] * inputs * law(found).tpot.prefill_s * (outputs // 8 - 1) / (outputs // 8) <= 1 + 1e-6
        assert sizes[3] not in figures or figures[sizes[3]] <= figures[inputs, outputs]


def test_longer_than_eight_times_the_longest_measured_is_refused() -> None:
    profile = LAUNCHED[0]
    ranges = law(profile).ranges
    size = (int(ranges.input_tokens[1] * LARGEST_RATIO * 1.2), ranges.output_tokens[0])
    found = max_capacity(continued(profile, [(*size, 1.0)], Slo()), *size, Slo(tpot_s=100.0))
    assert isinstance(found, Skipped)


def test_of_a_continued_law_and_an_estimate_the_smaller_error_is_used() -> None:
    (key,) = {p.key for p in LAUNCHED if p.key.model.startswith("Qwen/Qwen3-32B") and p.key.tensor_parallel == 2}
    both = [bundled.read(entry) for entry in bundled.entries() if entry.key == key]
    assert len(both) == 2
    for size in ((1024, 512), (900, 110), (300, 200), (25, 25)):
        made = [continued(profile, [(*size, 1.0)], SLO) for profile in both]
        (chosen,) = select(made, [size]).profiles
        is_continued = any(profile.provenance.continued_from for profile in made)
        if is_continued:
            assert tpot_error(chosen) == min(tpot_error(profile) for profile in made)
        else:
            assert chosen.provenance.kind is ProfileKind.FITTED


@pytest.mark.parametrize("preset", [name for name in preset_names() if name != "servegen-deepseek-r1"])
def test_every_launchable_measured_model_answers_every_preset(preset: str, tmp_path: Path) -> None:
    """Each model with measured runs on plain tensor parallelism of the engine that plans launch.

    Answers of reasoning models are up to 32 times as long as any that was measured: those are estimated.
    """
    path = tmp_path / "workload.yaml"
    path.write_text(
        "version: 1\nname: chat\nmodel: {id: meta-llama/Llama-3.1-8B-Instruct, dtype: bfloat16}\n"
        f"slo: {{tpot_ms: 60}}\ntraffic: {{request_rate: 1, preset: {preset}}}\n"
    )
    buckets = pipeline.read(path).traffic.buckets()
    sizes = [(b.planned_input_tokens, b.planned_output_tokens, b.rate_rps) for b in buckets]
    models = {(profile.key.model, profile.key.dtype) for profile in LAUNCHED}
    assert len({model for model, _ in models}) == 6
    for model in models:
        made = [continued(p, sizes, SLO) for p in LAUNCHED if (p.key.model, p.key.dtype) == model]
        for size in sizes:
            assert any(isinstance(max_capacity(profile, *size[:2], SLO), Capacity) for profile in made), (model, size)


def test_table_of_held_out_errors_never_falls_and_ends_with_the_worst_decile() -> None:
    for (direction, is_single), rows in held_out().items():
        for column in ("tpot_fraction", "ttft_fraction", "request_rate_fraction"):
            values = [getattr(row, column) for row in rows]
            assert values == sorted(values), (direction, is_single, column)
            assert values[0] > 0
        assert rows[-1].ratio == math.inf
        assert all(row.comparisons >= 20 for row in rows[:-1])


@pytest.mark.slow
def test_the_script_writes_the_same_bytes_from_the_same_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module("check_continuation")
    runs = ROOT / "tests" / "data" / "profile_fit" / "runs.csv"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert script.main([str(runs), "--output", str(tmp_path / name)]) == 0
    written = [(tmp_path / name / "continuation_errors.csv").read_bytes() for name in ("one", "two")]
    assert written[0] == written[1]
    assert written[0].splitlines()[0] == (ROOT / "catalogs" / "continuation_errors.csv").read_bytes().splitlines()[0]
