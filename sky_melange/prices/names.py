"""Canonical accelerator names: what a catalog's name means on that cloud, for that instance type."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from types import MappingProxyType
from typing import Final

from sky_melange.errors import InputError, Mistake
from sky_melange.prices.clouds import LAUNCHABLE_CLOUDS
from sky_melange.resources import shipped_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One row of gpus.csv. None where the datasheet does not say; FLOP/s are dense (no sparsity)."""

    accelerator: str
    memory_gib: float
    memory_bandwidth_bytes_per_s: float | None
    bf16_flop_per_s: float | None
    fp8_flop_per_s: float | None
    source: str


MOST_GPUS: Final = 8
"""A machine holds at most so many GPUs, except for the following and for consumer cards (RTX, GTX)."""

MORE_GPUS: Final[Mapping[tuple[str, str], int]] = {("aws", "K80"): 16, ("gcp", "A100"): 16}
"""p2.16xlarge has 16 K80, a2-megagpu-16g 16 A100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """One row of accelerator_aliases.csv. An empty `accelerator` means: no whole GPU, with the reason why."""

    cloud: str
    catalog_accelerator: str
    instance_type_pattern: str
    accelerator: str
    reason: str

    def matches(self, cloud: str, instance_type: str) -> bool:
        """Whether the row speaks of this instance type of this cloud."""
        if self.cloud not in ("*", cloud):
            return False
        return not self.instance_type_pattern or fnmatchcase(instance_type, self.instance_type_pattern)

    @property
    def specificity(self) -> tuple[bool, bool]:
        """Rows that name the cloud and a pattern come before general ones."""
        return (self.cloud != "*", bool(self.instance_type_pattern))


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedName:
    """The canonical name, or "" and why there is none."""

    accelerator: str
    reason: str = ""


@cache
def load_aliases() -> Mapping[str, Sequence[Alias]]:
    """Aliases by catalog name, most specific first. Raises MissingDataError when the installation lacks the file."""
    found: dict[str, list[Alias]] = {}
    for row in shipped_rows("catalogs", "accelerator_aliases.csv"):
        alias = Alias(**row)
        found.setdefault(alias.catalog_accelerator, []).append(alias)
    for aliases in found.values():
        aliases.sort(key=lambda alias: alias.specificity, reverse=True)
    return found


def resolve(cloud: str, catalog_accelerator: str, instance_type: str) -> ResolvedName:
    """The canonical accelerator of a catalog row.

    Names that gpus.csv does not know are refused with that reason: a GPU of unknown memory cannot be planned for.
    """
    for alias in load_aliases().get(catalog_accelerator, ()):
        if alias.matches(cloud, instance_type):
            return ResolvedName(accelerator=alias.accelerator, reason="" if alias.accelerator else alias.reason)
    if catalog_accelerator in load_gpus():
        return ResolvedName(accelerator=catalog_accelerator)
    return ResolvedName(accelerator="", reason=f"gpus.csv does not know the accelerator {catalog_accelerator}")


def count_error(cloud: str, accelerator: str, count: int) -> str:
    """Why the number of GPUs in a row is known to be wrong, or "" (Azure in 2024: 12 for 8 H100)."""
    most = MORE_GPUS.get((cloud, accelerator), MOST_GPUS)
    if count <= most or "RTX" in accelerator or "GTX" in accelerator:
        return ""
    return f"the catalog says {count} GPUs, and no machine has more than {most} {accelerator}"


@cache
def load_gpus() -> Mapping[str, Gpu]:
    """The GPUs by canonical name, sorted. Raises MissingDataError when the installation lacks the file."""
    gpus = [_gpu(row) for row in shipped_rows("catalogs", "gpus.csv")]
    return MappingProxyType({gpu.accelerator: gpu for gpu in sorted(gpus, key=lambda gpu: gpu.accelerator)})


def known_accelerators() -> tuple[str, ...]:
    """Canonical names of all GPUs in gpus.csv, sorted."""
    return tuple(load_gpus())


def check_filters(*, accelerator: str | None, cloud: str | None, prefix: str = "") -> None:
    """Raises InputError for names that no price has, with the nearest ones. `prefix` is how arguments are spelled."""
    mistakes = [
        Mistake(
            source=f"{prefix}{argument}",
            message=f"there is no {name!r}{_nearest(name, known)}; there are: {', '.join(known)}",
        )
        for argument, name, known in (
            ("accelerator", accelerator, known_accelerators()),
            ("cloud", cloud, LAUNCHABLE_CLOUDS),
        )
        if name is not None and name not in known
    ]
    if mistakes:
        raise InputError(mistakes)


def _gpu(row: Mapping[str, str]) -> Gpu:
    return Gpu(
        accelerator=row["accelerator"],
        memory_gib=float(row["memory_gib"]),
        memory_bandwidth_bytes_per_s=_optional(row["memory_bandwidth_bytes_per_s"]),
        bf16_flop_per_s=_optional(row["bf16_flop_per_s"]),
        fp8_flop_per_s=_optional(row["fp8_flop_per_s"]),
        source=row["source"],
    )


def _optional(text: str) -> float | None:
    return float(text) if text else None


def _nearest(name: str, known: Sequence[str]) -> str:
    by_fold = {entry.casefold(): entry for entry in known}
    near = difflib.get_close_matches(name.casefold(), list(by_fold), n=1)
    return f", did you mean {by_fold[near[0]]}?" if near else ""
