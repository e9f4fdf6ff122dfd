"""Rules that a price must pass before it may be used. Each is a pure function; the registry states their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from sky_melange.domain.offer import Offer, Quarantined
from sky_melange.prices.clouds import AUCTION_CLOUDS, HOME_REGIONS
from sky_melange.prices.opinions import Opinion, Opinions

NEAR_FREE_USD_PER_GPU_HOUR: Final = 0.03
"""Below this no whole GPU of any age is sold: the cheapest real rows are RTX 3060 cards at 0.05."""

LEAST_SPOT_FRACTION: Final = 0.05
"""The deepest real discounts are about 91 % (GCP, Azure), so a spot price under 5 % of on demand is a fault."""

EXACT_RANGE: Final = (0.98, 1.02)
"""Price over a list's price of the same machine in the same region.

The all-in GCP list includes the local SSD of a2-ultragpu and a3, just under 1 %, which catalogs leave out.
"""

LOOSE_RANGE: Final = (0.75, 1.5)
"""Price of one GPU over a list's, where the list knows no regions or machines. Too dear is the lesser fault: the plan
then costs less than it says.
"""

SPOT_FACTOR: Final = 2.0
"""Spot prices move from month to month; only more than this factor below a dated list is called a disagreement."""

LEAST_REGION_FRACTION: Final = 0.75
"""Least price of a machine in a region as a fraction of the dearest home region (or of the median region).

