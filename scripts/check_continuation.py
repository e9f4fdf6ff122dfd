"""How wrong fitted laws are at sizes that were not measured; writes catalogs/continuation_errors.csv.

    python scripts/check_continuation.py RUNS.csv.gz [--output catalogs] [--date YYYY-MM-DD]

Of each layout with several input (output) sizes the shortest, or the longest, are left out, at every place where the
sizes can be cut, and from the runs of its neighbours too; so are the lowest or highest concurrencies. A fit to the rest
predicts them. Errors are given by direction, by whether runs of one request size or of more were left to fit, and by
how many times the size is from the nearest that was left. `..._stated` is the error of which the pessimistic end at
confidence 0.8 holds for four of five held-out runs, at least the median and at least that of shorter distances. The
last row of each group, of ratio `inf`, is its worst decile: it is stated at every longer distance. "No slower" and
"within" are the shares of the runs that the pessimistic end and the interval hold of, as the runs of the other models
state them. Prints the table as Markdown. Same input, same bytes.
"""

from __future__ import annotations

import csv
import itertools
import math
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT)]

from profile_fit.accuracy import Prediction, fitted, output_share_held, rate_errors  # noqa: E402
from profile_fit.bundle import ranges  # noqa: E402
from profile_fit.fitting import Fit, predict  # noqa: E402
from profile_fit.neighbours import Neighbourhood  # noqa: E402
from profile_fit.options import run_options  # noqa: E402
from profile_fit.outcomes import quantile  # noqa: E402
from profile_fit.runs import Layout, Table, read_table  # noqa: E402
from profile_fit.serving_runs import Run  # noqa: E402

from sky_melange.domain.profile import TO_END, LatencyModelForm  # noqa: E402
from sky_melange.prices.names import load_gpus  # noqa: E402
from sky_melange.profiles.continuation import LEAST_COMPARISONS, at_short_answers  # noqa: E402

DIRECTIONS: Final = (
    "shorter_input",
    "shorter_output",
    "longer_input",
    "longer_output",
    "fewer_at_once",
    "more_at_once",
)
RATIOS: Final = (2.0, 4.0, 8.0)
_ROUNDING: Final = 1.03
"""1024 tokens are twice 500."""
_LEAST_RUNS: Final = 3
_DECILE: Final = 0.9
_LAPLACE: Final = math.log2(0.5 / 0.2)
"""Power of 1 + error that confidence 0.8 takes, see `profiles.pessimism`."""
HEADER: Final = (
    "direction",
    "measured_sizes",
    "ratio",
    "comparisons",
    "layouts",
    "tpot_median",
    "tpot_stated",
    "ttft_median",
    "ttft_stated",
    "rate_median",
    "rate_stated",
    "date",
)


@dataclass(slots=True)
class Errors:
    """Logarithms of truth ÷ prediction of latencies, and of prediction ÷ truth of rates: above 0 is too optimistic."""

    tpot: list[float] = field(default_factory=list)
    ttft: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    tpot_by_model: dict[str, list[float]] = field(default_factory=dict)
    layouts: set[Layout] = field(default_factory=set)

    def add(self, other: Errors) -> None:
        """Takes all of another."""
        self.tpot += other.tpot
        self.ttft += other.ttft
        self.rate += other.rate
        for model, logs in other.tpot_by_model.items():
            self.tpot_by_model.setdefault(model, []).extend(logs)
        self.layouts |= other.layouts


Key = tuple[str, bool, float]
"""(direction, whether one request size was left, ratio class)."""


