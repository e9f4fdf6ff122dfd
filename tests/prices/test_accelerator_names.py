"""Canonical names: other silicon keeps another name, whatever a catalog calls it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from sky_melange.prices import known_accelerators
from sky_melange.prices.names import gpu_memory_gib, load_aliases, resolve
from sky_melange.prices.source import CatalogOffers


@pytest.mark.parametrize(
    ("cloud", "catalog_accelerator", "instance_type", "expected"),
    [
        ("gcp", "H100-MEGA", "a3-megagpu-8g", "H100"),
        ("runpod", "H100-SXM", "1x_H100-SXM_SECURE", "H100"),
        ("hyperstack", "H100-80G-SXM5", "n3-H100-SXM5x8", "H100"),
        ("nebius", "H100", "gpu-h100-sxm_1gpu-16vcpu-200gb", "H100"),
        ("lambda", "H100", "gpu_8x_h100_sxm5", "H100"),
        ("lambda", "H100", "gpu_1x_h100_pcie", "H100-PCIE"),
        ("runpod", "H100", "4x_H100_SECURE", "H100-PCIE"),
        ("fluidstack", "H100", "H100_PCIE_80GB::1", "H100-PCIE"),
        ("fluidstack", "H100", "H100_NVLINK_80GB::8", "H100-PCIE"),
        ("hyperstack", "H100-80G-PCIe", "n3-H100x1", "H100-PCIE"),
        ("shadeform", "H100", "scaleway_H100", "H100-PCIE"),
        ("shadeform", "H100", "lambdalabs_H100-sxm5x2", "H100"),
        ("azure", "H100", "Standard_NC40ads_H100_v5", "H100-NVL"),
        ("azure", "H100", "Standard_NC80adis_H100_v5", "H100-NVL"),
        ("azure", "H100", "Standard_NCC40ads_H100_v5", "H100-NVL"),
        ("azure", "H100", "Standard_ND96isr_H100_v5", "H100"),
        ("vast", "H100", "1x-H100_NVL-32-65536", "H100-NVL"),
        ("vast", "H100", "1x-H100_SXM-32-65536", "H100"),
        ("runpod", "H200-SXM", "1x_H200-SXM_SECURE", "H200"),
        ("seeweb", "H200", "ECS1GPU10", "H200-NVL"),
        ("vast", "H200", "1x-H200-32-65536", "H200"),
        ("vast", "H200", "1x-H200_NVL-32-65536", "H200-NVL"),
        ("aws", "A100", "p4d.24xlarge", "A100"),
        ("gcp", "A100", "a2-highgpu-1g", "A100"),
        ("azure", "A100", "Standard_ND96asr_v4", "A100"),
        ("lambda", "A100", "gpu_8x_a100", "A100"),
        ("lambda", "A100", "gpu_1x_a100_sxm4", "A100"),
        ("lambda", "A100", "gpu_1x_a100", "A100-PCIE"),
        ("seeweb", "A100", "ECS1GPU3", "A100-80GB-PCIE"),
        ("mithril", "A100", "a100-80gb.sxm.1x", "A100-80GB"),
        ("azure", "A100-80GB", "Standard_NC24ads_A100_v4", "A100-80GB-PCIE"),
        ("azure", "A100-80GB", "Standard_ND96amsr_A100_v4", "A100-80GB"),
        ("runpod", "A100-80GB", "1x_A100-80GB_SECURE", "A100-80GB-PCIE"),
        ("runpod", "A100-80GB-SXM", "1x_A100-80GB-SXM_SECURE", "A100-80GB"),
        ("hyperstack", "A100-80G-PCIe-NVLink", "n3-A100x8-NVLink", "A100-80GB-PCIE"),
        ("verda", "A100-80GB-160GB", "2A100.44V", "A100-80GB"),
        ("verda", "A100-40GB-320GB", "8A100.40S.176V", "A100"),
        ("seeweb", "L40s", "ECS1GPU7", "L40S"),
        ("vast", "RTX3060", "1x-RTX_3060_Ti-32-65536", "RTX3060-Ti"),
        ("vast", "RTX3060", "4x-RTX_3060-32-65536", "RTX3060"),
        ("lambda", "A6000", "gpu_1x_a6000", "RTXA6000"),
        ("lambda", "RTX6000", "gpu_1x_rtx6000", "RTX6000"),
        ("verda", "RTX-6000-Ada", "1RTX6000ADA.10V", "RTX6000-Ada"),
    ],
)
def test_canonical_name(cloud: str, catalog_accelerator: str, instance_type: str, expected: str) -> None:
    assert resolve(cloud, catalog_accelerator, instance_type).accelerator == expected


def test_spellings_of_rtx_pro_6000_fold_into_two_editions() -> None:
    server = {"RTXPRO6000", "RTXPro6000", "RTX PRO 6000 96GB", "RTX-PRO-6000", "RTXPRO6000S"}
    workstation = {"RTXPRO6000WS", "RTXPRO6000-WK"}
    assert {resolve("any", name, "machine").accelerator for name in server} == {"RTXPRO6000"}
    assert {resolve("any", name, "machine").accelerator for name in workstation} == {"RTXPRO6000-WS"}


def test_every_alias_leads_to_a_known_gpu_or_says_why_not() -> None:
    for aliases in load_aliases().values():
        for alias in aliases:
            assert alias.reason
            assert not alias.accelerator or alias.accelerator in gpu_memory_gib(), alias


def test_no_two_aliases_of_one_specificity_disagree() -> None:
    for name, aliases in load_aliases().items():
        keys = [(alias.cloud, alias.instance_type_pattern) for alias in aliases]
        assert len(set(keys)) == len(keys), name


def test_a_canonical_name_never_stands_for_two_memory_sizes() -> None:
    gpus = gpu_memory_gib()
    assert (gpus["A100"], gpus["A100-80GB"]) == (40, 80)
    assert (gpus["H100"], gpus["H100-NVL"]) == (80, 94)
    assert gpus["L4"] == 24  # and not the 22888 MiB of the AWS catalog
    assert gpus["H200"] == 141
    assert known_accelerators() == tuple(sorted(gpus))


def test_launch_keeps_the_catalog_name(extract: Callable[[str], CatalogOffers]) -> None:
    offers = [offer for offer in extract("runpod").offers if offer.accelerator == "H100"]
    assert {offer.catalog_accelerator for offer in offers} == {"H100-SXM"}


def test_every_name_in_every_published_catalog_is_known(shared_data: Path) -> None:
    unknown = set()
    for path in sorted(shared_data.glob("catalogs*/*/vms.csv")):
        cloud = path.parent.name.removesuffix("-mid").removesuffix("-header-only")
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                name = row["AcceleratorName"]
                if name and not name.startswith("tpu-"):
                    reason = resolve(cloud, name, row["InstanceType"]).reason
                    if reason.startswith("gpus.csv"):
                        unknown.add((cloud, name))
    assert not unknown - {("scaleway", "RTX 3070")}  # a cloud that SkyPilot cannot launch on
