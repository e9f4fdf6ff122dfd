"""Writes catalogs/clouds.csv: what the pinned SkyPilot can do on each cloud, read from SkyPilot itself.

    HOME=$(mktemp -d) python scripts/build_clouds.py catalogs/clouds.csv

SkyPilot states unsupported features per cloud class; a feature that it does not name there is supported. Features that
depend on the machine (ports on one Kubernetes context, say) are asked for the plain case.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any, Final

LEFT_OUT: Final = {"docker", "dummycloud", "slurm", "vsphere"}
"""Clouds of SkyPilot for which no launch files are written, or that exist for tests."""

BROKEN: Final = {"shadeform"}
"""SkyPilot 0.14.1 cannot load a Shadeform resource with a region: it looks up a cloud named `<cloud>`."""

COLUMNS: Final = ("cloud", "open_ports", "multi_node", "spot", "host_controllers")


def features(cloud: Any) -> dict[str, str]:
    """One row of the table: `yes` or `no` for each feature."""
    import sky
    from sky.clouds import CloudImplementationFeatures as Feature

    unsupported = cloud._unsupported_features_for_resources(sky.Resources())
    wanted = {
        "open_ports": Feature.OPEN_PORTS,
        "multi_node": Feature.MULTI_NODE,
        "spot": Feature.SPOT_INSTANCE,
        "host_controllers": Feature.HOST_CONTROLLERS,
    }
    return {name: "no" if feature in unsupported else "yes" for name, feature in wanted.items()}


def table() -> list[dict[str, str]]:
    """All clouds that launch files are written for, by name."""
    from sky.provision.kubernetes import utils as kubernetes_utils
    from sky.utils.registry import CLOUD_REGISTRY

    # The plain case: SkyPilot asks no cluster, and Kubernetes' client is not needed.
    kubernetes_utils.get_all_kube_context_names = list

    rows = [
        {"cloud": name.lower(), **features(cloud)}
        for name, cloud in CLOUD_REGISTRY.items()
        if name.lower() not in LEFT_OUT | BROKEN
    ]
    return sorted(rows, key=lambda row: row["cloud"])


def main() -> None:
    """Writes the file named on the command line."""
    with Path(sys.argv[1]).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table())


if __name__ == "__main__":
    main()
