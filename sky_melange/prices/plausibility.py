"""Rules that a price must pass before it may be used. Each is a pure function; the registry states their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from math import inf
from statistics import median
from typing import Final, NamedTuple

from sky_melange.domain.machine import MachineType
from sky_melange.domain.offer import SOURCES_DISAGREE, Offer, Quarantined, doubted
from sky_melange.prices.clouds import AUCTION_RESERVES, HOME_REGIONS
from sky_melange.prices.corrections import SURCHARGES, corrected, unconfirmed
from sky_melange.prices.market import (
    CHANGED_RANGE,
    EXACT_RANGE,
    LOOSE_RANGE,
    SPOT_FACTOR,
    Market,
    per_gpu,
)
from sky_melange.prices.past import Past
from sky_melange.prices.records import Opinions
from sky_melange.resources import shipped_rows

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

SNAPSHOT: Final = "snapshot"
"""Source of the embedded prices, whose verdicts are embedded too."""

LEAST_REGIONS: Final = 3
"""So many other regions must sell a machine before its price in one is called wrong for being below theirs."""

LEAST_CLOUD_FRACTION: Final = 0.5
"""Least price of a GPU as a fraction of the cheapest other cloud."""

LEAST_CLOUDS: Final = 2
"""So many other clouds must ask at least twice a price before it is called wrong for being below theirs."""

LEAST_COUNT_FRACTION: Final = 0.52
"""Least price of a GPU in a machine of more of them, as a fraction of the same series with fewer.

In the catalogs at hand sound prices lie above 0.72 (Azure, Verda); one of RunPod's lies at 0.53, where the price of a
single GPU is the wrong one. Two for the price of one are at 0.5.
"""

AMBIGUOUS: Final[Mapping[tuple[str, str], str]] = {
    ("vast", "A100"): "Vast sells A100 cards of 40 and of 80 GB under this one name and a launch may get either",
}
"""(cloud, catalog accelerator) that stand for different GPUs, where the launch cannot ask for one of them."""


class Doubt(NamedTuple):
    """An offer that fails a rule, and why. Without the evidence that the rule names it is kept, with a warning."""

    offer: Offer
    reason: str
    is_proven: bool = True


Rule = Callable[[Market], Iterator[Doubt]]
"""Yields the offers that fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """`passed` may be used; `quarantined` failed a rule or was corrected; `unconfirmed` names some that passed."""

    passed: list[Offer]
    quarantined: list[Quarantined]
    unconfirmed: frozenset[str] = frozenset()


def free_or_near_free(market: Market) -> Iterator[Doubt]:
    """A GPU for nothing, or for next to nothing, would win every plan; no cloud sells one."""
    for offer in market.judged:
        if per_gpu(offer) < NEAR_FREE_USD_PER_GPU_HOUR:
            yield Doubt(offer, f"{per_gpu(offer):.4f} USD per GPU-hour is next to free")


def not_sold_on_demand(market: Market) -> Iterator[Doubt]:
    """A cloud prices what it does not sell on demand. Sold as spot it is another offer, which this rule does not judge.

    Evidence: catalogs/not_on_demand.csv, each row with its source.
    """
    for offer in market.judged:
        sold = "" if offer.use_spot else _how_sold(offer.cloud, offer.instance_type)
        if sold:
            yield Doubt(offer, f"{offer.cloud} prices it and sells it only as {sold}")


def auction_reserve(market: Market) -> Iterator[Doubt]:
    """The floor of an auction is not what a machine costs: the market clears above it. Judged by value.

    Evidence: the highest reserve price that the cloud has listed for one GPU.
    """
    for offer in market.judged:
        reserve = AUCTION_RESERVES.get(offer.cloud)
        if reserve is not None and per_gpu(offer) <= reserve.usd_per_gpu_hour:
            yield Doubt(offer, reserve.reason)


def ambiguous_accelerator(market: Market) -> Iterator[Doubt]:
    """One name for GPUs with different memory: the plan could be for the one and the machine the other."""
    for offer in market.judged:
        reason = AMBIGUOUS.get((offer.cloud, offer.catalog_accelerator))
        if reason:
            yield Doubt(offer, reason)


def other_gpus(market: Market) -> Iterator[Doubt]:
    """A machine type has the GPUs that it always had: Azure's ND96isr_H100_v5 has 8 H100, whatever a row says.

    Evidence: the embedded catalog has the type with one other GPU or number of them.
    """
    for offer in market.judged:
        has = market.past.other_gpus(offer)
        if has:
            says = f"{offer.accelerator}:{offer.accelerators_per_instance}"
            yield Doubt(offer, f"{offer.cloud}: the catalog says {says}, and a {offer.instance_type} has {has}")


