"""The book of embedded prices: who is in it, who is not and why, and what trust changes."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sky_melange import prices
from sky_melange.domain.offer import Obtained, Offer, PriceBook
from sky_melange.errors import MissingDataError
from sky_melange.extensions import PRICE_SOURCES
from sky_melange.prices.current import is_trusted, make_book
from sky_melange.prices.past import embedded_past
from sky_melange.prices.records import Opinions, load_opinions
from sky_melange.prices.snapshot import SnapshotSource
from sky_melange.prices.source import CatalogOffers, PriceRequest


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return prices.load_snapshot()


def _quarantined(book: PriceBook, name: str) -> str:
    return next((entry.rule for entry in book.quarantined if entry.offer.name == name), "")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("gcp/us-central1/a3-highgpu-8g", "source_disagreement"),
        ("gcp/us-central1/a3-highgpu-1g", "not_sold_on_demand"),
        ("gcp/us-east4/a3-highgpu-4g", "not_sold_on_demand"),
        ("gcp/us-west1/a3-highgpu-8g", "source_disagreement"),
        ("gcp/us-central1/a2-ultragpu-1g", "source_disagreement"),
        ("gcp/europe-west1/a3-megagpu-8g", "source_disagreement"),
        ("gcp/us-east5/a3-ultragpu-8g", "below_other_regions"),
        ("gcp/us-east4/a4-highgpu-8g", "not_sold_on_demand"),
        ("mithril/us-central2-a/h100-80gb.sxm.8x", "auction_reserve"),
        ("runpod/CA/1x_L40S_SECURE", "spot_above_on_demand"),
        ("runpod/CA/1x_L40S_SECURE:spot", "spot_above_on_demand"),
        ("vast/Georgia, US, NA/1x-A100_SXM4-32-65536", "ambiguous_accelerator"),
    ],
)
def test_wrong_prices_are_in_quarantine(book: PriceBook, name: str, rule: str) -> None:
    assert _quarantined(book, name) == rule
    assert name not in {offer.name for offer in book.offers}


@pytest.mark.parametrize(
    ("name", "usd_per_hour"),
    [
        ("gcp/us-east4/a3-highgpu-8g", 87.83248),
        ("seeweb/it-fr2/ECS1GPU", 0.29),
        ("gcp/us-central1/a2-highgpu-1g", 3.67339),
        ("aws/us-east-1/p5.48xlarge", 55.04),
        ("lambda/us-east-1/gpu_1x_a10", 1.29),
        ("verda/FIN-03/1B300.30V", 6.99),
    ],
)
def test_sound_prices_are_in_the_book(book: PriceBook, name: str, usd_per_hour: float) -> None:
    (offer,) = [offer for offer in book.offers if offer.name == name]
    assert offer.price_usd_per_hour == pytest.approx(usd_per_hour, abs=1e-4)


def test_no_vast_spot_offer_exists(book: PriceBook) -> None:
    assert not [o for o in book.offers if o.cloud == "vast" and o.use_spot]


def test_the_bill_for_h100_in_us_central1_is_named(book: PriceBook) -> None:
    (entry,) = [e for e in book.quarantined if e.offer.name == "gcp/us-central1/a3-highgpu-8g"]
    assert "88.49" in entry.reason
    assert "2026-07-30" in entry.reason


def test_trust_by_name_and_by_prefix() -> None:
    name = "gcp/us-central1/a3-highgpu-1g"
    trusted = prices.load_snapshot(trust=[name])
    assert name in {offer.name for offer in trusted.offers}
    assert any(note.startswith(f"{name}: used because it is trusted") for note in trusted.notes)
    by_prefix = prices.load_snapshot(trust=["mithril/"])
    assert not [entry for entry in by_prefix.quarantined if entry.offer.cloud == "mithril"]
    assert [offer for offer in by_prefix.offers if offer.cloud == "mithril"]


def test_trust_that_names_nothing_is_said() -> None:
    book = prices.load_snapshot(trust=["gcp/nowhere"])
    assert "trust: gcp/nowhere names no quarantined offer" in book.notes


@pytest.mark.parametrize(
    ("trust", "expected"),
    [
        ("aws", True),
        ("aws/us-east-1", True),
        ("aws/us-east-1/", True),
        ("aws/us-east", False),
        ("a", False),
        ("", False),
    ],
)
def test_prefixes_end_at_a_slash(trust: str, expected: bool, make_offer: Callable[..., Offer]) -> None:
    assert is_trusted(make_offer(), [trust]) is expected


def test_a_book_of_some_clouds_judges_them_as_the_whole_book_does(book: PriceBook) -> None:
    part = prices.load_snapshot(clouds=["gcp", "vast"])
    assert part.offers == tuple(offer for offer in book.offers if offer.cloud in {"gcp", "vast"})
    assert part.quarantined == tuple(entry for entry in book.quarantined if entry.offer.cloud in {"gcp", "vast"})
    assert {rows.cloud for rows in part.skipped} <= {"gcp", "vast"}


def test_unknown_cloud_lists_what_there_is() -> None:
    with pytest.raises(MissingDataError, match=r"no embedded prices for ovhcloud; .* aws, azure"):
        prices.load_snapshot(clouds=["ovhcloud"])


def test_offers_are_in_order(book: PriceBook) -> None:
    assert list(book.offers) == sorted(book.offers, key=lambda offer: offer.sort_key)
    keys = [entry.offer.sort_key for entry in book.quarantined]
    assert keys == sorted(keys)


def test_the_order_of_rows_and_clouds_changes_nothing(book: PriceBook) -> None:
    shuffler = random.Random(7)  # noqa: S311
    catalogs = []
    for catalog in SnapshotSource().read():
        offers = list(catalog.offers)
        shuffler.shuffle(offers)
        catalogs.append(replace(catalog, offers=tuple(offers)))
    shuffler.shuffle(catalogs)
    assert make_book(catalogs, load_opinions(), past=embedded_past()) == book
    afresh = make_book(catalogs, load_opinions())
    assert afresh == book, "what is embedded of the judgement is not what the rules say: run scripts/judge_catalogs.py"


def test_undated_prices_are_said_to_be(book: PriceBook) -> None:
    undated = {offer.cloud for offer in book.offers if not offer.provenance.fetched_at}
    assert {"runpod", "nebius", "verda"} <= undated
    assert {"aws", "gcp", "azure", "lambda"}.isdisjoint(undated)
    assert any(note.startswith("date not known") and "runpod" in note for note in book.remarks)


def test_prices_from_2024_carry_that_date(book: PriceBook) -> None:
    dates = {offer.accelerator: offer.provenance.fetched_at for offer in book.offers if offer.cloud == "aws"}
    assert dates["A10G"] == "2024-11-03"
    assert dates["H100"] == "2026-04-02"
    assert dates[""] == "2024-11-03"


def test_spot_without_discount_is_put_aside_and_on_demand_stays(book: PriceBook) -> None:
    rules = {entry.offer.name: entry.rule for entry in book.quarantined}
    spots = [name for name, rule in rules.items() if rule == "spot_equal_to_on_demand"]
    assert {name.partition("/")[0] for name in spots} >= {"aws", "azure"}
    offered = {offer.name for offer in book.offers}
    assert all(name.endswith(":spot") and name.removesuffix(":spot") in offered for name in spots)


def test_controller_and_router_as_skypilot_sizes_them(book: PriceBook) -> None:
    plain = {(o.cloud, o.instance_type): o for o in book.offers if not o.accelerator and o.region.startswith("us-")}
    controller = plain["aws", "c6i.xlarge"]
    assert (controller.price_usd_per_hour, controller.vcpus, controller.memory_gib) == (0.17, 4.0, 8.0)
    assert ("gcp", "n4-standard-2") in plain
    assert not [offer for offer in book.offers if not offer.accelerator and offer.use_spot]


def test_launchable_clouds_have_names_of_skypilot() -> None:
    assert prices.launchable_clouds() == tuple(sorted(prices.launchable_clouds()))
    assert set(prices.snapshot_clouds()) == set(prices.launchable_clouds())


def test_every_source_is_registered_under_its_name(tmp_path: Path) -> None:
    """Each answers for every cloud that it knows, without a network too."""
    site = prices.PriceSite(cache_folder=tmp_path)
    request = PriceRequest(site=site, now=datetime(2026, 6, 1, tzinfo=UTC), offline=True)
    for name, make in PRICE_SOURCES.items():
        source = make()
        assert source.name == name
        found = source.obtain(request)
        assert {catalog.cloud for catalog in found.catalogs} == {
            state.cloud for state in found.states if state.obtained is not Obtained.ABSENT
        }
        assert {state.source for state in found.states} == {name}
        assert found.states


def test_an_empty_market_is_a_book_without_offers() -> None:
    book = make_book([CatalogOffers(cloud="aws", offers=(), skipped=())], Opinions())
    assert (book.offers, book.quarantined, book.notes, book.remarks) == ((), (), (), ())


def test_planning_never_imports_sky_or_pandas() -> None:
    code = (
        "import sys; from sky_melange import prices; prices.load_snapshot();"
        "print(sorted({'sky', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    root = Path(prices.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert result.stdout.strip() == "[]"
