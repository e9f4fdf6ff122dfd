"""What was believed of a price before: when the embedded prices were built, and by the last runs on this machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sky_melange.domain.offer import Offer
from sky_melange.prices.last_believed import BelievedPrices, machine_key
from sky_melange.prices.source import CatalogOffers
from sky_melange.resources import data_path
from sky_melange.untrusted import own_json

FILE: Final = "judged.json"
"""Below catalogs/prices/; `scripts/judge_catalogs.py` writes it.

`believed`: cloud -> machine -> [date, {region: [cheapest and dearest on demand, cheapest and dearest spot]}].
`quarantined`: offer name -> [price, rule, reason]; rule "" where it is used all the same. `unconfirmed`: names.
"""

_ABOVE: Final = 1 + 1e-6
"""Prices that differ by less are one price, written in two ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one witness says a machine cost in a region: USD per hour in its cheapest and its dearest zone.

    Unless `is_sure` the price was in doubt then: it tells a jump, and confirms nothing.
    """

    low: float
    high: float
    date: str
    source: str
    is_sure: bool = True

    @property
    def text(self) -> str:
        """`8.7800 in the last good copy of 2026-11-20`."""
        return f"{self.high:.4f} in {self.source} of {self.date[:10] or 'unknown date'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What speaks against an embedded price; with `rule` "" it is used all the same."""

    price_usd_per_hour: float
    rule: str
    reason: str


_Ranges = Mapping[str, Sequence[float | None]]
"""Region -> cheapest and dearest on demand, cheapest and dearest spot; USD per hour."""

_Machines = Mapping[str, tuple[str, _Ranges]]
"""Machine -> date and ranges."""


_NOTHING: Final[_Machines] = {}


class Past:
    """The witnesses of one judgement. Without arguments there are none."""

    def __init__(
        self,
        believed: Mapping[str, _Machines] | None = None,
        verdicts: Mapping[str, Verdict] | None = None,
        unconfirmed: Collection[str] = (),
        last: Callable[[str], BelievedPrices] = lambda _: BelievedPrices(),
    ) -> None:
        self._believed = believed or {}
        self._verdicts = verdicts or {}
        self.unconfirmed = frozenset(unconfirmed)
        self._in_doubt = {_place(name) for name, verdict in self._verdicts.items() if not verdict.rule}
        self._counts: dict[str, dict[str, tuple[str, ...]]] = {}
        self._least: dict[str, dict[tuple[str, bool], tuple[float, str]]] = {}
        self._last = last

    def with_last(self, last: Callable[[str], BelievedPrices]) -> Past:
        """The same, and what the last runs believed of each cloud."""
        return Past(self._believed, self._verdicts, self.unconfirmed, last)

    def believes(self, offer: Offer) -> bool:
        """Whether this very price was believed when it was embedded. Asked of every offer of every catalog."""
        if self._is_in_doubt(offer):
            return False
        entry = self._believed.get(offer.cloud, _NOTHING).get(machine_key(offer))
        row = entry[1].get(offer.region) if entry is not None else None
        if row is None:
            return False
        low, high = (row[2], row[3]) if offer.use_spot else (row[0], row[1])
        price = offer.price_usd_per_hour
        return low is not None and high is not None and low <= price * _ABOVE and price <= high * _ABOVE

    def _is_in_doubt(self, offer: Offer) -> bool:
        return (offer.cloud, offer.region, offer.instance_type, offer.use_spot) in self._in_doubt

    def knows(self, cloud: str) -> bool:
        """Whether any price of a cloud is embedded."""
        return cloud in self._believed

    def embedded(self, offer: Offer) -> Seen | None:
        """What the embedded prices say of this machine in this region; None where none was believed."""
        return _seen(self._believed.get(offer.cloud), offer, "the embedded prices", not self._is_in_doubt(offer))

    def other_gpus(self, offer: Offer) -> str:
        """What the machine has by the embedded catalog, `H100:8`, where the offer says otherwise; "" where it does not.

        Machines that are sold with GPUs of choice have no count of their own.
        """
        counts = self._counts.get(offer.cloud)
        if counts is None:
            counts = self._counts[offer.cloud] = {}
            for key in self._believed.get(offer.cloud, _NOTHING):
                name, _, contents = key.rpartition("|")
                counts[name] = (*counts.get(name, ()), contents)
        has = counts.get(offer.instance_type, ())
        own = f"{offer.accelerator}:{offer.accelerators_per_instance}"
        return has[0] if len(has) == 1 and has[0] != own else ""

    def last(self, offer: Offer) -> Seen | None:
        """What the last runs believed."""
        row = self._last(offer.cloud).row(machine_key(offer), offer.region, use_spot=offer.use_spot)
        if row is None:
            return None
        return Seen(low=row.low, high=row.high, date=row.date, source="the last good copy", is_sure=row.is_sure)

    def newest(self, offer: Offer) -> Seen | None:
        """The witness of this machine in this region: what the last runs believed for sure, else what is embedded."""
        last = self.last(offer)
        return last if last is not None and last.is_sure else self.embedded(offer) or last

    def elsewhere(self, offer: Offer) -> Seen | None:
        """What the embedded prices say of this machine in any region."""
        entry = self._believed.get(offer.cloud, {}).get(machine_key(offer))
        if entry is None:
            return None
        at = 2 if offer.use_spot else 0
        found = [(row[at], row[at + 1]) for row in entry[1].values() if row[at] is not None]
        if not found:
            return None
        low, high = min(low for low, _ in found), max(high for _, high in found)  # type: ignore[type-var]
        return Seen(low=low, high=high, date=entry[0], source="other regions of the embedded prices")  # type: ignore[arg-type]

    def other_machines(self, offer: Offer) -> Seen | None:
        """What as many such GPUs cost, by the embedded prices, in the cloud's machines that ask least for one."""
        known = self._least.get(offer.cloud)
        if known is None:
            known = self._least[offer.cloud] = _least_of_one(self._believed.get(offer.cloud, _NOTHING))
        found = known.get((offer.accelerator, offer.use_spot))
        if found is None:
            return None
        price = found[0] * offer.accelerators_per_instance
        return Seen(low=price, high=price, date=found[1], source="other machines of the embedded prices")

    def is_new(self, offer: Offer) -> bool:
        """Whether the embedded prices have no such GPU in this cloud, though they have prices."""
        return bool(self._believed) and self.other_machines(offer) is None

    def verdict(self, offer: Offer) -> Verdict | None:
        """What spoke against this very price when it was embedded; None when nothing did, or it is another price."""
        found = self._verdicts.get(offer.name)
        if found is None or abs(found.price_usd_per_hour - offer.price_usd_per_hour) > 1e-9:
            return None
        return found

    def lost(self, catalog: CatalogOffers) -> tuple[int, int, tuple[str, ...]]:
        """How many on-demand prices were believed last, how many are gone, and accelerators that are gone."""
        before = {
            (key, region)
            for key, regions in self._last(catalog.cloud).machines.items()
            if _accelerator(key)
            for region, rows in regions.items()
            if rows[0] is not None
        }
        if not before:
            return 0, 0, ()
        now = {(machine_key(o), o.region) for o in catalog.offers if o.accelerator and not o.use_spot}
        gone = {_accelerator(key) for key, _ in before} - {_accelerator(key) for key, _ in now}
        return len(before), len(before - now), tuple(sorted(gone))

    def lacking(self, catalog: CatalogOffers) -> tuple[int, int]:
        """How many kinds of GPU machine are embedded, and how many of them the catalog lacks."""
        known = {key for key in self._believed.get(catalog.cloud, _NOTHING) if _accelerator(key)}
        return len(known), len(known - {machine_key(offer) for offer in catalog.offers if offer.accelerator})

    def other_cloud(self, catalog: CatalogOffers) -> str | None:
        """The cloud whose catalog this is, by its machines, where it is not the one that it was asked for."""
        machines = {machine_key(offer) for offer in catalog.offers if offer.accelerator}
        if machines & self._believed.get(catalog.cloud, {}).keys():
            return None
        shares = {cloud: len(machines & known.keys()) for cloud, known in self._believed.items()}
        most = max(shares, key=lambda cloud: (shares[cloud], cloud), default="")
        return most if most and shares[most] * 2 >= len(machines) > 0 else None


