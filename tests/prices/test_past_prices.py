"""Prices judged by what was believed of them before: real damage, and every kind of it to every embedded catalog."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sky_melange.domain.offer import IN_DOUBT, Offer, PriceProvenance
from sky_melange.errors import InputError
from sky_melange.prices.hosted.fetch import NotAcceptedError, read_copy
from sky_melange.prices.last_believed import BelievedPrices
from sky_melange.prices.offers import read_catalog
from sky_melange.prices.opinions import Opinion, Opinions, load_opinions
from sky_melange.prices.past import Past, embedded_past
from sky_melange.prices.plausibility import Judged, judge
from sky_melange.prices.snapshot import snapshot_clouds
from sky_melange.prices.source import CatalogOffers
from sky_melange.resources import data_path

EXTRACTS = Path(__file__).resolve().parents[1] / "data" / "prices"
NOW = PriceProvenance(source="skypilot", detail="", fetched_at="2026-11-28T09:00:00Z")


def read(content: bytes, cloud: str) -> CatalogOffers:
    return read_catalog(content, cloud, f"{cloud}.csv", lambda *_: NOW)


@cache
def embedded(cloud: str) -> bytes:
    return data_path("catalogs", "prices", f"{cloud}.csv").read_bytes()


@cache
def opinions() -> Opinions:
    return load_opinions()


@cache
def sound(cloud: str) -> CatalogOffers:
    return read(embedded(cloud), cloud)


def last_run(*catalogs: CatalogOffers) -> Callable[[str], BelievedPrices]:
    """What is believed after a run that found nothing wrong with these catalogs."""
    now = datetime(2026, 11, 27, tzinfo=UTC)
    noted = {catalog.cloud: BelievedPrices().with_run(catalog.offers, (), (), now) for catalog in catalogs}
    return lambda cloud: noted.get(cloud, BelievedPrices())


def judged_with_others(catalog: CatalogOffers, last_good: Iterable[CatalogOffers] = ()) -> Judged:
    """The offers of one cloud, judged beside all others."""
    others = [sound(cloud) for cloud in snapshot_clouds() if cloud != catalog.cloud]
    past = embedded_past().with_last(last_run(*last_good))
    return judge([offer for each in (catalog, *others) for offer in each.offers], opinions(), past)


def test_windows_prices_are_corrected_and_right_ones_kept() -> None:
    """Azure's catalog of 2026-05-01: 139 on-demand prices with the Windows licence, beside clean ones."""
    windows = read(gzip.decompress((EXTRACTS / "azure-windows.csv.gz").read_bytes()), "azure")
    right = {offer.name: offer.price_usd_per_hour for offer in judged_with_others(sound("azure")).passed}
    judged = judged_with_others(windows)
    passed = {offer.name: offer for offer in judged.passed if offer.cloud == "azure" and offer.accelerator}
    on_demand = [offer for offer in passed.values() if not offer.use_spot and offer.name in right]
    assert len(on_demand) > 500
    # Two rows of another kind (NC24rs_v3) are 7 and 8 % dearer than later.
    odd = [offer.name for offer in on_demand if abs(offer.price_usd_per_hour - right[offer.name]) > 0.001]
    assert odd == [
        "azure/eastus2/Standard_NC24rs_v3",
        "azure/qatarcentral/Standard_NC24rs_v3",
    ]
    corrected = [entry for entry in judged.quarantined if entry.rule == "windows_licence"]
    assert len([entry for entry in corrected if not entry.offer.use_spot]) >= 85
    assert all("Windows licence" in entry.reason for entry in corrected)
    assert all(entry.offer.name in passed for entry in corrected), "each is used at its earlier price"
    assert passed["azure/eastus/Standard_NC40ads_H100_v5"].price_usd_per_hour == pytest.approx(6.98)
    others = {(e.offer.name, e.offer.price_usd_per_hour) for e in judged.quarantined if e.rule != "windows_licence"}
    refused = {(e.offer.name, e.offer.price_usd_per_hour) for e in judged_with_others(sound("azure")).quarantined}
    kept_out = {name for name, _ in others - refused if not name.endswith(":spot")}
    assert not kept_out, "no right price is quarantined"


def test_a_clean_catalog_is_judged_as_when_it_was_embedded() -> None:
    judged = judged_with_others(sound("azure"))
    assert not [entry for entry in judged.quarantined if entry.rule in ("windows_licence", "moved_too_far")]


