"""Rules that a price must pass before it may be used. Each is a pure function; the registry states their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import median
from typing import Final

from sky_melange.domain.offer import Offer, Quarantined
from sky_melange.prices.clouds import AUCTION_CLOUDS, HOME_REGIONS
from sky_melange.prices.market import CHANGED_RANGE, EXACT_RANGE, LOOSE_RANGE, SPOT_FACTOR, Market, machine, per_gpu
from sky_melange.prices.opinions import Opinions

NEAR_FREE_USD_PER_GPU_HOUR: Final = 0.03
"""Below this no whole GPU of any age is sold: the cheapest real rows are RTX 3060 cards at 0.05."""

ROUNDING_FRACTION: Final = 0.001
"""Spot prices are rounded to fewer digits than on-demand prices (AWS: 20.0281 and 20.02805): that is no difference."""

LEAST_SPOT_FRACTION: Final = 0.05
"""The deepest real discounts are about 91 % (GCP, Azure), so a spot price under 5 % of on demand is a fault."""

LEAST_REGION_FRACTION: Final = 0.8
"""Least price of a machine in a region as a fraction of the cloud's home regions.

In the catalogs at hand sound prices lie above 0.9 of them and wrong ones below 0.72.
"""

LEAST_HOME_FRACTION: Final = 0.6
"""Least price in a home region as a fraction of the median region. Azure's median is 30 % above eastus throughout."""

LEAST_CLOUD_FRACTION: Final = 0.5
"""Least price of a GPU as a fraction of the cheapest other cloud."""

AMBIGUOUS: Final[Mapping[tuple[str, str], str]] = {
    ("vast", "A100"): "Vast sells A100 cards of 40 and of 80 GB under this one name and a launch may get either",
}
"""(cloud, catalog accelerator) that stand for different GPUs, where the launch cannot ask for one of them."""


Rule = Callable[[Market], Iterator[tuple[Offer, str]]]
"""Yields the offers that fail, each with the reason in words."""


def free_or_near_free(market: Market) -> Iterator[tuple[Offer, str]]:
    """A GPU for nothing, or for next to nothing, would win every plan; no cloud sells one."""
    for offer in market.offers:
        if per_gpu(offer) < NEAR_FREE_USD_PER_GPU_HOUR:
            yield offer, f"{per_gpu(offer):.4f} USD per GPU-hour is next to free"


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
        heard = market.hear(offer)
        if heard is None:
            continue
        least, most = CHANGED_RANGE if heard.older else EXACT_RANGE if heard.exact else LOOSE_RANGE
        agree = heard.own * SPOT_FACTOR >= heard.theirs if offer.use_spot else least <= heard.own / heard.theirs <= most
        if not agree:
            what = "this machine" if heard.exact else "one such GPU"
            yield offer, f"{heard.own:.2f} USD per hour, but {heard.source} says {heard.theirs:.2f} for {what}"


def below_other_regions(market: Market) -> Iterator[tuple[Offer, str]]:
    """On demand far below the same machine elsewhere in the same cloud: a misread entry, not a bargain.

    The yardstick is the dearest of the cloud's home regions, where it is cheapest by custom: a median would itself be
    wrong where a fault covers most regions (GCP H200). Home regions are held against the median, and so is every
    region of a cloud without home regions. Spot prices differ between regions by nature and are not judged.
    """
    machines: dict[tuple[str, ...], list[Offer]] = {}
    for offer in market.offers:
        if not offer.use_spot:
            machines.setdefault(machine(offer), []).append(offer)
    for (cloud, *_), offers in machines.items():
        homes = HOME_REGIONS.get(cloud, ())
        middle = median(offer.price_usd_per_hour for offer in offers)
        dearest_home = max((o.price_usd_per_hour for o in offers if o.region in homes), default=middle)
        for offer in offers:
            home = offer.region in homes
            yardsticks = [LEAST_REGION_FRACTION * dearest_home, *([LEAST_HOME_FRACTION * middle] if home else [])]
            if offer.price_usd_per_hour < max(yardsticks) and not market.confirms(offer):
                elsewhere = max(middle, dearest_home)
                yield offer, f"{offer.price_usd_per_hour:.4f} USD per hour, but {elsewhere:.4f} in other regions"


