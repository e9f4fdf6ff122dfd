"""One test per trap of published catalogs, each on real rows (tests/data/prices)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace

import pytest

from sky_melange.domain.offer import Offer
from sky_melange.prices.catalog_csv import FRACTION, NO_REGION, NO_ROWS, PLAIN_MACHINE, TPU
from sky_melange.prices.offers import OTHER_PRICE
from sky_melange.prices.source import CatalogOffers
from sky_melange.resources import data_path

Extract = Callable[[str], CatalogOffers]
ReadContent = Callable[[bytes, str], CatalogOffers]


def _only(catalog: CatalogOffers, **fields: object) -> Offer:
    found = [o for o in catalog.offers if all(getattr(o, name) == value for name, value in fields.items())]
    assert len(found) == 1, [offer.name for offer in found]
    return found[0]


def _skipped(catalog: CatalogOffers) -> dict[str, int]:
    return {rows.reason: rows.rows for rows in catalog.skipped}


def test_gcp_price_is_accelerator_plus_host_in_the_same_zone(extract: Extract) -> None:
    gcp = extract("gcp")
    offer = _only(gcp, region="us-east4", instance_type="a3-highgpu-1g", use_spot=False)
    assert offer.price_usd_per_hour == pytest.approx(9.79655 + 1.17855, abs=0.02)
    assert (offer.vcpus, offer.memory_gib, offer.accelerators_per_instance) == (26.0, 234.0, 1)
    assert "accelerators + host" in offer.provenance.detail
    eight = _only(gcp, region="us-east4", instance_type="a3-highgpu-8g", use_spot=False)
    assert eight.price_usd_per_hour == pytest.approx(8 * offer.price_usd_per_hour, rel=0.01)


def test_gcp_l4_is_sold_in_every_g2_host_that_takes_one(extract: Extract) -> None:
    hosts = {o.instance_type for o in extract("gcp").offers if o.accelerator == "L4" and not o.use_spot}
    assert hosts == {f"g2-standard-{vcpus}" for vcpus in (4, 8, 12, 16, 32)}


def test_gcp_attachable_gpus_sit_in_the_n1_host_that_skypilot_picks(extract: Extract) -> None:
    hosts = {
        (o.accelerator, o.accelerators_per_instance): o.instance_type
        for o in extract("gcp").offers
        if o.instance_type.startswith("n1-")
    }
    assert hosts["T4", 1] == "n1-highmem-4"
    assert hosts["T4", 4] == "n1-standard-64"  # and not the cheaper n1-340-48-tpu, a host of TPUs
    assert hosts["V100", 8] == "n1-highmem-64"


def test_gcp_machines_without_gpu_are_no_offers_unless_a_launch_needs_them(extract: Extract) -> None:
    assert {o.instance_type for o in extract("gcp").offers if not o.accelerator} == {"n2-standard-2"}


def test_tpus_are_skipped_and_counted(extract: Extract) -> None:
    gcp = extract("gcp")
    assert _skipped(gcp)[TPU] == 3
    assert not [o for o in gcp.offers if o.accelerator.startswith("tpu")]


def test_azure_rows_with_an_unquoted_comma_keep_their_price_and_region(extract: Extract) -> None:
    azure = extract("azure")
    offer = _only(azure, instance_type="Standard_NV36ads_A10_v5", region="eastus", use_spot=False)
    assert (offer.price_usd_per_hour, offer.accelerator) == (3.2, "A10")
    assert not any("fields" in reason for reason in _skipped(azure))


def test_azure_quoted_and_unquoted_generation_read_the_same(
    extract_bytes: Callable[[str], bytes], read_content: ReadContent
) -> None:
    content = extract_bytes("azure")
    assert b",V1,V2\n" in content
    quoted = content.replace(b",V1,V2\n", b',"V1,V2"\n')
    assert read_content(quoted, "azure") == read_content(content, "azure")


def test_columns_are_read_by_name_in_any_order(
    extract_bytes: Callable[[str], bytes], read_content: ReadContent
) -> None:
    content = extract_bytes("lambda")
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, sorted(rows[0], reverse=True), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    assert read_content(text.getvalue().encode(), "lambda") == read_content(content, "lambda")


def test_crlf_line_ends_read_as_lf(extract_bytes: Callable[[str], bytes], read_content: ReadContent) -> None:
    content = extract_bytes("lambda")
    assert b"\r\n" in content
    assert read_content(content.replace(b"\r\n", b"\n"), "lambda") == read_content(content, "lambda")


def test_extra_and_missing_columns(extract: Extract) -> None:
    assert _only(extract("hyperbolic"), accelerators_per_instance=1).price_usd_per_hour == 1.29  # StorageGiB
    assert len(extract("verda").offers) > 20  # UpstreamCloudId
    assert all(o.zone is None for o in extract("nebius").offers)  # no AvailabilityZone
    assert len(extract("aws").offers) > 20  # Arch, LocalDiskType, ...


@pytest.mark.parametrize(
    "name", ["aws", "verda", "hyperstack", "runpod", "ibm", "azure", "seeweb", "shadeform", "yotta"]
)
def test_no_encoding_of_gpu_info_matters(
    name: str, extract_bytes: Callable[[str], bytes], read_content: ReadContent
) -> None:
    content = extract_bytes(name)
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    position = rows[0].index("GpuInfo")
    for row in rows[1:]:
        row[position] = "{broken"
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    assert read_content(text.getvalue().encode(), name) == read_content(content, name)


def test_vast_zero_spot_means_no_spot_price(extract: Extract) -> None:
    vast = extract("vast")
    assert vast.offers
    assert not [offer for offer in vast.offers if offer.use_spot]


def test_zero_elsewhere_stays_a_price_for_the_rules_to_judge(read_content: ReadContent) -> None:
    content = b"InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region\ng6.xlarge,L4,1,0.00,0,us-east-1\n"
    assert [offer.price_usd_per_hour for offer in read_content(content, "aws").offers] == [0.0, 0.0]


def test_verda_row_without_price_is_a_spot_offer_only(extract: Extract) -> None:
    offers = [offer for offer in extract("verda").offers if offer.instance_type == "8B200.240V"]
    assert [(offer.use_spot, offer.price_usd_per_hour) for offer in offers] == [(True, 13.69)]


def test_aws_p5e_has_no_on_demand_price(extract: Extract) -> None:
    aws = extract("aws")
    offers = [offer for offer in aws.offers if offer.instance_type == "p5e.48xlarge"]
    assert offers
    assert all(offer.use_spot for offer in offers)
    assert _skipped(aws)["no price"] == 1  # eu-west-2, where neither price is known


def test_aws_zones_are_ids_that_no_launch_can_pin_so_the_cheapest_stands_for_the_region(extract: Extract) -> None:
    offers = [o for o in extract("aws").offers if o.instance_type == "p4d.24xlarge" and o.region == "us-east-1"]
    assert [o.zone for o in offers if not o.use_spot] == [None]
    (spot,) = [o for o in offers if o.use_spot]
    assert spot.zone is None
    assert "cheapest of 4 zones" in spot.provenance.detail


def test_aws_local_zone_stays_under_its_parent_region(extract: Extract) -> None:
    offers = extract("aws").offers
    assert "us-east-1" in {offer.region for offer in offers}
    assert not [offer for offer in offers if "atl2" in offer.region]


def test_fractions_of_a_gpu_are_skipped(extract: Extract) -> None:
    assert _skipped(extract("aws"))[FRACTION] == 2  # g6f, 0.125
    azure = extract("azure")
    # 0.167, 0.333, 0.5 of an A10, and the MI25 slices that the catalog counts as whole GPUs.
    assert _skipped(azure)[FRACTION] == 6
    assert {o.instance_type for o in azure.offers if o.accelerator == "MI25"} == {"Standard_NV32as_v4"}


def test_azure_2024_counts_twelve_gpus_where_there_are_eight(extract: Extract) -> None:
    azure = extract("azure-2024")
    assert not [offer for offer in azure.offers if offer.instance_type == "Standard_ND96isr_H100_v5"]
    assert _skipped(azure)["the catalog says 12 GPUs, and no machine has more than 8 H100"] == 2


def test_counts_written_as_integer_or_float_are_the_same(extract: Extract) -> None:
    assert {o.accelerators_per_instance for o in extract("nebius").offers if o.accelerator} == {1, 2, 4, 8}
    assert {o.accelerators_per_instance for o in extract("runpod").offers if o.accelerator} >= {1, 2, 4, 8}


def test_count_zero_without_accelerator_is_a_plain_machine(extract: Extract) -> None:
    plain = [offer for offer in extract("nebius").offers if not offer.accelerator]
    assert plain
    assert all(offer.accelerators_per_instance == 0 and offer.catalog_accelerator == "" for offer in plain)


def test_seeweb_rows_without_region_cannot_be_launched(extract: Extract) -> None:
    seeweb = extract("seeweb")
    assert _skipped(seeweb)[NO_REGION] == 15
    assert all(offer.region for offer in seeweb.offers)


def test_runpod_zone_listed_under_two_countries_gives_one_offer_each(extract: Extract) -> None:
    offers = [o for o in extract("runpod").offers if o.instance_type == "1x_L40S_SECURE" and not o.use_spot]
    assert {"NO", "SE"} <= {offer.region for offer in offers}
    assert len({offer.name for offer in offers}) == len(offers)


def test_runpod_wrong_host_size_is_carried_and_changes_nothing(extract: Extract) -> None:
    offer = next(o for o in extract("runpod").offers if o.instance_type == "8x_L40S_SECURE")
    assert (offer.vcpus, offer.memory_gib) == (1024.0, 6016.0)
    assert offer.accelerators_per_instance == 8


def test_regions_with_commas_blanks_and_brackets(extract: Extract) -> None:
    assert ", CA, NA" in {offer.region for offer in extract("vast").offers}
    assert "East Coast (NY2)" in {offer.region for offer in extract("paperspace").offers}
    assert {offer.region for offer in extract("hyperbolic").offers} == {"default"}
    assert any(not offer.region.isascii() for offer in extract("vast-older").offers)


def test_lambda_lists_a_type_in_every_region_at_one_price(extract: Extract) -> None:
    offers = [offer for offer in extract("lambda").offers if offer.instance_type == "gpu_1x_a10"]
    assert len({offer.region for offer in offers}) == 17
    assert {offer.price_usd_per_hour for offer in offers} == {1.29}
    assert {o.price_usd_per_hour for o in extract("lambda-older").offers if o.accelerator == "A10"} == {0.86}


def test_one_instance_type_with_other_shapes_by_region(extract: Extract) -> None:
    shapes = {(o.region, o.vcpus, o.memory_gib) for o in extract("lium").offers if o.instance_type == "B200_1x"}
    assert ("AU", 26.0, 354.0) in shapes
    assert ("FI", 30.0, 167.0) in shapes


def test_price_is_for_the_whole_instance_and_not_linear_in_the_count(extract: Extract) -> None:
    prices = {
        o.accelerators_per_instance: o.price_usd_per_hour
        for o in extract("shadeform").offers
        if o.instance_type.startswith("massedcompute_L40") and o.accelerator == "L40"
    }
    assert prices == {1: 0.88, 2: 1.98, 4: 5.96}


@pytest.mark.parametrize("name", ["azure-header-only", "lambda-header-only"])
def test_header_only_catalogs_say_so(name: str, extract: Extract) -> None:
    catalog = extract(name)
    assert catalog.offers == ()
    assert [(rows.reason, rows.rows) for rows in catalog.skipped] == [(NO_ROWS, 0)]


def test_devices_that_are_no_gpus(extract: Extract) -> None:
    reasons = _skipped(extract("aws-2024"))
    assert sum("not a GPU" in reason for reason in reasons) == 2
    assert any("Gaudi" in reason for reason in _skipped(extract("shadeform")))


def test_unknown_accelerators_are_refused_by_name(read_content: ReadContent) -> None:
    content = b"InstanceType,AcceleratorName,AcceleratorCount,Price,Region\nx.large,X9000,1,1.0,us-east-1\n"
    catalog = read_content(content, "aws")
    assert catalog.offers == ()
    assert list(_skipped(catalog)) == ["gpus.csv does not know the accelerator X9000"]


def test_repeated_machine_at_two_prices_costs_the_dearer(read_content: ReadContent) -> None:
    content = (
        b"InstanceType,AcceleratorName,AcceleratorCount,Price,Region\n"
        b"a,L4,1,1.0,us-east-1\na,L4,1,2.0,us-east-1\na,L4,1,1.0,us-east-1\n"
    )
    catalog = read_content(content, "aws")
    assert [offer.price_usd_per_hour for offer in catalog.offers] == [2.0]
    assert _skipped(catalog) == {OTHER_PRICE: 2}


def test_row_order_changes_nothing(extract_bytes: Callable[[str], bytes], read_content: ReadContent) -> None:
    for name in ("aws", "azure", "gcp", "runpod", "seeweb", "lium"):
        lines = extract_bytes(name).splitlines(keepends=True)
        turned = b"".join([lines[0], *reversed(lines[1:])])
        assert read_content(turned, name) == read_content(b"".join(lines), name)


def test_memory_of_gpus_never_comes_from_gpu_info(extract: Extract) -> None:
    # nebius v7 gives host memory, old verda multiplies by the count: the offers are the same in kind all the same.
    older = {(o.instance_type, o.accelerator) for o in extract("nebius-older").offers if o.accelerator}
    newer = {(o.instance_type, o.accelerator) for o in extract("nebius").offers if o.accelerator}
    assert older == newer
    verda = {o.instance_type: o.accelerator for o in extract("verda-older").offers}
    assert verda["4A100.88V"] == "A100-80GB"
    assert verda["1A100.40S.22V"] == "A100"


def test_offers_are_frozen(extract: Extract) -> None:
    offer = extract("hyperbolic").offers[0]
    assert replace(offer) == offer


@pytest.mark.parametrize("cloud", ["azure", "gcp"])
def test_quotes_in_a_catalog_change_nothing(cloud: str, read_content: ReadContent) -> None:
    """Without quotes the rows of plain machines are left out before they are parsed."""
    content = data_path("catalogs", "prices", f"{cloud}.csv").read_bytes()
    header, *rows = content.splitlines(keepends=True)
    plain = b"m9.huge" + b"," * header.count(b",") + b"\n"
    quoted = b",".join(b'"%s"' % name for name in header.strip().split(b",")) + b"\n"
    found = read_content(b"".join([quoted, *rows, plain, plain]), cloud)
    assert found == read_content(b"".join([header, *rows, plain, plain]), cloud)
    assert [rows.rows for rows in found.skipped if rows.reason == PLAIN_MACHINE] == [2]
