"""Fits the latency model to measured serving runs and writes the profiles that are good enough.

    python scripts/fit_profiles.py RUNS.csv.gz [MORE.csv …] [--output catalogs/profiles] [--date YYYY-MM-DD]

Writes `<model>/<accelerator>-tp<N>[-<layout>]-<dtype>-<engine>-fitted.json`, `index_fitted.csv`, `fitted_skipped.csv`
(the layouts without a profile, each with its reason) and `fitted_outliers.csv`; removes fitted files of an earlier run.
Same input, same bytes.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT)]

from profile_fit.bundle import details, profile  # noqa: E402
from profile_fit.outcomes import Outcome, examine_all  # noqa: E402
from profile_fit.runs import Layout, Table, read_table  # noqa: E402

from sky_melange.prices.names import load_gpus  # noqa: E402
from sky_melange.profiles.profile_json import profile_text  # noqa: E402

INDEX = ("model", "accelerator", "tensor_parallel", "dtype", "engine", "file", "layout", "kind")
SKIPPED = (
    "model",
    "accelerator",
    "tensor_parallel",
    "layout",
    "dtype",
    "engine",
    "runs",
    "tpot_error",
    "reason",
)
OUTLIERS = ("model", "accelerator", "tensor_parallel", "layout", "dtype", "engine", "run", "measured_over_fitted_tpot")


def main(arguments: list[str] | None = None) -> int:
    """Reads, fits, writes; returns the exit code."""
    options = _parse(arguments)
    table = read_table(options.runs)
    outcomes = examine_all(table.runs, {name: gpu.memory_gib for name, gpu in load_gpus().items()})
    _remove_old(options.output)
    index = []
    for outcome in outcomes:
        if not outcome.reason:
            index.append(_write_profile(outcome, table, options.output, options.date))
    _write(options.output / "index_fitted.csv", INDEX, index)
    _write(options.output / "fitted_skipped.csv", SKIPPED, (_skipped(o) for o in outcomes if o.reason))
    _write(options.output / "fitted_outliers.csv", OUTLIERS, _outliers(outcomes))
    print(
        f"{len(index)} profiles of {len(outcomes)} layouts, {sum(len(o.runs) for o in outcomes)} runs", file=sys.stderr
    )
    for reason, count in table.left_out.most_common():
        print(f"{count:6d} rows: {reason}", file=sys.stderr)
    return 0


def path_of(layout: Layout) -> str:
    """Path of a fitted profile below the folder of profiles."""
    sharing = f"-{layout.sharing}" if layout.sharing else ""
    name = f"{layout.accelerator}-tp{layout.gpus}{sharing}-{layout.dtype}-{layout.engine}-fitted.json"
    return f"{layout.model.split('/')[-1].lower()}/{name}"


def _write_profile(outcome: Outcome, table: Table, folder: Path, date: str) -> tuple[object, ...]:
    layout = outcome.layout
    found = profile(outcome, load_gpus()[layout.accelerator].memory_gib, table.dates, date)
    path = folder / path_of(layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(profile_text(found, details=details(outcome)), encoding="utf-8")
    names = (layout.model, layout.accelerator, layout.gpus, layout.dtype, layout.engine)
    return (*names, path_of(layout), layout.sharing, found.provenance.kind.value)


def _names(layout: Layout) -> tuple[object, ...]:
    return (layout.model, layout.accelerator, layout.gpus, layout.sharing, layout.dtype, layout.engine)


def _skipped(outcome: Outcome) -> tuple[object, ...]:
    error = "" if outcome.error is None else f"{outcome.error:.4f}"
    return (*_names(outcome.layout), len(outcome.runs), error, outcome.reason)


def _outliers(outcomes: Sequence[Outcome]) -> Iterable[tuple[object, ...]]:
    for outcome in outcomes:
        for run, factor in outcome.outliers:
            yield (*_names(outcome.layout), run.name, f"{factor:.3f}")


def _remove_old(folder: Path) -> None:
    for path in sorted(folder.glob("*/*-fitted.json")):
        path.unlink()


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fit the latency model to measured serving runs.")
    parser.add_argument("runs", type=Path, nargs="+", help="table of measured runs, CSV or CSV.gz")
    parser.add_argument("--output", type=Path, default=_ROOT / "catalogs" / "profiles", help="folder to write")
    parser.add_argument(
        "--date",
        type=lambda text: datetime.date.fromisoformat(text).isoformat(),
        default="2026-07-14",
        help="date of the table, for runs without one of their own (default: that of the published table)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
