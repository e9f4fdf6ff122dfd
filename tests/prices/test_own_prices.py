"""Negotiated prices, discounts and reserved capacity: what they change, and what is wrong with a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from live import NOON, QUICKSTART, price_of, run, site

from sky_melange.domain.offer import Obtained, Offer, PriceBook
from sky_melange.domain.workload import Discount, PricePolicy
from sky_melange.errors import InputError
from sky_melange.prices import current_book
from sky_melange.prices.overrides import COLUMNS, read_overrides
from sky_melange.prices.own import apply_own_prices, discounted

pytestmark = pytest.mark.smoke

HEADER = "cloud,region,instance_type,price_usd_per_hour,reserved_instances\n"


def _book(tmp_path: Path, **policy: object) -> PriceBook:
    return current_book(PricePolicy(**policy), site=site(tmp_path / "none"), now=NOON, offline=True)  # type: ignore[arg-type]


def _file(tmp_path: Path, text: str, name: str = "prices.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_discounts_take_off_once_and_say_so(tmp_path: Path) -> None:
    plain = _book(tmp_path)
    policy = (
        Discount(fraction=0.1, cloud="aws"),
        Discount(fraction=0.25, cloud="aws", accelerator="H100"),
        Discount(fraction=0.5, cloud="gcp", instance_type="no-such-machine"),
    )
    book = _book(tmp_path, discounts=policy)
    h100, l4 = "aws/us-east-1/p5.48xlarge", "aws/us-east-1/g6.2xlarge"
    assert price_of(book, h100) == pytest.approx(price_of(plain, h100) * 0.75)
    assert price_of(book, l4) == pytest.approx(price_of(plain, l4) * 0.9)
    spot = f"{h100}:spot"
    assert price_of(book, spot) == price_of(plain, spot)
    (offer,) = [offer for offer in book.offers if offer.name == h100]
    assert "0.25 off the listed 55.04" in offer.provenance.detail
    assert any("no-such-machine covers no offer" in note for note in book.notes)


@given(fractions=st.lists(st.floats(min_value=0.01, max_value=0.99), min_size=1, max_size=4))
def test_the_largest_discount_counts(fractions: list[float], make_offer: Callable[..., Offer]) -> None:
    offer = make_offer(price_usd_per_hour=2.0)
    found = discounted(offer, [Discount(fraction=fraction, cloud="aws") for fraction in fractions])
    assert found.price_usd_per_hour == pytest.approx(2.0 * (1 - max(fractions)))
    assert discounted(offer, [Discount(fraction=0.5, cloud="gcp")]) == offer


def test_an_override_replaces_the_listed_price_everywhere_or_in_a_region(tmp_path: Path) -> None:
    text = "cloud,region,instance_type,price_usd_per_hour,as_of,note\n"
    text += "aws,,p5.48xlarge,30.5,2026-05-01,contract 17\nlambda,us-east-1,gpu_1x_h100_sxm5,2.5,,\n"
    book = _book(tmp_path, overrides=_file(tmp_path, text))
    p5 = [o for o in book.offers if o.instance_type == "p5.48xlarge" and not o.use_spot]
    assert len(p5) > 3
    assert {offer.price_usd_per_hour for offer in p5} == {30.5}
    assert {offer.provenance.source for offer in p5} == {"overrides"}
    assert {offer.provenance.detail for offer in p5} == {"prices.csv:2; contract 17"}
    assert {offer.provenance.fetched_at for offer in p5} == {"2026-05-01"}
    assert price_of(book, "lambda/us-east-1/gpu_1x_h100_sxm5") == 2.5
    assert price_of(book, "lambda/us-west-1/gpu_1x_h100_sxm5") != 2.5
    assert len({offer.name for offer in book.offers}) == len(book.offers)
    assert book.states[-1].obtained is Obtained.FILE


def test_names_of_an_override_are_read_where_one_is_meant_and_told(tmp_path: Path) -> None:
    text = "cloud,region,instance_type,accelerator,price_usd_per_hour\nAmazon,us-east1,P5.48xlarge,h100,30.5\n"
    book = _book(tmp_path, overrides=_file(tmp_path, text))
    assert price_of(book, "aws/us-east-1/p5.48xlarge") == 30.5
    for column, written, meant in (
        ("cloud", "Amazon", "aws"),
        ("region", "us-east1", "us-east-1"),
        ("instance_type", "P5.48xlarge", "p5.48xlarge"),
        ("accelerator", "h100", "H100"),
    ):
        assert f"prices.csv:2: {column}: '{written}' is read as {meant}" in book.notes
    twice = _file(tmp_path, text + "aws,us-east-1,p5.48xlarge,H100,31\n")
    with pytest.raises(InputError, match=r"prices.csv:3: repeats prices.csv:2"):
        _book(tmp_path, overrides=twice)


def test_an_override_is_taken_for_a_quarantined_offer_too(tmp_path: Path) -> None:
    path = _file(tmp_path, "cloud,region,instance_type,price_usd_per_hour\ngcp,us-central1,a3-highgpu-1g,9.1\n")
    book = _book(tmp_path, overrides=path)
    name = "gcp/us-central1/a3-highgpu-1g"
    assert price_of(book, name) == 9.1
    assert name not in {entry.offer.name for entry in book.quarantined}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("aws,,p6.giant,1,", "aws/p6.giant is not an offer with GPUs in today's catalogs"),
        ("aws,,p5.48xlarg,1,", "did you mean 'p5.48xlarge'?"),
        ("aws,mars-1,p5.48xlarge,1,", "it is sold in ap-"),
        ("awss,,p5.48xlarge,1,", "no cloud is called 'awss'; there are aws,"),
        ("gcp,us-central1,n4-highcpu-4,0.01,", "controllers and routers are priced at list prices; remove the line"),
    ],
)
def test_an_override_of_nothing_is_a_mistake_with_its_line(row: str, words: str, tmp_path: Path) -> None:
    text = HEADER + "aws,,p5.48xlarge,50,\n" + row + "\naws,,also.nothing,1,\n"
    with pytest.raises(InputError) as raised:
        _book(tmp_path, overrides=_file(tmp_path, text))
    first, second = raised.value.mistakes
    assert (first.line, second.line) == (3, 4)
    assert words in first.message
    assert first.source.endswith("prices.csv")


def test_a_cloud_without_a_catalog_today_is_no_mistake_of_the_file(tmp_path: Path) -> None:
    book = _book(tmp_path)
    only_aws = replace(book, offers=tuple(o for o in book.offers if o.cloud == "aws"), quarantined=())
    policy = PricePolicy(overrides=_file(tmp_path, HEADER + "gcp,,some.machine,1,\n"))
    found = apply_own_prices(only_aws, policy)
    assert found.notes == ("prices.csv:2: no catalog of gcp is available; the line has no effect",)


OWN = "cloud,region,instance_type,accelerator,accelerators,vcpus,memory_gib,price_usd_per_hour,reserved_instances\n"


@pytest.mark.parametrize("reserved", [None, 3])
def test_a_machine_that_is_described_in_full_is_an_offer(reserved: int | None, tmp_path: Path) -> None:
    text = OWN + f"aws,us-east-1,p9.own,H100,2,48,512.5,{'0,3' if reserved else '4.29,'}\n"
    book = _book(tmp_path, overrides=_file(tmp_path, text))
    (offer,) = [offer for offer in book.offers if offer.instance_type == "p9.own"]
    assert (offer.accelerator, offer.accelerators_per_instance, offer.vcpus, offer.memory_gib) == ("H100", 2, 48, 512.5)
    assert (offer.price_usd_per_hour, offer.reserved_instances) == ((0.0, 3) if reserved else (4.29, None))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("aws,us-east-1,p9.own,H100,2,48,,4.29,", "describes a machine of its own, and lacks memory_gib"),
        ("aws,,p9.own,H100,2,48,512,4.29,", "and lacks region"),
        ("aws,us-east-1,p9.own,H101,2,48,512,4.29,", "accelerator 'H101' is not known"),
        ("mars,us-east-1,p9.own,H100,2,48,512,4.29,", "SkyPilot launches on no cloud 'mars'"),
        ("aws,us-east-1,p9.own,H100,0,48,512,4.29,", "accelerators must be a whole number from 1 to 64"),
        ("aws,us-east-1,p9.own,H100,2,x,512,4.29,", "vcpus must be a number such as 48"),
        ("gcp,us-central1,n4-highcpu-4,H100,2,4,8,0.01,", "is a machine with no GPU in today's catalogs, not 2 × H100"),
        ("aws,mars-1,p5.48xlarge,H100,2,48,512,4.29,", "is a machine with 8 × H100 in today's catalogs, not 2 × H100"),
    ],
)
def test_a_machine_that_is_described_badly_is_a_mistake(row: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        _book(tmp_path, overrides=_file(tmp_path, OWN + row + "\n"))


@pytest.mark.parametrize("price", ["0.0100", "0.9000"])
def test_a_price_of_your_own_changes_nothing_beside_the_replicas(price: str, tmp_path: Path) -> None:
    """On RunPod, which sells GPUs alone, controller and router are GPU machines: at the price that RunPod lists."""
    document = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    document["candidates"] = {"clouds": ["runpod"], "accelerators": ["H100"]}
    path = _file(tmp_path, yaml.safe_dump(document), "workload.yaml")

    def planned() -> dict[str, Any]:
        result = run("plan", path, "--no-files", "--format", "json", "--offline")
        assert result.exit_code == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    plain = planned()
    host = plain["overhead"][0]
    _file(tmp_path, f"cloud,instance_type,price_usd_per_hour\nrunpod,{host['instance_type']},{price}\n")
    document["prices"] = {"overrides": "prices.csv"}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    own = planned()
    assert own["overhead"] == plain["overhead"]
    assert own["cost"] == plain["cost"]


def test_no_price_of_ones_own_reaches_a_machine_without_gpus(tmp_path: Path) -> None:
    plain = _book(tmp_path)
    offers = [offer for offer in plain.offers if not offer.accelerators_per_instance]
    text = HEADER + "".join(f"{o.cloud},{o.region},{o.instance_type},0.0001,\n" for o in offers[:3])
    with pytest.raises(InputError) as raised:
        _book(tmp_path, overrides=_file(tmp_path, text))
    assert len(raised.value.mistakes) == 3


def test_yaml_says_the_same_as_csv(tmp_path: Path) -> None:
    rows = [{"cloud": "aws", "instance_type": "p5.48xlarge", "price_usd_per_hour": 30.5, "region": None}]
    as_yaml = read_overrides(_file(tmp_path, yaml.safe_dump(rows), "prices.yaml"))
    as_csv = read_overrides(_file(tmp_path, "cloud,instance_type,price_usd_per_hour,region\naws,p5.48xlarge,30.5,\n"))
    assert [(o.label, o.price_usd_per_hour, o.region) for o in as_yaml] == [("aws/p5.48xlarge", 30.5, "")]
    assert [(o.label, o.price_usd_per_hour, o.region) for o in as_csv] == [("aws/p5.48xlarge", 30.5, "")]


def test_reserved_capacity_is_used_first_and_no_further(tmp_path: Path) -> None:
    """Two H100 machines are paid for: the plan takes them at 0, and pays for whatever it needs beyond."""
    document = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    document["candidates"] = {"accelerators": ["H100"], "clouds": ["lambda"], "regions": {"lambda": ["us-east-1"]}}
    document["prices"] = {"overrides": "prices.csv"}
    _file(tmp_path, HEADER + "lambda,us-east-1,gpu_1x_h100_sxm5,0,2\n")
    path = _file(tmp_path, yaml.safe_dump(document), "workload.yaml")
    result = run("plan", path, "--no-files", "--format", "json", "--offline")
    assert result.exit_code == 0, result.stderr
    groups = json.loads(result.stdout)["groups"]
    free = [group for group in groups if group["price_usd_per_hour"] == 0]
    assert [group["instances"] for group in free] == [2]
    assert "2 reserved" in free[0]["price"]["detail"]
    paid = [group for group in groups if group["price_usd_per_hour"] > 0]
    assert sum(group["instances"] * group["accelerators_per_instance"] for group in paid) >= 1
    assert len({group["name"] for group in groups}) == len(groups)


@pytest.mark.parametrize(
    ("today", "verdict", "says"),
    [
        ("0,2", "pass", ""),
        ("0,3", "pass", ""),
        ("0,1", "fail", "2 are planned at the price of reserved capacity, 1 are reserved"),
        (None, "pass", ""),
    ],
)
def test_a_plan_is_not_checked_at_the_price_of_more_than_is_reserved(
    today: str | None, verdict: str, says: str, tmp_path: Path
) -> None:
    """Without any reserved capacity left, what was free costs its list price."""
    document = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    document["candidates"] = {"accelerators": ["H100"], "clouds": ["lambda"], "regions": {"lambda": ["us-east-1"]}}
    document["prices"] = {"overrides": "prices.csv"}
    machine = "lambda,us-east-1,gpu_1x_h100_sxm5"
    _file(tmp_path, f"{HEADER}{machine},0,2\n")
    path = _file(tmp_path, yaml.safe_dump(document), "workload.yaml")
    assert run("plan", path, "--out", tmp_path / "plan", "--offline").exit_code == 0
    planned = json.loads((tmp_path / "plan" / "plan.json").read_text(encoding="utf-8"))
    assert [group["reserved_instances"] for group in planned["groups"] if group["price_usd_per_hour"] == 0] == [2]

    _file(tmp_path, HEADER + (f"{machine},{today}\n" if today else "aws,,p5.48xlarge,50,\n"))
    result = run("check", tmp_path / "plan", "--workload", path, "--offline", "--format", "json")
    report = json.loads(result.stdout)
    (known,) = [check for check in report["checks"] if check["name"] == "prices-known"]
    assert known["verdict"] == verdict
    assert says in json.dumps(report["checks"])
    if today is None:
        assert report["cost"]["today"]["total_usd_per_hour"] > planned["cost"]["total_usd_per_hour"] + 4


def test_reserved_and_negotiated_machines_of_one_kind_are_checked_each_at_its_price(tmp_path: Path) -> None:
    document = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    document["candidates"] = {"accelerators": ["H100"], "clouds": ["lambda"], "regions": {"lambda": ["us-east-1"]}}
    document["prices"] = {"overrides": "prices.csv"}
    machine = "lambda,us-east-1,gpu_1x_h100_sxm5"
    _file(tmp_path, f"{HEADER}{machine},0,1\n{machine},1.25,\n")
    path = _file(tmp_path, yaml.safe_dump(document), "workload.yaml")
    assert run("plan", path, "--out", tmp_path / "plan", "--offline").exit_code == 0
    planned = json.loads((tmp_path / "plan" / "plan.json").read_text(encoding="utf-8"))
    assert {group["price_usd_per_hour"] for group in planned["groups"]} == {0.0, 1.25}
    result = run("check", tmp_path / "plan", "--workload", path, "--offline", "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["cost"]["today"] == json.loads(result.stdout)["cost"]["planned"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "cloud is missing"),
        ("cloud,instance_type,price_usd_hour\n", 1, "did you mean 'price_usd_per_hour'?"),
        ("cloud,cloud,instance_type,price_usd_per_hour\n", 1, "named twice"),
        (HEADER + "aws,,x,cheap,\n", 2, "must be an amount"),
        (HEADER + "aws,,x,-1,\n", 2, "must be an amount"),
        (HEADER + "aws,,x,4_29,\n", 2, "must be an amount such as 2.49, found '4_29'"),
        (HEADER + "aws,,x,010,\n", 2, "must be an amount such as 2.49, found '010'"),
        (HEADER + "aws,,x,٣,\n", 2, "must be an amount"),
        (HEADER + "aws,,x,nan,\n", 2, "must be an amount"),
        (HEADER + "aws,,x,1e9,\n", 2, "must be an amount"),
        (HEADER + "aws,,x,0,\n", 2, "say how many are paid for"),
        (HEADER + "aws,us-east-1,x,0,0\n", 2, "whole number from 1"),
        (HEADER + "aws,us-east-1,x,0,1.5\n", 2, "whole number from 1"),
        (HEADER + "aws,us-east-1,x,0,٣\n", 2, "whole number from 1"),
        (HEADER + "aws,us-east-1,x,0,99999999999999999999\n", 2, "whole number from 1"),
        (HEADER + "aws,us-east-1,x,0,1000000\n", 2, "whole number from 1 to 100,000, found '1000000'"),
        (HEADER + "aws,us-east-1,x,0,00000000199999\n", 2, "whole number from 1 to 100,000"),
        (HEADER + "aws,,x,0,3\n", 2, "needs a region"),
        (HEADER + ",,x,1,\n", 2, "cloud is empty"),
        (HEADER + "aws,,x,1,\naws,,x,2,\n", 3, "repeats prices.csv:2"),
        (HEADER + "aws,,x,1\n", 2, "4 fields, the header 5"),
        (HEADER + 'aws,,"x,1,\n', 2, "no CSV"),
        ("cloud,instance_type,price_usd_per_hour,spot\naws,x,1,maybe\n", 2, "spot must be"),
        ("cloud,instance_type,price_usd_per_hour,as_of\naws,x,1,last week\n", 2, "as_of must be a date"),
    ],
)
def test_faulty_csv_names_its_line(text: str, line: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read_overrides(_file(tmp_path, text))
    assert any(words in mistake.message and mistake.line == line for mistake in raised.value.mistakes), raised.value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b\n", "must be a list of mappings"),
        ("- 7\n", "must be a mapping"),
        ("- {cloud: [aws], instance_type: x, price_usd_per_hour: 1}\n", "single values"),
        ("- {cloud: aws, cloud: gcp, instance_type: x, price_usd_per_hour: 1}\n", "twice"),
        ("- {cloud: aws, instanc_type: x, price_usd_per_hour: 1}\n", "did you mean 'instance_type'?"),
        ("- {cloud: aws\n", "no YAML"),
        ("- &a {cloud: aws, instance_type: x, price_usd_per_hour: 1}\n- *a\n", "repeats"),
        ("!!python/object:os.system {}\n", "must be a list"),
        ("[" * 3000, "nested too deeply"),
    ],
)
def test_faulty_yaml_is_named(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read_overrides(_file(tmp_path, text, "prices.yaml"))


def test_every_mistake_of_a_file_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read_overrides(_file(tmp_path, HEADER + "aws,,x,-1,\n,,y,1,\naws,,z,0,\n"))
    assert [mistake.line for mistake in raised.value.mistakes] == [2, 3, 4]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    binary, huge = tmp_path / "binary.csv", tmp_path / "huge.csv"
    binary.write_bytes(b"cloud\n\xff\xfe")
    huge.write_bytes(b"x" * (5 << 20))
    for name in ("none.csv", "folder.csv", "pipe.csv", "binary.csv", "huge.csv", "prices.txt"):
        with pytest.raises(InputError) as raised:
            read_overrides(tmp_path / name)
        assert raised.value.exit_code == 2
        assert name in str(raised.value)


def test_a_faulty_file_ends_the_plan_with_exit_2(tmp_path: Path) -> None:
    document = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    document["prices"] = {"overrides": "prices.csv"}
    path = _file(tmp_path, yaml.safe_dump(document), "workload.yaml")
    result = run("plan", path, "--no-files", "--offline")
    assert result.exit_code == 2
    assert str(tmp_path / "prices.csv") in result.stderr
    assert "Traceback" not in result.stderr


def test_the_documented_columns_are_those_that_are_read() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "prices.md").read_text(encoding="utf-8")
    assert all(f"`{column}`" in text for column in COLUMNS)
