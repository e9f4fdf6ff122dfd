"""Calibrates the roofline estimates; writes catalogs/roofline.csv, roofline_errors.csv and roofline_unseen.csv.

    python scripts/calibrate_roofline.py RUNS.csv.gz [--output catalogs] [--date YYYY-MM-DD]

Reads the bundled `points` profiles and a table of measured serving runs. roofline_errors.csv has errors with each
accelerator left out; roofline_unseen.csv what is stated, by distance, with models and accelerators left out. Prints
both as Markdown, and whether what is stated holds. Same input, same bytes.
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT)]

from profile_fit import coverage, roofline_errors  # noqa: E402
from profile_fit.bundle import quantile  # noqa: E402
from profile_fit.options import run_options  # noqa: E402
from profile_fit.roofline_fit import (  # noqa: E402
    LEFT_OUT,
    MEASURED,
    SILICON,
    Errors,
    calibrate,
    leave_model_out,
    leave_one_accelerator_out,
    measured_samples,
    pooled,
    silicon_samples,
)
from profile_fit.runs import read_table  # noqa: E402

from sky_melange.domain.profile import interval_text  # noqa: E402
from sky_melange.profiles.roofline import TPOT_TERMS, TTFT_TERMS  # noqa: E402

HEADER = (
    "left_out",
    "comparisons",
    "rate_median",
    "rate_mean",
    "rate_p90",
    "tpot_median",
    "ttft_median",
    "silicon_rate_median",
    "measured_comparisons",
    "measured_rate_median",
    "date",
)


_TRUTHS = {MEASURED: "measured runs", SILICON: "measured kernels"}


def main(arguments: list[str] | None = None) -> int:
    """Reads, calibrates, writes; returns the exit code."""
    options = run_options("Calibrate the roofline estimates.", arguments)
    samples = [*silicon_samples(), *measured_samples(read_table([options.runs]))]
    tpot, ttft = calibrate(samples)
    found = leave_one_accelerator_out(samples)
    rows = [_row(name, found, options.date) for name in (*LEFT_OUT, "all")]
    coefficients = [
        *(("tpot", term, f"{value:.6g}") for term, value in zip(TPOT_TERMS, tpot, strict=True)),
        *(("ttft", term, f"{value:.6g}") for term, value in zip(TTFT_TERMS, ttft, strict=True)),
    ]
    _write(options.output / "roofline.csv", ("law", "term", "coefficient"), coefficients)
    _write(options.output / "roofline_errors.csv", HEADER, rows)
    guesses = leave_model_out(samples)
    unseen = list(roofline_errors.table(guesses, options.date))
    _write(options.output / "roofline_unseen.csv", roofline_errors.HEADER, unseen)
    print("| left out | all | kernel-based profiles, median | measured vLLM runs, median |\n| --- | --- | --- | --- |")
    for row in rows:
        name, count, *figures, _, _, silicon, runs, measured, _ = row
        cells = " / ".join(f"{100 * float(str(figure)):.1f}" for figure in figures)
        of_runs = f"{100 * float(str(measured)):.1f} ({runs})" if measured else "–"
        print(f"| {name} | {cells} ({count}) | {100 * float(str(silicon)):.1f} | {of_runs} |")
    print()
    _print(unseen, coverage.cases(guesses))
    return 0


def _print(unseen: Iterable[Sequence[object]], cases: Sequence[coverage.Case]) -> None:
    print("| GPU | model | memory | truth | comparisons | TPOT | stated | 4 in 5 | rate | stated | 4 in 5 |")
    print("| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in unseen:
        found = dict(zip(roofline_errors.HEADER, row, strict=True))
        figures = []
        for name in ("tpot", "rate"):
            low, high = found[f"{name}_low"], found[f"{name}_high"]
            figures += [f"{100 * float(str(found[f'{name}_{what}'])):.1f}" for what in ("median", "stated")]
            figures.append(interval_text((float(str(low)), float(str(high)))) if low else "unknown")
        names = [found["accelerator"], found["model"], found["memory"], _TRUTHS[str(found["truth"])]]
        print(f"| {' | '.join(map(str, (*names, found['comparisons'], *figures)))} |")
    print("\n| group | comparisons (layouts) | no slower than planned | within the interval | binomial, 95 % | 80 %? |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    groups = list(coverage.coverage(cases))
    for each in groups:
        low, high = each.bounds
        share = each.within / each.comparisons
        is_near = "75 to 85 %" if coverage.is_right(share) else "by chance" if low <= 0.8 <= high else "no"
        print(
            f"| {each.group} | {each.comparisons} ({each.layouts}) | {each.planned / each.comparisons:.0%} "
            f"| {share:.0%} | {100 * low:.0f} to {100 * high:.0f} | {is_near} |"
        )
    right = sum(coverage.is_right(each.within / each.comparisons) for each in groups)
    models, layouts, alone = coverage.spreads(cases)
    print(f"\nSpread of logarithms: {alone:.2f} within layouts, {layouts:.2f} between them, {models:.2f} models")
    print(f"{right} of {len(groups)} groups; were the interval exactly right,")
    for has_models, what in ((False, "a layout's comparisons err alike"), (True, "so do a model's layouts")):
        mean, low, high = coverage.right_groups(cases, models=has_models)
        print(f"- and {what}: {mean:.1f} ({low} to {high} in nine of ten draws)")


def _row(name: str, found: dict[tuple[str, str], Errors], date: str) -> tuple[object, ...]:
    def part(source: str | None) -> Errors:
        return pooled(found, lambda a, s: (name in ("all", a)) and (source in (None, s)))

    total, silicon, measured = part(None), part(SILICON), part(MEASURED)
    return (
        name,
        len(total.rate),
        _text(statistics.median(total.rate)),
        _text(statistics.fmean(total.rate)),
        _text(quantile(total.rate, 0.9)),
        _text(statistics.median(total.tpot)),
        _text(statistics.median(total.ttft)),
        _text(statistics.median(silicon.rate)),
        len(measured.rate),
        _text(statistics.median(measured.rate)) if measured.rate else "",
        date,
    )


def _text(value: float) -> str:
    return f"{value:.4f}"


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