@cache
def embedded_past() -> Past:
    """What this release believes of its own prices. Raises MissingDataError when the installation lacks it."""
    document: Mapping[str, Any] = own_json(data_path("catalogs", "prices", FILE).read_bytes())
    verdicts = {
        name: Verdict(price_usd_per_hour=price, rule=rule, reason=reason)
        for name, (price, rule, reason) in document["quarantined"].items()
    }
    return Past(document["believed"], verdicts, document["unconfirmed"])


def ranges_of(offers: Iterable[Offer]) -> dict[str, tuple[str, dict[str, list[float | None]]]]:
    """Machine -> date and prices by region, of the offers of one cloud."""
    found: dict[str, tuple[str, dict[str, list[float | None]]]] = {}
    for offer in offers:
        date, regions = found.setdefault(machine_key(offer), (offer.provenance.fetched_at, {}))
        row = regions.setdefault(offer.region, [None, None, None, None])
        at = 2 if offer.use_spot else 0
        low, high, price = row[at], row[at + 1], offer.price_usd_per_hour
        row[at] = price if low is None else min(low, price)
        row[at + 1] = price if high is None else max(high, price)
        if offer.provenance.fetched_at < date:
            found[machine_key(offer)] = (offer.provenance.fetched_at, regions)
    return found


def _least_of_one(machines: _Machines) -> dict[tuple[str, bool], tuple[float, str]]:
    """(accelerator, spot) -> the least price of one GPU, USD per hour, and its date."""
    found: dict[tuple[str, bool], tuple[float, str]] = {}
    for key, (date, regions) in machines.items():
        accelerator, _, count = key.rpartition("|")[2].partition(":")
        for row in regions.values() if accelerator else ():
            for use_spot, low in ((False, row[0]), (True, row[2])):
                if low is not None:
                    one = (low / int(count), date)
                    found[accelerator, use_spot] = min(one, found.get((accelerator, use_spot), one))
    return found


def _place(name: str) -> tuple[str, str, str, bool]:
    """Cloud, region, instance type and whether it is spot, of an offer's name."""
    parts = name.split("/")
    instance_type, _, market = parts[-1].partition(":")
    return parts[0], parts[1], instance_type, market == "spot"


def _accelerator(key: str) -> str:
    return key.rpartition("|")[2].partition(":")[0]


def _seen(machines: _Machines | None, offer: Offer, source: str, is_sure: bool = True) -> Seen | None:
    if machines is None:
        return None
    entry = machines.get(machine_key(offer))
    if entry is None:
        return None
    row = entry[1].get(offer.region)
    if row is None:
        return None
    low, high = (row[2], row[3]) if offer.use_spot else (row[0], row[1])
    if low is None or high is None:
        return None
    return Seen(low=low, high=high, date=entry[0], source=source, is_sure=is_sure)
