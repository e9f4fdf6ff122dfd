"""Writes catalogs/prices/records/: commitments.csv, weekly.csv and spot_swings.csv, from dated price lists.

    python scripts/build_price_records.py SHARED_DATA_DIR

commitments.csv: machines with their price on demand and for 1 and 3 years, by region. GCP of 2026-07-30
(github.com/Cyclenerd/google-cloud-pricing-cost-calculator at fd66b26, months of 730 hours), AWS of 2026-01-21
(github.com/tsaol/aws-gpu at 7412fd2, `reserved` for 1 year).
weekly.csv: the cheapest region's price of one accelerator of GCP by week, where it changed, from 60 versions of the
first list. spot_swings.csv: by accelerator how far the spot price of one machine in one region rose and fell at most
within these versions, and where. Kept are machines that the embedded catalogs have, whose accelerators have a name.
Same input, same bytes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from collections.abc import Iterable
from pathlib import Path

from sky_melange.prices.snapshot import SnapshotSource

_FOLDER = Path(__file__).resolve().parent.parent / "catalogs" / "prices" / "records"
_WEEKLY = Path("price-history") / "gcp-weekly" / "gcp-gpu-all-in-weekly-2025-07-to-2026-07.csv.gz"
_AWS = Path("price-checks") / "aws-gpu-on-demand-2026-01.json"
_AWS_DATE, _AWS_SOURCE = "2026-01-21", "tsaol/aws-gpu"
_GCP_SOURCE = "Cyclenerd/google-cloud-pricing-cost-calculator"
_HOURS_PER_MONTH = 730
_KINDS = {
    "on_demand": ("hour", 1),
    "spot": ("hour_spot", 1),
    "commit_1y": ("month_1y", _HOURS_PER_MONTH),
    "commit_3y": ("month_3y", _HOURS_PER_MONTH),
}


def main() -> None:
    """Reads the lists, writes the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    machines = {
        (offer.cloud, offer.instance_type): (offer.accelerator, offer.accelerators_per_instance)
        for catalog in SnapshotSource().read(["aws", "gcp"])
        for offer in catalog.offers
        if offer.accelerator
    }
    with gzip.open(data / _WEEKLY, "rt", encoding="utf-8", newline="") as stream:
        weekly = [row for row in csv.DictReader(stream) if ("gcp", row["machine_type"]) in machines]
    last = max(row["date"] for row in weekly)
    columns = ("on_demand_usd_per_hour", "commit_1y_usd_per_hour", "commit_3y_usd_per_hour", "date", "source")
    _write(
        "commitments.csv",
        ("cloud", "region", "instance_type", "accelerator", "count", *columns),
        [*_aws(data / _AWS, machines), *(_gcp(row, machines) for row in weekly if row["date"] == last)],
    )
    _write(
        "weekly.csv", ("date", "cloud", "accelerator", "kind", "usd_per_accelerator_hour"), _series(weekly, machines)
    )
    _write(
        "spot_swings.csv",
        ("cloud", "accelerator", "direction", "factor", "instance_type", "region", "first", "last"),
        _swings(weekly, machines),
    )


def _aws(path: Path, machines: dict[tuple[str, str], tuple[str, int]]) -> Iterable[tuple[object, ...]]:
    for machine in json.loads(path.read_text(encoding="utf-8")):
        key = ("aws", machine["name"])
        for region, price in machine["pricing"].items() if key in machines else ():
            if price.get("onDemand") and price.get("reserved"):
                prices = (price["onDemand"], price["reserved"], "")
                yield ("aws", region, machine["name"], *machines[key], *prices, _AWS_DATE, _AWS_SOURCE)


def _gcp(row: dict[str, str], machines: dict[tuple[str, str], tuple[str, int]]) -> tuple[object, ...]:
    prices = [_hourly(row, kind) for kind in ("on_demand", "commit_1y", "commit_3y")]
    shown = ["" if price is None else f"{price:.6f}" for price in prices]
    name = row["machine_type"]
    return ("gcp", row["region"], name, *machines["gcp", name], *shown, row["date"], _GCP_SOURCE)


def _hourly(row: dict[str, str], kind: str) -> float | None:
    column, hours = _KINDS[kind]
    return float(row[column]) / hours if row[column] and float(row[column]) > 0 else None


def _series(
    rows: Iterable[dict[str, str]], machines: dict[tuple[str, str], tuple[str, int]]
) -> Iterable[tuple[object, ...]]:
    """A row stands where a value of a machine in a region changed: the rest is as it was."""
    now: dict[tuple[str, str, str], tuple[str, float]] = {}
    told: dict[tuple[str, str], str] = {}
    by_date: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_date.setdefault(row["date"], []).append(row)
    for date, changed in sorted(by_date.items()):
        for row in changed:
            accelerator, count = machines["gcp", row["machine_type"]]
            for kind in _KINDS:
                price = _hourly(row, kind)
                key = (row["machine_type"], row["region"], kind)
                if price is None:
                    now.pop(key, None)
                else:
                    now[key] = (accelerator, price / count)
        cheapest: dict[tuple[str, str], float] = {}
        for (_, _, kind), (accelerator, price) in now.items():
            cheapest[accelerator, kind] = min(cheapest.get((accelerator, kind), price), price)
        for (accelerator, kind), price in sorted(cheapest.items()):
            if told.get((accelerator, kind)) != f"{price:.6f}":
                told[accelerator, kind] = f"{price:.6f}"
                yield (date, "gcp", accelerator, kind, f"{price:.6f}")


def _swings(
    rows: Iterable[dict[str, str]], machines: dict[tuple[str, str], tuple[str, int]]
) -> Iterable[tuple[object, ...]]:
    """The largest and the least factor between two spot prices of a machine in a region, the later by the earlier."""
    series: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        price = _hourly(row, "spot")
        if price is not None:
            series.setdefault((row["machine_type"], row["region"]), {})[row["date"]] = price
    largest: dict[tuple[str, str], tuple[float, str, str, str, str]] = {}
    for (machine, region), prices in sorted(series.items()):
        accelerator = machines["gcp", machine][0]
        lowest = highest = next(iter(sorted(prices.items())))
        for date, price in sorted(prices.items()):
            lowest, highest = min(lowest, (date, price), key=_price), max(highest, (date, price), key=_price)
            for direction, (first, before) in (("rise", lowest), ("fall", highest)):
                factor = price / before
                found = largest.get((accelerator, direction))
                if found is None or (factor > found[0] if direction == "rise" else factor < found[0]):
                    largest[accelerator, direction] = (factor, machine, region, first, date)
    for (accelerator, direction), (factor, *where) in sorted(largest.items()):
        yield ("gcp", accelerator, direction, f"{factor:.4f}", *where)


def _price(seen: tuple[str, float]) -> float:
    return seen[1]


def _write(name: str, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with (_FOLDER / name).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(sorted(rows, key=lambda row: tuple(map(str, row))))


if __name__ == "__main__":
    main()
