"""A plan.json edited at random, still of the right types, is judged or refused; never a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from gate_cases import ASKED, BOOK, NOW, PLAN, PROFILES, STRICT_BUT_KEPT, WORKLOAD
from hypothesis import given, settings
from hypothesis import strategies as st

from sky_melange.check import Side, compare
from sky_melange.errors import InputError
from sky_melange.gate import Files, Today, check_plan, files_of
from sky_melange.plan_file import read_plan
from sky_melange.render.check_report import CHECK_FORMATS
from sky_melange.render.diff_report import DIFF_FORMATS
from sky_melange.render.plan_json import text

WORDS = ("", "x", "aws", "gcp", "lambda", "L4", "fp8", "::error::x", "a|b", "é", "../x", "no such")


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [leaf for key, item in items for leaf in _leaves(item, (*path, key))]
    yield from below or [path]


PLACES = [path for path in _leaves(json.loads(text(PLAN, WORKLOAD))) if path]


def _other(value: Any) -> st.SearchStrategy[Any]:
    if isinstance(value, bool):
        return st.just(not value)
    if isinstance(value, int):
        return st.sampled_from((0, 1, 2, value + 1, 10**6, 10**12))
    if isinstance(value, float):
        return st.sampled_from((0.0, 1e-300, 1e15, value * 2))
    return st.sampled_from(WORDS) if isinstance(value, str) else st.sampled_from((None, 0, 1.5, "x"))


@settings(max_examples=300)
@given(data=st.data())
def test_never_a_traceback(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    document = json.loads(text(PLAN, WORKLOAD))
    for _ in range(data.draw(st.integers(1, 2))):
        *way, last = data.draw(st.sampled_from(PLACES))
        place = document
        for key in way:
            place = place[key]
        place[last] = data.draw(_other(place[last]))
    path = tmp_path_factory.getbasetemp() / "edited.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    try:
        found = read_plan(path)
        expected = files_of(found)
    except InputError:
        return
    files, today = Files(expected=expected, found=expected), Today(book=BOOK, profiles=PROFILES, now=NOW)
    report = check_plan(found, files, today, replace(ASKED, policy=STRICT_BUT_KEPT))
    diff = compare(Side(plan=PLAN, workload=WORKLOAD), Side(plan=found.plan, workload=found.workload))
    assert all(render(report).endswith("\n") for render in CHECK_FORMATS.values())
    assert all(render(diff).endswith("\n") for render in DIFF_FORMATS.values())
