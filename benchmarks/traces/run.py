"""Speed and memory of `workload from-trace` next to plain pandas, in the same run.

    python benchmarks/traces/run.py [--rows 2000000 20000000] [--folder FOLDER] [--repeat 3]

Each measurement is a process of its own: seconds from start to end with imports, and the peak of its resident memory
as the kernel counts it (ru_maxrss). The least of --repeat runs counts, of each figure and for both ways, which must
give the same answer. CPU seconds tell how far other work on the machine disturbed the wall clock, and those of the
kernel, what handing out memory took. Next to both stands what DuckDB takes to read the three columns and do nothing
with them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
WAYS: Final = {"sky-melange": "with_sky_melange.py", "pandas": "with_pandas.py"}
BARE_SCAN: Final = "with_bare_scan.py"
"""A bound for all that DuckDB could do, not a way to the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One way over one file."""

    seconds: float
    cpu_seconds: float
    kernel_seconds: float
    peak_mib: float
    answer: dict[str, object]


def measure(script: str, log: Path) -> Measurement:
    """Runs a script once as a child of its own."""
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
        child = os.posix_spawn(
            sys.executable,
            [sys.executable, str(HERE / script), str(log)],
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, output.fileno(), 1)],
        )
        _, status, usage = os.wait4(child, 0)
        seconds = time.perf_counter() - began
        if status != 0:
            raise SystemExit(f"{script} failed on {log.name}")
        output.seek(0)
        return Measurement(
            seconds=seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            kernel_seconds=usage.ru_stime,
            peak_mib=usage.ru_maxrss / 1024,
            answer=json.load(output),
        )


def best(script: str, log: Path, repeat: int) -> Measurement:
    """The quickest of several runs, with the lowest peak of them."""
    runs = [measure(script, log) for _ in range(repeat)]
    return Measurement(
        seconds=min(run.seconds for run in runs),
        cpu_seconds=min(run.cpu_seconds for run in runs),
        kernel_seconds=min(run.kernel_seconds for run in runs),
        peak_mib=min(run.peak_mib for run in runs),
        answer=runs[0].answer,
    )


def compare(folder: Path, rows: int, repeat: int) -> dict[tuple[str, str], float]:
    """Generates a log and prints a table row per file and way; the seconds by (file, way)."""
    from generate import generate

    seconds: dict[tuple[str, str], float] = {}
    generate(folder, rows)
    for name in ("requests.parquet", "requests.csv"):
        log = folder / name
        found = {way: best(script, log, repeat) for way, script in WAYS.items()}
        ours, theirs = found["sky-melange"], found["pandas"]
        if ours.answer != theirs.answer:
            raise SystemExit(f"{name}: the two ways count differently")
        seconds |= {(name, way): run.seconds for way, run in found.items()}
        found["bare scan"] = best(BARE_SCAN, log, repeat)
        for way, run in found.items():
            print(
                f"| {rows:,} | {name} | {way} | {run.seconds:.2f} | {run.cpu_seconds:.2f} | "
                f"{run.kernel_seconds:.2f} | {rows / run.seconds:,.0f} | {run.peak_mib:.0f} |"
            )
        print(
            f"| | | ratio | {theirs.seconds / ours.seconds:.1f} × | {theirs.cpu_seconds / ours.cpu_seconds:.1f} × "
            f"| | | {ours.peak_mib / theirs.peak_mib:.2f} of |",
            flush=True,
        )
    return seconds


def print_slope(fewer: int, few: dict[tuple[str, str], float], more: int, many: dict[tuple[str, str], float]) -> None:
    """What every further million rows takes: the start of Python and of the libraries is in neither figure."""
    print("\n| every further million rows | file | way | seconds |\n" + "| --- " * 4 + "|")
    slopes = {key: (many[key] - few[key]) / (more - fewer) * 1e6 for key in many}
    for name in dict.fromkeys(name for name, _ in slopes):
        for way in WAYS:
            print(f"| | {name} | {way} | {slopes[name, way]:.3f} |")
        print(f"| | | ratio | {slopes[name, 'pandas'] / slopes[name, 'sky-melange']:.1f} × |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000_000, 20_000_000])
    parser.add_argument("--folder", type=Path, help="where the logs are written; a temporary folder by default")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args(arguments)
    print(
        "| rows | file | way | seconds | CPU seconds | of them the kernel's | rows/s | peak MiB |\n"
        + "| --- " * 8
        + "|",
        flush=True,
    )
    seconds = {}
    for rows in sorted(options.rows):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            seconds[rows] = compare(Path(folder), rows, options.repeat)
    if len(seconds) > 1:
        fewest, most = min(seconds), max(seconds)
        print_slope(fewest, seconds[fewest], most, seconds[most])


if __name__ == "__main__":
    main()
