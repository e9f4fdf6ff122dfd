"""Which file each embedded catalog is made from, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

NEWEST = "catalogs"
OF_2024 = "catalogs-2024-11"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A catalog file. `date` is the ISO date of its data, "" when not known."""

    cloud: str
    folder: str
    upstream: str
    commit: str
    date: str
    licence: str

    @property
    def path(self) -> str:
        """Path inside the data folder."""
        return f"{self.folder}/{self.cloud}/vms.csv"


def _newest(cloud: str, upstream: str, commit: str, date: str) -> SourceFile:
    licence = "no licence file seen" if "skypilot-org" in upstream else "no licence file in the repository"
    return SourceFile(cloud=cloud, folder=NEWEST, upstream=upstream, commit=commit, date=date, licence=licence)


def _of_2024(cloud: str, date: str) -> SourceFile:
    return SourceFile(
        cloud=cloud,
        folder=OF_2024,
        upstream=f"github.com/OutpostLabs/seedling-catalog catalogs/v5/{cloud}/vms.csv",
        commit="7068b95b",
        date=date,
        licence="no licence file in the repository",
    )


_V8 = "github.com/skypilot-org/skypilot-catalog catalogs/v8"

SOURCES: tuple[SourceFile, ...] = (
    _newest("aws", "github.com/anycloud-sh/catalog aws/vms.csv", "5134b895", "2026-04-02"),
    _newest("azure", "github.com/anycloud-sh/catalog azure/vms.csv", "62ff0a98", "2026-05-20"),
    _newest("gcp", "github.com/anycloud-sh/catalog gcp/vms.csv", "62ff0a98", "2026-05-20"),
    _newest("lambda", "github.com/anycloud-sh/catalog lambda/vms.csv", "4c061026", "2026-05-07"),
    _newest("vast", "github.com/anycloud-sh/catalog vast/vms.csv", "336ccee4", "2026-04-29"),
    _newest("runpod", "github.com/skypilot-org/skypilot-catalog catalogs/v7/runpod/vms.csv", "0727c2bd", ""),
    _newest("fluidstack", "github.com/skypilot-org/skypilot-catalog catalogs/v6/fluidstack/vms.csv", "002403bc", ""),
    _newest("nebius", f"{_V8}/nebius/vms.csv", "0082b043", ""),
    _newest("verda", f"{_V8}/verda/vms.csv", "000c1d0b", ""),
    _newest("hyperbolic", f"{_V8}/hyperbolic/vms.csv", "0082b043", ""),
    _newest("mithril", f"{_V8}/mithril/vms.csv", "1f9eb0c2", ""),
    _newest("seeweb", f"{_V8}/seeweb/vms.csv", "004a1aef", ""),
    _newest("yotta", f"{_V8}/yotta/vms.csv", "1f690489", ""),
    # Dates of the 2024 set: of the set itself, or the older date of the file where that is known.
    _of_2024("aws", "2024-11-03"),
    _of_2024("azure", "2024-08-21"),
    _of_2024("gcp", "2024-11-03"),
    _of_2024("lambda", "2024-10-14"),
    _of_2024("runpod", "2024-01-08"),
    _of_2024("fluidstack", "2024-11-03"),
    _of_2024("cudo", "2024-01-16"),
    _of_2024("do", "2024-09-14"),
    _of_2024("ibm", "2024-07-02"),
    _of_2024("oci", "2023-06-09"),
    _of_2024("paperspace", "2024-09-26"),
    _of_2024("scp", "2024-07-02"),
)
"""Newest file of a cloud first, then the set of 2024, which fills in accelerators that the newest file lacks."""

