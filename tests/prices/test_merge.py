"""Two sources on one offer, and gpuhunt as the second of them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from live import NOON, extract_folder, price_of, run, site, state_of, use_site, workload_file
from server import CatalogServer, status

from sky_melange.domain.offer import Obtained, Offer, PriceProvenance
from sky_melange.domain.workload import Disagreement, PricePolicy
from sky_melange.errors import InputError
from sky_melange.prices import current_book, warnings_of
from sky_melange.prices.current import merge
from sky_melange.prices.source import CatalogOffers

PRICES = st.floats(min_value=0.05, max_value=100.0)


def _catalog(*offers: Offer) -> CatalogOffers:
    return CatalogOffers(cloud=offers[0].cloud, offers=offers, skipped=())


def _other(offer: Offer, price: float) -> Offer:
    return replace(
        offer,
        price_usd_per_hour=price,
        provenance=PriceProvenance(source="second", detail="", fetched_at="2026-06-01"),
    )


@given(one=PRICES, two=PRICES)
def test_what_a_disagreement_does(one: float, two: float, make_offer: Callable[..., Offer]) -> None:
    offer = make_offer(price_usd_per_hour=one)
    sources = [("first", (_catalog(offer),)), ("second", (_catalog(_other(offer, two)),))]
    agree = max(one, two) <= min(one, two) * 1.02
    found = {how: merge(sources, how) for how in Disagreement}
    kept = {how: [o.price_usd_per_hour for c in m.catalogs for o in c.offers] for how, m in found.items()}
    assert kept[Disagreement.HIGHEST] == [one if agree else max(one, two)]
    assert kept[Disagreement.PREFER] == [one]
    assert kept[Disagreement.QUARANTINE] == ([one] if agree else [])
    assert len(found[Disagreement.QUARANTINE].quarantined) == (0 if agree else 1)
    for merged in found.values():
        (remark,) = merged.remarks
        assert ("first and second agree" in remark) is agree


def test_the_other_price_travels_with_the_offer(make_offer: Callable[..., Offer]) -> None:
    offer = make_offer(price_usd_per_hour=1.0)
    sources = [("first", (_catalog(offer),)), ("second", (_catalog(_other(offer, 1.5)),))]
    (catalog,) = merge(sources, Disagreement.HIGHEST).catalogs
    detail = catalog.offers[0].provenance.detail
    assert "sources disagree: test says 1.0000, second 1.5000" in detail
    assert "the dearer price is used" in detail


def test_a_later_source_sells_nothing_of_its_own(make_offer: Callable[..., Offer]) -> None:
    offer = make_offer()
    other = replace(offer, instance_type="elsewhere.large")
    (catalog,) = merge([("first", (_catalog(offer),)), ("second", (_catalog(other),))], Disagreement.HIGHEST).catalogs
    assert catalog.offers == (offer,)
    clouds = [("first", (_catalog(offer),)), ("second", (_catalog(replace(other, cloud="gcp")),))]
    assert [catalog.cloud for catalog in merge(clouds, Disagreement.HIGHEST).catalogs] == ["aws", "gcp"]


# gpuhunt, against a server of its own kind of catalogs

GPUHUNT_HEADER = (
    "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size,gpu_vendor,flags,cpu_arch,"
    "provider_data\n"
)
ROWS = {
    "aws": "p5.48xlarge,us-east-1,60.0,192,2048,8,H100,80.0,False,,nvidia,,x86,{}\n"
    "p4d.24xlarge,us-east-1,21.96,96,1152,8,A100,40.0,False,,nvidia,,x86,{}\n"
    "p4d.24xlarge,us-east-1,-1,96,1152,8,A100,40.0,True,,nvidia,,x86,{}\n",
    "lambdalabs": "gpu_1x_a10,us-east-1,1.29,30,200,1,A10,24.0,False,,nvidia,,x86,{}\n"
    "gpu_1x_quantum,us-east-1,0.10,30,200,1,QX9000,24.0,False,,nvidia,,x86,{}\n",
    "gcp": "g2-standard-4,us-central1-a,0.70683,4,16,1,L4,24.0,False,,nvidia,,x86,{}\n",
    "cloudrift": "rtx4090.1,us-east,0.4,8,32,1,RTX4090,24.0,False,,nvidia,,x86,{}\n",
}


class GpuhuntServer(CatalogServer):
    """Serves `/<provider>/version` and `/<provider>/1/catalog.zip`."""

    def answer_path(self, path: str) -> bytes | None:
        provider, _, rest = path.strip("/").partition("/")
        if provider not in ROWS:
            return None
        if rest == "version":
            return b"1"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(f"{provider}.csv", GPUHUNT_HEADER + ROWS[provider])
        return packed.getvalue()


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[CatalogServer, CatalogServer]]:
    pytest.importorskip("gpuhunt")
    with CatalogServer(extract_folder(tmp_path / "catalogs")) as first, GpuhuntServer() as second:
        second.fail(
            "*",
            lambda handler, _: handler.answer(
                200 if (found := second.answer_path(handler.path)) is not None else 404,  # type: ignore[attr-defined]
                found or b"",
            ),
        )
        monkeypatch.setenv("GPUHUNT_CATALOG_URL", second.url)
        yield first, second


def test_gpuhunt_is_a_second_opinion(servers: tuple[CatalogServer, CatalogServer], tmp_path: Path) -> None:
    place = site(tmp_path / "cache", servers[0].url)
    policy = PricePolicy(sources=("skypilot", "gpuhunt"))
    plain = current_book(PricePolicy(), site=place, now=NOON)
    book = current_book(policy, site=place, now=NOON)
    assert {o.name for o in book.offers} <= {o.name for o in plain.offers}
    assert price_of(plain, "aws/us-east-1/p5.48xlarge") == pytest.approx(55.04)
    assert price_of(book, "aws/us-east-1/p5.48xlarge") == 60.0
    prefer = current_book(replace(policy, on_disagreement=Disagreement.PREFER), site=place, now=NOON)
    assert price_of(prefer, "aws/us-east-1/p5.48xlarge") == pytest.approx(55.04)
    quarantine = current_book(replace(policy, on_disagreement=Disagreement.QUARANTINE), site=place, now=NOON)
    rules = {entry.offer.name: entry.rule for entry in quarantine.quarantined}
    assert rules["aws/us-east-1/p5.48xlarge"] == "sources_disagree"
    assert state_of(book, "aws", "gpuhunt").obtained is Obtained.CONFIRMED
    assert any(remark.startswith("lambda: skypilot and gpuhunt agree on 1 offers") for remark in book.remarks)


def test_names_that_map_to_nothing_are_reported(servers: tuple[CatalogServer, CatalogServer], tmp_path: Path) -> None:
    place = site(tmp_path / "cache", servers[0].url)
    book = current_book(PricePolicy(sources=("skypilot", "gpuhunt")), site=place, now=NOON)
    assert any("no cloud for cloudrift" in remark for remark in book.remarks)
    assert any("QX9000" in remark for remark in book.remarks)
    assert any("not an offer" in remark for remark in book.remarks)
    lines = warnings_of(book, NOON)
    assert any(line.startswith("No second opinion from gpuhunt on") for line in lines)


def test_the_last_good_answer_serves_when_gpuhunt_is_down(
    servers: tuple[CatalogServer, CatalogServer], tmp_path: Path
) -> None:
    place = site(tmp_path / "cache", servers[0].url)
    policy = PricePolicy(sources=("skypilot", "gpuhunt"))
    first = current_book(policy, site=place, now=NOON)
    servers[1].heal()
    servers[1].fail("*", status(500))
    second = current_book(policy, site=place, now=NOON)
    assert state_of(second, "aws", "gpuhunt").obtained is Obtained.CACHED
    assert "Internal Server Error" in state_of(second, "aws", "gpuhunt").problem
    assert second.offers == first.offers
    offline = current_book(policy, site=place, now=NOON, offline=True)
    assert offline.offers == first.offers


def test_the_plan_says_where_sources_disagree(
    servers: tuple[CatalogServer, CatalogServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_site(monkeypatch, site(tmp_path / "cache", servers[0].url), NOON)
    path = workload_file(tmp_path, sources=["skypilot", "gpuhunt"])
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["candidates"] = {"accelerators": ["H100"], "clouds": ["aws"], "regions": {"aws": ["us-east-1"]}}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    result = run("plan", path, "--no-files", "--format", "json")
    assert result.exit_code == 0, result.stderr
    plan = json.loads(result.stdout)
    assert [group["price_usd_per_hour"] for group in plan["groups"]] == [60.0]
    assert "sources disagree: skypilot says 55.0400, gpuhunt 60.0000" in " ".join(result.stdout.split())


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sky_melange.prices.gpuhunt.source.find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install gpuhunt"):
        current_book(PricePolicy(sources=("gpuhunt",)), site=site(tmp_path), now=NOON)


def test_unknown_sources_list_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no source 'infracost'; there are: skypilot, gpuhunt, snapshot"):
        current_book(PricePolicy(sources=("infracost",)), site=site(tmp_path), now=NOON)