def source_disagreement(market: Market) -> Iterator[Doubt]:
    """A dated list gives another price.

    Evidence: the list. Of a list that is older than the price, less than 75 % is refused; a cut of a price that was
    believed before is kept with a warning, down to half of it. It alone exposes GCP's H100 at 4.20 + 1.18 in
    us-central1, where the bill says 11.06.
    """
    for offer in market.judged:
        heard = market.hear(offer)
        if heard is None or offer.name in market.agreed:
            continue
        least, most = CHANGED_RANGE if heard.older else EXACT_RANGE if heard.exact else LOOSE_RANGE
        if SOURCES_DISAGREE in offer.provenance.detail:
            most = inf  # the dearer of two sources was chosen on purpose
        ratio = heard.own / heard.theirs
        agree = ratio * SPOT_FACTOR >= 1 if offer.use_spot else least <= ratio <= most
        if agree:
            continue
        what = "this machine" if heard.exact else "one such GPU"
        reason = f"{heard.own:.2f} USD per hour, but {heard.source} says {heard.theirs:.2f} for {what}"
        listed = heard.theirs * (1 if heard.exact else offer.accelerators_per_instance)
        yield Doubt(offer, reason, not (heard.older and market.is_cut(offer, listed)))


def below_other_regions(market: Market) -> Iterator[Doubt]:
    """On demand far below the same machine elsewhere in the same cloud: a misread entry, not a bargain.

    The yardstick is the dearest of the cloud's home regions, where it is cheapest by custom: a median would itself be
    wrong where a fault covers most regions (GCP H200). Home regions are held against the median, and so is every
    region of a cloud without home regions. A surcharge that the yardstick may contain (Windows) is taken off. Spot
    prices differ between regions by nature and are not judged.

    Evidence: at least three other regions sell the machine.
    """
    machines: dict[MachineType, list[Offer]] = {}
    suspects: dict[MachineType, list[Offer]] = {}
    for offer in market.judged:
        if not offer.use_spot:
            suspects.setdefault(offer.machine_type, []).append(offer)
    types = {offer.instance_type for offer in market.judged}
    for offer in market.offers:
        if not offer.use_spot and offer.instance_type in types:
            machines.setdefault(offer.machine_type, []).append(offer)
    for key, doubtful in suspects.items():
        offers = machines[key]
        homes = HOME_REGIONS.get(key[0], ())
        middle = median(offer.price_usd_per_hour for offer in offers)
        dearest_home = max((o.price_usd_per_hour for o in offers if o.region in homes), default=middle)
        surcharge = SURCHARGES.get(key[0], 0.0) * (offers[0].vcpus or 0.0)
        is_proven = len({offer.region for offer in offers}) > LEAST_REGIONS
        for offer in doubtful:
            yardsticks = [LEAST_REGION_FRACTION * (dearest_home - surcharge)]
            if offer.region in homes:
                yardsticks.append(LEAST_HOME_FRACTION * (middle - surcharge))
            if offer.price_usd_per_hour < max(yardsticks) and not market.confirms(offer):
                elsewhere = max(middle, dearest_home)
                reason = f"{offer.price_usd_per_hour:.4f} USD per hour, but {elsewhere:.4f} in other regions"
                yield Doubt(offer, reason, is_proven)


def below_smaller_machines(market: Market) -> Iterator[Doubt]:
    """A GPU of a machine with more of them at about half the price of one with fewer: n for the price of n/2.

    Spot prices per GPU differ by more than that between sizes; there it is the same price for another number of GPUs,
    which none of some 1,500 spot prices in the catalogs at hand is.

    Evidence: a machine of the same series (its name without the numbers) in the same region, sold the same way.
    """
    ladders: dict[tuple[object, ...], list[Offer]] = {}
    suspects = {id(offer) for offer in market.judged if offer.accelerators_per_instance > 1}
    if not suspects:
        return
    places = {(offer.cloud, offer.region, offer.accelerator) for offer in market.judged}
    for offer in market.offers:
        if (offer.cloud, offer.region, offer.accelerator) in places:
            series = _NUMBERS.sub("#", offer.instance_type)
            key = (offer.cloud, offer.region, offer.accelerator, offer.use_spot, series)
            ladders.setdefault(key, []).append(offer)
    for ladder in ladders.values():
        ladder.sort(key=lambda offer: offer.accelerators_per_instance)
        for offer in ladder:
            if id(offer) not in suspects:
                continue
            smaller = [o for o in ladder if o.accelerators_per_instance < offer.accelerators_per_instance]
            if offer.use_spot:
                price = offer.price_usd_per_hour
                as_dear = [o for o in smaller if abs(o.price_usd_per_hour - price) <= ROUNDING_FRACTION * price]
                cheaper = as_dear[0] if as_dear else None
            else:
                cheaper = min(smaller, key=per_gpu, default=None)
                if cheaper is not None and per_gpu(offer) > LEAST_COUNT_FRACTION * per_gpu(cheaper):
                    cheaper = None
            if cheaper is not None and not market.confirms(offer):
                counts = f"{offer.accelerators_per_instance} GPUs for {offer.price_usd_per_hour:.4f} USD per hour"
                yield Doubt(offer, f"{counts}, but {cheaper.instance_type} has {_counted(cheaper)}")


