"""In how many draws of what profiles may be off by a plan holds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from sky_melange import pipeline
from sky_melange.cli import cli
from sky_melange.domain.profile import Profile, ProfileKey
from sky_melange.pipeline.drawn_errors import DRAWS, count_held, drawn_factors, joint_factors
from sky_melange.profiles.pessimism import latency_factor, pessimistic, stated_fraction

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart" / "workload.yaml"
CONFIDENCE = 0.8


@pytest.fixture(scope="module")
def profiles() -> tuple[Profile, ...]:
    """Three profiles in doubt, at the pessimistic end."""
    workload = pipeline.read(QUICKSTART)
    workload = replace(workload, profiles=replace(workload.profiles, confidence=CONFIDENCE))
    found = pipeline.profiles_for(workload, pipeline.embedded_book(workload), Path())
    return tuple(profile for profile in found if stated_fraction(profile) > 0)[:3]


def test_a_profile_is_no_slower_than_planned_as_often_as_the_confidence_says(profiles: tuple[Profile, ...]) -> None:
    factors = drawn_factors(profiles)
    assert factors.shape == (DRAWS, 3)
    assert (factors <= 1).mean(axis=0) == pytest.approx([CONFIDENCE] * 3, abs=0.011)
    # Half of the errors are within the stated one, either way.
    for column, profile in zip(factors.T, profiles, strict=True):
        off = np.abs(np.log(column * profile.provenance.slower_by))
        assert (off <= math.log1p(stated_fraction(profile))).mean() == pytest.approx(0.5, abs=0.02)
    # Independent: all three at once as often as the product.
    assert (factors <= 1).all(axis=1).mean() == pytest.approx(CONFIDENCE**3, abs=0.07)


def test_the_pessimistic_end_is_the_factor_at_the_confidence(profiles: tuple[Profile, ...]) -> None:
    for profile in profiles:
        predicted = replace(profile, provenance=replace(profile.provenance, slower_by=1.0))
        for share in (0.5, 0.75, 0.9):
            slower = pessimistic(predicted, share).provenance.slower_by
            assert slower == pytest.approx(latency_factor(predicted, share), abs=1e-3)
            assert latency_factor(predicted, 1 - share) == pytest.approx(1 / latency_factor(predicted, share))


@pytest.mark.parametrize("kinds", [1, 2, 3])
def test_few_draws_are_simulated_and_none_is_miscounted(profiles: tuple[Profile, ...], kinds: int) -> None:
    factors = drawn_factors(profiles[:kinds])
    asked: list[Sequence[float]] = []

    def holds(row: Sequence[float]) -> bool:
        """Where one kind is slower another may make up for some of it."""
        asked.append(row)
        return sum(row) / len(row) <= 1.02 and max(row) <= 1.2

    found = count_held(factors, holds)
    simulated = len(asked)
    every = sum(holds(row) or max(row) <= 1 for row in factors.tolist())
    assert found == every
    assert simulated < DRAWS / 2


def test_with_all_at_the_joint_factors_the_confidence_is_reached(profiles: tuple[Profile, ...]) -> None:
    factors = drawn_factors(profiles[:2])
    limits: dict[ProfileKey, float] = dict(joint_factors(profiles[:2], CONFIDENCE))
    assert all(limit > 1 for limit in limits.values())
    most = [limits[profile.key] for profile in profiles[:2]]
    assert (factors <= most).all(axis=1).mean() == pytest.approx(CONFIDENCE, abs=0.05)


@pytest.mark.slow
def test_a_mix_says_in_how_many_draws_it_holds(tmp_path: Path) -> None:
    """A B200 and two L40S hold the quickstart with room for errors."""
    document = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    path, folder = tmp_path / "workload.yaml", tmp_path / "plan"
    path.write_text(yaml.safe_dump({**document, "profiles": {"confidence": CONFIDENCE}}), encoding="utf-8")
    arguments = ["plan", str(path), "--offline", "-v", "--out", str(folder)]
    result = CliRunner(mix_stderr=False).invoke(cli, arguments)
    assert result.exit_code == 0, result.stderr
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert len({group["accelerator"] for group in plan["groups"]}) == 2
    assert plan["simulated"]["draws"] == DRAWS
    assert plan["simulated"]["draws_held"] >= CONFIDENCE * DRAWS
    said = f"in {plan['simulated']['draws_held']} of {DRAWS} draws of what its profiles may be off by"
    assert said in " ".join(result.stdout.split())
    assert CliRunner().invoke(cli, ["check", str(folder), "--offline"]).exit_code == 0
