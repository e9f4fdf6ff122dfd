"""Each rule on its own: what it must catch, what it must leave alone, for any prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_melange.domain.offer import Offer, PriceProvenance
from sky_melange.prices import plausibility as rules
from sky_melange.prices.corrections import unconfirmed
from sky_melange.prices.market import Market
from sky_melange.prices.records import Opinion, Opinions
from sky_melange.prices.source import CatalogOffers

Extract = Callable[[str], CatalogOffers]
BASE = Offer(
    cloud="aws",
    region="us-east-1",
    zone=None,
    instance_type="machine",
    accelerator="L4",
    catalog_accelerator="L4",
    accelerators_per_instance=1,
    vcpus=4.0,
    memory_gib=16.0,
    price_usd_per_hour=1.0,
    use_spot=False,
    provenance=PriceProvenance(source="test", detail="", fetched_at="2026-05-20"),
)
PRICES = st.floats(min_value=0.001, max_value=200.0, allow_nan=False)
COUNTS = st.sampled_from([1, 2, 4, 8])


def _failed(rule: rules.Rule, *offers: Offer, opinions: Opinions | None = None) -> list[Offer]:
    """Offers that fail with the evidence that the rule asks for."""
    return [doubt.offer for doubt in _doubts(rule, *offers, opinions=opinions) if doubt.is_proven]


def _doubts(rule: rules.Rule, *offers: Offer, opinions: Opinions | None = None) -> list[rules.Doubt]:
    found = list(rule(Market(offers=offers, opinions=opinions or Opinions())))
    assert all(doubt.reason for doubt in found)
    return found


def _spot(offer: Offer, price: float, zone: str | None = None) -> Offer:
    return replace(offer, use_spot=True, price_usd_per_hour=price, zone=zone)


def _opinion(price: float | None, spot: float | None = None, exact: bool = True) -> Opinions:
    opinion = Opinion(
        cloud="aws",
        region="us-east-1" if exact else "",
        instance_type="machine" if exact else "",
        accelerator="L4",
        accelerators=1,
        price_usd_per_hour=price,
        spot_price_usd_per_hour=spot,
        date="2026-07-30",
        source="a list",
    )
    if exact:
        return Opinions(by_machine={("aws", "us-east-1", "machine"): opinion})
    return Opinions(by_accelerator={("aws", "L4"): opinion})


@given(price=PRICES, count=COUNTS)
def test_free_or_near_free_looks_at_one_gpu(price: float, count: int) -> None:
    offer = replace(BASE, price_usd_per_hour=price, accelerators_per_instance=count)
    assert bool(_failed(rules.free_or_near_free, offer)) == (price / count < 0.03)


def test_a_free_gpu_fails() -> None:
    assert _failed(rules.free_or_near_free, replace(BASE, price_usd_per_hour=0.0))


@given(price=PRICES, use_spot=st.booleans())
def test_auction_reserves_fail_by_value(price: float, use_spot: bool) -> None:
    offer = replace(BASE, price_usd_per_hour=price, use_spot=use_spot)
    assert not _failed(rules.auction_reserve, offer)
    assert bool(_failed(rules.auction_reserve, replace(offer, cloud="mithril"))) == (price <= 1.0)


def test_vast_a100_is_ambiguous_and_other_names_are_not() -> None:
    a100 = replace(BASE, cloud="vast", catalog_accelerator="A100", accelerator="A100")
    assert _failed(rules.ambiguous_accelerator, a100, replace(a100, cloud="gcp"), BASE) == [a100]


@given(price=PRICES, theirs=PRICES)
def test_exact_list_allows_two_percent_either_way(price: float, theirs: float) -> None:
    offer = replace(BASE, price_usd_per_hour=price)
    failed = _failed(rules.source_disagreement, offer, opinions=_opinion(theirs))
    assert bool(failed) == (not 0.98 <= price / theirs <= 1.02)


@given(price=PRICES, theirs=PRICES, count=COUNTS)
def test_list_without_regions_is_compared_by_the_gpu_and_loosely(price: float, theirs: float, count: int) -> None:
    offer = replace(BASE, price_usd_per_hour=price, accelerators_per_instance=count)
    failed = _failed(rules.source_disagreement, offer, opinions=_opinion(theirs, exact=False))
    assert bool(failed) == (not 0.75 <= price / count / theirs <= 1.5)


@given(price=PRICES, theirs=PRICES)
def test_spot_disagrees_only_when_less_than_half(price: float, theirs: float) -> None:
    failed = _failed(rules.source_disagreement, _spot(BASE, price), opinions=_opinion(None, theirs))
    assert bool(failed) == (price * 2 < theirs)


def test_no_opinion_is_no_disagreement() -> None:
    assert not _failed(rules.source_disagreement, BASE, opinions=_opinion(None))
    assert not _failed(rules.source_disagreement, replace(BASE, region="eu-west-1"), opinions=_opinion(9.0))


@given(price=PRICES, spot=PRICES)
def test_spot_above_on_demand_fails_both_and_equal_fails_none(price: float, spot: float) -> None:
    offer = replace(BASE, price_usd_per_hour=price)
    failed = _failed(rules.spot_above_on_demand, offer, _spot(offer, spot))
    assert len(failed) == (2 if spot > price * 1.001 else 0)


def test_one_dear_zone_does_not_condemn_on_demand() -> None:
    dear, cheap = _spot(BASE, 1.5, "a"), _spot(BASE, 0.5, "b")
    assert _failed(rules.spot_above_on_demand, BASE, dear, cheap) == [dear]


def test_on_demand_confirmed_by_a_list_survives_a_dear_spot_price() -> None:
    spot = _spot(BASE, 1.5)
    assert _failed(rules.spot_above_on_demand, BASE, spot, opinions=_opinion(1.0)) == [spot]


@given(price=PRICES, fraction=st.floats(min_value=0.1, max_value=2.0))
def test_spot_equal_to_on_demand_goes_alone(price: float, fraction: float) -> None:
    offer = replace(BASE, price_usd_per_hour=price)
    spot = _spot(offer, price * fraction)
    failed = _failed(rules.spot_equal_to_on_demand, offer, spot)
    assert failed == ([spot] if spot.price_usd_per_hour >= price * 0.999 else [])


@given(price=PRICES, fraction=st.floats(min_value=0.001, max_value=1.0))
def test_spot_next_to_nothing(price: float, fraction: float) -> None:
    offer = replace(BASE, price_usd_per_hour=price)
    failed = _failed(rules.spot_next_to_nothing, offer, _spot(offer, price * fraction))
    assert bool(failed) == (price * fraction < 0.05 * price)


@given(prices=st.lists(PRICES, min_size=1, max_size=8), scale=st.floats(min_value=0.5, max_value=20))
def test_region_rule_never_takes_the_dearest_and_scales(prices: list[float], scale: float) -> None:
    offers = [
        replace(BASE, region=f"eu-{i}", price_usd_per_hour=price, catalog_accelerator="L4")
        for i, price in enumerate(prices)
    ]
    failed = _failed(rules.below_other_regions, *offers)
    dearest = max(prices)
    assert all(offer.price_usd_per_hour < 0.8 * dearest for offer in failed)
    scaled = [replace(offer, price_usd_per_hour=offer.price_usd_per_hour * 2) for offer in offers]
    assert [offer.region for offer in _failed(rules.below_other_regions, *scaled)] == [o.region for o in failed]


def test_home_regions_are_the_yardstick_where_most_regions_are_wrong() -> None:
    wrong = [replace(BASE, region=f"r{i}", price_usd_per_hour=4.5) for i in range(6)]
    home = replace(BASE, region="us-east-1", price_usd_per_hour=9.3)
    assert _failed(rules.below_other_regions, home, *wrong) == wrong


def test_a_home_region_is_held_against_the_median() -> None:
    others = [replace(BASE, region=f"r{i}", price_usd_per_hour=10.0) for i in range(5)]
    cheap_by_custom = replace(BASE, price_usd_per_hour=7.5)
    wrong = replace(BASE, price_usd_per_hour=4.2)
    assert not _failed(rules.below_other_regions, cheap_by_custom, *others)
    assert _failed(rules.below_other_regions, wrong, *others) == [wrong]


def test_spot_prices_of_regions_are_not_judged() -> None:
    offers = [_spot(replace(BASE, region=f"r{i}"), price) for i, price in enumerate([0.1, 1.0, 1.0, 1.0])]
    assert not _failed(rules.below_other_regions, *offers)


@given(price=PRICES, other=PRICES, third=PRICES)
def test_cloud_rule_compares_with_the_cheapest_other_cloud(price: float, other: float, third: float) -> None:
    mine = replace(BASE, cloud="vast", price_usd_per_hour=price)
    others = [replace(BASE, price_usd_per_hour=other), replace(BASE, cloud="gcp", price_usd_per_hour=third)]
    assert (mine in _failed(rules.below_other_clouds, mine, *others)) == (price < 0.5 * min(other, third))


def test_cloud_rule_needs_another_cloud_and_knows_confirmed_prices() -> None:
    assert not _failed(rules.below_other_clouds, BASE)
    dear = replace(BASE, cloud="gcp", price_usd_per_hour=10.0)
    assert not _failed(rules.below_other_clouds, BASE, dear), "one other cloud is no proof"
    assert [doubt.offer for doubt in _doubts(rules.below_other_clouds, BASE, dear)] == [BASE]
    both = (dear, replace(dear, cloud="azure"))
    assert _failed(rules.below_other_clouds, BASE, *both) == [BASE]
    assert not _doubts(rules.below_other_clouds, BASE, *both, opinions=_opinion(1.0))
    assert not _doubts(rules.below_other_clouds, BASE, *both, opinions=_opinion(1.0, exact=False))


def test_machines_without_gpu_are_not_judged() -> None:
    plain = replace(BASE, accelerator="", catalog_accelerator="", accelerators_per_instance=0, price_usd_per_hour=0.01)
    assert rules.judge([plain], Opinions()) == rules.Judged(passed=[plain], quarantined=[])


def test_each_offer_fails_at_most_one_rule_and_none_is_lost(extract: Extract) -> None:
    offers = [offer for name in ("gcp", "runpod", "mithril", "vast", "aws") for offer in extract(name).offers]
    judged = rules.judge(offers, Opinions())
    passed, quarantined = judged.passed, judged.quarantined
    assert len(passed) + len(quarantined) == len(offers)
    assert sorted(o.sort_key for o in [*passed, *(q.offer for q in quarantined)]) == sorted(o.sort_key for o in offers)


def test_mithril_reserves_of_a_cent_are_caught(extract: Extract) -> None:
    judged = rules.judge(extract("mithril-older").offers, Opinions())
    found = {(entry.offer.accelerator, entry.rule) for entry in judged.quarantined}
    assert ("A100-80GB", "free_or_near_free") in found
    assert ("H100", "auction_reserve") in found


def test_runpod_l40s_with_spot_at_twice_the_price_is_caught(extract: Extract) -> None:
    judged = rules.judge(extract("runpod").offers, Opinions())
    assert not [offer for offer in judged.passed if offer.accelerator == "L40S"]
    assert {entry.rule for entry in judged.quarantined if entry.offer.accelerator == "L40S"} == {"spot_above_on_demand"}


@pytest.mark.parametrize("rule", rules.PLAUSIBILITY_RULES)
def test_every_rule_states_its_reason(rule: rules.Rule) -> None:
    assert rule.__doc__
    assert not _failed(rule)


def test_no_machine_is_its_own_neighbour() -> None:
    """The same machine elsewhere does not confirm a price; another one with that GPU does, from half to twice of it."""
    alone = [BASE, replace(BASE, region="us-east-2")]

    def left(*others: Offer) -> list[Offer]:
        return list(unconfirmed(Market(offers=[*alone, *others], opinions=Opinions())))

    assert left() == alone
    near, far = (replace(BASE, instance_type="other", price_usd_per_hour=price) for price in (1.6, 3.2))
    assert left(near) == []
    assert left(far) == [*alone, far]
