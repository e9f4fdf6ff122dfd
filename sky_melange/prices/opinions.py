"""Independent dated price lists, one more opinion on what a machine costs."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, NamedTuple

from sky_melange.domain.offer import Offer
from sky_melange.resources import data_path


class Opinion(NamedTuple):
    """What a list says a machine costs, USD per hour; None where it does not say. A plan reads 1,900 of them.

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
            rows = csv.reader(file)
            header = next(rows)
            pick = itemgetter(*(header.index(name) for name in _COLUMNS))
            for row in rows:
                opinion = _opinion(*pick(row))
                if clouds is not None and opinion.cloud not in clouds:
                    continue
                if opinion.instance_type:
                    key = (opinion.cloud, opinion.region, opinion.instance_type)
                    known = by_machine.get(key)
                    if known is None or known.date < opinion.date:
                        by_machine[key] = opinion
                else:
                    by_accelerator[opinion.cloud, opinion.accelerator] = opinion
    return Opinions(by_machine=by_machine, by_accelerator=by_accelerator)


_COLUMNS: Final = (
    *("cloud", "region", "instance_type", "accelerator", "count"),
    *("price_usd_per_hour", "spot_price_usd_per_hour", "date", "source"),
)


def _opinion(  # noqa: PLR0913, PLR0917 - the columns of a row
    cloud: str,
    region: str,
    instance_type: str,
    accelerator: str,
    count: str,
    price: str,
    spot_price: str,
    date: str,
    source: str,
) -> Opinion:
    return Opinion(
        cloud,
        region,
        instance_type,
        accelerator,
        float(count),
        float(price) if price else None,
        float(spot_price) if spot_price else None,
        date,
        source,
    )
