"""The price source `gpuhunt`."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Final

from sky_melange.domain.ages import iso_utc
from sky_melange.domain.offer import Obtained, PriceProvenance, PriceState
from sky_melange.errors import InputError, Mistake
from sky_melange.prices.catalog_csv import PricedRow, SkipTally
from sky_melange.prices.gpuhunt.names import CLOUDS, accelerator_of, region_and_zone
from sky_melange.prices.offers import make_offers
from sky_melange.prices.source import CatalogOffers, PriceRequest, SourcePrices
from sky_melange.untrusted import json_or_none

NAME: Final = "gpuhunt"
LIMIT_S: Final = 30.0
KEY: Final = "gpuhunt:/gpuhunt/offers"
"""Under which the last good answer is kept beside the catalogs."""

_WORKER: Final = "sky_melange.prices.gpuhunt.worker"


class GpuhuntSource:
    """dstack's catalogs of eight clouds, downloaded by the package gpuhunt."""

    @property
    def name(self) -> str:
        """`gpuhunt`."""
        return NAME

    def obtain(self, request: PriceRequest) -> SourcePrices:
        """See PriceSource. Raises InputError when the package is not installed."""
        from sky_melange.prices.hosted.store import CatalogStore

        store = CatalogStore(request.site.cache_folder)
        answer, problem = (None, "offline: not asked") if request.offline else _ask()
        obtained = Obtained.CONFIRMED
        remarks: list[str] = []
        not_kept = ""
        if answer is not None:
            answer["confirmed"] = iso_utc(request.now)
            try:
                store.write(KEY, json.dumps(answer).encode())
            except OSError as error:
                not_kept = f"the cache folder cannot be written: {error.strerror or error}"
        else:
            answer, obtained = _kept(store.read(KEY)), Obtained.CACHED
        if answer is None:
            states = [_state(cloud, Obtained.ABSENT, "", problem) for cloud in sorted(CLOUDS.values())]
            return SourcePrices(catalogs=(), states=tuple(states), remarks=tuple(remarks))
        if answer["unmapped"]:
            remarks.append(f"gpuhunt: SkyPilot has no cloud for {', '.join(map(str, answer['unmapped']))}")
        prices = _prices(answer, obtained, problem, remarks)
        return replace(prices, states=tuple(replace(state, not_kept=not_kept) for state in prices.states))


def _ask() -> tuple[dict[str, Any] | None, str]:
    """The worker's answer, or None and why there is none."""
    if find_spec("gpuhunt") is None:
        message = "the source gpuhunt needs the package of that name: pip install gpuhunt"
        raise InputError([Mistake(source="prices.sources", message=message)])
    try:
        done = subprocess.run([sys.executable, "-m", _WORKER], capture_output=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return None, f"gpuhunt did not finish within {LIMIT_S:g} s"
    answer = _parsed(done.stdout)
    if answer is None:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no answer"]
        return None, f"gpuhunt failed: {last[0][:200]}"
    if not answer["providers"]:
        return None, next(iter(map(str, answer["problems"].values())), "gpuhunt has no offers")
    return answer, ""


def _kept(content: bytes | None) -> dict[str, Any] | None:
    answer = None if content is None else _parsed(content)
    return answer if answer is not None and isinstance(answer.get("confirmed"), str) else None


def _parsed(content: bytes) -> dict[str, Any] | None:
    answer = json_or_none(content)
    kinds = {"providers": dict, "problems": dict, "unmapped": list}
    fits = isinstance(answer, dict) and all(isinstance(answer.get(key), kind) for key, kind in kinds.items())
    return answer if fits else None


def _prices(answer: Mapping[str, Any], obtained: Obtained, problem: str, remarks: Sequence[str]) -> SourcePrices:
    catalogs: list[CatalogOffers] = []
    states: list[PriceState] = []
    for provider, cloud in sorted(CLOUDS.items(), key=lambda entry: entry[1]):
        rows = answer["providers"].get(provider)
        if not rows:
            reason = str(answer["problems"].get(provider) or "gpuhunt has no offers")
            states.append(_state(cloud, Obtained.ABSENT, "", reason))
            continue
        catalog = _catalog(cloud, rows, answer["confirmed"])
        catalogs.append(catalog)
        states.append(_state(cloud, obtained, answer["confirmed"], problem))
    unread = [
        f"gpuhunt: {skipped.rows} offers of {catalog.cloud} are left out: {skipped.reason} (such as {skipped.example})"
        for catalog in catalogs
        for skipped in catalog.skipped
    ]
    return SourcePrices(catalogs=tuple(catalogs), states=tuple(states), remarks=(*remarks, *unread))


def _catalog(cloud: str, rows: Sequence[Any], confirmed: str) -> CatalogOffers:
    tally = SkipTally(cloud)

    def provenance_of(snapshot_date: str, detail: str) -> PriceProvenance:
        return PriceProvenance(source=NAME, detail=detail or "dstack's catalog", fetched_at=snapshot_date)

    offers = make_offers(_priced(cloud, rows, confirmed, tally), cloud, provenance_of, tally)
    return CatalogOffers(
        cloud=cloud, offers=tuple(sorted(offers, key=lambda offer: offer.sort_key)), skipped=tally.skipped()
    )


def _priced(cloud: str, rows: Sequence[Any], confirmed: str, tally: SkipTally) -> Iterator[PricedRow]:
    for row in rows:
        try:
            instance, location, price, vcpus, memory, count, gpu, gpu_memory, spot = row
            region, zone = region_and_zone(cloud, str(location))
            amount = float(price)
            if not (math.isfinite(amount) and amount >= 0 and int(count) >= 1):
                raise ValueError("no amount")
            yield PricedRow(
                region=region,
                zone=zone,
                instance_type=str(instance),
                accelerator=accelerator_of(str(gpu), float(gpu_memory)),
                accelerators=int(count),
                vcpus=float(vcpus),
                memory_gib=float(memory),
                price=None if spot else amount,
                spot_price=amount if spot else None,
                snapshot_date=confirmed,
            )
        except (TypeError, ValueError):
            tally.add("gpuhunt: not an offer", str(row)[:60])


def _state(cloud: str, obtained: Obtained, fetched_at: str, problem: str) -> PriceState:
    return PriceState(source=NAME, cloud=cloud, obtained=obtained, fetched_at=fetched_at, problem=problem)