def spot_above_on_demand(market: Market) -> Iterator[tuple[Offer, str]]:
    """Spot dearer than on demand: nobody would buy it, so the spot price or the on-demand price is wrong.

    Equal prices have a rule of their own. The on-demand price goes too where every spot price of the machine in the
    region is above it, unless an independent list confirms it.
    """
    on_demand = market.on_demand()
    all_above = dict.fromkeys(on_demand, False)
    spots: dict[tuple[str, ...], list[Offer]] = {}
    for offer in market.offers:
        if offer.use_spot:
            spots.setdefault((offer.region, *machine(offer)), []).append(offer)
    for key, spot_offers in spots.items():
        base = on_demand.get(key)
        if base is None:
            continue
        highest = base.price_usd_per_hour * (1 + ROUNDING_FRACTION)
        above = [offer for offer in spot_offers if offer.price_usd_per_hour > highest]
        all_above[key] = len(above) == len(spot_offers)
        for offer in above:
            yield offer, f"spot at {offer.price_usd_per_hour:.4f} is above on demand at {base.price_usd_per_hour:.4f}"
    for key, base in on_demand.items():
        if all_above[key] and not market.confirms(base):
            yield base, f"on demand at {base.price_usd_per_hour:.4f} is below every spot price of the same machine"


def spot_equal_to_on_demand(market: Market) -> Iterator[tuple[Offer, str]]:
    """Spot at the on-demand price: filled in for want of a spot price, or it buys interruptions for nothing.

    The on-demand price is not doubted.
    """
    on_demand = market.on_demand()
    for offer in market.offers:
        base = on_demand.get((offer.region, *machine(offer))) if offer.use_spot else None
        if base and offer.price_usd_per_hour >= base.price_usd_per_hour * (1 - ROUNDING_FRACTION):
            yield offer, f"spot at {offer.price_usd_per_hour:.4f} costs what on demand costs: no discount"


def spot_next_to_nothing(market: Market) -> Iterator[tuple[Offer, str]]:
    """A spot price of a few percent of on demand is a misplaced digit, not a discount."""
    on_demand = market.on_demand()
    for offer in market.offers:
        base = on_demand.get((offer.region, *machine(offer))) if offer.use_spot else None
        if base and offer.price_usd_per_hour < LEAST_SPOT_FRACTION * base.price_usd_per_hour:
            price, full_price = offer.price_usd_per_hour, base.price_usd_per_hour
            yield offer, f"spot at {price:.4f} is under 5 % of on demand at {full_price:.4f}"


def below_other_clouds(market: Market) -> Iterator[tuple[Offer, str]]:
    """Less than half of what the cheapest other cloud asks for the same GPU, on demand or spot alike."""
    cheapest: dict[tuple[str, bool], dict[str, float]] = {}
    for offer in market.offers:
        clouds = cheapest.setdefault((offer.accelerator, offer.use_spot), {})
        clouds[offer.cloud] = min(clouds.get(offer.cloud, per_gpu(offer)), per_gpu(offer))
    # The two cheapest clouds of a GPU are all that its offers can be compared with.
    lowest = {key: sorted((price, cloud) for cloud, price in clouds.items())[:2] for key, clouds in cheapest.items()}
    for offer in market.offers:
        others = [entry for entry in lowest[offer.accelerator, offer.use_spot] if entry[1] != offer.cloud]
        if not others:
            continue
        price, cloud = others[0]
        if per_gpu(offer) < LEAST_CLOUD_FRACTION * price and not market.confirms(offer):
            yield offer, f"{per_gpu(offer):.4f} USD per GPU-hour; the next cloud, {cloud}, asks {price:.4f}"


PLAUSIBILITY_RULES: Final[tuple[Rule, ...]] = (
    free_or_near_free,
    auction_reserve,
    ambiguous_accelerator,
    source_disagreement,
    below_other_regions,
    spot_above_on_demand,
    spot_equal_to_on_demand,
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