def spot_above_on_demand(market: Market) -> Iterator[Doubt]:
    """Spot dearer than on demand: nobody would buy it, so the spot price or the on-demand price is wrong.

    Equal prices have a rule of their own. The on-demand price goes too where every spot price of the machine in the
    region is above it, unless a list, a second source or an earlier price confirms it.
    """
    on_demand = market.on_demand()
    suspects = {id(offer) for offer in market.judged}
    all_above = dict.fromkeys(on_demand, False)
    spots: dict[tuple[str, MachineType], list[Offer]] = {}
    for offer in market.beside():
        if offer.use_spot:
            spots.setdefault((offer.region, offer.machine_type), []).append(offer)
    for key, spot_offers in spots.items():
        base = on_demand.get(key)
        if base is None:
            continue
        highest = base.price_usd_per_hour * (1 + ROUNDING_FRACTION)
        above = [offer for offer in spot_offers if offer.price_usd_per_hour > highest]
        all_above[key] = len(above) == len(spot_offers)
        for offer in above:
            price, on_demand_price = offer.price_usd_per_hour, base.price_usd_per_hour
            if id(offer) in suspects or id(base) in suspects:
                yield Doubt(offer, f"spot at {price:.4f} is above on demand at {on_demand_price:.4f}")
    for key, base in on_demand.items():
        if all_above[key] and id(base) in suspects and not market.confirms(base):
            price = base.price_usd_per_hour
            yield Doubt(base, f"on demand at {price:.4f} is below every spot price of the same machine")


def spot_equal_to_on_demand(market: Market) -> Iterator[Doubt]:
    """Spot at the on-demand price: filled in for want of a spot price, or it buys interruptions for nothing.

    The on-demand price is not doubted.
    """
    for offer, base in _spot_pairs(market):
        if offer.price_usd_per_hour >= base.price_usd_per_hour * (1 - ROUNDING_FRACTION):
            yield Doubt(offer, f"spot at {offer.price_usd_per_hour:.4f} costs what on demand costs: no discount")


def spot_next_to_nothing(market: Market) -> Iterator[Doubt]:
    """A spot price of a few percent of on demand is a misplaced digit, not a discount."""
    for offer, base in _spot_pairs(market):
        if offer.price_usd_per_hour < LEAST_SPOT_FRACTION * base.price_usd_per_hour:
            price, full_price = offer.price_usd_per_hour, base.price_usd_per_hour
            yield Doubt(offer, f"spot at {price:.4f} is under 5 % of on demand at {full_price:.4f}")


def _spot_pairs(market: Market) -> Iterator[tuple[Offer, Offer]]:
    """Spot offers with the on-demand offer of the same machine, where either is judged."""
    on_demand = market.on_demand()
    judged = {id(offer) for offer in market.judged}
    for offer in market.beside():
        base = on_demand.get((offer.region, offer.machine_type)) if offer.use_spot else None
        if base is not None and (id(offer) in judged or id(base) in judged):
            yield offer, base


def below_other_clouds(market: Market) -> Iterator[Doubt]:
    """Less than half of what the cheapest other cloud asks for the same GPU, on demand or spot alike.

    Evidence: at least two other clouds sell it. With one it is unknown which of the two is wrong.
    """
    judged = market.judged
    wanted = {(offer.accelerator, offer.use_spot) for offer in judged}
    cheapest: dict[tuple[str, bool], dict[str, float]] = {key: {} for key in wanted}
    for offer in market.offers:
        clouds = cheapest.get((offer.accelerator, offer.use_spot))
        if clouds is not None:
            clouds[offer.cloud] = min(clouds.get(offer.cloud, per_gpu(offer)), per_gpu(offer))
    # The two cheapest clouds of a GPU are all that its offers can be compared with.
    lowest = {key: sorted((price, cloud) for cloud, price in clouds.items())[:2] for key, clouds in cheapest.items()}
    for offer in judged:
        key = (offer.accelerator, offer.use_spot)
        others = [entry for entry in lowest[key] if entry[1] != offer.cloud]
        if not others:
            continue
        price, cloud = others[0]
        if per_gpu(offer) < LEAST_CLOUD_FRACTION * price and not market.confirms(offer):
            is_proven = len(cheapest[key]) > LEAST_CLOUDS
            reason = f"{per_gpu(offer):.4f} USD per GPU-hour; the next cloud, {cloud}, asks {price:.4f}"
            yield Doubt(offer, reason, is_proven)


