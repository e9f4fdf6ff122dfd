"""The seeded catalogs, without SkyPilot: prices add up, nothing is invented over a price book."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_folders import planned_group

from sky_melange.domain.offer import Offer
from sky_melange.skypilot.seed_catalogs import offer_of, seed_catalogs, split_prices


def bought(**changes: object) -> Offer:
    """What a plan buys, of unknown size."""
    return replace(offer_of(planned_group("aws", "chat")), **changes)  # type: ignore[arg-type]


def listing(**changes: object) -> Offer:
    fields = {"accelerator": "L4", "zone": "us-central1-a", "vcpus": 4.0, "memory_gib": 16.0, **changes}
    fields["catalog_accelerator"] = fields["accelerator"]
    return replace(offer_of(planned_group("gcp", "chat")), **fields)  # type: ignore[arg-type]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def priced(text: str, **wanted: str) -> list[str]:
    return [row["Price"] for row in rows(text) if all(row[key] == value for key, value in wanted.items())]


def offer(of: Offer, **changes: object) -> Offer:
    return replace(of, **{"vcpus": 8.0, "memory_gib": 32.0, **changes})  # type: ignore[arg-type]


def test_a_plan_alone_gives_its_machine_and_decoys_around_it() -> None:
    files = seed_catalogs([bought()], None)
    assert sorted(files) == ["aws/vms.csv", "common/accelerators.csv"]
    vms = files["aws/vms.csv"]
    assert priced(vms, Region="us-east-1", InstanceType="g6.2xlarge") == ["0.9776"]
    assert priced(vms, Region="decoy-half-price") == ["0.4888"]
    assert priced(vms, Region="decoy-double-price") == ["1.9552"]
    assert priced(vms, Region="us-east-1", InstanceType="decoy-half-price-1x-L4") == ["0.4888"]


def test_a_price_book_has_the_last_word_and_only_related_offers_enter() -> None:
    plan = bought()
    offers = [
        offer(plan, price_usd_per_hour=0.99),
        offer(plan, region="us-west-2"),
        offer(plan, cloud="lambda", instance_type="gpu_1x_l4", region="us-west-1"),
        offer(plan, instance_type="p5.48xlarge", accelerator="H100", catalog_accelerator="H100"),
        offer(plan, instance_type="c6i.xlarge", accelerator="", catalog_accelerator="", accelerators_per_instance=0),
    ]
    files = seed_catalogs([plan], offers)
    assert sorted(files) == ["aws/vms.csv", "common/accelerators.csv", "lambda/vms.csv"]
    types = {row["InstanceType"] for row in rows(files["aws/vms.csv"])}
    assert types == {"g6.2xlarge", "c6i.xlarge", "decoy-half-price-1x-L4"}
    assert priced(files["aws/vms.csv"], Region="us-east-1", InstanceType="g6.2xlarge") == ["0.99"]


def test_spot_and_on_demand_share_a_row_per_zone() -> None:
    plan = bought(use_spot=True, zone="use1-az2", price_usd_per_hour=0.3)
    vms = seed_catalogs([plan], [offer(plan), offer(bought())])["aws/vms.csv"]
    found = [row for row in rows(vms) if row["InstanceType"] == "g6.2xlarge" and row["Region"] == "us-east-1"]
    assert [(row["AvailabilityZone"], row["Price"], row["SpotPrice"]) for row in found] == [
        ("use1-az2", "0.9776", "0.3")
    ]


def test_a_machine_type_has_one_size_wherever_it_is_sold() -> None:
    plan = bought()
    offers = [offer(plan, region="us-west-2", vcpus=None), offer(plan, region="us-east-2", vcpus=12.0)]
    found = rows(seed_catalogs([plan], offers)["aws/vms.csv"])
    assert {row["vCPUs"] for row in found if row["InstanceType"] == "g6.2xlarge"} == {"12.0"}


def test_row_order_of_the_price_book_does_not_matter() -> None:
    plan = bought(cloud="gcp", region="us-central1", instance_type="g2-standard-4", price_usd_per_hour=0.7)
    offers = [offer(plan), offer(plan, region="us-east4", price_usd_per_hour=0.8), offer(plan, zone="us-central1-b")]
    assert seed_catalogs([plan], offers) == seed_catalogs([plan], offers[::-1])


def test_texts_of_a_hostile_plan_stay_in_their_cells() -> None:
    plan = bought(cloud="lambda", region='a,"b', instance_type="=x,y")
    found = rows(seed_catalogs([plan], None)["lambda/vms.csv"])
    assert ("=x,y", 'a,"b') in {(row["InstanceType"], row["Region"]) for row in found}


@given(st.lists(st.floats(min_value=0.05, max_value=200), min_size=1, max_size=6))
def test_hosts_on_one_accelerator_row_add_up_to_their_prices(prices: list[float]) -> None:
    entries = [listing(instance_type=f"g2-standard-{i}", price_usd_per_hour=price) for i, price in enumerate(prices)]
    split = split_prices(entries)
    accelerator = {row.price_usd_per_hour for row in split if row.catalog_accelerator}
    hosts = {row.instance_type: row.price_usd_per_hour for row in split if row.instance_type}
    assert len(accelerator) == 1
    for entry in entries:
        total = hosts[entry.instance_type] + min(accelerator)
        assert total == pytest.approx(entry.price_usd_per_hour, abs=1e-9)
    assert min(hosts.values()) > 0
    assert min(accelerator) > 0


def test_accelerators_on_one_host_add_up_and_a_contradiction_is_left_out() -> None:
    host = "n1-standard-8"
    entries = [
        listing(instance_type=host, accelerator="V100", price_usd_per_hour=2.86),
        listing(instance_type=host, accelerator="T4", price_usd_per_hour=0.73),
        listing(instance_type=host, accelerator="T4", price_usd_per_hour=0.99),
    ]
    split = split_prices(entries)
    prices = {row.catalog_accelerator or row.instance_type: row.price_usd_per_hour for row in split}
    assert prices[host] + prices["V100"] == pytest.approx(2.86)
    assert prices[host] + prices["T4"] == pytest.approx(0.73)


def test_a_spot_host_gets_a_dearer_on_demand_price() -> None:
    split = split_prices([listing(use_spot=True)])
    on_demand = [row for row in split if not row.use_spot]
    assert sorted(row.instance_type or row.catalog_accelerator for row in on_demand) == ["L4", "g2-standard-4"]
    assert sum(row.price_usd_per_hour for row in on_demand) == pytest.approx(2 * 0.70683)
