"""Our way: what `sky-melange workload from-trace LOG --format json` does. Prints JSON.

python benchmarks/traces/with_sky_melange.py LOG
"""

from __future__ import annotations

import json
import sys

from sky_melange.domain.trace import TraceOptions
from sky_melange.traces import scan_files


def main() -> None:
    """One call."""
    summary = scan_files([sys.argv[1]], TraceOptions())
    if summary.rate is None:
        raise SystemExit("the log has no times")
    answer = {
        "rejected": summary.rows_rejected,
        "counts": summary.counts(),
        "input_tokens": sum(cell.input_tokens for cell in summary.cells),
        "output_tokens": sum(cell.output_tokens for cell in summary.cells),
        "p99_rps": summary.rate.planned_rps,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
