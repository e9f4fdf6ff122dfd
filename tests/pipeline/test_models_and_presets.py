"""Every model with measured runs plans with every preset, on the layouts that launch files are written for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sky_melange import pipeline
from sky_melange.domain.profile import ProfileKind
from sky_melange.profiles import bundled
from sky_melange.traces import preset_names

ENTRIES = bundled.entries()
DTYPES = {entry.key.model: entry.key.dtype for entry in ENTRIES if entry.kind is ProfileKind.FITTED}
LAUNCHED = {
    (e.key.model, e.key.dtype)
    for e in ENTRIES
    if e.kind is ProfileKind.FITTED and e.key.engine == "vllm" and not e.layout
}
DTYPES |= dict(sorted(LAUNCHED))
QUICK = ("moonshotai/Kimi-K2.5", "openai/gpt-oss-120b", "deepseek-ai/DeepSeek-R1")


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in sorted(DTYPES)]
)
def test_measured_model_plans_with_preset(model: str, preset: str, tmp_path: Path) -> None:
    path = tmp_path / "workload.yaml"
    path.write_text(
        f"version: 1\nname: chat\nmodel: {{id: {model}, dtype: {DTYPES[model]}}}\n"
        f"slo: {{tpot_ms: 80}}\ntraffic: {{request_rate: 4, preset: {preset}}}\n"
    )
    planned = pipeline.plan_file(path)
    assert planned.plan.groups
    for group in planned.plan.groups:
        assert group.profile.error is not None
        assert group.profile.slower_by > 1.0
        # A plan of fitted profiles of this traffic is one of laws that were continued.
        assert (group.profile.kind is ProfileKind.FITTED) == bool(group.profile.continued_from)


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("model", sorted({model for model, _ in LAUNCHED} & set(QUICK)))
def test_measured_model_plans_on_its_runs_alone(model: str, preset: str, tmp_path: Path) -> None:
    path = tmp_path / "workload.yaml"
    path.write_text(
        f"version: 1\nname: chat\nmodel: {{id: {model}, dtype: {DTYPES[model]}}}\n"
        f"slo: {{tpot_ms: 80}}\ntraffic: {{request_rate: 4, preset: {preset}}}\n"
        "constraints: {min_profile_kind: fitted}\n"
    )
    groups = pipeline.plan_file(path).plan.groups
    assert {group.profile.kind for group in groups} == {ProfileKind.FITTED}


def test_all_eleven_models_are_tested() -> None:
    assert len(DTYPES) == 11
