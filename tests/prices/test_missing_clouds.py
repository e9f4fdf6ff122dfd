"""A candidate cloud without prices: named first, in plan.json, with what it could change; and exit 6 on request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from live import NOON, QUICKSTART, extract_folder, run, site, state_of, use_site
from server import CatalogServer, refused_url, status

from sky_melange.domain.offer import Obtained
from sky_melange.domain.workload import PricePolicy
from sky_melange.errors import PriceSourceError
from sky_melange.plan_file import read_plan
from sky_melange.prices import current_book

LATER = NOON + timedelta(hours=5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CatalogServer]:
    with CatalogServer(extract_folder(tmp_path / "catalogs")) as server:
        yield server


@pytest.fixture
def lambda_down(server: CatalogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogServer:
    server.fail("lambda", status(503))
    use_site(monkeypatch, site(tmp_path / "cache", server.url), NOON)
    return server


def _workload(folder: Path, clouds: list[str] | None, **prices: object) -> Path:
    document: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    document["candidates"] = {} if clouds is None else {"clouds": clouds}
    document["prices"] = prices
    path = folder / "workload.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@pytest.mark.parametrize("clouds", [["aws", "lambda"], None], ids=["named", "any cloud"])
def test_plan_names_missing_cloud_first(clouds: list[str] | None, lambda_down: CatalogServer, tmp_path: Path) -> None:
    workload = _workload(tmp_path, clouds)
    result = run("plan", workload, "--out", tmp_path / "plan")
    assert result.exit_code == 0, result.stderr
    first = result.stdout.splitlines()[0]
    assert first.startswith("NO PRICES of lambda")
    assert "HTTP 503" in " ".join(result.stdout.split())
    (found,) = [m for m in read_plan(tmp_path / "plan").plan.missing_clouds if m.cloud == "lambda"]
    assert "HTTP 503" in found.problem
    assert found.last_known is not None
    assert found.last_known.name.startswith("lambda/")
    assert found.last_known.price.fetched_at == "2026-05-07"
    assert f"USD {found.last_known.price_usd_per_hour:.4f}" in " ".join(result.stdout.split())


def test_what_the_cloud_could_change_is_its_best_single_type(lambda_down: CatalogServer, tmp_path: Path) -> None:
    """The figure is that of a plan on this cloud alone, with one type, at the prices last known."""
    lambda_down.heal()
    alone = json.loads(run("plan", _workload(tmp_path, ["lambda"]), "--no-files", "--format", "json").stdout)
    assert alone["prices"]["missing_clouds"] == []
    lambda_down.fail("lambda", status(404))
    without = run("plan", _workload(tmp_path, ["aws", "lambda"]), "--no-files", "--format", "json")
    last_known = json.loads(without.stdout)["prices"]["missing_clouds"][0]["last_known"]
    singles = [entry["cost_usd_per_hour"] for entry in alone["alternatives"] if entry["cost_usd_per_hour"]]
    assert last_known["price"]["fetched_at"] == "2026-06-01"
    assert last_known["alone_usd_per_hour"] == pytest.approx(min(singles))


def test_a_cloud_that_is_no_candidate_is_not_named(lambda_down: CatalogServer, tmp_path: Path) -> None:
    result = run("plan", _workload(tmp_path, ["aws", "gcp"]), "--no-files", "--format", "json")
    assert json.loads(result.stdout)["prices"]["missing_clouds"] == []


def test_named_cloud_of_which_nothing_is_known_is_named_too(lambda_down: CatalogServer, tmp_path: Path) -> None:
    lambda_down.put("vast", b"")
    result = run("plan", _workload(tmp_path, ["aws", "vast"]), "--no-files")
    assert result.stdout.startswith("NO PRICES of vast")
    assert "No earlier price of vast fits this workload." in result.stdout or "Last known there: vast/" in result.stdout


@pytest.mark.parametrize("required", ["all", ["lambda"]])
def test_required_cloud_without_prices_is_exit_6(required: object, lambda_down: CatalogServer, tmp_path: Path) -> None:
    workload = _workload(tmp_path, ["aws", "lambda"], require_clouds=required)
    result = run("plan", workload, "--out", tmp_path / "plan")
    assert result.exit_code == 6
    assert "lambda: " in result.stderr
    assert "HTTP 503" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "plan").exists()
    lambda_down.heal()
    assert run("plan", workload, "--no-files").exit_code == 0


def test_required_cloud_is_not_satisfied_by_embedded_prices(tmp_path: Path) -> None:
    """Nothing can be reached: the embedded prices stand in, and are not what was required, unless --offline."""
    place = site(tmp_path / "cache", refused_url())
    policy = PricePolicy(require_clouds=("aws",))
    with pytest.raises(PriceSourceError, match="aws"):
        current_book(policy, site=place, now=NOON)
    assert state_of(current_book(policy, site=place, now=NOON, offline=True), "aws", "snapshot")


def test_required_cloud_with_an_earlier_copy_passes(server: CatalogServer, tmp_path: Path) -> None:
    place = site(tmp_path / "cache", server.url)
    current_book(PricePolicy(), site=place, now=NOON)
    server.fail("lambda", status(503))
    book = current_book(PricePolicy(require_clouds=("lambda",)), site=place, now=LATER)
    assert state_of(book, "lambda").obtained is Obtained.CACHED
    assert "lambda" not in {missing.cloud for missing in book.missing}


def test_prices_that_are_too_old_are_missing_and_last_known(server: CatalogServer, tmp_path: Path) -> None:
    place = site(tmp_path / "cache", server.url)
    first = current_book(PricePolicy(), site=place, now=NOON)
    server.fail("lambda", status(503))
    book = current_book(PricePolicy(max_age_hours=4), site=place, now=LATER)
    (missing,) = [missing for missing in book.missing if missing.cloud == "lambda"]
    assert missing.last_known == tuple(offer for offer in first.offers if offer.cloud == "lambda")
    assert not [offer for offer in book.offers if offer.cloud == "lambda"]


def test_a_catalog_taken_down_is_missing_with_its_last_copy(server: CatalogServer, tmp_path: Path) -> None:
    place = site(tmp_path / "cache", server.url)
    first = current_book(PricePolicy(), site=place, now=NOON)
    server.fail("lambda", status(404))
    book = current_book(PricePolicy(), site=place, now=LATER)
    (missing,) = [missing for missing in book.missing if missing.cloud == "lambda"]
    assert missing.last_known == tuple(offer for offer in first.offers if offer.cloud == "lambda")


def test_a_wrong_last_known_price_is_not_what_a_cloud_could_change(tmp_path: Path) -> None:
    folder = extract_folder(tmp_path / "catalogs")
    path = folder / "lambda" / "vms.csv"
    path.write_bytes(path.read_bytes().replace(b"3.99", b"0.01"))
    with CatalogServer(folder) as server:
        place = site(tmp_path / "cache", server.url)
        current_book(PricePolicy(), site=place, now=NOON)
        server.fail("lambda", status(404))
        book = current_book(PricePolicy(), site=place, now=LATER)
    (missing,) = [missing for missing in book.missing if missing.cloud == "lambda"]
    assert min(offer.price_usd_per_hour for offer in missing.last_known) > 0.1
