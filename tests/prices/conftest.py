"""Real rows, made-up offers, and the folder of public data where a checkout has one beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sky_melange.domain.offer import Offer, PriceProvenance
from sky_melange.prices.offers import read_catalog
from sky_melange.prices.source import CatalogOffers

ROOT = Path(__file__).resolve().parents[2]
EXTRACTS = ROOT / "tests" / "data" / "prices"


def _provenance(snapshot_date: str, detail: str) -> PriceProvenance:
    return PriceProvenance(source="test", detail=detail, fetched_at=snapshot_date)


@pytest.fixture(scope="session")
def read_content() -> Callable[[bytes, str], CatalogOffers]:
    def read(content: bytes, cloud: str) -> CatalogOffers:
        return read_catalog(content, cloud, f"{cloud}.csv", _provenance)

    return read


@pytest.fixture(scope="session")
def extract() -> Callable[[str], CatalogOffers]:
    """Offers of a file in tests/data/prices, by its name without suffix; the cloud is the part before the `-`."""

    def read(name: str) -> CatalogOffers:
        return read_catalog((EXTRACTS / f"{name}.csv").read_bytes(), name.partition("-")[0], f"{name}.csv", _provenance)

    return read


@pytest.fixture(scope="session")
def extract_bytes() -> Callable[[str], bytes]:
    return lambda name: (EXTRACTS / f"{name}.csv").read_bytes()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data beside the repository; the test is skipped where there is none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder of public data beside the repository")
    return folder


@pytest.fixture(scope="session")
def make_offer() -> Callable[..., Offer]:
    def make(**fields: object) -> Offer:
        defaults: dict[str, object] = {
            "cloud": "aws",
            "region": "us-east-1",
            "zone": None,
            "instance_type": "g6.xlarge",
            "accelerator": "L4",
            "catalog_accelerator": "L4",
            "accelerators_per_instance": 1,
            "vcpus": 4.0,
            "memory_gib": 16.0,
            "price_usd_per_hour": 1.0,
            "use_spot": False,
            "provenance": PriceProvenance(source="test", detail="", fetched_at="2026-05-20"),
        }
        return Offer(**(defaults | fields))  # type: ignore[arg-type]

    return make
