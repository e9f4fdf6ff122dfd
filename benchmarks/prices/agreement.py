"""How far unquarantined prices agree with independent dated lists.

    python -m benchmarks.prices.agreement [--catalogs FOLDER] [--json]

Compares every on-demand GPU offer that the lists contain: exactly (machine and region) or by the price of one GPU
of that cloud. Without --catalogs the embedded prices are compared; FOLDER holds <cloud>/vms.csv.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sky_melange.domain.offer import Offer, PriceProvenance
from sky_melange.prices import launchable_clouds, load_snapshot
from sky_melange.prices.current import make_book
from sky_melange.prices.offers import read_catalog
from sky_melange.prices.records import load_opinions

BINS: Final = ("within 1 %", "within 10 %", "off")


def book_of(folder: Path | None) -> tuple[Offer, ...]:
    """Unquarantined offers of the embedded catalogs or of a folder."""
    if folder is None:
        return load_snapshot().offers
    provenance = PriceProvenance(source="skypilot", detail="", fetched_at="2026-06-01")
    catalogs = [
        read_catalog(path.read_bytes(), path.parent.name, str(path), lambda *_: provenance)
        for path in sorted(folder.glob("*/vms.csv"))
        if path.parent.name in launchable_clouds()
    ]
    return make_book(catalogs, load_opinions()).offers


def compared(offers: tuple[Offer, ...]) -> Iterator[tuple[str, str, float]]:
    """(list, offer name, own price ÷ list's price) of each on-demand offer that a list contains."""
    opinions = load_opinions()
    for offer in offers:
        if offer.use_spot or not offer.accelerator:
            continue
        own = offer.price_usd_per_hour
        opinion = opinions.of_machine(offer)
        if opinion is None:
            opinion = opinions.of_accelerator(offer)
            own /= offer.accelerators_per_instance
        if opinion is not None and opinion.price_usd_per_hour:
            yield f"{opinion.source} {opinion.date[:7]}", offer.name, own / opinion.price_usd_per_hour


def bin_of(ratio: float) -> str:
    """Which share an offer counts in."""
    off = abs(ratio - 1)
    return BINS[0] if off <= 0.01 else BINS[1] if off <= 0.10 else BINS[2]


def report(offers: tuple[Offer, ...]) -> dict[str, dict[str, object]]:
    """By list and cloud: offers compared, the share in each bin, and the offers that are off by more than 1 %."""
    found: dict[str, dict[str, list[tuple[str, float]]]] = {}
    for source, name, ratio in compared(offers):
        bins = found.setdefault(f"{source}: {name.partition('/')[0]}", {label: [] for label in BINS})
        bins[bin_of(ratio)].append((name, ratio))
    return {
        key: {
            "offers": (total := sum(map(len, bins.values()))),
            "shares": {label: len(entries) / total for label, entries in bins.items()},
            "differ": dict(sorted(bins[BINS[1]] + bins[BINS[2]])),
        }
        for key, bins in sorted(found.items())
    }


def main() -> int:
    """Prints the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalogs", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = report(book_of(options.catalogs))
    if options.json:
        json.dump(found, sys.stdout, indent=2)
        return 0
    print(f"{'list and cloud':64} {'offers':>6} {BINS[0]:>11} {BINS[1]:>12} {BINS[2]:>6}")
    for key, row in found.items():
        shares = row["shares"]
        if isinstance(shares, dict):
            print(f"{key:64} {row['offers']:6} {shares[BINS[0]]:11.1%} {shares[BINS[1]]:12.1%} {shares[BINS[2]]:6.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
