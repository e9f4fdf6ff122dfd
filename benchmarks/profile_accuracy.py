"""How well fitted profiles predict runs that they have not seen, by model and system, beside a linear baseline.

    python -m benchmarks.profile_accuracy RUNS.csv.gz [--format table|json]

Leave-one-out over the measured serving runs: TPOT, TTFT, and the largest request rate at 20, 40 and 80 ms TPOT, of
all runs of every layout whose profile is good enough, outliers too. The baseline is the four-term linear fit to the
layout's own runs. Errors are absolute relative errors. Then the roofline estimates, each accelerator left out in
turn, and how long all bundled profiles of one plan take to load. Deterministic but for that time.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts")]

from profile_fit import baseline  # noqa: E402
from profile_fit.accuracy import SLOS_S, Prediction, leave_one_out, rate_errors  # noqa: E402
from profile_fit.outcomes import Outcome, examine_all, quantile  # noqa: E402
from profile_fit.roofline_fit import (  # noqa: E402
    LEFT_OUT,
    MEASURED,
    SILICON,
    leave_one_accelerator_out,
    measured_samples,
    pooled,
    silicon_samples,
)
from profile_fit.runs import Table, read_table  # noqa: E402

from sky_melange.domain.profile import TO_END  # noqa: E402
from sky_melange.prices.names import load_gpus  # noqa: E402
from sky_melange.profiles import known_models, load_profiles  # noqa: E402

_PESSIMISTIC: Final = math.log2(0.5 / 0.2)
_LEAST_CASES: Final = 20

TARGETS: Final = {
    "TPOT median": 0.028,
    "TPOT mean": 0.05,
    "runs without a profile": 0.03,
    "TTFT median": 0.20,
    "roofline rate median": 0.20,
    "load, s": 0.1,
}


def main() -> None:
    """Computes and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--format", choices=["table", "json"], default="table")
    options = parser.parse_args()
    table = read_table(options.runs)
    report = compute(table)
    if options.format == "json":
        print(json.dumps(report, indent=2))
    else:
        _print(report)


def compute(table: Table) -> dict[str, Any]:
    """Everything that is printed."""
    outcomes = examine_all(table.runs, {name: gpu.memory_gib for name, gpu in load_gpus().items()})
    good = [outcome for outcome in outcomes if outcome.predictions and not outcome.refused]
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in good:
        groups[outcome.layout.model, outcome.layout.accelerator].append(outcome)
    typical = [fraction for outcome in good for fraction in _without_outliers(outcome)]
    return {
        "runs": _runs(outcomes),
        "layouts": len(outcomes),
        "without_profile": {
            "fewer than 2 runs": _runs(outcome for outcome in outcomes if not outcome.predictions),
            "error over 15 %": _runs(outcome for outcome in outcomes if outcome.refused),
        },
        "not_offered": _runs(o for o in outcomes if o.reason and o.predictions and not o.refused),
        "outliers": _runs(good) - len(typical),
        "rows_left_out": dict(table.left_out),
        "groups": [
            {"model": model, "system": system, **_errors(found)} for (model, system), found in sorted(groups.items())
        ],
        "overall": _errors(good),
        "overall_without_outliers": _summary(typical),
        "within_stated": within_stated(outcome for outcome in good if not outcome.reason),
        "overall_with_refused": _summary([p.tpot_fraction for outcome in outcomes for p in outcome.predictions]),
        "roofline": roofline(table),
        "load_s": slowest_load_s(),
    }


def within_stated(outcomes: Iterable[Outcome]) -> dict[str, tuple[float, float, int]]:
    """By model, and of all: shares of the runs whose TPOT is no slower than planned at 0.8, and within the interval.

    What is stated for a run is what its layout would state without it.
    """
    found: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for outcome in outcomes:
        errors = [(p.tpot_fraction, math.log(p.run.tpot_s / p.tpot_s)) for p in outcome.predictions]
        for index, (_, log) in enumerate(errors):
            others = [fraction for place, (fraction, _) in enumerate(errors) if place != index]
            scale = math.log1p(max(others) if outcome.few else statistics.median(others))
            for name in (outcome.layout.model, "all"):
                found[name].append((log <= scale * _PESSIMISTIC, abs(log) <= scale * TO_END))
    return {
        name: (statistics.fmean(a for a, _ in cases), statistics.fmean(b for _, b in cases), len(cases))
        for name, cases in sorted(found.items())
        if len(cases) >= _LEAST_CASES
    }


def _runs(outcomes: Iterable[Outcome]) -> int:
    return sum(len(outcome.runs) for outcome in outcomes)


def _without_outliers(outcome: Outcome) -> list[float]:
    """TPOT errors of the runs that are not named outliers."""
    named = {run.name for run, _ in outcome.outliers}
    return [p.tpot_fraction for p in outcome.predictions if p.run.name not in named]