PLAUSIBILITY_RULES: Final[tuple[Rule, ...]] = (
    free_or_near_free,
    not_sold_on_demand,
    auction_reserve,
    ambiguous_accelerator,
    other_gpus,
    source_disagreement,
    below_other_regions,
    below_smaller_machines,
    spot_above_on_demand,
    spot_equal_to_on_demand,
    spot_next_to_nothing,
    below_other_clouds,
)
"""In order: faults of a single row first, so that what later rules compare with is already free of them."""


def judge(
    offers: Iterable[Offer], opinions: Opinions, past: Past | None = None, agreed: Collection[str] = ()
) -> Judged:
    """Divides offers into those that may be used and those that may not.

    Of machines without GPU only jumps are judged.

    What was believed when it was embedded is believed. Prices that moved too far, and known surcharges, are replaced by
    the price of before: the offer is quarantined as the catalog has it, and passes at the earlier price. `agreed` names
    offers that a second source confirms.
    """
    past = past or Past()
    plain: list[Offer] = []
    believed: list[Offer] = []
    suspects: list[Offer] = []
    plain_suspects: list[Offer] = []
    quarantined: list[Quarantined] = []
    for offer in offers:
        if past.believes(offer):
            (believed if offer.accelerator else plain).append(offer)
            continue
        verdict = past.verdict(offer) if offer.provenance.source == SNAPSHOT else None
        if verdict is None:
            (suspects if offer.accelerator else plain_suspects).append(offer)
        elif verdict.rule:
            quarantined.append(Quarantined(offer=offer, rule=verdict.rule, reason=verdict.reason))
        else:
            (believed if offer.accelerator else plain).append(doubted(offer, verdict.reason))
    if plain_suspects:
        unmoved = corrected(Market(offers=plain_suspects, opinions=opinions, past=past, agreed=agreed))
        plain += unmoved.suspects
        quarantined += unmoved.quarantined
    if not suspects:
        names = past.unconfirmed & {offer.name for offer in believed}
        return Judged(passed=[*plain, *believed], quarantined=quarantined, unconfirmed=names)

    def market() -> Market:
        return Market(
            offers=[*believed, *suspects], opinions=opinions, past=past, agreed=agreed, suspects=tuple(suspects)
        )

    first = corrected(market())
    suspects = first.suspects
    quarantined += first.quarantined
    for rule in PLAUSIBILITY_RULES:
        found = {id(doubt.offer): doubt for doubt in rule(market())}
        if found:
            believed, failed = _apply(rule, believed, found)
            suspects, others = _apply(rule, suspects, found)
            quarantined += [*failed, *others]
    names = frozenset(offer.name for offer in unconfirmed(market()))
    return Judged(passed=[*plain, *believed, *suspects], quarantined=quarantined, unconfirmed=names)


def _apply(rule: Rule, offers: Iterable[Offer], found: Mapping[int, Doubt]) -> tuple[list[Offer], list[Quarantined]]:
    """The offers that pass, with a word on what speaks against them, and those that do not."""
    passed: list[Offer] = []
    failed: list[Quarantined] = []
    for offer in offers:
        doubt = found.get(id(offer))
        if doubt is None:
            passed.append(offer)
        elif doubt.is_proven:
            failed.append(Quarantined(offer=offer, rule=rule.__name__, reason=doubt.reason))
        else:
            passed.append(doubted(offer, f"{offer.cloud}: {doubt.reason}"))
    return passed, failed


def _counted(offer: Offer) -> str:
    return f"{offer.accelerators_per_instance} for {offer.price_usd_per_hour:.4f}"


_NUMBERS: Final = re.compile(r"\d+")


@cache
def _not_on_demand() -> list[dict[str, str]]:
    return shipped_rows("catalogs", "not_on_demand.csv")


@cache
def _how_sold(cloud: str, instance_type: str) -> str:
    """How a machine is sold that is not sold on demand; "" for all others."""
    for row in _not_on_demand():
        if row["cloud"] == cloud and fnmatchcase(instance_type, row["instance_type_pattern"]):
            return row["sold_as"]
    return ""
