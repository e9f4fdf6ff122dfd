"""Writes the histogram of examples/quickstart/workload.yaml from a request trace.

    python scripts/build_quickstart.py TRACE.csv.gz

The trace has the columns ContextTokens and GeneratedTokens (Azure LLM inference traces). Prints the YAML lines of
`traffic.histogram`; a request falls into the first bucket whose upper edges are at or above its sizes.
"""

from __future__ import annotations

import csv
import gzip
import sys
from bisect import bisect_left
from pathlib import Path
from typing import Final

INPUT_EDGES: Final = (25, 100, 250, 500, 1000, 2000, 4000, 8000, 16000)
OUTPUT_EDGES: Final = (25, 100, 250, 500, 1000)


def histogram(trace: Path) -> list[list[int]]:
    """Requests by [input bucket][output bucket]. A request beyond the last edges is an error, not a silent loss."""
    counts = [[0] * len(OUTPUT_EDGES) for _ in INPUT_EDGES]
    with gzip.open(trace, "rt", newline="") as stream:
        for row in csv.DictReader(stream):
            i = bisect_left(INPUT_EDGES, int(row["ContextTokens"]))
            j = bisect_left(OUTPUT_EDGES, int(row["GeneratedTokens"]))
            if i == len(INPUT_EDGES) or j == len(OUTPUT_EDGES):
                raise SystemExit(f"{trace}: a request beyond the last edges: {row}")
            counts[i][j] += 1
    return counts


def main() -> None:
    """Prints the YAML of the histogram."""
    counts = histogram(Path(sys.argv[1]))
    print(f"    input_tokens: [{', '.join(map(str, INPUT_EDGES))}]")
    print(f"    output_tokens: [{', '.join(map(str, OUTPUT_EDGES))}]")
    print("    weights:")
    for row in counts:
        print(f"      - [{', '.join(f'{count:4d}' for count in row)}]")


if __name__ == "__main__":
    main()
