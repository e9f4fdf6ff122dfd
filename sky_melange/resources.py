"""Finds and reads the data that ships with the package: in a checkout beside it, in a wheel inside it."""

from __future__ import annotations

import csv
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from sky_melange.domain.emissions import Grid
from sky_melange.domain.machine import CloudFeatures, InterruptionBand
from sky_melange.domain.plan import HostedPrice
from sky_melange.errors import MissingDataError

_PACKAGE: Final = Path(__file__).resolve().parent
_ROOTS: Final = (_PACKAGE / "data", _PACKAGE.parent)


def data_path(*parts: str) -> Path:
    """Path of a shipped file or folder, such as `data_path("catalogs", "gpus.csv")`.

    Raises MissingDataError when the installation lacks it.
    """
    for root in _ROOTS:
        path = root.joinpath(*parts)
        if path.exists():
            return path
    looked = " and ".join(str(root) for root in _ROOTS)
    raise MissingDataError(f"the installation lacks {'/'.join(parts)} (looked in {looked}); reinstall sky-melange")


def shipped_rows(*parts: str) -> list[dict[str, str]]:
    """The rows of a shipped CSV file. Raises MissingDataError when the installation lacks it."""
    with data_path(*parts).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def package_text(*parts: str) -> str:
    """The text of a file of this package, such as a module that is copied into plan folders."""
    return _PACKAGE.joinpath(*parts).read_text(encoding="utf-8")


_OF_THE_MACHINE: Final = frozenset({"localtime", "posixrules", "Factory"})
"""Files among the zones that mean another one on each machine, or none."""


@cache
def time_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises ValueError, with what to write instead, for other names."""
    if name not in _OF_THE_MACHINE and not name.startswith(("posix/", "right/")):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass
    zones = sorted(available_timezones() - _OF_THE_MACHINE)
    places = [zone for zone in zones if zone.rpartition("/")[2].casefold() == name.casefold()]
    instead = f"; did you mean {places[0]!r}?" if places else ";"
    raise ValueError(f"is not a time zone{instead} write an IANA name such as UTC or Europe/Berlin")


@cache
def interruption_bands() -> MappingProxyType[tuple[str, str, str], InterruptionBand]:
    """How often spot machines are taken back, by (cloud, region, instance type); AWS alone publishes it."""
    bands = {
        (row["cloud"], row["region"], row["instance_type"]): InterruptionBand(
            least_fraction=float(row["least_percent"]) / 100,
            most_fraction=float(row["most_percent"]) / 100,
            fetched_at=row["fetched_at"],
        )
        for row in shipped_rows("catalogs", "spot_interruptions.csv")
    }
    return MappingProxyType(bands)


@cache
def cloud_features() -> MappingProxyType[str, CloudFeatures]:
    """What SkyPilot can do on each cloud that it can rent machines from, by its lower-case name."""
    rows = [
        CloudFeatures(
            cloud=row["cloud"],
            open_ports=row["open_ports"] == "yes",
            multi_node=row["multi_node"] == "yes",
            spot=row["spot"] == "yes",
            host_controllers=row["host_controllers"] == "yes",
        )
        for row in shipped_rows("catalogs", "clouds.csv")
    ]
    return MappingProxyType({row.cloud: row for row in rows})


@cache
def hosted_prices() -> tuple[HostedPrice, ...]:
    """Dated list prices of hosted APIs, by the very model that they serve."""
    return tuple(
        HostedPrice(
            model=row["model"],
            provider=row["provider"],
            served_as=row["served_as"],
            usd_per_million_input=float(row["usd_per_million_input"]),
            usd_per_million_output=float(row["usd_per_million_output"]),
            dated=row["dated"],
            source=row["source"],
        )
        for row in shipped_rows("catalogs", "hosted_prices.csv")
    )


@cache
def board_watts() -> MappingProxyType[str, float]:
    """The most that a GPU's board draws, by accelerator; those whose data sheet is not known are not there."""
    return MappingProxyType(
        {row["accelerator"]: float(row["board_watts"]) for row in shipped_rows("catalogs", "gpu_power.csv")}
    )


@cache
def grid_of(cloud: str, region: str) -> Grid | None:
    """The electricity of the country that a region is in; None where the country is not known."""
    own = (row for row in shipped_rows("catalogs", "region_countries.csv") if row["cloud"] == cloud)
    country = next((row["country"] for row in own if fnmatchcase(region, row["region"])), None)
    for row in shipped_rows("catalogs", "carbon_intensity.csv"):
        if row["country"] == country:
            return Grid(
                country=row["country"], grams_co2e_per_kwh=float(row["grams_co2e_per_kwh"]), year=int(row["year"])
            )
    return None
