"""Prices that an earlier price shows to be wrong, and by what: a known surcharge, or a jump that no market makes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sky_melange.domain.machine import MachineType
from sky_melange.domain.offer import NEW, Offer, PriceProvenance, Quarantined, doubted
from sky_melange.prices.market import Market, per_gpu
from sky_melange.prices.past import Seen

SURCHARGES: Final[Mapping[str, float]] = {"azure": 0.046}
"""USD per vCPU-hour of the Windows licence, which Azure's catalogs have contained by mistake.

Exact in all 139 rows of 32 GPU machine types in the catalog of 2026-05-01 that differ from those before and after it.
Spot prices contain the licence at the discount of the machine, so there their quotient is exact.
"""

EXACT_USD: Final = 0.001
SPOT_QUOTIENT_FRACTION: Final = 3e-4
"""How exactly a price less the licence, or a quotient of spot prices, agrees. In a clean catalog 5 of 829 prices differ
by the licence from another region's, so that alone is no proof.
"""

JUMP_FACTOR: Final = 4.0
"""An on-demand price that changed by more is a misplaced point or another unit. The largest real changes at hand: AWS
p5 by 1.8, Lambda by 1.5.
"""

SPOT_JUMP_FACTOR: Final = 8.0

UNIFORM_FACTOR: Final = 2.0
UNIFORM_SHARE: Final = 0.5
UNIFORM_LEAST: Final = 3
UNIFORM_FRACTION: Final = 0.02
"""More than half of a cloud's on-demand prices, and at least three, changed by one factor of more than 2."""

FALL_FRACTION: Final = 0.02
SPOT_FALL_FRACTION: Final = 0.5
"""A fall by more is used and reported."""

WINDOWS: Final = "windows_licence"
MOVED: Final = "moved_too_far"


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """The suspects that go on, some at an earlier price, and what the catalog said of those."""

    suspects: list[Offer]
    quarantined: list[Quarantined]


def corrected(market: Market) -> Corrected:
    """Judges the suspects by their own earlier prices."""
    sound: list[Offer] = []
    kept: list[Offer] = []
    quarantined: list[Quarantined] = []
    uniform = _uniform_factors(market)
    for offer in market.judged:
        found = _windows(offer, market) or _moved(offer, market, uniform.get(offer.cloud))
        if found is None:
            sound.append(offer)
            continue
        quarantined.append(Quarantined(offer=offer, rule=found.rule, reason=found.reason))
        if found.instead is not None:
            kept.append(_at(offer, found.instead, f"{found.reason}; the earlier price is used"))
    return Corrected(suspects=[*_reported(sound, market), *kept], quarantined=quarantined)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    rule: str
    reason: str
    instead: Seen | None


def _at(offer: Offer, seen: Seen, reason: str) -> Offer:
    earlier = replace(
        offer,
        price_usd_per_hour=seen.high,
        provenance=PriceProvenance(
            source=offer.provenance.source, detail=offer.provenance.detail, fetched_at=seen.date
        ),
    )
    return doubted(earlier, reason)


def _windows(offer: Offer, market: Market) -> _Fault | None:
    rate = SURCHARGES.get(offer.cloud)
    if rate is None or not offer.vcpus or offer.name in market.agreed:
        return None
    licence, price = rate * offer.vcpus, offer.price_usd_per_hour
    contains = f"{offer.cloud}: {price:.4f} USD per hour contains the Windows licence of {rate:g} USD per vCPU-hour"
    for seen in (market.past.embedded(offer), market.past.last(offer)):
        if seen is None:
            continue
        if offer.use_spot:
            base = market.past.embedded(replace(offer, use_spot=False))
            is_dearer = base is not None and _is_at(price / seen.high, (base.high + licence) / base.high)
        else:
            is_dearer = abs(price - licence - seen.high) <= EXACT_USD
        if is_dearer:
            return _Fault(rule=WINDOWS, reason=f"{contains}: {seen.text}", instead=seen)
    return None


def _is_at(quotient: float, expected: float) -> bool:
    return abs(quotient - expected) <= SPOT_QUOTIENT_FRACTION


def _moved(offer: Offer, market: Market, uniform: float | None) -> _Fault | None:
    """A price that moved further than a market moves, or with most of its cloud by one factor.

    What was believed last judges, else what is embedded; no fall is believed that the embedded price refuses. An
    on-demand price within a factor of 2 of the embedded one is no jump whatever was believed since. A witness that was
    in doubt itself refuses no rise: it may have been the fault. For the same reason it is not used instead, unless it
    is embedded.
    """
    last, embedded = market.past.last(offer), market.past.embedded(offer)
    newest = market.past.newest(offer)
    elsewhere = None if offer.use_spot or newest is not None else market.past.elsewhere(offer)
    price = offer.price_usd_per_hour
    most = SPOT_JUMP_FACTOR if offer.use_spot else JUMP_FACTOR
    refuses = [seen for seen in (newest, embedded, elsewhere) if seen and price < seen.low / most]
    for seen in (newest, elsewhere):
        if seen is not None and seen.is_sure and price > seen.high * most:
            refuses.append(seen)
    is_with_its_cloud = uniform is not None and (
        offer.use_spot or newest is None or _is_by(price / newest.high, uniform)
    )
    if not (refuses or is_with_its_cloud) or market.confirms(offer):
        return None
    judge = refuses[0] if refuses else newest or elsewhere
    if (
        embedded is not None
        and not offer.use_spot
        and embedded.low / UNIFORM_FACTOR <= price <= embedded.high * UNIFORM_FACTOR
    ):
        return None
    reason = f"{offer.cloud}: {price:.4f} USD per hour"
    if judge is not None:
        reason += f", but it was {judge.text}"
    if is_with_its_cloud:
        reason += f"; most on-demand prices of {offer.cloud} moved by {uniform:.3g} at once"
    is_unusable = judge == elsewhere or (judge == last and last is not None and not last.is_sure)
    return _Fault(rule=MOVED, reason=reason, instead=None if is_unusable else judge)


