"""Folders that cannot be validated at all: every mistake named, no SkyPilot started, no file outside read."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sky_melange.errors import InputError, MissingDataError, SkyMelangeError
from sky_melange.plan_file import PlanDocument
from sky_melange.skypilot import offline
from sky_melange.skypilot.validate import validate_plan

Planned = Callable[..., PlanDocument]


def test_a_link_out_of_the_folder_is_refused(planned: Planned, tmp_path: Path) -> None:
    document = planned(file="link.yaml")
    outside = tmp_path / "outside.yaml"
    outside.write_text("run: echo\n", encoding="utf-8")
    (document.path.parent / "link.yaml").symlink_to(outside)
    with pytest.raises(InputError, match="is a link"):
        validate_plan(document)


def test_a_missing_launch_file_and_a_folder_in_its_place_are_named(planned: Planned) -> None:
    document = planned()
    (document.path.parent / "chat-aws.yaml").unlink()
    with pytest.raises(InputError, match=r"chat-aws\.yaml: group 'chat-aws' needs this file"):
        validate_plan(document)
    (document.path.parent / "chat-aws.yaml").mkdir()
    with pytest.raises(InputError, match="is not a regular file"):
        validate_plan(document)


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
        ("# " + "x" * 4_200_000 + "\nrun: a\n", "larger than 4 MiB"),
    ],
)
def test_broken_yaml_is_refused_before_skypilot_starts(planned: Planned, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate_plan(planned(text=text))


def test_a_launch_file_that_is_no_utf8_is_refused(planned: Planned) -> None:
    document = planned()
    (document.path.parent / "chat-aws.yaml").write_bytes(b"run: \xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        validate_plan(document)


def test_without_skypilot_the_remedy_is_named(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingDataError, match=r"pip install .skypilot>=0\.14\.1,<0\.15."):
        validate_plan(planned())


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("raise ImportError('no module named pulp')", MissingDataError, "no module named pulp"),
        ("import os; os._exit(7)", SkyMelangeError, r"SkyPilot stopped \(exit 7\)"),
    ],
)
def test_a_broken_skypilot_is_told_apart(
    planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, error: Any, message: str
) -> None:
    package = tmp_path / "broken" / "sky"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(package.parent))
    with pytest.raises(error, match=message):
        validate_plan(planned())


def test_a_child_that_talks_nonsense_is_no_traceback(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "_WORKER", "this")
    with pytest.raises(SkyMelangeError, match="SkyPilot stopped"):
        validate_plan(planned())
