"""Plans made by `plan`, on each cloud and in each mode, held against SkyPilot's own parser and optimizer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from property_examples import mostly_slow
from sealed import sealed

from sky_melange import pipeline
from sky_melange.cli import cli
from sky_melange.plan_file import read_plan
from sky_melange.prices import load_snapshot
from sky_melange.render import render_files
from sky_melange.skypilot.validate import validate_plan
from sky_melange.skypilot.verdict import GroupVerdict

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "means" / "workload.yaml"
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


@pytest.mark.parametrize("mode", mostly_slow(("serve", "cluster"), "serve"))
@pytest.mark.parametrize("cloud", mostly_slow(CLOUDS, "lambda"))
def test_skypilot_picks_what_was_planned_at_the_planned_price(tmp_path: Path, cloud: str, mode: str) -> None:
    out = plan_folder(tmp_path, cloud, mode)
    groups = json.loads((out / "plan.json").read_text())["groups"]
    verdicts = validate_plan(read_plan(out), OFFERS)
    assert failures(verdicts) == []
    assert [verdict.group for verdict in verdicts] == [group["name"] for group in groups]
    assert {group["cloud"] for group in groups} == {cloud}
    assert all("price" in {check.name for check in verdict.checks} for verdict in verdicts)


@pytest.mark.slow
@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_spot_plans_too(tmp_path: Path, cloud: str) -> None:
    assert failures(validate_plan(read_plan(plan_folder(tmp_path, cloud, "serve", spot="only")), OFFERS)) == []


@pytest.mark.slow
def test_a_price_that_the_price_book_does_not_have_is_seen(tmp_path: Path) -> None:
    document = read_plan(plan_folder(tmp_path, "lambda", "serve"))
    first, *rest = document.plan.groups
    dearer = replace(first, price_usd_per_hour=first.price_usd_per_hour + 0.0002)
    document = replace(document, plan=replace(document.plan, groups=(dearer, *rest)))
    assert any(": price: " in failure for failure in failures(validate_plan(document, OFFERS)))


def _validated(folder: Path, overrides: str | None = None, **prices: object) -> tuple[Result, dict[str, object]]:
    document = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    if overrides is not None:
        (folder / "prices.csv").write_text(overrides, encoding="utf-8")
        prices["overrides"] = "prices.csv"
    document["prices"] = prices
    (folder / "workload.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    run = CliRunner(mix_stderr=False)
    planned = run.invoke(cli, ["plan", str(folder / "workload.yaml"), "--offline", "--out", str(folder / "plan")])
    assert planned.exit_code == 0, planned.stderr
    plan = json.loads((folder / "plan" / "plan.json").read_text(encoding="utf-8"))
    return run.invoke(cli, ["validate", str(folder / "plan"), "--format", "json"]), plan


def _price_checks(result: Result) -> dict[str, str]:
    return {
        verdict["group"]: check["detail"]
        for verdict in json.loads(result.stdout)
        for check in verdict["checks"]
        if check["name"] == "price"
    }


@pytest.mark.slow
def test_a_discount_is_known(tmp_path: Path) -> None:
    result, plan = _validated(tmp_path, discounts=[{"cloud": "lambda", "fraction": 0.1}])
    assert result.exit_code == 0, result.stderr
    assert _price_checks(result)["chat-h100"] == "planned 3.8610, SkyPilot 3.8610 USD/h per instance"
    plan["workload"]["prices"]["discounts"] = []  # type: ignore[index]
    (tmp_path / "plan" / "plan.json").write_text(json.dumps(sealed(plan)), encoding="utf-8")
    undiscounted = CliRunner(mix_stderr=False).invoke(cli, ["validate", str(tmp_path / "plan")])
    assert undiscounted.exit_code == 3
    assert "planned 3.8610, SkyPilot 4.2900" in undiscounted.stderr


@pytest.mark.slow
def test_prices_of_ones_own_are_not_held_against_skypilots_list(tmp_path: Path) -> None:
    """Reserved capacity at nothing, and more of the same machine at its list price."""
    rows = "lambda,us-east-1,gpu_1x_h100_sxm5,0,1\nlambda,us-east-1,gpu_1x_b200_sxm6,5.5,\n"
    header = "cloud,region,instance_type,price_usd_per_hour,reserved_instances\n"
    result, plan = _validated(tmp_path, overrides=header + rows)
    groups = {group["name"]: group for group in plan["groups"]}  # type: ignore[attr-defined]
    assert any(group["price_usd_per_hour"] == 0 for group in groups.values())
    assert result.exit_code == 0, result.stderr
    for name, detail in _price_checks(result).items():
        if groups[name]["price"]["source"] == "overrides":
            assert "by your own list; SkyPilot lists" in detail


def test_a_damaged_plan_is_refused_before_skypilot_is_asked(tmp_path: Path) -> None:
    out = plan_folder(tmp_path, "lambda", "serve")
    document = json.loads((out / "plan.json").read_text(encoding="utf-8"))
    (out / "plan.json").write_text(json.dumps({**document, "routing": None}), encoding="utf-8")
    result = CliRunner(mix_stderr=False).invoke(cli, ["validate", str(out)])
    assert result.exit_code == 2
    assert "routing" in result.stderr
    assert result.stdout == ""


@pytest.mark.slow
def test_a_machine_that_the_workload_describes_itself(tmp_path: Path) -> None:
    """No catalog has it: SkyPilot's parser and optimizer take it, and the price is the user's own."""
    columns = "cloud,region,instance_type,accelerator,accelerators,vcpus,memory_gib,price_usd_per_hour\n"
    (tmp_path / "prices.csv").write_text(columns + "nebius,eu-north1,my-h100,H100,2,64,500,1.0\n", encoding="utf-8")
    document = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    document |= {"candidates": {"clouds": ["nebius"]}, "prices": {"overrides": "prices.csv"}}
    path = tmp_path / "workload.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    planned = CliRunner(mix_stderr=False).invoke(cli, ["plan", str(path), "--offline", "--out", str(tmp_path / "plan")])
    assert planned.exit_code == 0, planned.stderr
    groups = json.loads((tmp_path / "plan" / "plan.json").read_text())["groups"]
    assert "my-h100" in {group["instance_type"] for group in groups}
    assert failures(validate_plan(read_plan(tmp_path / "plan"), OFFERS)) == []
