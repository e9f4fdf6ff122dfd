"""The price source that ships with the package: dated extracts of the catalogs, for when nothing fresher is at hand."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Final

from sky_melange.domain.offer import Obtained, PriceProvenance, PriceState
from sky_melange.errors import MissingDataError
from sky_melange.prices.offers import read_catalog
from sky_melange.prices.source import CatalogOffers, PriceRequest, SourcePrices
from sky_melange.resources import data_path, shipped_rows

NAME: Final = "snapshot"


class SnapshotSource:
    """Reads catalogs/prices/<cloud>.csv, each row dated by its own SnapshotDate."""

    @property
    def name(self) -> str:
        """`snapshot`."""
        return NAME

    def obtain(self, request: PriceRequest) -> SourcePrices:  # noqa: ARG002
        """See PriceSource. Embedded prices are the same in every run."""
        catalogs = self.read()
        return SourcePrices(catalogs=catalogs, states=tuple(_state(catalog) for catalog in catalogs))

    def read(self, clouds: Collection[str] | None = None) -> tuple[CatalogOffers, ...]:
        """Offers by cloud, in order of cloud name; all clouds when None. Raises MissingDataError for an unknown one."""
        require_clouds(clouds or ())
        folder = data_path("catalogs", "prices")
        return tuple(_read(folder, cloud) for cloud in snapshot_clouds() if clouds is None or cloud in clouds)


@cache
def snapshot_clouds() -> tuple[str, ...]:
    """Clouds with embedded prices, sorted."""
    return tuple(sorted({cloud for cloud, _ in _origins()}))


@cache
def embedded_regions(cloud: str) -> frozenset[str]:
    """The regions in which a cloud sells by the embedded prices; none of a cloud without any. Reads no price."""
    if cloud not in snapshot_clouds():
        return frozenset()
    rows = shipped_rows("catalogs", "prices", f"{cloud}.csv")
    return frozenset(filter(None, (row["Region"] for row in rows)))


def require_clouds(clouds: Collection[str]) -> None:
    """Raises MissingDataError, listing what there is, when a cloud has no embedded prices."""
    known = snapshot_clouds()
    unknown = sorted(set(clouds) - set(known))
    if unknown:
        raise MissingDataError(f"no embedded prices for {', '.join(unknown)}; there are prices for {', '.join(known)}")


def _state(catalog: CatalogOffers) -> PriceState:
    """Dated by the oldest of its GPU prices; "" where the date of any is not known."""
    dates = {offer.provenance.fetched_at for offer in catalog.offers if offer.accelerator}
    date = min(dates, default="")
    return PriceState(source=NAME, cloud=catalog.cloud, obtained=Obtained.SNAPSHOT, fetched_at=date, as_of=date)


@cache
def _read(folder: Path, cloud: str) -> CatalogOffers:
    path = folder / f"{cloud}.csv"
    origins = _origins()
    known: dict[tuple[str, str], PriceProvenance] = {}

    def provenance_of(snapshot_date: str, detail: str) -> PriceProvenance:
        provenance = known.get((snapshot_date, detail))
        if provenance is None:
            origin = origins.get((cloud, snapshot_date), path.name)
            text = f"{origin}; {detail}" if detail else origin
            provenance = PriceProvenance(source=NAME, detail=text, fetched_at=snapshot_date, as_of=snapshot_date)
            known[snapshot_date, detail] = provenance
        return provenance

    return read_catalog(path.read_bytes(), cloud, f"catalogs/prices/{path.name}", provenance_of)


@cache
def _origins() -> dict[tuple[str, str], str]:
    """Where the rows of a cloud and date were taken from, by (cloud, SnapshotDate)."""
    return {
        (row["cloud"], row["date"]): f"{row['upstream']} at {row['commit']}"
        for row in shipped_rows("catalogs", "prices", "sources.csv")
        if row["file"] == f"{row['cloud']}.csv"
    }