# (cloud, cpus, memory, instance type): what SkyPilot 0.14.1's get_default_instance_type returns over these catalogs in
# any region, for a SkyServe controller (4+ vCPUs; 8, 16 or 32 GiB by the number of services) and a router (2+ vCPUs).
# Clouds that are absent have no machine without GPU in their catalog, or none that SkyPilot would pick.
OVERHEAD_TYPES: tuple[tuple[str, str, str, str], ...] = (
    ("aws", "2+", "", "m6i.large"),
    ("aws", "4+", "16+", "m6i.xlarge"),
    ("aws", "4+", "32+", "r6i.xlarge"),
    ("aws", "4+", "32+", "r7i.xlarge"),
    ("aws", "4+", "8+", "c6i.xlarge"),
    ("aws", "4+", "8+", "m6i.xlarge"),
    ("azure", "2+", "", "Standard_D2s_v5"),
    ("azure", "4+", "16+", "Standard_D4s_v5"),
    ("azure", "4+", "32+", "Standard_E4s_v5"),
    ("azure", "4+", "8+", "Standard_D4s_v5"),
    ("azure", "4+", "8+", "Standard_F4s_v2"),
    ("do", "2+", "", "s-4vcpu-8gb"),
    ("do", "4+", "16+", "s-8vcpu-16gb"),
    ("do", "4+", "32+", "g-16vcpu-64gb"),
    ("do", "4+", "8+", "s-4vcpu-8gb"),
    ("gcp", "2+", "", "n2-standard-2"),
    ("gcp", "2+", "", "n4-standard-2"),
    ("gcp", "4+", "16+", "n2-standard-4"),
    ("gcp", "4+", "16+", "n4-standard-4"),
    ("gcp", "4+", "32+", "n2-highmem-4"),
    ("gcp", "4+", "32+", "n4-highmem-4"),
    ("gcp", "4+", "8+", "n2-standard-4"),
    ("gcp", "4+", "8+", "n4-highcpu-4"),
    ("ibm", "2+", "", "bx2-8x32"),
    ("ibm", "4+", "16+", "bx2-8x32"),
    ("ibm", "4+", "32+", "bx2-8x32"),
    ("ibm", "4+", "8+", "bx2-8x32"),
    ("lambda", "2+", "", "cpu_4x_generalx"),
    ("lambda", "4+", "16+", "cpu_4x_generalx"),
    ("lambda", "4+", "8+", "cpu_4x_generalx"),
    ("nebius", "2+", "", "cpu-d3_4vcpu-16gb"),
    ("nebius", "2+", "", "cpu-e2_2vcpu-8gb"),
    ("nebius", "4+", "16+", "cpu-d3_4vcpu-16gb"),
    ("nebius", "4+", "32+", "cpu-d3_8vcpu-32gb"),
    ("nebius", "4+", "8+", "cpu-d3_4vcpu-16gb"),
    ("oci", "2+", "", "VM.Standard.E4.Flex$_2_8"),
    ("oci", "4+", "16+", "VM.Standard.E4.Flex$_4_16"),
    ("oci", "4+", "32+", "VM.Standard.E4.Flex$_4_32"),
    ("oci", "4+", "8+", "VM.Standard.E4.Flex$_4_16"),
    ("paperspace", "2+", "", "C5"),
    ("paperspace", "4+", "16+", "C6"),
    ("paperspace", "4+", "32+", "C7"),
    ("paperspace", "4+", "8+", "C5"),
    ("scp", "2+", "", "s1v2m4"),
    ("scp", "4+", "16+", "s1v4m16"),
    ("scp", "4+", "32+", "s1v4m32"),
    ("scp", "4+", "8+", "s1v4m8"),
    ("seeweb", "2+", "", "eCS2"),
    ("seeweb", "4+", "16+", "eCS5"),
    ("seeweb", "4+", "32+", "ECS7"),
    ("seeweb", "4+", "32+", "eCS1HM"),
    ("seeweb", "4+", "8+", "eCS4"),
    ("verda", "2+", "", "CPU.4V.16G"),
    ("verda", "4+", "16+", "CPU.4V.16G"),
    ("verda", "4+", "32+", "CPU.8V.32G"),
    ("verda", "4+", "8+", "CPU.4V.16G"),
)