def main(arguments: list[str] | None = None) -> int:
    """Reads, fits, writes, prints; returns the exit code."""
    options = run_options("Check fitted laws at sizes that were held out.", arguments)
    found = held_out_errors(read_table([options.runs]))
    rows = list(table_rows(found, options.date))
    with (options.output / "continuation_errors.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(rows)
    _print(rows, found)
    return 0


def held_out_errors(table: Table) -> dict[Key, Errors]:
    """By direction, number of sizes that were left, and distance."""
    memory_gib = {name: gpu.memory_gib for name, gpu in load_gpus().items()}
    around: dict[tuple[str, str, int], Neighbourhood] = {}
    found: dict[Key, Errors] = {}
    for layout, direction in itertools.product(table.runs, DIRECTIONS):
        for edge in _edges(table.runs[layout], direction):
            place = (layout.model, direction, edge)
            if place not in around:
                around[place] = Neighbourhood(dict(_cut_model(table, layout.model, direction, edge)), memory_gib)
            kept = [run for run in table.runs[layout] if _is_kept(run, direction, edge)]
            if len(kept) < _LEAST_RUNS:
                continue
            law = fitted(layout, kept, memory_gib[layout.accelerator], neighbours=around[place].of(layout))
            if direction == "shorter_output":
                law = _at_short_answers(layout, kept, law)
            is_single = len({(run.input_tokens, run.output_tokens) for run in kept}) == 1
            for ratio, runs in _by_ratio(table.runs[layout], direction, edge):
                errors = found.setdefault((direction, is_single, ratio), Errors())
                errors.add(_errors(layout, runs, law, is_whole=not direction.endswith("at_once")))
    return found


def table_rows(found: dict[Key, Errors], date: str) -> Iterator[tuple[object, ...]]:
    """Rows as they are written: stated errors never fall with the distance."""
    for direction, is_single in itertools.product(DIRECTIONS, (True, False)):
        total = Errors()
        most = [0.0, 0.0, 0.0]
        for ratio in RATIOS:
            errors = found.get((direction, is_single, ratio))
            if errors is not None:
                total.add(errors)
            if errors is None or len(errors.tpot) < LEAST_COMPARISONS:
                continue
            columns = (errors.tpot, errors.ttft, errors.rate)
            most = [max(high, _stated(logs)) for high, logs in zip(most, columns, strict=True)]
            if len(errors.rate) < LEAST_COMPARISONS:
                most[2] = max(most[0], most[2])
            yield _row(direction, is_single, ratio, errors, most, date)
        total.add(found.get((direction, is_single, math.inf), Errors()))
        columns = (total.tpot, total.ttft, total.rate)
        worst = [
            max(high, quantile(_absolute(logs), _DECILE) if logs else 0.0)
            for high, logs in zip(most, columns, strict=True)
        ]
        if len(total.rate) < LEAST_COMPARISONS:
            worst[2] = max(worst[0], worst[2])
        yield _row(direction, is_single, math.inf, total, worst, date)


def _edges(runs: Sequence[Run], direction: str) -> list[int]:
    """Sizes at which the runs can be cut: the last that is kept."""
    sizes = sorted({_size(run, direction) for run in runs})
    return sizes[1:] if _is_downwards(direction) else sizes[:-1]


def _cut_model(table: Table, model: str, direction: str, edge: int) -> Iterator[tuple[Layout, list[Run]]]:
    for layout, runs in table.runs.items():
        kept = [run for run in runs if _is_kept(run, direction, edge)]
        if layout.model == model and kept:
            yield layout, kept


def _by_ratio(runs: Sequence[Run], direction: str, edge: int) -> Iterator[tuple[float, list[Run]]]:
    """The runs that are cut, by class of distance."""
    classes: dict[float, list[Run]] = {}
    for run in runs:
        if not _is_kept(run, direction, edge):
            ratio = edge / _size(run, direction)
            ratio = ratio if ratio > 1 else 1 / ratio
            upper = next((limit for limit in RATIOS if ratio <= limit * _ROUNDING), math.inf)
            classes.setdefault(upper, []).append(run)
    yield from sorted(classes.items())


def _size(run: Run, direction: str) -> int:
    if direction.endswith("at_once"):
        return run.concurrency
    return run.input_tokens if direction.endswith("input") else run.output_tokens


def _is_downwards(direction: str) -> bool:
    return direction.startswith(("shorter", "fewer"))


def _is_kept(run: Run, direction: str, edge: int) -> bool:
    size = _size(run, direction)
    return size >= edge if _is_downwards(direction) else size <= edge


def _at_short_answers(layout: Layout, kept: Sequence[Run], law: Fit) -> Fit:
    form = LatencyModelForm(
        tpot=law.tpot,
        ttft=law.ttft,
        ranges=ranges(kept, law.limit),
        max_running=None,
        output_share_held=output_share_held(layout),
    )
    return replace(law, tpot=at_short_answers(form).tpot)


def _errors(layout: Layout, runs: Sequence[Run], law: Fit, *, is_whole: bool) -> Errors:
    """`is_whole`: the runs are all of their sizes, so that largest rates can be compared."""
    predictions = []
    for run in runs:
        ttft_s, tpot_s = predict(law, run)
        predictions.append(Prediction(run=run, ttft_s=ttft_s, tpot_s=tpot_s))
    tpot = [math.log(each.run.tpot_s / each.tpot_s) for each in predictions]
    return Errors(
        tpot=tpot,
        tpot_by_model={layout.model: list(tpot)},
        ttft=[math.log(each.run.ttft_s / each.ttft_s) for each in predictions],
        rate=[math.log(max(each.ratio, 1e-2)) for each in (rate_errors(predictions) if is_whole else [])],
        layouts={layout},
    )


def _absolute(logs: Iterable[float]) -> list[float]:
    """Relative errors, as a factor - 1 in whichever direction."""
    return [math.expm1(abs(value)) for value in logs]


def _stated(logs: Sequence[float]) -> float:
    typical = statistics.median(_absolute(logs)) if logs else 0.0
    return max(typical, math.expm1(max(0.0, quantile(logs, 0.8)) / _LAPLACE)) if logs else 0.0


def _row(
    direction: str, is_single: bool, ratio: float, errors: Errors, stated: Sequence[float], date: str
) -> tuple[object, ...]:
    columns = zip((errors.tpot, errors.ttft, errors.rate), stated, strict=True)
    pairs = [(statistics.median(_absolute(logs)) if logs else 0.0, high) for logs, high in columns]
    figures = [f"{value:.4f}" for pair in pairs for value in pair]
    known = "1" if is_single else "2+"
    return (direction, known, f"{ratio:g}", len(errors.tpot), len(errors.layouts), *figures, date)


def coverage(errors: Errors) -> tuple[int, int, int]:
    """(runs, no slower than planned, within the interval) by TPOT; what is stated is that of the other models."""
    counts = [0, 0, 0]
    for model, own in errors.tpot_by_model.items():
        others = [log for name, logs in errors.tpot_by_model.items() if name != model for log in logs]
        if len(others) >= LEAST_COMPARISONS:
            stated = math.log1p(_stated(others))
            counts[0] += len(own)
            counts[1] += sum(log <= stated * _LAPLACE for log in own)
            counts[2] += sum(abs(log) <= stated * TO_END for log in own)
    return counts[0], counts[1], counts[2]


def _print(rows: Sequence[tuple[object, ...]], found: dict[Key, Errors]) -> None:
    print(
        "| direction | sizes left | up to | runs (layouts) | TPOT | stated | TTFT | rate | stated "
        "| no slower | within |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for direction, known, ratio, runs, layouts, *figures in rows:
        tpot, tpot_stated, ttft, _, rate, rate_stated = (f"{100 * float(str(each)):.1f}" for each in figures[:-1])
        far = "farther" if ratio == "inf" else f"{ratio} ×"
        cells = (str(direction).replace("_", " "), known, far, f"{runs} ({layouts})", tpot, tpot_stated, ttft, rate)
        errors = found.get((str(direction), known == "1", float(str(ratio))))
        count, *held = (0, 0, 0) if ratio == "inf" or errors is None else coverage(errors)
        shares = [f"{each / count:.0%}" for each in held] if count >= LEAST_COMPARISONS else ["", ""]
        print(f"| {' | '.join(map(str, (*cells, rate_stated, *shares)))} |")


if __name__ == "__main__":
    sys.exit(main())
