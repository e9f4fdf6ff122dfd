"""Profiles at the pessimistic end of their error: how slow, and that everything which plans sees the same."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from sky_melange import pipeline
from sky_melange.cli import cli
from sky_melange.domain.profile import Capacity, MatrixForm, Profile, ProfileError, ProfileKind, StatedTarget
from sky_melange.domain.workload import Slo
from sky_melange.plan_file import read_plan
from sky_melange.profiles import bundled, pessimistic
from sky_melange.profiles.capacity import max_capacity
from sky_melange.profiles.pessimism import UNKNOWN_FRACTION, latency_factor, slowed, slower_by

MakeProfile = Callable[..., Profile]
MEANS = Path(__file__).resolve().parents[2] / "examples" / "means" / "workload.yaml"
BUNDLED = [bundled.read(entry) for entry in bundled.entries() if entry.key.engine == "vllm"][::7]


def with_error(profile: Profile, tpot: float | None, rate: float | None, kind: ProfileKind) -> Profile:
    error = ProfileError(
        statistic="median",
        tpot_fraction=tpot,
        ttft_fraction=9.0,
        request_rate_fraction=rate,
        runs=3,
        basis="three runs",
    )
    return dataclasses.replace(profile, provenance=dataclasses.replace(profile.provenance, error=error, kind=kind))


def test_half_is_the_prediction_and_three_quarters_the_stated_error(make_profile: MakeProfile) -> None:
    profile = with_error(make_profile("H100"), 0.1, 0.3, ProfileKind.ESTIMATED)
    assert pessimistic(profile, 0.5) is profile
    assert slower_by(profile, 0.75) == pytest.approx(1.3)
    assert slower_by(profile, 0.8) == pytest.approx(1.3**1.321928, abs=1e-3)
    assert pessimistic(profile, 0.75).provenance.slower_by == pytest.approx(1.3)


def test_latency_factor_passes_through_both_ends_of_an_interval(make_profile: MakeProfile) -> None:
    profile = with_error(make_profile("H100"), 0.1, 0.05, ProfileKind.ESTIMATED)
    error = dataclasses.replace(profile.provenance.error, tpot_interval=(0.95, 1.4), request_rate_interval=(0.5, 1.0))
    known = dataclasses.replace(profile, provenance=dataclasses.replace(profile.provenance, error=error))
    factors = [latency_factor(known, share) for share in (0.1, 0.5, 0.8, 0.9)]
    assert factors == pytest.approx([0.95, 1.0, 1.1**1.321928, 1.4])
    # Without ends errors are as large on both sides.
    assert latency_factor(profile, 0.1) * latency_factor(profile, 0.9) == pytest.approx(1.0)
    # Of the request rate, a low end is a slow one.
    slower = dataclasses.replace(error, request_rate_fraction=0.2)
    known = dataclasses.replace(profile, provenance=dataclasses.replace(profile.provenance, error=slower))
    assert [latency_factor(known, share) for share in (0.1, 0.9)] == pytest.approx([1.0, 2.0])
    assert (error.tpot_within, slower.request_rate_within) == ((0.95, 1.4), (0.5, 1.0))


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0, 2), st.floats(0.2, 1), st.floats(1, 9))
def test_latency_factor_never_falls(one: float, other: float, fraction: float, low: float, high: float) -> None:
    profile = with_error(BUNDLED[0], fraction, None, ProfileKind.ESTIMATED)
    error = dataclasses.replace(profile.provenance.error, tpot_interval=(low, high))
    profile = dataclasses.replace(profile, provenance=dataclasses.replace(profile.provenance, error=error))
    least, most = sorted((one, other))
    assert latency_factor(profile, least) <= latency_factor(profile, most) * (1 + 1e-12)


def test_unknown_error_is_no_certainty_but_in_ones_own_measurement(make_profile: MakeProfile) -> None:
    for kind in ProfileKind:
        bare = with_error(make_profile("H100"), None, None, kind)
        for profile in (
            bare,
            dataclasses.replace(bare, provenance=dataclasses.replace(bare.provenance, error=None)),
        ):
            expected = 1.0 if kind is ProfileKind.MEASURED else 1.0 + UNKNOWN_FRACTION
            assert slower_by(profile, 0.75) == pytest.approx(expected), kind
    stated = with_error(make_profile("H100"), 0.2, None, ProfileKind.MEASURED)
    assert slower_by(stated, 0.75) == pytest.approx(1.2)


@given(st.floats(0, 5), st.floats(0, 5), st.floats(0.5, 0.99), st.floats(0.5, 0.99))
def test_less_certain_or_more_cautious_is_never_faster(one: float, other: float, low: float, high: float) -> None:
    profile = BUNDLED[0]
    errors, confidences = sorted((one, other)), sorted((low, high))
    factors = [
        slower_by(with_error(profile, error, None, ProfileKind.FITTED), confidence)
        for error, confidence in zip(errors, confidences, strict=True)
    ]
    assert 1.0 <= factors[0] <= factors[1]


@pytest.mark.parametrize("profile", BUNDLED, ids=lambda profile: f"{profile.key.accelerator}-{profile.key.dtype}")
def test_slowed_replica_carries_at_least_so_much_less(profile: Profile) -> None:
    for size in ((2000, 1000), (1024, 1024), (8000, 1000)):
        for slo in (Slo(tpot_s=0.06), Slo(ttft_s=3.0), Slo(ntpot_s=0.1)):
            before = max_capacity(profile, *size, slo)
            after = max_capacity(slowed(profile, 1.25), *size, slo)
            if isinstance(after, Capacity):
                assert isinstance(before, Capacity)
                assert after.request_rate_rps <= before.request_rate_rps / 1.25 * (1 + 1e-9)


def test_rates_without_latencies_fall_too(make_profile: MakeProfile) -> None:
    form = MatrixForm(
        input_edges=(100,),
        output_edges=(100, 200),
        request_rates_rps=((2.0, None),),
        target=StatedTarget(tpot_s=0.1),
        request_latencies_s=((3.0, None),),
    )
    found = slowed(make_profile("H100", form=form), 2.0).form
    assert isinstance(found, MatrixForm)
    assert found.request_rates_rps == ((1.0, None),)
    assert found.request_latencies_s == ((6.0, None),)


def run(*arguments: str | Path) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


def workload(folder: Path, **profiles: object) -> Path:
    document = yaml.safe_load(MEANS.read_text(encoding="utf-8"))
    document["profiles"] = profiles
    path = folder / "workload.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@pytest.mark.slow
def test_plan_simulation_and_check_see_the_same_replica(tmp_path: Path) -> None:
    path = workload(tmp_path, confidence=0.9)
    assert run("plan", path, "--offline", "--out", tmp_path / "plan").exit_code == 0
    document = read_plan(tmp_path / "plan" / "plan.json")
    fleet, warnings = pipeline.planned_fleet(document)
    assert warnings == ()
    for group, simulated in zip(document.plan.groups, fleet.groups, strict=True):
        assert group.profile.slower_by > 1.0
        assert simulated.profile.provenance == group.profile
    assert run("check", tmp_path / "plan" / "plan.json", "--offline").exit_code == 0
    # At more confidence the same instances carry less than they are loaded to.
    workload(tmp_path, confidence=0.99)
    assert run("check", tmp_path / "plan" / "plan.json", "--offline").exit_code == 3


@pytest.mark.slow
def test_costs_never_fall_with_confidence_and_the_table_shows_both_ends(tmp_path: Path) -> None:
    costs = []
    for confidence in (0.5, 0.8, 0.95):
        path = workload(tmp_path, confidence=confidence)
        result = run("plan", path, "--offline", "--no-files", "--format", "json")
        assert result.exit_code == 0, result.stderr
        costs.append(json.loads(result.stdout)["cost"]["total_usd_per_hour"])
        shown = run("plan", path, "--offline", "--no-files", "-v").stdout
        assert ("slower than predicted" in shown) == (confidence > 0.5)
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


@pytest.mark.slow
def test_explain_says_what_a_measurement_is_worth(tmp_path: Path) -> None:
    result = run("plan", workload(tmp_path), "--offline", "--no-files", "--explain", "--format", "json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    found = document["explanation"]["measurements"]
    total = document["cost"]["total_usd_per_hour"]
    assert {group["accelerator"] for group in document["groups"]} <= {each["accelerator"] for each in found}
    saves = [each["saves_usd_per_hour"] for each in found]
    assert saves == sorted(saves, reverse=True)
    assert all(0 <= each < total for each in saves)
    assert all(each["slower_by"] > 1 for each in found)
    sure = run("plan", workload(tmp_path, confidence=0.5), "--offline", "--no-files", "--explain", "--format", "json")
    assert json.loads(sure.stdout)["explanation"]["measurements"] == []


@pytest.mark.parametrize("value", [0.4, 1, 1.5, -1, "high", True, None])
def test_a_confidence_that_is_none_is_refused(tmp_path: Path, value: object) -> None:
    result = run("plan", workload(tmp_path, confidence=value), "--offline", "--no-files")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "profiles.confidence" in result.stderr
