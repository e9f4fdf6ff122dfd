"""What a plausibility rule may compare an offer with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from sky_melange.domain.machine import MachineType
from sky_melange.domain.offer import Offer
from sky_melange.prices.past import Past, Seen
from sky_melange.prices.records import Opinions

EXACT_RANGE: Final = (0.98, 1.02)
"""Price over a list's price of the same machine in the same region.

The all-in GCP list includes the local SSD of a2-ultragpu and a3, just under 1 %, which catalogs leave out.
"""

LOOSE_RANGE: Final = (0.75, 1.5)
"""Price of one GPU over a list's, where the list knows no regions or machines. Too dear is the lesser fault: the plan
then costs less than it says.
"""

CHANGED_RANGE: Final = (0.75, inf)
"""Price over that of a list made before the price was confirmed: prices change.

In the catalogs at hand wrong prices lie below 0.66 of the lists. Whatever rose is believed, since a plan on it cannot
cost more than it says.
"""

LEAST_CUT_FRACTION: Final = 0.5
"""Price over an earlier one that was believed: the deepest real cut at hand is 0.56 (AWS p5, 2025)."""

SPOT_FACTOR: Final = 2.0
"""Spot prices move from month to month; only more than this factor below a dated list is called a disagreement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """The offers that passed the rules before, dated price lists, earlier prices, and what a second source confirms.

    `suspects` are the offers that a rule judges, of the same order: those whose price was not believed before already.
    """

    offers: Sequence[Offer]
    opinions: Opinions = field(default_factory=Opinions)
    past: Past = field(default_factory=Past)
    agreed: Collection[str] = ()
    suspects: Sequence[Offer] | None = None

    @property
    def judged(self) -> Sequence[Offer]:
        """The suspects; all offers where none are named."""
        return self.offers if self.suspects is None else self.suspects

    def on_demand(self) -> dict[tuple[str, MachineType], Offer]:
        """The on-demand offer of each machine and region of a suspect; the dearest where zones differ."""
        found: dict[tuple[str, MachineType], Offer] = {}
        for offer in self.beside():
            if not offer.use_spot:
                key = (offer.region, offer.machine_type)
                known = found.get(key)
                if known is None or known.price_usd_per_hour < offer.price_usd_per_hour:
                    found[key] = offer
        return found

    def beside(self) -> Sequence[Offer]:
        """The offers of the machines and regions of suspects, themselves included."""
        if self.suspects is None:
            return self.offers
        places = {(offer.region, offer.instance_type) for offer in self.suspects}
        return [offer for offer in self.offers if (offer.region, offer.instance_type) in places]

    def confirms(self, offer: Offer) -> bool:
        """Whether a list or a second source gives the same price for this machine, or it was believed before."""
        if offer.name in self.agreed:
            return True
        heard = self.hear(offer)
        if heard is not None and EXACT_RANGE[0] * heard.theirs <= heard.own <= EXACT_RANGE[1] * heard.theirs:
            return True
        seen = self.past.embedded(offer)
        return seen is not None and seen.is_sure and _is_near(offer.price_usd_per_hour, seen)

    def is_cut(self, offer: Offer, listed_usd_per_hour: float) -> bool:
        """Whether a price far below a list's is a cut of one that was believed: no wrong entry that never was right."""
        least = offer.price_usd_per_hour / LEAST_CUT_FRACTION
        last, embedded = self.past.last(offer), self.past.embedded(offer)
        if embedded is not None and embedded.is_sure and embedded.low <= least:
            return True
        return last is not None and last.low <= least and _is_near(listed_usd_per_hour, last)

    def hear(self, offer: Offer) -> Heard | None:
        """What the most exact list says of an offer, None when none does."""
        exact = self.opinions.of_machine(offer)
        opinion = exact or self.opinions.of_accelerator(offer)
        if opinion is None:
            return None
        theirs = opinion.spot_price_usd_per_hour if offer.use_spot else opinion.price_usd_per_hour
        if not theirs:
            return None
        own = offer.price_usd_per_hour if exact else per_gpu(offer)
        return Heard(
            own=own,
            theirs=theirs,
            exact=exact is not None,
            older=offer.provenance.data_date[:10] > opinion.date,
            source=f"{opinion.source} of {opinion.date}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An offer's price and a list's, USD per hour: of the machine where `exact`, else of one GPU.

    `older`: the list was made before the offer's price was last confirmed, so the price may have changed since.
    """

    own: float
    theirs: float
    exact: bool
    older: bool
    source: str


def _is_near(price_usd_per_hour: float, seen: Seen) -> bool:
    return EXACT_RANGE[0] * seen.low <= price_usd_per_hour <= EXACT_RANGE[1] * seen.high


def per_gpu(offer: Offer) -> float:
    """USD per hour of one accelerator of an offer that has some."""
    return offer.price_usd_per_hour / offer.accelerators_per_instance
