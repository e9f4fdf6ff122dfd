"""Independent dated price lists, one more opinion on what a machine costs."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sky_melange.domain.offer import Offer
from sky_melange.resources import data_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a list says a machine costs, USD per hour; None where it does not say.

    With an `instance_type` the prices are for that whole machine in `region`. Without, they are for one accelerator
    anywhere in the cloud.
    """

    cloud: str
    region: str
    instance_type: str
    accelerator: str
    accelerators: float
    price_usd_per_hour: float | None
    spot_price_usd_per_hour: float | None
    date: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinions:
    """Opinions by what they are about."""

    by_machine: Mapping[tuple[str, str, str], Opinion] = field(default_factory=dict)
    by_accelerator: Mapping[tuple[str, str], Opinion] = field(default_factory=dict)

    def of_machine(self, offer: Offer) -> Opinion | None:
        """The opinion on exactly this machine in this region."""
        return self.by_machine.get((offer.cloud, offer.region, offer.instance_type))

    def of_accelerator(self, offer: Offer) -> Opinion | None:
        """The opinion on one such accelerator in this cloud."""
        return self.by_accelerator.get((offer.cloud, offer.accelerator))


def load_opinions(clouds: Collection[str] | None = None) -> Opinions:
    """The embedded lists, for some clouds or all; of two on one machine the newer.

    Raises MissingDataError when the installation lacks them.
    """
    by_machine: dict[tuple[str, str, str], Opinion] = {}
    by_accelerator: dict[tuple[str, str], Opinion] = {}
    for path in sorted(data_path("catalogs", "prices", "opinions").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if clouds is not None and row["cloud"] not in clouds:
                    continue
                opinion = _opinion(row)
                if opinion.instance_type:
                    key = (opinion.cloud, opinion.region, opinion.instance_type)
                    known = by_machine.get(key)
                    if known is None or known.date < opinion.date:
                        by_machine[key] = opinion
                else:
                    by_accelerator[opinion.cloud, opinion.accelerator] = opinion
    return Opinions(by_machine=by_machine, by_accelerator=by_accelerator)


def _opinion(row: Mapping[str, str]) -> Opinion:
    return Opinion(
        cloud=row["cloud"],
        region=row["region"],
        instance_type=row["instance_type"],
        accelerator=row["accelerator"],
        accelerators=float(row["count"]),
        price_usd_per_hour=float(row["price_usd_per_hour"]) if row["price_usd_per_hour"] else None,
        spot_price_usd_per_hour=float(row["spot_price_usd_per_hour"]) if row["spot_price_usd_per_hour"] else None,
        date=row["date"],
        source=row["source"],
    )
