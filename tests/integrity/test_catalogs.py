"""Invariants over every row of the embedded price catalogs and gpus.csv."""

from __future__ import annotations

import csv
import re
from datetime import date
from math import isnan
from pathlib import Path

import pytest

from sky_melange.domain.offer import PriceBook
from sky_melange.prices import known_accelerators, launchable_clouds, load_snapshot
from sky_melange.prices.names import resolve
from sky_melange.prices.plausibility import PLAUSIBILITY_RULES

CATALOGS = Path(__file__).resolve().parents[2] / "catalogs"
PRICES = CATALOGS / "prices"
CLOUDS = sorted({path.stem for path in PRICES.glob("*.csv")} - {"sources", "overhead_types"})
EMBEDDED_LIMIT_BYTES = 3_000_000


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return load_snapshot()


def test_every_catalog_is_of_a_cloud_that_skypilot_launches_on() -> None:
    assert list(launchable_clouds()) == CLOUDS
    assert set(CLOUDS) <= {row["cloud"] for row in _rows(CATALOGS / "clouds.csv")}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_row_is_sound(cloud: str) -> None:
    rows = _rows(PRICES / f"{cloud}.csv")
    assert rows
    for row in rows:
        prices = [float(row[column]) for column in ("Price", "SpotPrice") if row[column]]
        # GCP's a4 and vast's spot state 0.00: the first is priced in its accelerator row, the second means none.
        assert all(price > 0 for price in prices) or cloud in {"gcp", "vast"}, row
        assert all(price >= 0 for price in prices), row
        assert not row["AcceleratorName"].startswith("tpu"), row
        assert not row["AcceleratorName"] or float(row["AcceleratorCount"]) > 0, row
        assert row["SnapshotDate"] == "" or date.fromisoformat(row["SnapshotDate"]) < date(2026, 7, 1), row


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_accelerator_is_known_or_refused_as_a_fraction(cloud: str) -> None:
    for row in _rows(PRICES / f"{cloud}.csv"):
        if row["AcceleratorName"]:
            resolved = resolve(cloud, row["AcceleratorName"], row["InstanceType"])
            fraction = resolved.reason == "a fraction of a GPU"
            assert resolved.accelerator in known_accelerators() or fraction, row


@pytest.mark.parametrize("cloud", CLOUDS)
def test_files_are_sorted_with_lf_line_ends_and_no_duplicates(cloud: str) -> None:
    content = (PRICES / f"{cloud}.csv").read_bytes()
    assert b"\r" not in content
    rows = [tuple(row.values()) for row in _rows(PRICES / f"{cloud}.csv")]
    assert rows == sorted(set(rows))


def test_every_offer_is_sound(book: PriceBook) -> None:
    on_demand = {(o.cloud, o.region, o.instance_type, o.accelerator): o for o in book.offers if not o.use_spot}
    for offer in book.offers:
        assert offer.price_usd_per_hour > 0, offer
        assert offer.cloud in launchable_clouds(), offer
        assert offer.region, offer
        assert offer.provenance.source == "snapshot", offer
        assert offer.provenance.detail, offer
        assert re.fullmatch(r"|\d{4}-\d{2}-\d{2}", offer.provenance.fetched_at), offer
        if offer.accelerator:
            assert offer.accelerator in known_accelerators(), offer
            assert offer.accelerators_per_instance >= 1, offer
            assert offer.catalog_accelerator, offer
        else:
            assert (offer.accelerators_per_instance, offer.use_spot) == (0, False), offer
        base = on_demand.get((offer.cloud, offer.region, offer.instance_type, offer.accelerator))
        if offer.use_spot and base is not None:
            assert offer.price_usd_per_hour <= base.price_usd_per_hour * 1.001, offer


def test_every_quarantined_offer_names_a_rule_and_a_reason(book: PriceBook) -> None:
    names = {rule.__name__ for rule in PLAUSIBILITY_RULES}
    assert book.quarantined
    for entry in book.quarantined:
        assert entry.rule in names
        assert entry.reason


def test_no_machine_is_offered_twice(book: PriceBook) -> None:
    keys = [offer.sort_key[:-1] for offer in [*book.offers, *(entry.offer for entry in book.quarantined)]]
    assert len(set(keys)) == len(keys)


def test_only_few_of_the_rows_are_left_out(book: PriceBook) -> None:
    skipped = {(rows.cloud, rows.reason): rows.rows for rows in book.skipped}
    assert skipped == {
        ("aws", "a fraction of a GPU"): 51,
        ("aws", "no price"): 1,
        ("azure", "a fraction of a GPU"): 177,
        ("gcp", "the host machine is not on sale in the accelerator's zone"): 36,
        ("seeweb", "no region: it was on sale nowhere when the list was made"): 15,
    }


def test_sources_account_for_every_row() -> None:
    rows_by_file: dict[tuple[str, str], int] = {}
    for source in _rows(PRICES / "sources.csv"):
        assert source["upstream"]
        assert source["commit"]
        assert source["licence"]
        rows_by_file[source["cloud"], source["date"]] = int(source["rows"])
    counted: dict[tuple[str, str], int] = {}
    for cloud in CLOUDS:
        for row in _rows(PRICES / f"{cloud}.csv"):
            counted[cloud, row["SnapshotDate"]] = counted.get((cloud, row["SnapshotDate"]), 0) + 1
    assert counted == rows_by_file


def test_machines_of_a_launch_are_priced_on_every_cloud_that_has_them(book: PriceBook) -> None:
    for row in _rows(PRICES / "overhead_types.csv"):
        found = [o for o in book.offers if (o.cloud, o.instance_type) == (row["cloud"], row["instance_type"])]
        assert found, row
        assert all((offer.vcpus or 0) >= 2 for offer in found)


def test_gpus_are_physical() -> None:
    rows = _rows(CATALOGS / "gpus.csv")
    assert [row["accelerator"] for row in rows] == sorted(row["accelerator"] for row in rows)
    for gpu in rows:
        assert 8 <= float(gpu["memory_gib"]) <= 300, gpu
        assert gpu["source"]
        moved, bf16, fp8 = (
            float(gpu[name] or "nan") for name in ("memory_bandwidth_bytes_per_s", "bf16_flop_per_s", "fp8_flop_per_s")
        )
        assert isnan(moved) or 1e11 < moved < 1e13, gpu
        assert isnan(bf16) or 1e13 < bf16 < 1e16, gpu
        assert isnan(fp8 / bf16) or 1 <= fp8 / bf16 < 2.1, gpu


def test_the_embedded_data_stays_small() -> None:
    assert sum(path.stat().st_size for path in PRICES.rglob("*.csv")) < EMBEDDED_LIMIT_BYTES
