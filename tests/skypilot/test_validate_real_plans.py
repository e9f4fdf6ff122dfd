"""Plans made by `plan`, on each cloud and in each mode, held against SkyPilot's own parser and optimizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sky_melange import pipeline
from sky_melange.prices import load_snapshot
from sky_melange.render import render_files
from sky_melange.skypilot.validate import validate_plan_folder
from sky_melange.skypilot.verdict import GroupVerdict

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart" / "workload.yaml"
CLOUDS = ("aws", "azure", "gcp", "lambda", "runpod")
OFFERS = load_snapshot().offers


def plan_folder(folder: Path, cloud: str, mode: str, spot: str = "never") -> Path:
    """The quickstart's workload on one cloud, planned and written."""
    document = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    document["candidates"] = {"clouds": [cloud], "spot": spot}
    document["launch"]["mode"] = mode
    path = folder / "workload.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    planned = pipeline.plan_file(path)
    out = folder / "plan"
    out.mkdir()
    for name, text in render_files(planned.plan, planned.workload).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text, encoding="utf-8")
    return out


def failures(verdicts: tuple[GroupVerdict, ...]) -> list[str]:
    return [f"{verdict.group}: {check.name}: {check.detail}" for verdict in verdicts for check in verdict.failures]


@pytest.mark.parametrize("mode", ["serve", "cluster"])
@pytest.mark.parametrize("cloud", CLOUDS)
def test_skypilot_picks_what_was_planned_at_the_planned_price(tmp_path: Path, cloud: str, mode: str) -> None:
    out = plan_folder(tmp_path, cloud, mode)
    groups = json.loads((out / "plan.json").read_text())["groups"]
    verdicts = validate_plan_folder(out, OFFERS)
    assert failures(verdicts) == []
    assert [verdict.group for verdict in verdicts] == [group["name"] for group in groups]
    assert {group["cloud"] for group in groups} == {cloud}
    assert all("price" in {check.name for check in verdict.checks} for verdict in verdicts)


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_spot_plans_too(tmp_path: Path, cloud: str) -> None:
    assert failures(validate_plan_folder(plan_folder(tmp_path, cloud, "serve", spot="only"), OFFERS)) == []


def test_a_price_changed_by_hand_is_seen(tmp_path: Path) -> None:
    out = plan_folder(tmp_path, "lambda", "serve")
    document = json.loads((out / "plan.json").read_text())
    document["groups"][0]["price_usd_per_hour"] += 0.0002
    (out / "plan.json").write_text(json.dumps(document))
    assert any(": price: " in failure for failure in failures(validate_plan_folder(out, OFFERS)))
