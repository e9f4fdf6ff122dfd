"""Invariants of every shipped profile, read without the package's own reader."""

from __future__ import annotations

import csv
import datetime
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sky_melange.domain.profile import PointsForm
from sky_melange.profiles import known_models, load_profiles

FOLDER = Path(__file__).resolve().parents[2] / "catalogs" / "profiles"
with (FOLDER / "index.csv").open(newline="", encoding="utf-8") as _stream:
    INDEX = tuple(csv.DictReader(_stream))
FILES = tuple(row["file"] for row in INDEX)
FIRST = INDEX[0]
KEYS = ("model", "accelerator", "tensor_parallel", "dtype", "engine")


@cache
def content(file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / file).read_text(encoding="utf-8"))
    return found


def test_the_index_lists_every_file_once_and_no_other() -> None:
    paths = (path for path in FOLDER.rglob("*.json") if not path.name.endswith("-fitted.json"))
    present = sorted(path.relative_to(FOLDER).as_posix() for path in paths)
    assert sorted(FILES) == present
    assert len(set(FILES)) == len(FILES)


def test_no_two_files_are_of_the_same_thing() -> None:
    counts = Counter(tuple(row[key] for key in KEYS) for row in INDEX)
    assert [key for key, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("row", INDEX, ids=FILES)
def test_the_index_says_what_the_file_says(row: dict[str, str]) -> None:
    assert {key: str(content(row["file"])[key]) for key in KEYS} == {key: row[key] for key in KEYS}


@pytest.mark.parametrize("file", FILES)
def test_the_request_rate_is_concurrency_over_latency(file: str) -> None:
    for _, output_tokens, concurrency, rate_rps, ttft_s, tpot_s in content(file)["points"]["rows"]:
        assert rate_rps == pytest.approx(concurrency / (ttft_s + tpot_s * (output_tokens - 1)), rel=2e-4)


@pytest.mark.parametrize("file", FILES)
def test_rows_fit_into_the_cache_and_no_row_is_repeated(file: str) -> None:
    document = content(file)
    rows = document["points"]["rows"]
    assert len({tuple(row[:3]) for row in rows}) == len(rows)
    for input_tokens, output_tokens, concurrency, *_ in rows:
        assert input_tokens + output_tokens <= document["kv_cache_tokens"]
        assert concurrency >= 1


@pytest.mark.parametrize("file", FILES)
def test_provenance_is_complete(file: str) -> None:
    provenance = content(file)["provenance"]
    assert provenance["kind"] == "estimated"
    assert "aiconfigurator" in provenance["source"]
    assert provenance["database"]
    datetime.date.fromisoformat(provenance["fetched_at"])
    error = provenance["error"]
    assert error is None or (error["runs"] > 0 and error["basis"] and error["statistic"])


@pytest.mark.parametrize("file", FILES)
def test_the_file_is_small(file: str) -> None:
    assert (FOLDER / file).stat().st_size < 60_000


def test_what_was_skipped_has_a_reason_and_no_profile() -> None:
    with (FOLDER / "skipped.csv").open(newline="", encoding="utf-8") as stream:
        skipped = list(csv.DictReader(stream))
    present = {(row["model"], row["dtype"], row["accelerator"], row["tensor_parallel"]) for row in INDEX}
    for row in skipped:
        assert row["reason"].strip()
        assert (row["model"], row["dtype"], row["accelerator"], row["tensor_parallel"]) not in present


def test_every_file_loads_under_its_model() -> None:
    loaded = [profile for model, dtype in known_models() for profile in load_profiles(model, dtype, "vllm")]
    assert len([profile for profile in loaded if isinstance(profile.form, PointsForm)]) == len(FILES)


def test_loading_only_some_accelerators() -> None:
    model, dtype = FIRST["model"], FIRST["dtype"]
    some = load_profiles(model, dtype, "vllm", ("H100",))
    assert {profile.key.accelerator for profile in some} == {"H100"}
    assert load_profiles(model, dtype, "vllm", ()) == ()
    assert load_profiles("no/model", dtype, "vllm") == ()
