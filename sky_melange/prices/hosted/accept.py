"""What may take the place of the last good copy of a catalog."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from sky_melange.domain.ages import iso_utc
from sky_melange.domain.offer import PriceProvenance
from sky_melange.errors import InputError
from sky_melange.prices.catalog_csv import PLAIN_MACHINE
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

MOST_ROWS: Final = 200_000
MOST_OFFERS: Final = 12_000
"""Several times what the largest cloud has: more is no price list, and would take the memory of the machine."""

TAIL_FRACTION: Final = 0.05
"""So many of the rows at the end of the last good copy may be gone at once. Machines leave from anywhere in a catalog;
a transfer that breaks off loses the end of it, and nothing else."""

LEAST_TAIL: Final = 10
"""Fewer rows leave the end of a small catalog together by chance, as the last three of Mithril's eight did."""

NAME: Final = "skypilot"


_Place: TypeAlias = tuple[str, ...]


class NotAcceptedError(Exception):
    """The content is no catalog that may be used; the text says why."""


def read_copy(content: bytes, cloud: str, url: str, confirmed: datetime, as_of: str = "") -> CatalogOffers:
    """Offers of a catalog, with when it was last confirmed and changed. Raises NotAcceptedError when it is none."""
    rows = content.count(b"\n")
    if rows > MOST_ROWS:
        raise NotAcceptedError(f"the catalog has {rows:,} rows, more than {MOST_ROWS:,}")
    place = shown(url)
    fetched_at = iso_utc(confirmed)
    made: dict[str, PriceProvenance] = {}

    def provenance_of(snapshot_date: str, detail: str) -> PriceProvenance:  # noqa: ARG001
        if detail not in made:
            text = f"{place}; {detail}" if detail else place
            made[detail] = PriceProvenance(source=NAME, detail=text, fetched_at=fetched_at, as_of=as_of)
        return made[detail]

    try:
        catalog = read_catalog(content, cloud, f"{cloud}/vms.csv", provenance_of)
    except InputError as error:
        raise NotAcceptedError(str(error)) from error
    if len(catalog.offers) > MOST_OFFERS:
        raise NotAcceptedError(f"the catalog has {len(catalog.offers):,} offers, more than {MOST_OFFERS:,}")
    if not count_gpu_machines(catalog):
        raise NotAcceptedError(f"the catalog holds no GPU offer: {_what_it_holds(catalog)}")
    other = embedded_past().other_cloud(catalog)
    if other is not None:
        raise NotAcceptedError(f"the address of {cloud} serves the catalog of {other}")
    return catalog


def check_size(fresh: CatalogOffers, last_good: CatalogOffers, *, last_good_age: timedelta) -> None:
    """Raises NotAcceptedError when a catalog has lost most of its GPU machines since the last good copy."""
    now_there, before = count_gpu_machines(fresh), count_gpu_machines(last_good)
    if now_there < SHRUNKEN_FRACTION * before and last_good_age < SHRUNKEN_FOR:
        raise NotAcceptedError(f"the catalog shrank from {before} to {now_there} GPU machine types")


def check_whole(
    content: bytes, catalog: CatalogOffers, last_good: bytes | None, *, age: timedelta | None, is_known_whole: bool
) -> None:
    """Raises NotAcceptedError for a catalog that was cut off.

    `last_good` and `age` are of the last good copy, None where there is none. `is_known_whole`: all that the host meant
    to send arrived, which does not rule out that its own file is half-written.
    """
    if not content.endswith(b"\n"):
        header, last = content[: content.find(b"\n")], content[content.rfind(b"\n") + 1 :]
        fields, wanted = (len(next(csv.reader([line.decode(errors="replace")]))) for line in (last, header))
        if fields < wanted or not is_known_whole or (last_good is not None and last_good.endswith(b"\n")):
            raise NotAcceptedError("the catalog was cut off: its last row has no end")
    if last_good is not None and (age is None or age < SHRUNKEN_FOR):
        lost = _lost_tail(_places(content), _places(last_good))
        if lost:
            raise NotAcceptedError(f"the catalog was cut off: the last {lost} rows of the last good copy are missing")
    elif last_good is None and not is_known_whole:
        known, lacking = embedded_past().lacking(catalog)
        if not known or lacking > TAIL_FRACTION * known:
            raise NotAcceptedError(
                "it was sent without its length or a .md5, and nothing tells whether it is whole "
                f"({known - lacking} of the {known} GPU machines known before)"
            )


def _lost_tail(now: list[_Place], before: list[_Place]) -> int:
    """Rows at the end of `before` of which none is left, where `now` ends before them; 0 where nothing was cut off."""
    there = set(now)
    lost = 0
    for place in reversed(before):
        if place in there:
            break
        lost += 1
    kept = before[: len(before) - lost]
    is_prefix = sum(place in there for place in kept) >= (1 - TAIL_FRACTION) * len(kept)
    return lost if lost > max(LEAST_TAIL, TAIL_FRACTION * len(before)) and is_prefix else 0


def _places(content: bytes) -> list[_Place]:
    """(instance type, accelerator, region, zone) of each row, in the order of the file; [] where it is no CSV."""
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig", errors="replace"), newline=""))
        names = ("InstanceType", "AcceleratorName", "Region", "AvailabilityZone")
        return [tuple(str(row.get(name) or "") for name in names) for row in reader]
    except csv.Error:
        return []


def count_gpu_machines(catalog: CatalogOffers) -> int:
    """Kinds of machine with accelerators, wherever they are sold."""
    return len({offer.machine_type for offer in catalog.offers if offer.accelerator})


def _what_it_holds(catalog: CatalogOffers) -> str:
    most = sorted(catalog.skipped, key=lambda rows: (-rows.rows, rows.reason))
    reasons = [rows.reason for rows in most if rows.reason != PLAIN_MACHINE][:3]
    return "; ".join(reasons) or ("only machines without GPU" if catalog.offers or most else "only a header")