def test_licence_without_an_earlier_price_is_only_a_warning(make_offer: Callable[..., Offer]) -> None:
    base = make_offer(cloud="azure", instance_type="Standard_New_v9", vcpus=40.0, region="eastus2")
    clean = replace(base, price_usd_per_hour=6.98)
    windows = replace(base, region="eastus", price_usd_per_hour=8.82)
    judged = judge([clean, windows], Opinions())
    assert not judged.quarantined
    doubts = {offer.region: IN_DOUBT in offer.provenance.detail for offer in judged.passed}
    assert doubts == {"eastus2": False, "eastus": True}


def test_two_clouds_outvote_nobody() -> None:
    """A mirror with Nebius and AWS only: Nebius at 2.95 is less than half of AWS, and right."""
    offers = [offer for cloud in ("nebius", "aws") for offer in sound(cloud).offers]
    for past in (embedded_past(), Past()):
        judged = judge(offers, Opinions(), past)
        prices = [o.price_usd_per_hour for o in judged.passed if o.cloud == "nebius" and o.accelerator == "H100"]
        assert 2.95 in prices
    assert [o for o in judged.passed if o.cloud == "nebius" and IN_DOUBT in o.provenance.detail], "without past: warned"


def test_n_gpus_for_the_price_of_one_are_refused() -> None:
    runpod = judge(read((EXTRACTS / "runpod-counts.csv").read_bytes(), "runpod").offers, Opinions())
    rules = {e.offer.name.removeprefix("runpod/"): e.rule for e in runpod.quarantined}
    sold = ["", ":spot"]
    for name in ("2x_RTXA6000", "4x_RTXA6000", "8x_RTXA6000", "2x_L40S", "8x_L40S"):
        assert [rules[f"US/{name}_SECURE{market}"] for market in sold] == ["below_smaller_machines"] * 2
    passed = {f"runpod/US/1x_{name}_SECURE{market}" for name in ("L40S", "RTXA6000") for market in sold}
    assert passed <= {offer.name for offer in runpod.passed}


@pytest.mark.parametrize("changed", [{"accelerators_per_instance": 4}, {"accelerator": "H200"}], ids=["count", "GPU"])
def test_a_machine_keeps_its_gpus(changed: dict[str, Any]) -> None:
    (offer, *_) = [o for o in sound("azure").offers if o.instance_type == "Standard_ND96isr_H100_v5"]
    (entry,) = judge([replace(offer, **changed)], Opinions(), embedded_past()).quarantined
    assert entry.rule == "other_gpus"
    assert "has H100:8" in entry.reason


def test_mithril_is_judged_by_value() -> None:
    mithril = judge(read((EXTRACTS / "mithril-counts.csv").read_bytes(), "mithril").offers, Opinions())
    passed = {(offer.accelerator, offer.price_usd_per_hour) for offer in mithril.passed}
    assert passed == {("B200", 3.45), ("H100", 28.66), ("A100-80GB", 13.99)}
    refused = {(entry.offer.accelerator, entry.offer.price_usd_per_hour): entry.rule for entry in mithril.quarantined}
    assert refused == {
        ("B200", 0.05): "auction_reserve",
        ("H100", 8.0): "auction_reserve",
        ("A100-80GB", 0.5): "auction_reserve",
    }


def test_machines_that_are_not_sold_on_demand_are_sold_as_spot() -> None:
    gcp = judged_with_others(sound("gcp"))
    passed = [o for o in gcp.passed if o.cloud == "gcp" and o.instance_type in ("a3-highgpu-1g", "a4-highgpu-8g")]
    assert passed
    assert all(offer.use_spot for offer in passed)


def _opinion_at(offer: Offer, price: float) -> Opinions:
    opinion = Opinion(
        cloud=offer.cloud,
        region=offer.region,
        instance_type=offer.instance_type,
        accelerator="",
        accelerators=8,
        price_usd_per_hour=price,
        spot_price_usd_per_hour=None,
        date="2025-05-01",
        source="an older list",
    )
    return Opinions(by_machine={(offer.cloud, offer.region, offer.instance_type): opinion})


def test_a_real_cut_of_44_percent_is_believed_and_reported(make_offer: Callable[..., Offer]) -> None:
    """AWS p5.48xlarge, 2025: 98.32 to 55.04, against the last good copy and an older list."""
    before = make_offer(
        instance_type="p5.48xlarge",
        accelerator="H100",
        accelerators_per_instance=8,
        vcpus=192.0,
        price_usd_per_hour=98.32,
    )
    copy = CatalogOffers(cloud="aws", offers=(before,), skipped=())
    after = replace(before, price_usd_per_hour=55.04)
    judged = judge([after], _opinion_at(after, 98.32), Past(last=last_run(copy)))
    assert [offer.price_usd_per_hour for offer in judged.passed] == [55.04]
    assert "aws asks 44% less than before" in judged.passed[0].provenance.detail
    # Where it never was at the list's price, the list is believed (GCP's H100).
    (entry,) = judge([after], _opinion_at(after, 98.32)).quarantined
    assert entry.rule == "source_disagreement"


