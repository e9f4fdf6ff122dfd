"""What SkyPilot can do on a cloud."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptionBand:
    """Of the spot machines of a type in a region, between these fractions were taken back within a month.

    As the cloud itself states it, in bands; `fetched_at` is the date of that statement.
    """

    least_fraction: float
    most_fraction: float
    fetched_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudFeatures:
    """One row of catalogs/clouds.csv. A replica must open a port; `multi_node` clusters need not exist everywhere."""

    cloud: str
    open_ports: bool
    multi_node: bool
    spot: bool
    host_controllers: bool
