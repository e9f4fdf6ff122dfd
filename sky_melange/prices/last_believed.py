"""What the last runs on this machine believed of each cloud's prices, so that no fault becomes its own witness.

The copies of catalogs in the cache are what servers sent, faults included. Here is only what passed the judgement, with
the day on which it last did.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from sky_melange.domain.ages import iso_utc
from sky_melange.domain.offer import IN_DOUBT, NEW, Offer
from sky_melange.prices.kept_files import KeptFiles
from sky_melange.untrusted import json_or_none

KEPT_FOR: Final = timedelta(days=7)
"""For how long the price of a machine that the catalog no longer has is remembered."""


class Row(NamedTuple):
    """USD per hour in the cheapest and the dearest zone, and when a catalog last said so (ISO 8601, UTC).

    `is_sure`: nothing spoke against it then.
    """

    low: float
    high: float
    date: str
    is_sure: bool


Regions = Mapping[str, Sequence[Row | None]]
"""Region -> on demand, spot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BelievedPrices:
    """The prices of one cloud by machine (`machine_key`), and the day on which they were noted."""

    day: str = ""
    machines: Mapping[str, Regions] = field(default_factory=dict)

    def row(self, machine: str, region: str, *, use_spot: bool) -> Row | None:
        """What was believed of a machine in a region."""
        rows = self.machines.get(machine, {}).get(region)
        return None if rows is None else rows[use_spot]

    def with_run(
        self, passed: Iterable[Offer], quarantined: Iterable[Offer], unconfirmed: Collection[str], now: datetime
    ) -> BelievedPrices:
        """What is believed after a run that judged the offers of one cloud.

        A price that passed in doubt, or that nothing confirms, replaces nothing. What was believed of an offer that is
        quarantined now stays.
        """
        found: dict[tuple[str, str, bool], Row] = {}
        for offer in passed:
            key = (machine_key(offer), offer.region, offer.use_spot)
            price, date = offer.price_usd_per_hour, offer.provenance.fetched_at
            doubts = offer.provenance.detail.replace(f"{IN_DOUBT}{NEW}", "")
            is_sure = IN_DOUBT not in doubts and offer.name not in unconfirmed
            known = found.get(key) or Row(price, price, date, is_sure)
            found[key] = Row(
                min(price, known.low), max(price, known.high), min(date, known.date), is_sure and known.is_sure
            )
        refused = {(machine_key(offer), offer.region, offer.use_spot) for offer in quarantined}
        oldest = iso_utc(now - KEPT_FOR)
        for machine, regions in self.machines.items():
            for region, rows in regions.items():
                for use_spot, row in zip((False, True), rows, strict=True):
                    key = (machine, region, use_spot)
                    if row is None:
                        continue
                    new = found.get(key)
                    is_kept = not new.is_sure if new else (key in refused or row.date >= oldest)
                    if is_kept:
                        found[key] = row
        machines: dict[str, dict[str, list[Row | None]]] = {}
        for (machine, region, use_spot), row in sorted(found.items()):
            machines.setdefault(machine, {}).setdefault(region, [None, None])[use_spot] = row
        return BelievedPrices(day=iso_utc(now)[:10], machines=machines)


class LastBelieved:
    """What is kept in the cache folder. `origin` says where prices come from: other addresses have other prices."""

    def __init__(self, folder: Path, origin: Sequence[str]) -> None:
        self._files = KeptFiles(folder / "believed-1")
        self._suffix = hashlib.sha256(json.dumps(list(origin)).encode()).hexdigest()[:24]
        self._read: dict[str, BelievedPrices] = {}

    def of(self, cloud: str) -> BelievedPrices:
        """What was believed of a cloud; nothing where no run noted it, or the file is damaged."""
        if cloud not in self._read:
            self._read[cloud] = _parse(self._files.read(self._name(cloud)))
        return self._read[cloud]

    def note(self, cloud: str, prices: BelievedPrices) -> None:
        """Keeps what is believed now. Raises OSError when the disk refuses."""
        if prices != self.of(cloud):
            value = json.dumps({"day": prices.day, "machines": prices.machines})
            self._files.write(self._name(cloud), value.encode())

    def _name(self, cloud: str) -> str:
        return f"{cloud}-{self._suffix}.json"


def machine_key(offer: Offer) -> str:
    """What is sold, within a cloud: `p5.48xlarge|H100:8`."""
    return f"{offer.instance_type}|{offer.accelerator}:{offer.accelerators_per_instance}"


def _parse(content: bytes | None) -> BelievedPrices:
    if content is None:
        return BelievedPrices()
    try:
        document = json_or_none(content)
        machines = {
            str(machine): {str(region): tuple(_row(row) for row in rows[:2]) for region, rows in regions.items()}
            for machine, regions in document["machines"].items()
        }
        if any(len(rows) != 2 for regions in machines.values() for rows in regions.values()):
            return BelievedPrices()
        return BelievedPrices(day=str(document["day"]), machines=machines)
    except (ValueError, TypeError, KeyError, AttributeError):
        return BelievedPrices()


def _row(row: Any) -> Row | None:
    if row is None:
        return None
    low, high, date, is_sure = row
    if not (0 <= low <= high < float("inf")):
        raise ValueError("no price")
    return Row(float(low), float(high), str(date), bool(is_sure))
