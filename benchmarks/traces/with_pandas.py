"""The plain way with pandas: the same answer as ours from a log with typed columns. Prints JSON.

    python benchmarks/traces/with_pandas.py LOG

Requests by bucket with the sums of their tokens, failed requests by number, and the p99 of the requests in a minute.
"""

from __future__ import annotations

import json
import sys
from typing import Final

import numpy as np
import pandas as pd

INPUT_EDGES: Final = [0, 25, 100, 250, 500, 1000, 2000, 4000, 8000, 12000, 16000]
OUTPUT_EDGES: Final = [0, 25, 100, 250, 500, 1000, 2000]


def main() -> None:
    """Reads, filters, cuts, groups, resamples."""
    path = sys.argv[1]
    frame = pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path)
    frame["TIMESTAMP"] = pd.to_datetime(frame["TIMESTAMP"], format="ISO8601")
    valid = (frame["ContextTokens"] > 0) & (frame["GeneratedTokens"] > 0) & frame["TIMESTAMP"].notna()
    rejected = int((~valid).sum())
    frame = frame[valid]
    frame = frame.assign(
        input_bucket=pd.cut(frame["ContextTokens"], INPUT_EDGES),
        output_bucket=pd.cut(frame["GeneratedTokens"], OUTPUT_EDGES),
    )
    cells = frame.groupby(["input_bucket", "output_bucket"], observed=False).agg(
        requests=("ContextTokens", "size"),
        input_tokens=("ContextTokens", "sum"),
        output_tokens=("GeneratedTokens", "sum"),
    )
    windows = frame.set_index("TIMESTAMP").resample("60s").size()
    shape = (len(INPUT_EDGES) - 1, len(OUTPUT_EDGES) - 1)
    answer = {
        "rejected": rejected,
        "counts": cells["requests"].to_numpy().reshape(shape).tolist(),
        "input_tokens": int(cells["input_tokens"].sum()),
        "output_tokens": int(cells["output_tokens"].sum()),
        "p99_rps": float(np.percentile(windows, 99, method="inverted_cdf")) / 60,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