@pytest.mark.parametrize("cloud", snapshot_clouds())
def test_a_cut_of_44_percent_of_every_cloud_is_believed(cloud: str) -> None:
    cut = replace(
        sound(cloud),
        offers=tuple(replace(o, price_usd_per_hour=round(o.price_usd_per_hour * 0.56, 6)) for o in sound(cloud).offers),
    )
    before = {o.name for o in judged_with_others(sound(cloud)).passed if o.cloud == cloud}
    judged = judged_with_others(cut, [sound(cloud)])
    refused = [
        e for e in judged.quarantined if e.offer.name in before and e.rule in ("moved_too_far", "source_disagreement")
    ]
    assert not refused, refused[0]


def test_lambda_raised_all_its_prices() -> None:
    """2026-04 to 2026-05, by 13 to 50 %."""
    older = read((EXTRACTS / "lambda-older.csv").read_bytes(), "lambda")
    judged = judged_with_others(read((EXTRACTS / "lambda.csv").read_bytes(), "lambda"), [older])
    assert not [entry for entry in judged.quarantined if entry.offer.cloud == "lambda"]


Damage = Callable[[bytes], bytes | None]


def _rows(content: bytes) -> tuple[list[str], list[list[str]]]:
    found = list(csv.reader(io.StringIO(content.decode())))
    return found[0], found[1:]


