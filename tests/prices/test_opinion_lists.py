"""Embedded prices against independent dated lists."""

from __future__ import annotations

import pytest

from sky_melange.domain.offer import Offer, PriceBook
from sky_melange.prices import load_snapshot
from sky_melange.prices.records import Opinion, load_opinions
from sky_melange.prices.snapshot import SnapshotSource

DATED_CHANGES: frozenset[str] = frozenset()
"""Names of offers whose price changed between the catalog and the list. None at present: all agree."""


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return load_snapshot(clouds=["aws", "gcp"])


def _pairs(book: PriceBook, cloud: str) -> list[tuple[Offer, Opinion]]:
    opinions = load_opinions([cloud])
    found = [
        (offer, opinions.of_machine(offer)) for offer in book.offers if offer.cloud == cloud and not offer.use_spot
    ]
    return [(offer, opinion) for offer, opinion in found if opinion is not None]


@pytest.mark.parametrize(("cloud", "at_least"), [("aws", 450), ("gcp", 190)])
def test_on_demand_offers_agree_within_one_percent(book: PriceBook, cloud: str, at_least: int) -> None:
    pairs = _pairs(book, cloud)
    assert len(pairs) >= at_least
    off = {
        offer.name
        for offer, opinion in pairs
        if abs(offer.price_usd_per_hour / (opinion.price_usd_per_hour or 0.0) - 1) > 0.01
    }
    assert off == DATED_CHANGES


def test_the_gcp_catalog_leaves_out_the_ssd_and_says_so(book: PriceBook) -> None:
    for offer, opinion in _pairs(book, "gcp"):
        below = 1 - offer.price_usd_per_hour / (opinion.price_usd_per_hour or 0.0)
        if "local SSD" in offer.provenance.detail:
            assert 0 < below < 0.01
        else:
            assert abs(below) < 0.002


def test_every_gcp_price_that_a_list_contradicts_is_in_quarantine(book: PriceBook) -> None:
    contradicted = [entry for entry in book.quarantined if entry.rule == "source_disagreement"]
    assert {entry.offer.accelerator for entry in contradicted if not entry.offer.use_spot} == {
        "A100",
        "A100-80GB",
        "H100",
    }
    assert all(entry.offer.cloud == "gcp" for entry in contradicted)


def test_opinions_are_dated_and_sourced() -> None:
    opinions = load_opinions()
    for opinion in [*opinions.by_machine.values(), *opinions.by_accelerator.values()]:
        assert opinion.source
        assert len(opinion.date) == 10
        assert opinion.price_usd_per_hour or opinion.spot_price_usd_per_hour


def test_every_machine_of_a_list_is_embedded_or_left_out_for_a_reason() -> None:
    """catalogs/README.md names what is left out."""
    embedded = {offer.instance_type for catalog in SnapshotSource().read() for offer in catalog.offers}
    missing = {kind for _, _, kind in load_opinions().by_machine if kind not in embedded}
    left_out = ("g7e.", "g4-standard-", "Standard_NC144", "Standard_NC288")
    assert [kind for kind in sorted(missing) if not kind.startswith(left_out)] == []


def test_the_cheapest_embedded_price_is_that_of_the_list(book: PriceBook) -> None:
    """By cloud and accelerator, over the machines and places that both have."""
    opinions = load_opinions()
    listed: dict[tuple[str, str], float] = {}
    ours: dict[tuple[str, str], float] = {}
    for offer in book.offers:
        opinion = opinions.of_machine(offer) if offer.accelerator and not offer.use_spot else None
        if opinion is None or opinion.price_usd_per_hour is None:
            continue
        key = (offer.cloud, offer.accelerator)
        count = offer.accelerators_per_instance
        listed[key] = min(listed.get(key, 1e9), opinion.price_usd_per_hour / count)
        ours[key] = min(ours.get(key, 1e9), offer.price_usd_per_hour / count)
    assert len(ours) >= 15
    assert {key: price for key, price in ours.items() if abs(price / listed[key] - 1) > 0.02} == {}
    assert ours["aws", "L4"] == pytest.approx(0.8048)
