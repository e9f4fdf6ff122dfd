"""Writes catalogs/spot_interruptions.csv from a recording of AWS's Spot Instance Advisor.

    python scripts/build_spot_interruptions.py SHARED_DATA_DIR

How often AWS took back spot machines within the month before, as one of five bands, by region and instance type
(Linux). Kept are the machines with a GPU that catalogs/prices/aws.csv has. Same input, same bytes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_RECORDING = Path("api-samples") / "aws" / "spot-advisor-data.json.gz"
_RECORDED = "2025-07-28"
"""Date of the commit that the recording comes from: github.com/alexei-led/spotinfo at 05e9331."""

_BANDS = {0: (0, 5), 1: (5, 10), 2: (10, 15), 3: (15, 20), 4: (20, 100)}
"""`r` in the recording -> percent, as its own `ranges` label them."""


def main() -> None:
    """Reads the recording, writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    with gzip.open(arguments.data / _RECORDING, "rt", encoding="utf-8") as stream:
        recorded = json.load(stream)
    labels = {entry["index"]: entry["label"] for entry in recorded["ranges"]}
    assert labels == {0: "<5%", 1: "5-10%", 2: "10-15%", 3: "15-20%", 4: ">20%"}, labels
    sold = _sold()
    rows = [
        ("aws", region, instance_type, *_BANDS[entry["r"]], _RECORDED)
        for region, systems in recorded["spot_advisor"].items()
        for instance_type, entry in systems["Linux"].items()
        if (region, instance_type) in sold
    ]
    path = _ROOT / "catalogs" / "spot_interruptions.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("cloud", "region", "instance_type", "least_percent", "most_percent", "fetched_at"))
        writer.writerows(sorted(rows))
    print(f"{len(rows)} rows in {path.relative_to(_ROOT)}")


def _sold() -> set[tuple[str, str]]:
    with (_ROOT / "catalogs" / "prices" / "aws.csv").open(newline="", encoding="utf-8") as stream:
        return {
            (row["Region"], row["InstanceType"])
            for row in csv.DictReader(stream)
            if row["AcceleratorName"] and row["SpotPrice"]
        }


if __name__ == "__main__":
    main()
