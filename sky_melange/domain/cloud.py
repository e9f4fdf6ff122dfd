"""What SkyPilot can do on a cloud."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudFeatures:
    """One row of catalogs/clouds.csv. A replica must open a port; `multi_node` clusters need not exist everywhere."""

    cloud: str
    open_ports: bool
    multi_node: bool
    spot: bool
    host_controllers: bool
