"""Unquarantined prices against three independent dated lists: the shares are reported, the sound clouds must agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from live import ROOT

DATED_CHANGES: dict[str, str] = {}
"""Offers of AWS and GCP whose price changed between the catalog and the list, each with its reason. None at present."""

LISTS = {"aws": "tsaol/aws-gpu 2026-01", "gcp": "Cyclenerd/google-cloud-pricing-cost-calculator 2026-07"}


def _report(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.prices.agreement", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module", params=["embedded", "published"])
def report(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "embedded":
        return _report()
    shared: Path = request.getfixturevalue("shared_data")
    return _report("--catalogs", str(shared / "catalogs"))


def test_the_shares_are_reported(report: dict[str, Any], record_property: pytest.RecordProperty) -> None:
    for key, row in report.items():
        record_property(key, json.dumps({"offers": row["offers"], **row["shares"]}))
        print(key, row["offers"], row["shares"])  # noqa: T201 - the report of this test: pytest -rP
        assert sum(row["shares"].values()) == pytest.approx(1.0)
    assert {key.rpartition(" ")[2] for key in report} == {"aws", "azure", "gcp", "lambda", "runpod", "verda"}


@pytest.mark.parametrize("cloud", LISTS)
def test_aws_and_gcp_agree_within_one_percent(cloud: str, report: dict[str, Any]) -> None:
    row = report[f"{LISTS[cloud]}: {cloud}"]
    assert row["offers"] >= 80
    assert set(row["differ"]) == {name for name in DATED_CHANGES if name.startswith(f"{cloud}/")}


def test_the_others_differ_by_the_age_of_their_catalogs(report: dict[str, Any]) -> None:
    """Lambda's list is 17 days younger; RunPod's catalog is of 2025. Nothing is off by more than the rule allows."""
    for key, row in report.items():
        assert all(0.75 <= ratio <= 1.5 for ratio in row["differ"].values()), key
    lambda_row = report["tardellirs/gpu-pricing 2026-05: lambda"]
    assert lambda_row["shares"]["off"] == 0
