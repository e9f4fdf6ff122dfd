"""Profile files that are wrong: InputError with file and key, and no other exception."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from property_examples import examples

from sky_melange.domain.profile import ProfileKind
from sky_melange.errors import InputError
from sky_melange.profiles.profile_json import read_profile

pytestmark = pytest.mark.smoke

GOOD: dict[str, Any] = {
    "schema_version": 1,
    "model": "example/model-8b",
    "accelerator": "L4",
    "tensor_parallel": 1,
    "dtype": "bfloat16",
    "engine": "vllm",
    "engine_version": "0.24.0",
    "engine_args": {"max-num-batched-tokens": 8192, "gpu-memory-utilization": 0.9},
    "form": "points",
    "kv_cache_tokens": 1000,
    "points": {
        "columns": ["input_tokens", "output_tokens", "concurrency", "request_rate_rps", "ttft_s", "tpot_s"],
        "rows": [[100, 50, 2, 1.6, 0.2, 0.021], [100, 50, 1, 1.0, 0.1, 0.02], [200, 50, 1, 0.9, 0.15, 0.02]],
    },
    "provenance": {
        "kind": "estimated",
        "source": "a tool",
        "database": "v1",
        "fetched_at": "2026-05-01",
        "error": {
            "statistic": "median",
            "tpot_fraction": 0.1,
            "ttft_fraction": None,
            "request_rate_fraction": 0.2,
            "runs": 3,
            "basis": "runs",
        },
        "notes": ["one"],
    },
}
Place = tuple[str | int, ...]


@pytest.fixture
def mistakes(tmp_path: Path) -> Callable[[str | bytes], list[str]]:
    """`key: message` of each mistake in a file of this content."""

    def read(content: str | bytes) -> list[str]:
        path = tmp_path / "L4.json"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(InputError) as caught:
            read_profile(path)
        assert {mistake.source for mistake in caught.value.mistakes} == {str(path)}
        return [f"{mistake.key}: {mistake.message}" for mistake in caught.value.mistakes]

    return read


def changed(place: Place, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(GOOD)
    parent: Any = content
    for part in place[:-1]:
        parent = parent[part]
    parent[place[-1]] = value
    return content


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "good.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    profile = read_profile(path)
    assert profile.key.accelerator == "L4"
    assert profile.form.latencies == {(100, 50): ((1, 0.1, 0.02), (2, 0.2, 0.021)), (200, 50): ((1, 0.15, 0.02),)}
    assert profile.engine_args == {"max-num-batched-tokens": "8192", "gpu-memory-utilization": "0.9"}
    assert profile.provenance.kind is ProfileKind.ESTIMATED
    assert profile.provenance.source == "a tool (v1)"
    assert profile.provenance.error is not None
    assert profile.provenance.error.ttft_fraction is None


ROW: Place = ("points", "rows", 0)


@pytest.mark.parametrize(
    ("place", "value", "key"),
    [
        (("schema_version",), 2, "schema_version"),
        (("schema_version",), "1", "schema_version"),
        (("schema_version",), None, "schema_version"),
        (("model",), 3, "model"),
        (("tensor_parallel",), 0, "tensor_parallel"),
        (("tensor_parallel",), 1.5, "tensor_parallel"),
        (("tensor_parallel",), True, "tensor_parallel"),
        (("kv_cache_tokens",), 0, "kv_cache_tokens"),
        (("kv_cache_tokens",), "many", "kv_cache_tokens"),
        (("engine_args",), [], "engine_args"),
        (("engine_args", "gpu-memory-utilization"), None, "engine_args.gpu-memory-utilization"),
        (("form",), "tables", "form"),
        (("points",), None, "points"),
        (("points", "rows"), [], "points.rows"),
        (("points", "rows"), {}, "points.rows"),
        (("points", "columns"), ["input_tokens"], "points.columns"),
        (("points", "columns"), GOOD["points"]["columns"][::-1], "points.columns.0"),
        ((*ROW,), [100, 50, 2, 1.6, 0.2], "points.rows.0"),
        ((*ROW,), [100, 50, 2, 1.6, 0.2, 0.021, 0], "points.rows.0"),
        ((*ROW, 0), 0, "points.rows.0.0"),
        ((*ROW, 0), -100, "points.rows.0.0"),
        ((*ROW, 0), 100.0, "points.rows.0.0"),
        ((*ROW, 1), "50", "points.rows.0.1"),
        ((*ROW, 2), None, "points.rows.0.2"),
        ((*ROW, 3), "fast", "points.rows.0.3"),
        ((*ROW, 4), -0.2, "points.rows.0.4"),
        ((*ROW, 4), 0, "points.rows.0.4"),
        ((*ROW, 4), float("nan"), "points.rows.0.4"),
        ((*ROW, 5), float("inf"), "points.rows.0.5"),
        ((*ROW, 5), 10**400, "points.rows.0.5"),
        (("provenance", "kind"), "guessed", "provenance.kind"),
        (("provenance", "error", "tpot_fraction"), -0.1, "provenance.error.tpot_fraction"),
        (("provenance", "error", "runs"), -1, "provenance.error.runs"),
        (("provenance", "error", "tpot_interval"), [1.2, 0.9], "provenance.error.tpot_interval"),
        (("provenance", "error", "tpot_interval"), [0.0, 1.1], "provenance.error.tpot_interval.0"),
        (("provenance", "error", "tpot_interval"), [0.9], "provenance.error.tpot_interval.1"),
        (("provenance", "error", "request_rate_interval"), [1.1, 1.2], "provenance.error.request_rate_interval"),
        (("provenance", "error", "request_rate_interval"), ["0.9", 1.2], "provenance.error.request_rate_interval.0"),
    ],
)
def test_a_wrong_value(mistakes: Any, place: Place, value: Any, key: str) -> None:
    found = mistakes(json.dumps(changed(place, value)))
    assert any(line.startswith(f"{key}") for line in found), found


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0])
def test_a_request_rate_that_cannot_be(mistakes: Any, value: float) -> None:
    (found,) = mistakes(json.dumps(changed((*ROW, 3), value)))
    assert found.startswith("points.rows.0.3: ")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((*ROW, 3), "1.6"),
        ((*ROW, 4), "0.2"),
        ((*ROW, 4), True),
        (("schema_version",), True),
        (("model",), ""),
        (("accelerator",), ""),
        (("dtype",), ""),
        (("engine",), ""),
        (("engine_args", "gpu-memory-utilization"), True),
        (("provenance", "error", "runs"), "3"),
        (("provenance", "error", "tpot_fraction"), False),
    ],
)
def test_a_value_of_another_type(mistakes: Any, place: Place, value: Any) -> None:
    found = mistakes(json.dumps(changed(place, value)))
    key = ".".join(map(str, place))
    assert all(line.startswith(key) for line in found), found


@pytest.mark.parametrize("value", ["2.5", True, 0, float("inf")])
def test_a_rate_of_a_matrix_that_cannot_be(mistakes: Any, value: Any) -> None:
    content = {name: part for name, part in GOOD.items() if name != "points"}
    table = [[1.5, None], [0.5, value]]
    target = {"tpot_s": 0.04}
    content["matrix"] = {"target": target, "input_edges": [100, 200], "output_edges": [50, 90]}
    content["matrix"]["request_rates_rps"] = table
    (found,) = mistakes(json.dumps({**content, "form": "matrix"}))
    assert found.startswith("matrix.request_rates_rps.1.1: ")


@pytest.mark.parametrize("key", sorted(GOOD))
def test_a_missing_key(mistakes: Any, key: str) -> None:
    content = {name: value for name, value in GOOD.items() if name != key}
    assert mistakes(json.dumps(content)) == [f"{key}: Field required"]


def test_a_row_twice(mistakes: Any) -> None:
    rows = [*GOOD["points"]["rows"], GOOD["points"]["rows"][0]]
    (found,) = mistakes(json.dumps(changed(("points", "rows"), rows)))
    assert found.startswith("points:")
    assert "rows[3] repeats the sizes and concurrency (100, 50, 2)" in found


def test_every_mistake_at_once(mistakes: Any) -> None:
    content = changed((*ROW, 4), -1)
    content["points"]["rows"][1][0] = 0
    content["tensor_parallel"] = "two"
    keys = [line.split(":")[0] for line in mistakes(json.dumps(content))]
    assert keys == ["tensor_parallel", "points.rows.0.4", "points.rows.1.0"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        "NaN",
        json.dumps(GOOD)[:300],
        "[" * 200_000,
        '{"a": "\\ud800"}',
        b"\xff\xfe",
        b"\x00",
    ],
    ids=range(11),
)
def test_no_profile_at_all(mistakes: Any, content: str | bytes) -> None:
    assert mistakes(content)


def test_a_file_that_is_too_large_is_not_read(mistakes: Any, tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as stream:
        stream.truncate(16 * 1024**2 + 1)
    with pytest.raises(InputError, match="is larger than 16 MiB"):
        read_profile(path)


@pytest.mark.parametrize(
    ("name", "says"), [("missing.json", "no such file"), (".", "is a folder"), ("x" * 300, "cannot be read")]
)
def test_a_path_that_is_no_file(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read_profile(tmp_path / name)
    assert str(tmp_path) in str(caught.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
_PLACES: tuple[Place, ...] = (
    *((key,) for key in GOOD),
    ("points", "rows"),
    ("points", "columns"),
    ROW,
    *((*ROW, column) for column in range(6)),
    *(("provenance", key) for key in GOOD["provenance"]),
)


@examples(200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(_PLACES), value=_JSON)
def test_any_value_anywhere_is_read_or_refused(tmp_path: Path, place: Place, value: Any) -> None:
    path = tmp_path / "any.json"
    path.write_text(json.dumps(changed(place, value)), encoding="utf-8")
    with contextlib.suppress(InputError):
        read_profile(path)
