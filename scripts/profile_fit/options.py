"""The command line of scripts that turn measured runs into catalogs."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Final

_CATALOGS: Final = Path(__file__).resolve().parents[2] / "catalogs"


def run_options(description: str, arguments: list[str] | None) -> argparse.Namespace:
    """`runs`, `output` and `date`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("runs", type=Path, help="table of measured runs, CSV or CSV.gz")
    parser.add_argument("--output", type=Path, default=_CATALOGS, help="folder to write")
    parser.add_argument(
        "--date",
        type=lambda text: datetime.date.fromisoformat(text).isoformat(),
        default="2026-07-14",
        help="date of the table (default: that of the published table)",
    )
    return parser.parse_args(arguments)