def _text(header: list[str], rows: Iterable[list[str]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return stream.getvalue().encode()


def scaled(factor: float) -> Damage:
    def damage(content: bytes) -> bytes:
        header, rows = _rows(content)
        for row in rows:
            for name in ("Price", "SpotPrice"):
                at = header.index(name)
                row[at] = repr(round(float(row[at]) * factor, 6)) if row[at] else ""
        return _text(header, rows)

    return damage


def swapped(one: str, other: str) -> Damage:
    def damage(content: bytes) -> bytes:
        header, rows = _rows(content)
        a, b = header.index(one), header.index(other)
        for row in rows:
            row[a], row[b] = row[b], row[a]
        return _text(header, rows)

    return damage


def shifted(name: str) -> Damage:
    """One column against the others, by one kind of machine."""

    def damage(content: bytes) -> bytes:
        header, rows = _rows(content)
        at = header.index(name)
        values = list(dict.fromkeys(row[at] for row in rows if row[at]))
        following = dict(zip(values, [*values[1:], *values[:1]], strict=True))
        for row in rows:
            row[at] = following.get(row[at], "")
        return _text(header, rows)

    return damage


def most_rows_lost(content: bytes) -> bytes:
    header, rows = _rows(content)
    return _text(header, rows[::10])


def one_region_lost(content: bytes) -> bytes:
    header, rows = _rows(content)
    at = header.index("Region")
    lost = Counter(row[at] for row in rows).most_common(1)[0][0]
    return _text(header, (row for row in rows if row[at] != lost))


DAMAGES: dict[str, Damage] = {
    "a tenth": scaled(0.1),
    "a fifth": scaled(0.2),
    "three tenths": scaled(0.3),
    "tenfold": scaled(10),
    "spot for on demand": swapped("Price", "SpotPrice"),
    "vCPUs for price": swapped("Price", "vCPUs"),
    "memory for price": swapped("Price", "MemoryGiB"),
    "vCPUs for count": swapped("AcceleratorCount", "vCPUs"),
    "count for price": swapped("AcceleratorCount", "Price"),
    "GPUs of other rows": shifted("AcceleratorName"),
    "nine of ten rows lost": most_rows_lost,
    "one region lost": one_region_lost,
    "cut off": lambda content: content[: len(content) * 6 // 10],
}


def _cheapest(judged: Judged, cloud: str, *, silent: bool) -> dict[tuple[str, bool], float]:
    """USD per GPU-hour of the cheapest offer of each accelerator, by market; `silent`: that nothing speaks against."""
    found: dict[tuple[str, bool], float] = {}
    for offer in judged.passed:
        if offer.cloud != cloud or not offer.accelerator:
            continue
        if silent and (IN_DOUBT in offer.provenance.detail or offer.name in judged.unconfirmed):
            continue
        price = offer.price_usd_per_hour / offer.accelerators_per_instance
        key = (offer.accelerator, offer.use_spot)
        found[key] = min(found.get(key, price), price)
    return found


@pytest.mark.parametrize("cloud", snapshot_clouds())
@pytest.mark.parametrize("kind", DAMAGES)
def test_no_damage_makes_a_gpu_cheaper_in_silence(kind: str, cloud: str) -> None:
    content = DAMAGES[kind](embedded(cloud))
    try:
        damaged = read(content or b"", cloud)
    except InputError:
        return
    truth = _cheapest(judged_with_others(sound(cloud)), cloud, silent=False)
    listed = {o.accelerator: 0.0 for o in sound(cloud).offers}
    for offer in sound(cloud).offers:
        if offer.accelerator:
            price = offer.price_usd_per_hour / offer.accelerators_per_instance
            listed[offer.accelerator] = min(listed[offer.accelerator] or price, price)
    for last_good in ([sound(cloud)], []):
        for (accelerator, use_spot), price in _cheapest(
            judged_with_others(damaged, last_good), cloud, silent=True
        ).items():
            least = truth.get((accelerator, use_spot))
            if least is None:
                least = listed[accelerator]
            # Spot prices of the same machine move by as much from month to month.
            least *= 0.5 if use_spot and kind == "GPUs of other rows" else 0.98
            assert price >= least, f"{accelerator} {'spot ' if use_spot else ''}at {price} instead of {least}"


def test_the_last_good_price_is_used_with_its_date() -> None:
    copy = replace(
        sound("lambda"),
        offers=tuple(
            replace(o, provenance=replace(o.provenance, fetched_at="2026-11-20T00:00:00Z"))
            for o in sound("lambda").offers
        ),
    )
    judged = judged_with_others(read(DAMAGES["a tenth"](embedded("lambda")) or b"", "lambda"), [copy])
    (offer,) = [o for o in judged.passed if o.name == "lambda/us-east-1/gpu_1x_a10"]
    assert offer.price_usd_per_hour == 1.29
    assert offer.provenance.fetched_at == "2026-11-20T00:00:00Z"
    assert "the earlier price is used" in offer.provenance.detail


def test_a_poisoned_copy_is_no_witness_against_the_truth() -> None:
    """The last good copy holds the fault: what heals it is not a ten-fold rise."""
    poisoned = read(DAMAGES["a tenth"](embedded("lambda")) or b"", "lambda")
    judged = judged_with_others(sound("lambda"), [poisoned])
    assert not [entry for entry in judged.quarantined if entry.offer.cloud == "lambda"]


def test_a_second_source_makes_a_jump_believed() -> None:
    (offer, *_) = [o for o in sound("lambda").offers if o.accelerator and o.region == "us-east-1"]
    jumped = replace(offer, price_usd_per_hour=offer.price_usd_per_hour * 5)
    assert judge([jumped], Opinions(), embedded_past()).quarantined
    assert not judge([jumped], Opinions(), embedded_past(), {jumped.name}).quarantined


@pytest.mark.parametrize(
    ("asked", "served"), [("lambda", "aws"), ("aws", "gcp"), ("runpod", "azure"), ("gcp", "lambda")]
)
def test_the_catalog_of_another_cloud_is_refused(asked: str, served: str) -> None:
    with pytest.raises(
        NotAcceptedError, match=rf"the address of {asked} serves the catalog of {served}|holds no GPU offer"
    ):
        read_copy(embedded(served), asked, "https://mirror.example/x", datetime(2026, 11, 28, tzinfo=UTC))


@pytest.mark.parametrize("cloud", snapshot_clouds())
def test_the_catalog_of_the_cloud_itself_is_not(cloud: str) -> None:
    assert embedded_past().other_cloud(sound(cloud)) is None


def test_prices_in_another_currency_are_no_offers() -> None:
    header, rows = _rows(embedded("lambda"))
    euros = _text([*header, "Currency"], ([*row, "EUR"] for row in rows))
    catalog = read(euros, "lambda")
    assert not catalog.offers
    assert [s.reason for s in catalog.skipped] == ["priced in EUR, not in USD"]
    dollars = _text([*header, "currency"], ([*row, "usd"] for row in rows))
    assert read(dollars, "lambda").offers == sound("lambda").offers


def test_rows_of_an_unknown_accelerator_are_counted() -> None:
    header, rows = _rows(embedded("lambda"))
    at = header.index("AcceleratorName")
    (row, *_) = [row for row in rows if row[at]]
    unknown = [*row]
    unknown[at] = "R300"
    catalog = read(_text(header, [*rows, unknown]), "lambda")
    assert catalog.offers == sound("lambda").offers
    assert any(s.reason == "gpus.csv does not know the accelerator R300" and s.rows == 1 for s in catalog.skipped)
