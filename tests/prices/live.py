"""What the tests of live prices share: a site of their own, short waits, and the command line against a server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from sky_melange.cli import cli
from sky_melange.domain.offer import Obtained, PriceBook, PriceState
from sky_melange.prices import FetchLimits, PriceSite

ROOT = Path(__file__).resolve().parents[2]
EXTRACTS = ROOT / "tests" / "data" / "prices"
QUICKSTART = ROOT / "examples" / "means" / "workload.yaml"
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""A time of confirmation: after the catalogs at hand, before the GCP price list."""

SHORT = FetchLimits(
    connect_timeout_s=0.4,
    read_timeout_s=0.5,
    catalog_s=1.5,
    contact_s=1.5,
    total_s=8.0,
    body_bytes=8 << 20,
    backoff_s=0.02,
    longest_wait_s=1.5,
)

CLOUDS = ("aws", "azure", "gcp", "lambda", "mithril", "nebius", "runpod", "vast", "verda")


def extract_folder(folder: Path, *clouds: str, older: Sequence[str] = ()) -> Path:
    """`folder`/<cloud>/vms.csv from tests/data/prices, of the clouds given or all; `older`: their earlier version."""
    for cloud in clouds or CLOUDS:
        name = f"{cloud}-older" if cloud in older else cloud
        (folder / cloud).mkdir(parents=True, exist_ok=True)
        (folder / cloud / "vms.csv").write_bytes((EXTRACTS / f"{name}.csv").read_bytes())
    return folder


def site(cache: Path, *bases: str, limits: FetchLimits = SHORT) -> PriceSite:
    return PriceSite(cache_folder=cache, bases=bases, limits=limits)


def state_of(book: PriceBook, cloud: str, source: str = "skypilot") -> PriceState:
    (state,) = [state for state in book.states if (state.cloud, state.source) == (cloud, source)]
    return state


def obtained(book: PriceBook) -> dict[str, Obtained]:
    return {state.cloud: state.obtained for state in book.states if state.source == "skypilot"}


def price_of(book: PriceBook, name: str) -> float:
    (offer,) = [offer for offer in book.offers if offer.name == name]
    return offer.price_usd_per_hour


def use_site(monkeypatch: pytest.MonkeyPatch, chosen: PriceSite, now: datetime | None = None) -> None:
    """Commands in this process take this site, and this time if one is given."""
    monkeypatch.setattr("sky_melange.cli.price_book.price_site", lambda: chosen)
    monkeypatch.setattr("sky_melange.cli.prices.price_site", lambda: chosen)
    if now is not None:
        monkeypatch.setattr("sky_melange.cli.price_book.utc_now", lambda: now)
        monkeypatch.setattr("sky_melange.cli.prices.utc_now", lambda: now)


def run(*arguments: object) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


def workload_file(folder: Path, **prices: object) -> Path:
    """The quickstart with a section `prices` of its own."""
    document = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    document["prices"] = prices
    path = folder / "workload.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path