def _is_by(quotient: float, factor: float) -> bool:
    return abs(quotient / factor - 1) <= UNIFORM_FRACTION


def _uniform_factors(market: Market) -> dict[str, float]:
    """Clouds most of whose on-demand prices moved by one large factor, and the factor."""
    moved: dict[str, list[float]] = {}
    for offer in market.judged:
        if not offer.use_spot:
            seen = market.past.newest(offer)
            if seen is not None and seen.high > 0 and offer.price_usd_per_hour > 0:
                moved.setdefault(offer.cloud, []).append(offer.price_usd_per_hour / seen.high)
    if not moved:
        return {}
    judged = {id(offer) for offer in market.judged}
    unmoved = Counter(o.cloud for o in market.offers if not o.use_spot and id(o) not in judged)
    found = {}
    for cloud, quotients in moved.items():
        steps = Counter(round(math.log(quotient) / UNIFORM_FRACTION) for quotient in quotients)
        step, count = steps.most_common(1)[0]
        factor = math.exp(step * UNIFORM_FRACTION)
        is_large = not 1 / UNIFORM_FACTOR <= factor <= UNIFORM_FACTOR
        if is_large and count >= max(UNIFORM_LEAST, UNIFORM_SHARE * (len(quotients) + unmoved[cloud])):
            found[cloud] = factor
    return found


def _reported(offers: Sequence[Offer], market: Market) -> Iterator[Offer]:
    """The offers, each with a word on its fall, or on a licence that it seems to contain."""
    elsewhere: dict[MachineType, set[float]] = {}
    for offer in market.offers:
        if offer.cloud in SURCHARGES and not offer.use_spot:
            elsewhere.setdefault(offer.machine_type, set()).add(offer.price_usd_per_hour)
    for offer in offers:
        yield _with_fall(offer, market) or _with_licence(offer, elsewhere.get(offer.machine_type, ())) or offer


def _with_fall(offer: Offer, market: Market) -> Offer | None:
    """With a word where it is cheaper than before.

    In a region that is new it is held against the others, and a machine that is new against the cloud's other machines
    with such a GPU.
    """
    past = market.past
    least = SPOT_FALL_FRACTION if offer.use_spot else FALL_FRACTION
    for seen in (past.last(offer), past.embedded(offer)):
        if seen is not None and offer.price_usd_per_hour < (1 - least) * seen.low:
            return doubted(offer, f"{offer.cloud} asks {_less(offer, seen)} than before: it was {_least(seen)}")
    if past.embedded(offer) is None and offer.accelerator:
        seen = past.elsewhere(offer) or past.other_machines(offer)
        if seen is not None and offer.price_usd_per_hour < (1 - FALL_FRACTION) * seen.low:
            return doubted(offer, f"{NEW}{offer.cloud} asks {_less(offer, seen)} here than ever: {_least(seen)}")
    return None


def _less(offer: Offer, seen: Seen) -> str:
    return f"{1 - offer.price_usd_per_hour / seen.low:.0%} less"


def _least(seen: Seen) -> str:
    return replace(seen, high=seen.low).text


def _with_licence(offer: Offer, elsewhere: Collection[float]) -> Offer | None:
    licence = SURCHARGES.get(offer.cloud, 0.0) * (offer.vcpus or 0.0)
    if offer.use_spot or not licence:
        return None
    without = offer.price_usd_per_hour - licence
    if not any(abs(without - price) <= EXACT_USD for price in elsewhere):
        return None
    return doubted(offer, f"{offer.cloud}: it may contain the Windows licence: another region asks {without:.4f}")


def unconfirmed(market: Market) -> Iterator[Offer]:
    """Suspects that nothing speaks for.

    No list, second source or earlier price of this machine, and no other machine with such a GPU between half and twice
    its price. Another suspect of the same cloud may have the same fault and is no neighbour, where prices of the cloud
    are known; and other clouds speak for no GPU that this one did not sell before.
    """
    unknown = [offer for offer in market.judged if not market.confirms(offer)]
    doubtful = {id(offer) for offer in unknown if market.past.knows(offer.cloud)}
    neighbours: dict[tuple[str, bool], dict[tuple[bool, MachineType], float]] = {
        (offer.accelerator, offer.use_spot): {} for offer in unknown
    }
    for offer in market.offers:
        known = neighbours.get((offer.accelerator, offer.use_spot))
        if known is not None:
            key = (id(offer) in doubtful, offer.machine_type)
            known[key] = min(known.get(key, math.inf), per_gpu(offer))
    for offer in unknown:
        price = per_gpu(offer)
        others = neighbours[offer.accelerator, offer.use_spot]
        own = offer.machine_type
        if not market.past.is_new(offer) and any(
            price / 2 <= other <= price * 2
            for (is_doubtful, machine), other in others.items()
            if (machine[0] != offer.cloud if is_doubtful else machine != own)
        ):
            continue
        seen = market.past.newest(offer) or market.past.elsewhere(offer)
        if seen is None or not seen.is_sure or not seen.low / 2 <= offer.price_usd_per_hour <= seen.high * 2:
            yield offer
