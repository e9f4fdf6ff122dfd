"""What a cloud prices but does not sell on demand."""

from __future__ import annotations

import csv
from fnmatch import fnmatchcase
from functools import cache
from typing import NamedTuple

from sky_melange.resources import data_path


class NotOnDemand(NamedTuple):
    """One row of not_on_demand.csv: the machine types, and how they are sold."""

    cloud: str
    instance_type_pattern: str
    sold_as: str
    source: str


@cache
def load_not_on_demand() -> tuple[NotOnDemand, ...]:
    """The table. Raises MissingDataError when the installation lacks it."""
    with data_path("catalogs", "not_on_demand.csv").open(encoding="utf-8", newline="") as file:
        return tuple(NotOnDemand(**row) for row in csv.DictReader(file))


@cache
def how_sold(cloud: str, instance_type: str) -> str:
    """How a machine is sold that is not sold on demand; "" for all others."""
    for row in load_not_on_demand():
        if row.cloud == cloud and fnmatchcase(instance_type, row.instance_type_pattern):
            return row.sold_as
    return ""
