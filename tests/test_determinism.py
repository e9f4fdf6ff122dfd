"""The same input gives the same bytes: in another process, under another hash seed, with prices in another order."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

_CODE = """
import dataclasses, hashlib, json, random, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from sky_melange import pipeline
from sky_melange.prices import load_snapshot
from sky_melange.profiles import load_profiles
from sky_melange.render import plan_table, render_files

workload = pipeline.read(Path(sys.argv[1]) / "examples" / "means" / "workload.yaml")
book = load_snapshot(trust=workload.prices.trust, clouds=workload.candidates.clouds)
profiles = list(load_profiles(workload.model.id, workload.model.dtype, workload.launch.engine))
if sys.argv[2] != "as it is":
    offers = list(book.offers)
    random.Random(sys.argv[2]).shuffle(offers)
    random.Random(sys.argv[2]).shuffle(profiles)
    book = dataclasses.replace(book, offers=tuple(offers))
plan = pipeline.make_plan(workload, book, profiles, workload_digest="0" * 64).plan
files = render_files(plan, workload)
files["table"] = plan_table.render(plan, workload, color=False)
json.dump(files, sys.stdout, sort_keys=True)
"""


def _planned(repository: Path, order: str, hash_seed: str) -> bytes:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", _CODE, str(repository), order],
        capture_output=True,
        check=False,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def expected(repository: Path) -> bytes:
    return _planned(repository, "as it is", "0")


def test_the_plan_has_files(expected: bytes) -> None:
    assert b'"plan.json"' in expected
    assert b".sky.yaml" in expected


@pytest.mark.parametrize(("order", "hash_seed"), [("as it is", "1"), ("first shuffle", "2"), ("second shuffle", "3")])
def test_the_same_bytes(repository: Path, expected: bytes, order: str, hash_seed: str) -> None:
    found = _planned(repository, order, hash_seed)
    assert hashlib.sha256(found).hexdigest() == hashlib.sha256(expected).hexdigest()
