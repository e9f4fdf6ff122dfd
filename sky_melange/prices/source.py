"""What every source of prices hands over."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from sky_melange.domain.offer import Offer, SkippedRows


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogOffers:
    """The offers of one cloud as one source tells them, before any judgement, and the rows that are none."""

    cloud: str
    offers: tuple[Offer, ...]
    skipped: tuple[SkippedRows, ...]


class PriceSource(Protocol):
    """A source of prices. Registered in `PRICE_SOURCES`."""

    @property
    def name(self) -> str:
        """Short name, the `source` in the provenance of its offers."""

    def read(self, clouds: Collection[str] | None = None) -> tuple[CatalogOffers, ...]:
        """Offers by cloud, in order of cloud name; all clouds it knows when `clouds` is None.

        Raises InputError for a file that cannot be read as a catalog, MissingDataError for a cloud it does not know.
        """
