"""Our prices are the ones that SkyPilot's own catalog code computes from the same files.

SkyPilot runs in a process of its own: its home must be set before it is imported, and it is slow to import.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sky_melange.domain.offer import Offer
from sky_melange.prices import launchable_clouds, load_snapshot

ROOT = Path(__file__).resolve().parents[2]
CLOUDS = ("gcp", "azure", "lambda", "runpod", "nebius", "verda")

ASK = """
import importlib, json, sys
from sky.catalog import common
modules = {}
def cost(cloud, machine, accelerator, count, spot, region, zone):
    module = modules.setdefault(cloud, importlib.import_module(f"sky.catalog.{cloud}_catalog"))
    price = module.get_hourly_cost(machine, spot, region, zone)
    if cloud == "gcp" and accelerator:
        price += module.get_accelerator_hourly_cost(accelerator, count, spot, region, zone)
    return price
json.dump([cost(*question) for question in json.load(sys.stdin)], sys.stdout)
"""

DEFAULT_MACHINES = """
import importlib, json, sys
def default(cloud, region, cpus, memory):
    module = importlib.import_module(f"sky.catalog.{cloud}_catalog")
    if cloud == "aws":
        module._fetch_and_apply_az_mapping = lambda frame: frame  # would ask AWS who the user is
    return module.get_default_instance_type(cpus=cpus, memory=memory, region=region)
json.dump([default(*question) for question in json.load(sys.stdin)], sys.stdout)
"""

HOSTS = """
import json, sys
import sky.clouds
from sky.catalog import gcp_catalog
from sky.utils import registry
find = gcp_catalog.get_instance_type_for_accelerator
hosts = [find(name, count)[0] for name, count in json.load(sys.stdin)]
json.dump([hosts, sorted(registry.CLOUD_REGISTRY)], sys.stdout)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose catalogs are the embedded ones, so that SkyPilot needs no network."""
    home = tmp_path_factory.mktemp("home")
    folder = home / ".sky" / "catalogs" / "v8"
    for cloud in CLOUDS:
        (folder / cloud).mkdir(parents=True)
        (folder / cloud / "vms.csv").write_bytes((ROOT / "catalogs" / "prices" / f"{cloud}.csv").read_bytes())
        (folder / cloud / "images.csv").write_text("Tag,Region,OS,OSVersion,ImageId,CreationDate\n")
    (folder / "gcp" / "accelerator_quota_mapping.csv").write_text("Accelerator,OnDemandInstanceCode,SpotInstanceCode\n")
    (folder / "common").mkdir()
    (folder / "common" / "accelerators.csv").write_text("AcceleratorName,Clouds\n")
    (folder / "common" / "metadata.csv").write_text("GPU,MemoryGB,Manufacturer\n")
    return home


def _sky(home: Path, code: str, questions: object) -> object:
    environment = os.environ | {
        "HOME": str(home),
        "SKY_RUNTIME_DIR": str(home),
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
    }
    result = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=home,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


def _asked(offers: list[Offer]) -> list[list[object]]:
    return [
        [o.cloud, o.instance_type, o.catalog_accelerator, o.accelerators_per_instance, o.use_spot, o.region, o.zone]
        for o in offers
    ]


@pytest.mark.slow
def test_skypilot_pays_our_prices(home: Path) -> None:
    book = load_snapshot(clouds=CLOUDS)
    every = [*book.offers, *(entry.offer for entry in book.quarantined)]
    # All of GCP, where prices are sums; a sample elsewhere.
    offers = [offer for i, offer in enumerate(every) if offer.cloud == "gcp" or i % 10 == 0]
    assert len(offers) > 1000
    paid = _sky(home, ASK, _asked(offers))
    assert isinstance(paid, list)
    off = {
        offer.name: (offer.price_usd_per_hour, price)
        for offer, price in zip(offers, paid, strict=True)
        if abs(offer.price_usd_per_hour - price) > 1e-6
    }
    assert off == {}


@pytest.mark.slow
def test_skypilot_picks_our_hosts_and_launches_on_our_clouds(home: Path) -> None:
    offers = [o for o in load_snapshot(clouds=["gcp"]).offers if o.instance_type.startswith("n1-")]
    hosts = {(o.catalog_accelerator, o.accelerators_per_instance): o.instance_type for o in offers}
    assert len(hosts) == 13
    answer = _sky(home, HOSTS, sorted(hosts))
    assert isinstance(answer, list)
    picked, clouds = answer
    assert picked == [[hosts[key]] for key in sorted(hosts)]
    assert set(launchable_clouds()) <= set(clouds)


@pytest.mark.slow
def test_skypilot_sizes_controllers_and_routers_as_we_do(shared_data: Path, tmp_path: Path) -> None:
    """Over the whole catalogs: the embedded extract must hold the machine that SkyPilot picks in a region."""
    clouds = ("aws", "azure", "do", "gcp", "ibm", "lambda", "nebius", "oci", "paperspace", "scp", "seeweb", "verda")
    for cloud in clouds:
        _whole_catalog(shared_data, cloud, tmp_path / ".sky" / "catalogs" / "v8" / cloud)
    offers = [offer for offer in load_snapshot(clouds=clouds).offers if not offer.use_spot]
    needs = sorted({(row["cpus"], row["memory_gib"]) for row in _overhead_types()})
    questions: list[tuple[str, str, str, str | None]] = []
    ours: list[str] = []
    for cloud, region in sorted({(offer.cloud, offer.region) for offer in offers}):
        there = [offer for offer in offers if (offer.cloud, offer.region) == (cloud, region)]
        for cpus, memory in needs:
            machine = _cheapest(there, float(cpus.rstrip("+")), float(memory.rstrip("+") or 0))
            # SkyPilot takes a while for each: two regions of each machine will do, the rare ones among them.
            if machine and ours.count(machine) < 2:
                questions.append((cloud, region, cpus, memory or None))
                ours.append(machine)
    theirs = _sky(tmp_path, DEFAULT_MACHINES, questions)
    assert isinstance(theirs, list)
    pairs = zip(questions, ours, theirs, strict=True)
    assert {question: (own, their) for question, own, their in pairs if own != their} == {}
    assert len(questions) > 50


def _overhead_types() -> list[dict[str, str]]:
    with (ROOT / "catalogs" / "prices" / "overhead_types.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _cheapest(offers: list[Offer], vcpus: float, memory_gib: float) -> str:
    """The machine that a plan counts on; "" where it has a GPU or there is none."""
    large = [o for o in offers if (o.vcpus or 0) >= vcpus and (o.memory_gib or 0) >= memory_gib]
    found = min(large, key=lambda o: (o.price_usd_per_hour, o.sort_key), default=None)
    return found.instance_type if found is not None and not found.accelerator else ""


def _whole_catalog(shared_data: Path, cloud: str, folder: Path) -> None:
    newest = shared_data / "catalogs" / cloud / "vms.csv"
    # The newest AWS file has no machines without GPU.
    path = newest if newest.exists() and cloud != "aws" else shared_data / "catalogs-2024-11" / cloud / "vms.csv"
    text = path.read_text(encoding="utf-8")
    folder.mkdir(parents=True)
    # pandas, and so SkyPilot, cannot read the file with its commas unquoted.
    (folder / "vms.csv").write_text(text.replace(",V1,V2\n", ',"V1,V2"\n'), encoding="utf-8")
    (folder / "images.csv").write_text("Tag,Region,OS,OSVersion,ImageId,CreationDate\n")
    (folder / "accelerator_quota_mapping.csv").write_text("Accelerator,OnDemandInstanceCode,SpotInstanceCode\n")
