"""Counts a log by other means: csv, json, datetime and NumPy; nothing of the package."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

MELANGE = ((25, 100, 250, 500, 1000, 2000, 4000, 8000, 12000, 16000), (25, 100, 250, 500, 1000, 2000))
COLUMNS = {
    "azure": ("ContextTokens", "GeneratedTokens", "TIMESTAMP"),
    "mooncake": ("input_length", "output_length", "timestamp"),
    "vidur-arxiv": ("num_prefill_tokens", "num_decode_tokens", None),
    "vidur": ("num_prefill_tokens", "num_decode_tokens", "arrived_at"),
    "burstgpt": ("Request tokens", "Response tokens", "Timestamp"),
}


@dataclass(frozen=True)
class Counted:
    """What NumPy makes of a log: `counts` over the grid, seconds of the requests."""

    counts: tuple[tuple[int, ...], ...]
    outside: int
    seconds: tuple[int, ...]
    input_sums: tuple[tuple[int, ...], ...]


def _second(value: str | float, kind: str) -> int:
    if kind == "azure":
        text = str(value)
        return int(datetime.fromisoformat(text.split(".", 1)[0]).replace(tzinfo=UTC).timestamp())
    return int(float(value) // (1000 if kind == "mooncake" else 1))


def count_with_numpy(path: Path, grid: tuple[Sequence[int], Sequence[int]] = MELANGE) -> Counted:
    """Reads the whole log with the standard library and counts it with NumPy."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    rows: list[dict[str, Any]]
    if ".jsonl" in path.name:
        rows = [json.loads(line) for line in text.splitlines()]
    else:
        rows = list(csv.DictReader(text.splitlines()))
    kind = next(key for key in COLUMNS if path.name.startswith(key))
    input_name, output_name, time_name = COLUMNS[kind]
    inputs = np.array([int(row[input_name]) for row in rows])
    outputs = np.array([int(row[output_name]) for row in rows])
    seconds = np.array([_second(row[time_name], kind) for row in rows]) if time_name else np.array([], dtype=int)
    i, j = np.searchsorted(grid[0], inputs), np.searchsorted(grid[1], outputs)
    inside = (i < len(grid[0])) & (j < len(grid[1]))
    counts = np.zeros((len(grid[0]), len(grid[1])), dtype=int)
    sums = np.zeros_like(counts)
    np.add.at(counts, (i[inside], j[inside]), 1)
    np.add.at(sums, (i[inside], j[inside]), inputs[inside])
    return Counted(
        counts=tuple(tuple(int(value) for value in row) for row in counts),
        outside=int((~inside).sum()),
        seconds=tuple(int(value) for value in seconds),
        input_sums=tuple(tuple(int(value) for value in row) for row in sums),
    )
