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
    _newest("shadeform", f"{_V8}/shadeform/vms.csv", "002363da", ""),
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

# (cloud, instance type): what SkyPilot 0.14.1's get_default_instance_type returns for a SkyServe controller
# (cpus 4+, memory 8+) and for a router (cpus 2+) over these catalogs, in any region. Clouds that are absent have no
# machine without GPU in their catalog, or none that SkyPilot would pick.
OVERHEAD_TYPES: tuple[tuple[str, str, str], ...] = (
    ("aws", "controller", "c6i.xlarge"),
    ("aws", "controller", "m6i.xlarge"),
    ("aws", "router", "m6i.large"),
    ("azure", "controller", "Standard_D4s_v5"),
    ("azure", "controller", "Standard_F4s_v2"),
    ("azure", "router", "Standard_D2s_v5"),
    ("do", "controller", "s-4vcpu-8gb"),
    ("do", "router", "s-4vcpu-8gb"),
    ("gcp", "controller", "n2-standard-4"),
    ("gcp", "controller", "n4-highcpu-4"),
    ("gcp", "router", "n2-standard-2"),
    ("gcp", "router", "n4-standard-2"),
    ("ibm", "controller", "bx2-8x32"),
    ("ibm", "router", "bx2-8x32"),
    ("lambda", "controller", "cpu_4x_generalx"),
    ("lambda", "router", "cpu_4x_generalx"),
    ("nebius", "controller", "cpu-d3_4vcpu-16gb"),
    ("nebius", "router", "cpu-d3_4vcpu-16gb"),
    ("nebius", "router", "cpu-e2_2vcpu-8gb"),
    ("oci", "controller", "VM.Standard.E4.Flex$_4_16"),
    ("oci", "router", "VM.Standard.E4.Flex$_2_8"),
    ("paperspace", "controller", "C5"),
    ("paperspace", "router", "C5"),
    ("scp", "controller", "s1v4m8"),
    ("scp", "router", "s1v2m4"),
    ("seeweb", "controller", "eCS4"),
    ("seeweb", "router", "eCS2"),
    ("verda", "controller", "CPU.4V.16G"),
    ("verda", "router", "CPU.4V.16G"),
)
