"""A plan.json that was edited by hand: refused, or shown to change nothing; never a traceback."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pytest
from check_cases import ASKED, BOOK, CPU, H100, L4, NOW, PLAN, PROFILES, SPOT, STRICT_BUT_KEPT, WORKLOAD, book
from hypothesis import given
from hypothesis import strategies as st
from property_examples import examples, is_complete, some
from sealed import sealed

from sky_melange import pipeline
from sky_melange.check import checks
from sky_melange.check.diff import Side, compare
from sky_melange.check.plan_file import lock_of
from sky_melange.check.report import Asked, Files, Today, check_plan, files_of
from sky_melange.errors import InputError
from sky_melange.extensions import CHECK_FORMATS, DIFF_FORMATS
from sky_melange.pipeline.digests import relative_path
from sky_melange.plan_file import PlanDocument, read_files_beside, read_plan
from sky_melange.render import render_files
from sky_melange.render.plan_json import text

WORDS = ("", "x", "aws", "gcp", "lambda", "L4", "fp8", "::error::x", "a|b", "é", "../x", "no such")
Path_ = tuple[Any, ...]


def _leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
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


@examples(300)
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
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")
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


ASKED_FOR = """\
version: 1
name: chat
model: {id: example/model-8b, dtype: bfloat16, max_model_len: 2000}
slo: {attainment: mean, tpot_ms: 50, ttft_ms: 4000}
traffic:
  request_rate: 8
  histogram:
    source: a test
    input_tokens: [100, 1000]
    output_tokens: [100, 500]
    weights: [[4, 2], [1, 1]]
    mean_tokens: [[100, 100, 50, 60], [100, 500, 60, 300], [1000, 100, 700, 80], [1000, 500, 800, 400]]
candidates: {clouds: [aws, lambda], accelerators: [L4, H100], regions: {aws: [us-east-1]}, spot: allow}
constraints:
  max_accelerators: {H100: 4}
  max_accelerators_in: {aws: {L4: 8}}
  min_replicas: 3
  min_on_demand_replicas: 1
  max_groups: 3
  max_spot_share: 0.9
  tolerate_replica_losses: 1
  min_profile_kind: estimated
