"""Build ``catalogs/profiles`` from aiconfigurator's database of measured GPU kernels.

Needs the packages of ``scripts/requirements-profiles.txt``, no network and no GPU. Two runs with the same
arguments write the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import sys
from pathlib import Path

from profile_build import document, measured, readme
from profile_build.estimator import DoesNotFitError, Estimator, NoSiliconDataError
from profile_build.grid import build_grid
from profile_build.serving_setup import MINIMUM_REQUEST_TOKENS, Layout, layouts

Skipped = tuple[Layout, str]
PROBE = (1000, 250, 1)
"""A shape every layout with data can answer: asked first, so that missing data is told before memory."""


def main(arguments: list[str] | None = None) -> int:
    """Build every profile, ``skipped.csv`` and the README; returns the exit code."""
    options = _parse(arguments)
    built, skipped = build_all()
    comparisons: list[measured.Comparison] = []
    left_out: int | None = None
    if options.measured:
        replicas = {one.layout: (one.estimator, one.kv_cache_tokens) for one in built}
        comparisons, left_out = measured.compare(measured.read_runs(options.measured), replicas)
    entries = [
        (
            one,
            measured.summarise(one.layout, comparisons)
            if options.measured
            else measured.no_comparison("not compared: no measured runs were given to the build"),
        )
        for one in built
    ]
    for one, error in entries:
        path = options.output / one.layout.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document.profile_text(one, error, options.date), encoding="utf-8")
    write_index(options.output / "index.csv", [one.layout for one, _ in entries])
    write_skipped(options.output / "skipped.csv", skipped)
    text = readme.readme_text(entries, options.date, left_out)
    (options.output / "README.md").write_text(text, encoding="utf-8")
    print(f"{len(entries)} profiles, {len(skipped)} combinations skipped", file=sys.stderr)
    return 0


def build_all() -> tuple[list[document.Built], list[Skipped]]:
    """Every layout that fits and has data, and the others with the reason."""
    built, skipped = [], []
    for layout in layouts():
        try:
            built.append(build(layout))
            print(f"{layout.path}: {len(built[-1].grid.points)} points", file=sys.stderr)
        except (NoSiliconDataError, DoesNotFitError) as error:
            skipped.append((layout, str(error)))
    return built, skipped


def build(layout: Layout) -> document.Built:
    """One profile.

    Raises:
        NoSiliconDataError: the database lacks something the layout needs.
        DoesNotFitError: not even one long request fits.
    """
    estimator = Estimator(layout)
    estimator.predict(*PROBE)
    kv_cache_tokens = estimator.kv_cache_tokens()
    if kv_cache_tokens < MINIMUM_REQUEST_TOKENS:
        raise DoesNotFitError(f"the KV cache holds {kv_cache_tokens} tokens, less than one request of 4000")
    grid = build_grid(estimator, kv_cache_tokens)
    return document.Built(
        layout=layout,
        estimator=estimator,
        kv_cache_tokens=kv_cache_tokens,
        grid=grid,
        notes=document.notes(layout, estimator, grid),
    )


def write_index(path: Path, found: list[Layout]) -> None:
    """List the profiles, so that a reader opens only those of its model."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("model", "accelerator", "tensor_parallel", "dtype", "engine", "file"))
        for one in found:
            names = (one.model.name, one.accelerator.name, one.tensor_parallel, one.model.dtype, "vllm")
            writer.writerow((*names, one.path))


def write_skipped(path: Path, skipped: list[Skipped]) -> None:
    """List the combinations without a profile, one plain sentence each."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("model", "dtype", "accelerator", "tensor_parallel", "reason"))
        for layout, reason in skipped:
            names = (layout.model.name, layout.model.dtype, layout.accelerator.name, layout.tensor_parallel)
            writer.writerow((*names, f"{reason[0].upper()}{reason[1:]}."))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description="Build catalogs/profiles from silicon data.")
    default = Path(__file__).resolve().parent.parent / "catalogs" / "profiles"
    parser.add_argument("--output", type=Path, default=default, help="folder to write")
    parser.add_argument(
        "--date",
        type=lambda text: datetime.date.fromisoformat(text).isoformat(),
        default=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        help="YYYY-MM-DD written as fetched_at (default: today)",
    )
    parser.add_argument("--measured", type=Path, action="append", help="table of measured runs; may be repeated")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