Real regional differences below the home regions stay within 10 % in every catalog at hand.
"""

LEAST_CLOUD_FRACTION: Final = 0.5
"""Least price of a GPU as a fraction of the cheapest other cloud."""

AMBIGUOUS: Final[Mapping[tuple[str, str], str]] = {
    ("vast", "A100"): "Vast sells A100 cards of 40 and of 80 GB under this one name and a launch may get either",
}
"""(cloud, catalog accelerator) that stand for different GPUs, where the launch cannot ask for one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What a rule may compare an offer with: the offers that passed the rules before, and dated price lists."""

    offers: Sequence[Offer]
    opinions: Opinions = field(default_factory=Opinions)


Rule = Callable[[Market], Iterator[tuple[Offer, str]]]
"""Yields the offers that fail, each with the reason in words."""


def free_or_near_free(market: Market) -> Iterator[tuple[Offer, str]]:
    """A GPU for nothing, or for next to nothing, would win every plan; no cloud sells one."""
    for offer in market.offers:
        if _per_gpu(offer) < NEAR_FREE_USD_PER_GPU_HOUR:
            yield offer, f"{_per_gpu(offer):.4f} USD per GPU-hour is next to free"


def auction_reserve(market: Market) -> Iterator[tuple[Offer, str]]:
    """The floor of an auction is not what a machine costs: the market clears above it."""
    for offer in market.offers:
        if offer.cloud in AUCTION_CLOUDS:
            yield offer, AUCTION_CLOUDS[offer.cloud]


def ambiguous_accelerator(market: Market) -> Iterator[tuple[Offer, str]]:
    """One name for GPUs with different memory: the plan could be for the one and the machine the other."""
    for offer in market.offers:
        reason = AMBIGUOUS.get((offer.cloud, offer.catalog_accelerator))
        if reason:
            yield offer, reason


def source_disagreement(market: Market) -> Iterator[tuple[Offer, str]]:
    """An independent list gives another price: one of the two is wrong, and nobody knows which.

    It alone exposes GCP's H100 at 4.20 + 1.18 in us-central1, where the bill says 11.06.
    """
    for offer in market.offers:
        exact = market.opinions.of_machine(offer)
        opinion = exact or market.opinions.of_accelerator(offer)
        if opinion is None:
            continue
        own = offer.price_usd_per_hour if exact else _per_gpu(offer)
        theirs = opinion.spot_price_usd_per_hour if offer.use_spot else opinion.price_usd_per_hour
        if theirs and not _agree(own, theirs, exact is not None, offer.use_spot):
            what = "this machine" if exact else "one such GPU"
            yield offer, f"{own:.2f} USD per hour, but {_source(opinion)} says {theirs:.2f} for {what}"


def below_other_regions(market: Market) -> Iterator[tuple[Offer, str]]:
    """On demand far below the same machine elsewhere in the same cloud: a misread entry, not a bargain.

    The yardstick is the dearer of the median region and the cloud's home regions: where a fault covers most regions
    (GCP H200), the median itself is wrong. Spot prices differ between regions by nature and are not judged.
    """
    prices: dict[tuple[str, ...], list[Offer]] = {}
    for offer in market.offers:
        if not offer.use_spot:
            key = (offer.cloud, offer.instance_type, offer.catalog_accelerator, str(offer.accelerators_per_instance))
            prices.setdefault(key, []).append(offer)
    for offers in prices.values():
        home = [o.price_usd_per_hour for o in offers if o.region in HOME_REGIONS.get(o.cloud, ())]
        yardstick = max([median(offer.price_usd_per_hour for offer in offers), *home])
        for offer in offers:
            if offer.price_usd_per_hour < LEAST_REGION_FRACTION * yardstick and not _confirmed(offer, market.opinions):
                yield (
                    offer,
                    f"{offer.price_usd_per_hour:.4f} USD per hour, {yardstick:.4f} in the cloud's other regions",
                )


def spot_above_on_demand(market: Market) -> Iterator[tuple[Offer, str]]:
    """Spot dearer than on demand: nobody would buy it, so the spot price or the on-demand price is wrong.

    The on-demand price goes too where every spot price of the machine in the region is above it, unless an
    independent list confirms it.
    """
    on_demand = {_machine(offer): offer for offer in market.offers if not offer.use_spot}
    all_above = dict.fromkeys(on_demand, False)
    spots: dict[tuple[str, ...], list[Offer]] = {}
    for offer in market.offers:
        if offer.use_spot:
            spots.setdefault(_machine(offer), []).append(offer)
    for machine, spot_offers in spots.items():
        base = on_demand.get(machine)
        if base is None:
            continue
        above = [offer for offer in spot_offers if offer.price_usd_per_hour > base.price_usd_per_hour]
        all_above[machine] = len(above) == len(spot_offers)
        for offer in above:
            yield offer, f"spot at {offer.price_usd_per_hour:.4f} is above on demand at {base.price_usd_per_hour:.4f}"
    for machine, base in on_demand.items():
        if all_above[machine] and not _confirmed(base, market.opinions):
            yield base, f"on demand at {base.price_usd_per_hour:.4f} is below every spot price of the same machine"


def spot_next_to_nothing(market: Market) -> Iterator[tuple[Offer, str]]:
    """A spot price of a few percent of on demand is a misplaced digit, not a discount."""
    on_demand = {_machine(offer): offer.price_usd_per_hour for offer in market.offers if not offer.use_spot}
    for offer in market.offers:
        base = on_demand.get(_machine(offer)) if offer.use_spot else None
        if base and offer.price_usd_per_hour < LEAST_SPOT_FRACTION * base:
            yield offer, f"spot at {offer.price_usd_per_hour:.4f} is under 5 % of on demand at {base:.4f}"


def below_other_clouds(market: Market) -> Iterator[tuple[Offer, str]]:
    """Less than half of what the cheapest other cloud asks for the same GPU, on demand or spot alike."""
    cheapest: dict[tuple[str, bool], dict[str, float]] = {}
    for offer in market.offers:
        clouds = cheapest.setdefault((offer.accelerator, offer.use_spot), {})
        clouds[offer.cloud] = min(clouds.get(offer.cloud, _per_gpu(offer)), _per_gpu(offer))
    for offer in market.offers:
        clouds = cheapest[offer.accelerator, offer.use_spot]
        others = [(price, cloud) for cloud, price in clouds.items() if cloud != offer.cloud]
        if not others or _confirmed(offer, market.opinions):
            continue
        price, cloud = min(others)
        if _per_gpu(offer) < LEAST_CLOUD_FRACTION * price:
            yield offer, f"{_per_gpu(offer):.4f} USD per GPU-hour; the next cloud, {cloud}, asks {price:.4f}"


PLAUSIBILITY_RULES: Final[tuple[Rule, ...]] = (
    free_or_near_free,
    auction_reserve,
    ambiguous_accelerator,
    source_disagreement,
    below_other_regions,
    spot_above_on_demand,
    spot_next_to_nothing,
    below_other_clouds,
)
"""In order: faults of a single row first, so that what later rules compare with is already free of them."""


def judge(offers: Iterable[Offer], opinions: Opinions) -> tuple[list[Offer], list[Quarantined]]:
    """Divides offers into those that may be used and those that failed a rule. Machines without GPU are not judged."""
    passed = list(offers)
    quarantined: list[Quarantined] = []
    for rule in PLAUSIBILITY_RULES:
        market = Market(offers=[offer for offer in passed if offer.accelerator], opinions=opinions)
        failed = {id(offer): reason for offer, reason in rule(market)}
        quarantined += [
            Quarantined(offer=offer, rule=rule.__name__, reason=failed[id(offer)])
            for offer in passed
            if id(offer) in failed
        ]
        passed = [offer for offer in passed if id(offer) not in failed]
    return passed, quarantined


def _per_gpu(offer: Offer) -> float:
    return offer.price_usd_per_hour / offer.accelerators_per_instance


def _machine(offer: Offer) -> tuple[str, ...]:
    return (offer.cloud, offer.region, offer.instance_type, offer.catalog_accelerator)


def _agree(own: float, theirs: float, exact: bool, use_spot: bool) -> bool:
    if use_spot:
        return own * SPOT_FACTOR >= theirs
    least, most = EXACT_RANGE if exact else LOOSE_RANGE
    return least <= own / theirs <= most


def _confirmed(offer: Offer, opinions: Opinions) -> bool:
    """Whether a list gives the same price for this very machine, or for one such GPU of this cloud."""
    exact = opinions.of_machine(offer)
    opinion = exact or opinions.of_accelerator(offer)
    if opinion is None:
        return False
    own = offer.price_usd_per_hour if exact else _per_gpu(offer)
    theirs = opinion.spot_price_usd_per_hour if offer.use_spot else opinion.price_usd_per_hour
    return theirs is not None and EXACT_RANGE[0] * theirs <= own <= EXACT_RANGE[1] * theirs


def _source(opinion: Opinion) -> str:
    return f"{opinion.source} of {opinion.date}"
