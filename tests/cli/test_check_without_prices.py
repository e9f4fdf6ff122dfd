"""The gate fails closed: no price source, a cloud without prices, old prices, and what CI and --offline change."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_check_command import ROOT, Scene, check_of, loopback, run, small

__all__ = ["small"]


def _report(scene: Scene, *options: str) -> tuple[int, dict[str, Any]]:
    result = run("check", scene.plan, "--format", "json", *options)
    assert "Traceback" not in result.stderr
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def empty_cache(small: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A plan on Lambda, and a machine that has never seen a price."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("SKY_MELANGE_CACHE_DIR", str(small.folder / "another cache"))
    return small


def test_check_is_6_when_the_cloud_of_the_plan_is_down(empty_cache: Scene) -> None:
    empty_cache.server.put("aws", (ROOT / "tests" / "data" / "prices" / "aws.csv").read_bytes())
    empty_cache.server.fail("lambda", loopback.status(503))
    code, report = _report(empty_cache, "--budget", "1000")
    fresh = check_of(report, "prices-fresh")
    assert (code, fresh["verdict"]) == (6, "fail")
    assert fresh["details"][0].startswith("lambda: no prices: ")
    assert "HTTP 503" in fresh["details"][0]


def test_check_is_6_when_a_named_candidate_cloud_is_down(empty_cache: Scene) -> None:
    """The plan does not use it; whether it should is not known."""
    workload = empty_cache.workload
    document = workload.read_text(encoding="utf-8").replace("  - lambda", "  - lambda\n  - aws")
    workload.write_text(document, encoding="utf-8")
    empty_cache.server.fail("aws", loopback.status(503))
    empty_cache.make_plan()
    code, report = _report(empty_cache)
    assert code == 6
    assert check_of(report, "prices-fresh")["details"][0].startswith("aws: no prices: ")


@pytest.mark.parametrize("fault", ["refused", "503"])
def test_check_is_6_without_any_price_source(fault: str, empty_cache: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded prices are of months ago, and nobody asked for them."""
    if fault == "refused":
        monkeypatch.setenv("SKY_MELANGE_CATALOG_URL", loopback.refused_url())
    else:
        empty_cache.server.fail("*", loopback.status(503))
    code, report = _report(empty_cache, "--budget", "1000")
    fresh = check_of(report, "prices-fresh")
    assert (code, fresh["verdict"]) == (6, "fail")
    assert any("lambda: the prices are of 20" in line and "--offline" in line for line in fresh["details"])


def test_check_offline_uses_old_prices_unless_their_age_is_limited(empty_cache: Scene) -> None:
    code, report = _report(empty_cache, "--offline", "--budget", "1000")
    assert (code, check_of(report, "prices-fresh")["verdict"]) == (0, "skipped")
    code, report = _report(empty_cache, "--offline", "--max-age", "24")
    assert (code, check_of(report, "prices-fresh")["verdict"]) == (6, "fail")


def test_check_offline_in_ci_uses_old_prices(empty_cache: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    code, _ = _report(empty_cache, "--offline")
    assert code == 0


def test_check_in_ci_limits_the_age_to_72_hours(empty_cache: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    _, report = _report(empty_cache)
    assert check_of(report, "prices-fresh")["limit"] == 72
    _, report = _report(empty_cache, "--max-age", "5")
    assert check_of(report, "prices-fresh")["limit"] == 5


def test_a_copy_of_this_day_is_good_enough_while_the_source_is_down(small: Scene) -> None:
    """The refresh of a moment ago is in the cache: younger than 72 hours, so the gate holds."""
    small.server.fail("*", loopback.status(503))
    code, _ = _report(small, "--budget", "1000")
    assert code == 0
    code, report = _report(small, "--budget", "1000", "--max-age", "0")
    assert code == 6
    assert check_of(report, "prices-fresh")["details"]