budget: {usd_per_hour: 40, usd_per_month: 20000}
prices: {max_age_hours: 1000, trust: [lambda/], discounts: [{fraction: 0.1, cloud: gcp}]}
launch: {engine_args: [--enable-prefix-caching], secrets: [HF_TOKEN]}
"""

CHANGES_NOTHING: Final = {
    r"schema_version": "1 and 2 are read alike; what version 2 added is checked where it stands",
    r"(assumptions|warnings)\.\d+": "a sentence for people",
    r"alternatives\.\d+\..*": "what other plans would have cost, for people",
    r"size_aware_total_usd_per_hour": "what another routing policy would have cost, for people",
    r"mip_gap": "how near the search came, for people; check --max-drift searches again",
    r"status": "what the search had proven, for people; check --max-drift searches again",
    r"(groups|overhead)\.\d+\.price\.(source|detail|fetched_at|as_of)": "where a price came from; check takes today's",
    r"overhead\.\d+\.(purpose|note)": "what the machine is for, in words",
    r"emissions\.groups\.\d+\.(country|year)": "whose electricity it is; the grams follow from the figures",
    r"contingencies\.\d+\.peak_utilization": "for people: what it follows from is verified",
    r"routing\.buckets\.\d+\.can_serve\.\d+": "what may stand in; the router's file shows it",
    r"inputs\.prices_sha256": "which prices there were to choose from; check takes today's",
    r"inputs\.profiles_sha256": "with another digest every load is computed anew from today's profiles",
}
"""Places that only people read, and why: they pass when the digest is computed anew as well."""


@dataclass(frozen=True)
class Committed:
    """A plan as committed: the workload file, plan.json and its launch files."""

    folder: Path
    document: dict[str, Any]

    @property
    def plan(self) -> Path:
        return self.folder / "plan" / "plan.json"

    def verdict(self, document: dict[str, Any]) -> Sequence[str]:
        """What is said of the folder with this plan.json in it; empty: nothing."""
        self.plan.write_text(json.dumps(document), encoding="utf-8")
        try:
            found = read_plan(self.plan)
            expected = files_of(found)
            files = Files(expected=expected, found=read_files_beside(found.path, expected))
            lock = lock_of(found, None)
        except InputError as error:
            return [f"exit 2: {error}"]
        today = Today(book=SALE, profiles=PROFILES, now=NOW)
        asked = Asked(workload=lock.workload, lock=checks.lock(lock.differences))
        return [each.name for each in check_plan(found, files, today, asked).failed]

    def read(self, document: dict[str, Any]) -> PlanDocument | None:
        self.plan.write_text(json.dumps(sealed(document)), encoding="utf-8")
        try:
            return read_plan(self.plan)
        except InputError:
            return None

    @cached_property
    def edits(self) -> Sequence[tuple[Path_, str]]:
        """Each value changed; or removed, where another plan is read without it: some follow from others."""
        as_committed = self.read(self.document)
        return [
            (path, edit)
            for path in _leaves(self.document)
            for edit in ("more", "less", "gone")
            if path != ("plan_sha256",) and (edit != "gone" or self.read(self.edited(path, edit)) != as_committed)
        ]

    def edited(self, path: Path_, edit: str) -> dict[str, Any]:
        document = copy.deepcopy(self.document)
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        if edit == "gone":
            del place[path[-1]]
        else:
            place[path[-1]] = _changed(place[path[-1]], 1 if edit == "more" else -1)
        return document

    def passing(self, change: Callable[[dict[str, Any]], dict[str, Any]] = lambda document: document) -> set[str]:
        """The places of edits of which nothing is said."""
        return {
            ".".join(map(str, path))
            for path, edit in some(self.edits)
            if not self.verdict(change(self.edited(path, edit)))
        }


WORDS_OF_PLANS: Final = {
    "optimal": "feasible",
    "upper": "mean",
    "mean": "upper",
    "serve": "cluster",
    "haproxy": "none",
    "input_aware": "blind",
    "allow": "never",
    "exact": "sliced",
    "highs": "cbc",
    "least_cost": "most_traffic",
    "estimated": "measured",
    "highest": "prefer",
    "bfloat16": "fp8",
    "aws": "lambda",
    "L4": "H100",
}
"""A word that is as valid in its place as the one there."""

SALE = book(L4, H100, CPU, SPOT)


def _changed(value: Any, step: int) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + step
    if isinstance(value, float):
        return value * (1 + step / 10) if value else 0.5 + step / 4
    if isinstance(value, str):
        return f"{value}x" if step > 0 else WORDS_OF_PLANS.get(value, value[:-1] or "y")
    return {None: 1.5, "[]": ["x"], "{}": {"x": 1}}[None if value is None else json.dumps(value)]


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Committed:
    folder = tmp_path_factory.mktemp("committed")
    path = folder / "workload.yaml"
    path.write_text(ASKED_FOR, encoding="utf-8")
    digest = pipeline.workload_digest(path)
    planned = pipeline.make_plan(pipeline.read(path), SALE, PROFILES, workload_digest=digest)
    inputs = replace(planned.plan.inputs, workload_file=relative_path(path, folder / "plan"))
    for name, content in render_files(replace(planned.plan, inputs=inputs), planned.workload).items():
        (folder / "plan" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "plan" / name).write_text(content, encoding="utf-8")
    return Committed(folder, json.loads((folder / "plan" / "plan.json").read_text(encoding="utf-8")))


def test_the_plan_of_this_test_holds_as_it_is(committed: Committed) -> None:
    """With several groups, spot, a router, and routes for losses, or there would be less to edit."""
    assert committed.verdict(committed.document) == []
    assert len(committed.document["groups"]) > 1
    assert any(group["use_spot"] for group in committed.document["groups"])
    assert committed.document["contingencies"]
    assert (committed.folder / "plan" / "router.sky.yaml").exists()
    assert len(committed.edits) > 600


def test_every_edit_is_refused(committed: Committed) -> None:
    assert committed.passing() == set()


def test_layout_is_no_edit(committed: Committed) -> None:
    """Order, spaces, and numbers as a browser writes them."""
    browsers = json.loads(
        json.dumps(committed.document),
        parse_float=lambda digits: int(float(digits)) if digits.endswith(".0") else float(digits),
    )
    assert json.dumps(browsers) != json.dumps(committed.document)
    assert committed.verdict(dict(reversed(browsers.items()))) == []


def test_an_edit_with_its_digest_passes_only_where_it_changes_nothing(committed: Committed) -> None:
    passed = committed.passing(sealed)
    unexplained = {place for place in passed if not any(re.fullmatch(pattern, place) for pattern in CHANGES_NOTHING)}
    assert unexplained == set()
    unused = {pattern for pattern in CHANGES_NOTHING if not any(re.fullmatch(pattern, place) for place in passed)}
    assert unused == set() or not is_complete()


def test_without_its_digest_a_plan_is_read_and_fails(committed: Committed) -> None:
    """As those of earlier releases."""
    document = {key: value for key, value in committed.document.items() if key != "plan_sha256"}
    assert committed.verdict(document) == ["lock"]
