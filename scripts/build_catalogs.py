"""Writes catalogs/ (prices, opinions, gpus.csv) from a folder of public price lists.

    python scripts/build_catalogs.py SHARED_DATA_DIR [--out catalogs]

Same input, same bytes. catalogs/accelerator_aliases.csv and README.md are kept by hand.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterable
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from catalog_build.gpus import gpu_rows  # noqa: E402
from catalog_build.opinions import opinion_files  # noqa: E402
from catalog_build.prices import price_files  # noqa: E402


def main() -> None:
    """Parse arguments and write every file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder that holds catalogs/, price-checks/ and profiles/")
    parser.add_argument("--out", type=Path, default=_ROOT / "catalogs", help="where to write (default: catalogs)")
    arguments = parser.parse_args()
    for name, rows in sorted(build(arguments.data).items()):
        path = arguments.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_csv(rows))
        print(f"{path.stat().st_size:>9,} bytes  {len(rows) - 1:>6,} rows  {name}")


def build(data: Path) -> dict[str, list[tuple[str, ...]]]:
    """Rows of every file (header first) by its path below catalogs/."""
    files = {"gpus.csv": gpu_rows(data / "profiles" / "gpu-datasheet.csv")}
    files |= {f"prices/{name}": rows for name, rows in price_files(data).items()}
    files |= {f"prices/opinions/{name}": rows for name, rows in opinion_files(data).items()}
    return files


def to_csv(rows: Iterable[tuple[str, ...]]) -> bytes:
    """UTF-8 CSV with LF line ends."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8")


if __name__ == "__main__":
    main()
