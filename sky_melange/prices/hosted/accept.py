"""What may take the place of the last good copy of a catalog."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sky_melange.domain.ages import iso_utc
from sky_melange.domain.offer import PriceProvenance
from sky_melange.errors import InputError
from sky_melange.prices.hosted.bases import shown
from sky_melange.prices.offers import read_catalog
from sky_melange.prices.past import embedded_past
from sky_melange.prices.source import CatalogOffers

SHRUNKEN_FRACTION: Final = 1 / 3
"""A catalog with fewer than this share of the GPU machines of the last good copy was cut off, or a failed job made it.

The largest real loss between two versions at hand is Verda's, from 42 to 19.
"""

SHRUNKEN_FOR: Final = timedelta(days=7)
"""For how long the larger copy is believed instead. After that the smaller catalog is the truth."""

NAME: Final = "skypilot"


class NotAcceptedError(Exception):
    """The content is no catalog that may be used; the text says why."""


def read_copy(content: bytes, cloud: str, url: str, confirmed: datetime) -> CatalogOffers:
    """Offers of a catalog, dated by when it was last confirmed. Raises NotAcceptedError when it is none or empty."""
    place = shown(url)
    fetched_at = iso_utc(confirmed)
    made: dict[str, PriceProvenance] = {}

    def provenance_of(snapshot_date: str, detail: str) -> PriceProvenance:  # noqa: ARG001
        if detail not in made:
            text = f"{place}; {detail}" if detail else place
            made[detail] = PriceProvenance(source=NAME, detail=text, fetched_at=fetched_at)
        return made[detail]

    try:
        catalog = read_catalog(content, cloud, f"{cloud}/vms.csv", provenance_of)
    except InputError as error:
        raise NotAcceptedError(str(error)) from error
    if not count_gpu_machines(catalog):
        raise NotAcceptedError("the catalog holds no GPU offer, only " + _what_it_holds(catalog))
    other = embedded_past().other_cloud(catalog)
    if other is not None:
        raise NotAcceptedError(f"the address of {cloud} serves the catalog of {other}")
    return catalog


def check_size(fresh: CatalogOffers, last_good: CatalogOffers, *, last_good_age: timedelta) -> None:
    """Raises NotAcceptedError when a catalog has lost most of its GPU machines since the last good copy."""
    now_there, before = count_gpu_machines(fresh), count_gpu_machines(last_good)
    if now_there < SHRUNKEN_FRACTION * before and last_good_age < SHRUNKEN_FOR:
        raise NotAcceptedError(f"the catalog shrank from {before} to {now_there} GPU machine types")


def count_gpu_machines(catalog: CatalogOffers) -> int:
    """Kinds of machine with accelerators, wherever they are sold."""
    return len({(o.instance_type, o.accelerator, o.accelerators_per_instance) for o in catalog.offers if o.accelerator})


def _what_it_holds(catalog: CatalogOffers) -> str:
    if catalog.offers:
        return "machines without GPU"
    return ", ".join(rows.reason for rows in catalog.skipped[:3]) or "a header"