def _errors(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Errors of all runs, of the model and of the baseline."""
    found: list[Prediction] = []
    linear: list[Prediction] = []
    rates: dict[float, list[float]] = defaultdict(list)
    linear_rates: dict[float, list[float]] = defaultdict(list)
    for outcome in outcomes:
        plain = leave_one_out(outcome.runs, baseline.predict_one)
        found += outcome.predictions
        linear += plain
        for errors, predictions in ((rates, outcome.predictions), (linear_rates, plain)):
            for error in rate_errors(predictions):
                errors[error.slo_s].append(error.fraction)
    return {
        "runs": len(found),
        "tpot": _summary([p.tpot_fraction for p in found]),
        "tpot_linear": _summary([p.tpot_fraction for p in linear]),
        "ttft": _summary([p.ttft_fraction for p in found]),
        "rate": {f"{slo * 1000:g} ms": _summary(rates[slo]) for slo in SLOS_S},
        "rate_linear": {f"{slo * 1000:g} ms": _summary(linear_rates[slo]) for slo in SLOS_S},
    }


def _summary(errors: Sequence[float]) -> dict[str, float | int | None]:
    if not errors:
        return {"count": 0, "median": None, "mean": None, "p90": None}
    return {
        "count": len(errors),
        "median": statistics.median(errors),
        "mean": statistics.fmean(errors),
        "p90": quantile(errors, 0.9),
    }


def roofline(table: Table) -> list[dict[str, Any]]:
    """Errors of request rates on each accelerator that the calibration had not seen, and on all."""
    found = leave_one_accelerator_out([*silicon_samples(), *measured_samples(table)])
    rows = []
    for name in (*LEFT_OUT, "all"):
        parts = {source: pooled(found, _chosen(name, source)).rate for source in ("", SILICON, MEASURED)}
        rows.append({"left_out": name, **{source or "both": _summary(errors) for source, errors in parts.items()}})
    return rows


def _chosen(accelerator: str, source: str) -> Callable[[str, str], bool]:
    """Whether a sample's accelerator and source are these; `all` and nothing stand for any."""
    return lambda its_accelerator, its_source: accelerator in ("all", its_accelerator) and source in ("", its_source)


def slowest_load_s() -> float:
    """Seconds to load all bundled profiles of the model and precision that has the most, best of five."""
    load_profiles(*known_models()[0], "vllm")  # imports and the index
    return max(_best_of_five(model, dtype) for model, dtype in known_models())


def _best_of_five(model: str, dtype: str) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        load_profiles(model, dtype, "vllm")
        times.append(time.perf_counter() - start)
    return min(times)


def _print(report: dict[str, Any]) -> None:
    print(f"{report['runs']} runs of {report['layouts']} layouts; errors in percent: median / mean / 90th percentile\n")
    columns = ("runs", "TPOT", "linear fit", "TTFT", "rate 20 ms", "rate 40 ms", "rate 80 ms", "linear 40 ms")
    print(f"{'model':32} {'system':7} " + " ".join(f"{name:>16}" for name in columns))
    for group in [*report["groups"], {"model": "all", "system": "", **report["overall"]}]:
        cells = [
            str(group["runs"]),
            _cell(group["tpot"]),
            _cell(group["tpot_linear"]),
            _cell(group["ttft"]),
            *(_cell(group["rate"][slo]) for slo in group["rate"]),
            _cell(group["rate_linear"]["40 ms"]),
        ]
        print(f"{group['model'].split('/')[-1]:32} {group['system']:7} " + " ".join(f"{cell:>16}" for cell in cells))
    print(f"\nTPOT without the {report['outliers']} named outliers: {_cell(report['overall_without_outliers'])}")
    print(f"TPOT with the runs of refused layouts: {_cell(report['overall_with_refused'])}")
    print("\nTPOT no slower than planned at confidence 0.8 | within the interval that holds in 4 of 5 cases | runs")
    for name, (planned, within, runs) in report["within_stated"].items():
        print(f"  {name.split('/')[-1]:32} {planned:.0%} | {within:.0%} | {runs}")
    print("\nroofline, request rate, accelerator left out: both sources | silicon | measured vLLM runs")
    for row in report["roofline"]:
        counted = " | ".join(f"{_cell(row[name])} ({row[name]['count']})" for name in ("both", SILICON, MEASURED))
        print(f"  {row['left_out']:10} {counted}")
    print()
    for name, value in _results(report).items():
        verdict = "met" if value <= TARGETS[name] else "MISSED"
        print(f"{name:26} {value:8.4f}   target at most {TARGETS[name]:g}: {verdict}")
    for reason, count in report["without_profile"].items():
        print(f"runs without a profile, {reason}: {count} ({count / report['runs']:.4f})")
    print(f"runs of layouts that are predicted but not bundled, on GPUs that no cloud offers: {report['not_offered']}")


def _results(report: dict[str, Any]) -> dict[str, float]:
    overall = report["overall"]
    return {
        "TPOT median": overall["tpot"]["median"],
        "TPOT mean": overall["tpot"]["mean"],
        "runs without a profile": sum(report["without_profile"].values()) / report["runs"],
        "TTFT median": overall["ttft"]["median"],
        "roofline rate median": report["roofline"][-1]["both"]["median"],
        "load, s": report["load_s"],
    }


def _cell(summary: dict[str, Any]) -> str:
    if not summary["count"]:
        return "–"
    return " / ".join(f"{summary[name] * 100:.1f}" for name in ("median", "mean", "p90"))


if __name__ == "__main__":
    main()
