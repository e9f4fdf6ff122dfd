"""Folders that cannot be validated at all: every mistake named, no SkyPilot started, no file outside read."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plan_folders import launch_config, planned_group, write_plan

from sky_melange.errors import InputError, MissingDataError, SkyMelangeError
from sky_melange.skypilot import offline
from sky_melange.skypilot.planned import read_planned_launch
from sky_melange.skypilot.validate import validate_plan_folder

PlanFolder = Callable[..., Path]


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "a/../../b.yaml", "..\\b.yaml"],
)
def test_a_file_name_that_leaves_the_folder_is_refused(plan_folder: PlanFolder, name: str) -> None:
    with pytest.raises(InputError, match="leaves the plan's folder") as caught:
        validate_plan_folder(plan_folder(entry={"file": name}))
    assert caught.value.exit_code == 2
    assert "root:" not in str(caught.value)


def test_a_link_out_of_the_folder_is_refused(plan_folder: PlanFolder, tmp_path: Path) -> None:
    folder = plan_folder(entry={"file": "link.yaml"})
    outside = tmp_path / "outside.yaml"
    outside.write_text("run: echo\n", encoding="utf-8")
    (folder / "link.yaml").symlink_to(outside)
    with pytest.raises(InputError, match="leaves the plan's folder"):
        validate_plan_folder(folder)


def test_a_missing_launch_file_and_a_folder_in_its_place_are_named(plan_folder: PlanFolder) -> None:
    folder = plan_folder()
    (folder / "chat-aws.yaml").unlink()
    with pytest.raises(InputError, match=r"chat-aws\.yaml: group 'chat-aws' needs this file"):
        validate_plan_folder(folder)
    (folder / "chat-aws.yaml").mkdir()
    with pytest.raises(InputError, match="needs this file"):
        validate_plan_folder(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: [echo\n", r"chat-aws\.yaml:2: not YAML"),
        ("run: 'unclosed\n", "not YAML"),
        ("- a\n- b\n", "top level must be a mapping"),
        (" \n", "top level must be a mapping"),
        ("run: a\n---\nrun: b\n", "not YAML"),
        ("a: &a [x, x]\nb: [*a, *a]\n", "YAML aliases"),
        ("run: !!python/object/apply:os.system [id]\n", "not YAML"),
        ("run: 2026-13-45\n", "not YAML"),
        ("run: \x00\n", "not YAML"),
        ("[" * 200_000, "nested deeper"),
        ("# " + "x" * 300_000 + "\nrun: a\n", "larger than 256 KiB"),
    ],
)
def test_broken_yaml_is_refused_before_skypilot_starts(plan_folder: PlanFolder, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate_plan_folder(plan_folder(text=text))


def test_a_launch_file_that_is_no_utf8_is_refused(plan_folder: PlanFolder) -> None:
    folder = plan_folder()
    (folder / "chat-aws.yaml").write_bytes(b"run: \xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        validate_plan_folder(folder)


def test_no_plan_json_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plan\.json: there is no such file.*sky-melange plan WORKLOAD --out"):
        validate_plan_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema_version": 1, "groups": [', r"plan\.json:1: is not JSON.*truncated"),
        ("", "not JSON"),
        ("[]", "top level must be an object"),
        ('{"schema_version": 1, "cost": {"replicas_usd_per_hour": NaN}}', "NaN is no figure"),
        ('{"schema_version": 1, "x": -Infinity}', "-Infinity is no figure"),
        ('{"schema_version": 3, "groups": "new"}', "is 3, this version reads 1 to 2: upgrade"),
        ('{"groups": []}', "schema_version: must be 1 to 2, found None"),
        ('{"schema_version": true, "groups": [3]}', "schema_version: must be 1 to 2, found True"),
        ('{"schema_version": 1, "groups": []}', "at least one replica group"),
        ('{"schema_version": 1, "groups": [3]}', r"groups\[0\]: must be an object"),
        ('{"schema_version": 1, "launch_mode": "job", "groups": []}', "launch_mode: must be serve or cluster"),
        ("[" * 100_000, "is no plan: nested too deeply"),
        ("\ufeff{}", "schema_version: must be 1 to 2, found None"),
    ],
)
def test_a_plan_that_cannot_be_read_says_why(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.compile(message)):
        validate_plan_folder(tmp_path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"price_usd_per_hour": 0}, "price_usd_per_hour: must be a positive price"),
        ({"price_usd_per_hour": True}, "must be a positive price"),
        ({"price_usd_per_hour": "0.9"}, "must be a positive price"),
        ({"price_usd_per_hour": 1e300}, "must be a positive price"),
        ({"price_usd_per_hour": 10**400}, "must be a positive price"),
        ({"instances": 0}, "instances: must be a whole number"),
        ({"instances": 2.0}, "instances: must be a whole number"),
        ({"instances": 10**400}, "instances: must be a whole number"),
        ({"use_spot": "false"}, "use_spot: must be true or false"),
        ({"region": None}, "region: must be a text"),
        ({"zone": ""}, "zone: must be a text"),
        ({"cloud": "aws\nx"}, "cloud: must be a text of printable"),
        ({"instance_type": "x" * 500 + "\n"}, r"found 'x+\.\.\."),
    ],
)
def test_wrong_fields_of_a_group_are_named(plan_folder: PlanFolder, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate_plan_folder(plan_folder(entry=entry, cost={}))


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    one = planned_group("aws", "chat", instances=0, price_usd_per_hour=-1)
    two = planned_group("aws", "chat", region=7)
    with pytest.raises(InputError) as caught:
        validate_plan_folder(write_plan(tmp_path, [one, two], {}, cost={"replicas_usd_per_hour": "4"}))
    keys = [mistake.key for mistake in caught.value.mistakes]
    expected = ["groups[0].instances", "groups[0].price_usd_per_hour", "groups[1].region", "groups", "groups"]
    assert keys == [*expected, "cost.replicas_usd_per_hour"]


def test_one_offer_has_one_price(tmp_path: Path) -> None:
    groups = [planned_group("aws", "one"), planned_group("aws", "two", price_usd_per_hour=0.5)]
    with pytest.raises(InputError, match=r"g6\.2xlarge in aws/us-east-1 has two prices"):
        validate_plan_folder(write_plan(tmp_path, groups, {}))


def test_unknown_fields_and_a_missing_cost_are_fine(plan_folder: PlanFolder) -> None:
    launch = read_planned_launch(plan_folder(entry={"novelty": [1]}, cost=None, notes=["later versions add fields"]))
    assert launch.replicas_usd_per_hour is None
    assert [group.name for group in launch.groups] == ["chat-aws"]


def test_without_skypilot_the_remedy_is_named(plan_folder: PlanFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingDataError, match=r"pip install .skypilot>=0\.14\.1,<0\.15."):
        validate_plan_folder(plan_folder())


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("raise ImportError('no module named pulp')", MissingDataError, "no module named pulp"),
        ("import os; os._exit(7)", SkyMelangeError, r"SkyPilot stopped \(exit 7\)"),
    ],
)
def test_a_broken_skypilot_is_told_apart(
    plan_folder: PlanFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, error: Any, message: str
) -> None:
    package = tmp_path / "broken" / "sky"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(package.parent))
    with pytest.raises(error, match=message):
        validate_plan_folder(plan_folder())


def test_a_child_that_talks_nonsense_is_no_traceback(plan_folder: PlanFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "_WORKER", "this")
    with pytest.raises(SkyMelangeError, match="SkyPilot stopped"):
        validate_plan_folder(plan_folder())


def test_the_fixture_writes_what_the_plan_names(plan_folder: PlanFolder) -> None:
    folder = plan_folder()
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert plan["groups"][0]["file"] == "chat-aws.yaml"
    assert launch_config(planned_group("aws", "chat-aws"), "serve")["resources"]["infra"] == "aws/us-east-1"
