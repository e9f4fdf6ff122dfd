"""Runs over the whole public data, where a checkout has it beside it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sky_melange.prices.current import make_book
from sky_melange.prices.records import load_opinions
from sky_melange.prices.source import CatalogOffers

ROOT = Path(__file__).resolve().parents[2]
ReadContent = Callable[[bytes, str], CatalogOffers]
SECONDS_LIMIT = 2.0
"""Four times the budget of 0.5 s, which a benchmark holds: a test run shares its processor."""


def _read_all(folder: Path, read_content: ReadContent) -> list[CatalogOffers]:
    found = []
    for path in sorted(folder.glob("*/vms.csv")):
        cloud = path.parent.name.removesuffix("-mid").removesuffix("-header-only")
        found.append(read_content(path.read_bytes(), cloud))
    return found


@pytest.mark.parametrize("folder", ["catalogs", "catalogs-older", "catalogs-2024-11", "catalogs-damaged"])
def test_every_published_catalog_reads_without_a_damaged_row(
    folder: str, shared_data: Path, read_content: ReadContent
) -> None:
    catalogs = _read_all(shared_data / folder, read_content)
    assert catalogs
    reasons = {rows.reason for catalog in catalogs for rows in catalog.skipped}
    assert not [reason for reason in reasons if "fields of the header" in reason or "not a number" in reason]
    if folder != "catalogs-damaged":
        assert all(catalog.offers for catalog in catalogs)


def test_reading_and_judging_every_catalog_is_quick(shared_data: Path, read_content: ReadContent) -> None:
    start = time.process_time()
    book = make_book(_read_all(shared_data / "catalogs", read_content), load_opinions())
    assert time.process_time() - start < SECONDS_LIMIT
    assert len(book.offers) > 3000


def test_full_catalogs_give_the_offers_of_the_embedded_extract(shared_data: Path, read_content: ReadContent) -> None:
    embedded = read_content((ROOT / "catalogs" / "prices" / "gcp.csv").read_bytes(), "gcp")
    full = read_content((shared_data / "catalogs" / "gcp" / "vms.csv").read_bytes(), "gcp")
    assert [(o.name, o.catalog_accelerator, o.price_usd_per_hour) for o in full.offers] == [
        (o.name, o.catalog_accelerator, o.price_usd_per_hour) for o in embedded.offers
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["read_and_merge", "refresh"])
def test_the_benchmarks_run(name: str, shared_data: Path) -> None:
    """Whether their targets hold (exit 0 or 1) is for a quiet machine to say."""
    command = [sys.executable, "-m", f"benchmarks.prices.{name}", "--data", str(shared_data), "--runs", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "target" in done.stdout, done.stderr


@pytest.mark.slow
def test_the_build_script_writes_the_committed_files(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    import build_catalogs

    for name, rows in build_catalogs.build(shared_data).items():
        assert build_catalogs.to_csv(rows) == (ROOT / "catalogs" / name).read_bytes(), name
