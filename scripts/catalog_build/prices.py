"""prices/<cloud>.csv: the rows of the public catalogs that a plan can use, each with the date of its data."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from catalog_build.opinions import AWS_LIST
from catalog_build.sources import NEWEST, OVERHEAD_TYPES, SOURCES, SourceFile
from sky_melange.prices.catalog_csv import TPU_PREFIX, CatalogRow, SkipTally, priced_rows, read_rows
from sky_melange.prices.names import resolve
from sky_melange.prices.offers import ATTACHABLE_FAMILIES, AttachableHosts, host_types
from sky_melange.untrusted import decoded

HEADER = (
    "InstanceType",
    "AcceleratorName",
    "AcceleratorCount",
    "vCPUs",
    "MemoryGiB",
    "GpuInfo",
    "Price",
    "SpotPrice",
    "Region",
    "AvailabilityZone",
    "SnapshotDate",
)
LISTED_GPUS = {"g6": "L4", "gr6": "L4", "g6e": "L40S"}
"""AWS families of which the catalog at hand has a part only. catalogs/README.md says which are left out, and why."""
LISTED_SOURCE = (
    "aws",
    "aws.csv",
    "github.com/tsaol/aws-gpu data/all_gpu_instances.js",
    "7412fd2",
    "2026-01-21",
    "MIT",
)

SOURCES_HEADER = ("cloud", "file", "upstream", "commit", "date", "licence", "rows")


def price_files(data: Path) -> dict[str, list[tuple[str, ...]]]:
    """Content of every prices/<cloud>.csv and of sources.csv and overhead_types.csv, by file name."""
    files: dict[str, list[tuple[str, ...]]] = {}
    index: list[tuple[str, ...]] = []
    for cloud in sorted({source.cloud for source in SOURCES}):
        rows: set[tuple[str, ...]] = set()
        accelerators: set[str] = set()
        plain: set[str] = set()
        for source in (source for source in SOURCES if source.cloud == cloud):
            found = list(_kept(data, source, accelerators, plain))
            if source.folder == NEWEST:
                accelerators |= {_canonical(row, cloud) for row in found if row.accelerator}
                plain |= {row.instance_type for row in found if not row.accelerator}
            lines = {_line(row, source.date) for row in found}
            if lines:
                index.append(_index_line(source, len(lines - rows)))
            rows |= lines
        if cloud == "aws":
            listed = set(_listed(data / AWS_LIST, {row[0] for row in rows}))
            index.append((*LISTED_SOURCE, str(len(listed))))
            rows |= listed
        files[f"{cloud}.csv"] = [HEADER, *sorted(rows)]
    files["sources.csv"] = [SOURCES_HEADER, *sorted(index)]
    files["overhead_types.csv"] = [("cloud", "cpus", "memory_gib", "instance_type"), *sorted(OVERHEAD_TYPES)]
    return files


def _listed(path: Path, known: Collection[str]) -> Iterator[tuple[str, ...]]:
    """Rows of a dated list for the machine types that the catalog lacks, whose GPU is known from the family."""
    for machine in json.loads(path.read_text(encoding="utf-8")):
        name = machine["name"]
        accelerator = LISTED_GPUS.get(name.partition(".")[0])
        if accelerator is None or name in known:
            continue
        shape = (str(machine["gpuCount"]), str(machine["vcpu"]), machine["memory"].removesuffix(" GB"))
        for region, prices in machine["pricing"].items():
            if prices.get("onDemand") and not region.startswith("us-gov-"):
                price = f"{prices['onDemand']:.6f}"
                yield (name, accelerator, *shape, "", price, "", region, "", LISTED_SOURCE[4])


def _index_line(source: SourceFile, rows: int) -> tuple[str, ...]:
    return (source.cloud, f"{source.cloud}.csv", source.upstream, source.commit, source.date, source.licence, str(rows))


def _kept(data: Path, source: SourceFile, accelerators: set[str], plain: set[str]) -> Iterator[CatalogRow]:
    """Rows to embed: GPUs that no newer file has, their hosts, and the machines that a launch needs beside them."""
    tally = SkipTally(source.cloud)
    content = (data / source.path).read_bytes()
    rows = list(read_rows(decoded(content, source.path, "fetch the catalog again"), source.path, tally))
    gpus = [row for row in rows if row.accelerator and not row.accelerator.startswith(TPU_PREFIX)]
    gpus = [row for row in gpus if not _is_other_device(row, source.cloud)]
    gpus = [row for row in gpus if _canonical(row, source.cloud) not in accelerators]
    yield from gpus
    overhead = {name for cloud, _, _, name in OVERHEAD_TYPES if cloud == source.cloud} - plain
    yield from (row for row in rows if not row.accelerator and row.instance_type in overhead)
    if source.cloud == "gcp":
        yield from _hosts(rows, gpus, tally)


def _canonical(row: CatalogRow, cloud: str) -> str:
    return resolve(cloud, row.accelerator, row.instance_type).accelerator


def _is_other_device(row: CatalogRow, cloud: str) -> bool:
    """An FPGA, Inferentia and the like. Fractions of a GPU stay, so that they are seen to be left out."""
    return resolve(cloud, row.accelerator, row.instance_type).reason.endswith("not a GPU")


def _hosts(rows: Iterable[CatalogRow], gpus: Iterable[CatalogRow], tally: SkipTally) -> Iterator[CatalogRow]:
    """Host machines in the zones of the accelerators that can use them."""
    attachable_rows = (row for row in rows if row.instance_type.startswith(ATTACHABLE_FAMILIES))
    attachable = AttachableHosts(priced_rows(attachable_rows, "gcp", tally))
    wanted = {
        (row.zone, host)
        for row in gpus
        for host in host_types(row.accelerator, int(float(row.accelerator_count)), attachable)
    }
    yield from (row for row in rows if not row.accelerator and (row.zone, row.instance_type) in wanted)


def _line(row: CatalogRow, date: str) -> tuple[str, ...]:
    return (
        row.instance_type,
        row.accelerator,
        row.accelerator_count,
        row.vcpus,
        row.memory_gib,
        "",
        row.price,
        row.spot_price,
        row.region,
        row.zone,
        date,
    )
