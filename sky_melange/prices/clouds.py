"""Facts about clouds that prices depend on: which ones SkyPilot launches on or found enabled, how they quote prices."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from sky_melange.errors import InputError
from sky_melange.untrusted import parse_json

_HOME_VARIABLES: Final = ("SKY_MELANGE_SKYPILOT_HOME", "SKY_RUNTIME_DIR")
_ELSEWHERE: Final = ("SKYPILOT_API_SERVER_ENDPOINT", "SKYPILOT_DB_CONNECTION_URI")
"""Where one of them is set, a server on another machine or another database knows the clouds."""

_QUERY: Final = (
    "SELECT key, substr(value, 1, 10000) FROM config WHERE key LIKE 'enabled\\_clouds\\_%\\_compute' ESCAPE '\\'"
)
_USUAL_WORKSPACE: Final = "enabled_clouds_default_compute"
_BUSY_SECONDS: Final = 0.5


class EnabledClouds(NamedTuple):
    """`clouds` is None where there is no list; `problem` says why where there should be one."""

    clouds: tuple[str, ...] | None
    problem: str = ""


class AuctionReserve(NamedTuple):
    """The highest reserve price of one GPU that a cloud has listed, and the sentence that says what it is."""

    usd_per_gpu_hour: float
    reason: str


LAUNCHABLE_CLOUDS: Final[tuple[str, ...]] = (
    "aws",
    "azure",
    "cudo",
    "do",
    "fluidstack",
    "gcp",
    "hyperbolic",
    "ibm",
    "lambda",
    "mithril",
    "nebius",
    "oci",
    "paperspace",
    "runpod",
    "scp",
    "seeweb",
    "vast",
    "verda",
    "yotta",
)
"""Clouds of SkyPilot 0.14.1 whose prices come from a catalog file, by SkyPilot's lower-case names.

Left out: primeintellect (no price list at hand), shadeform (its optimizer fails there, whatever is asked) and
kubernetes, slurm, ssh, vsphere (machines already paid for).
"""

USUAL_CLOUDS: Final[tuple[str, ...]] = ("aws", "azure", "gcp", "lambda")
"""Compared where a workload names no cloud and SkyPilot's own list is not at hand: the large ones and Lambda, and no
marketplace, whose machines change by the hour.
"""

ZONES_NOT_PINNABLE: Final[frozenset[str]] = frozenset({"aws"})
"""Clouds whose catalogs name zones by IDs that are the same in every account (`use1-az2`), while a launch can only ask
for the account's own names (`us-east-1a`). SkyPilot then starts with the region's cheapest zone.
"""

ZERO_SPOT_MEANS_NONE: Final[frozenset[str]] = frozenset({"vast"})
"""Clouds whose catalog writes 0.00 for "no spot price". Elsewhere a spot price of 0 is a fault worth reporting."""

AUCTION_RESERVES: Final[Mapping[str, AuctionReserve]] = {
    "mithril": AuctionReserve(
        usd_per_gpu_hour=1.0,
        reason="Mithril lists the reserve price of its auction, below which no bid is taken, not a market price",
    ),
}
"""Clouds whose catalogs have listed the floor of an auction: up to this much for one GPU is such a floor.

SkyPilot 0.14.1 still writes `minimum_price_cents` into Mithril's catalog: 8.00 for 8 × H100 that cost 28.66.
"""

HOME_REGIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "aws": ("us-east-1", "us-east-2", "us-west-2"),
    "azure": ("eastus", "eastus2", "westus2", "westus3"),
    "gcp": ("us-central1", "us-east1", "us-west1", "us-east4"),
}
"""Regions where a cloud with regional prices is at or near its cheapest: the yardstick for its other regions."""


def enabled_clouds() -> EnabledClouds:
    """Those of which prices are known, sorted. Kubernetes and SSH node pools are never among them: see candidates.own.

    Of several workspaces SkyPilot's usual one counts.
    """
    if any(os.environ.get(name) for name in _ELSEWHERE):
        return EnabledClouds(None)
    home = next((os.environ[name] for name in _HOME_VARIABLES if os.environ.get(name)), "~")
    path = Path(home).expanduser() / ".sky" / "state.db"
    try:
        if not path.is_file():
            return EnabledClouds(None)
        with closing(_opened(path)) as database:
            lists = dict(database.execute(_QUERY).fetchmany(100))
        text = lists.get(_USUAL_WORKSPACE) or (next(iter(lists.values())) if len(lists) == 1 else None)
        return EnabledClouds(None if text is None else _names(parse_json(text, "value")))
    except (OSError, sqlite3.Error, InputError, ValueError, TypeError) as error:
        return EnabledClouds(None, f"SkyPilot's list of enabled clouds ({path}) cannot be read: {error}")


def _opened(path: Path) -> sqlite3.Connection:
    """To read alone: where nothing is being written, without the files that SQLite would put beside it."""
    is_quiet = not path.with_name(f"{path.name}-wal").exists()
    mode = "mode=ro&immutable=1" if is_quiet else "mode=ro"
    return sqlite3.connect(f"file:{quote(str(path.resolve()))}?{mode}", uri=True, timeout=_BUSY_SECONDS)


def _names(found: object) -> tuple[str, ...]:
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise TypeError("it is not a list")
    names = {name.lower() for name in found if isinstance(name, str)}
    return tuple(sorted(names & set(LAUNCHABLE_CLOUDS)))
