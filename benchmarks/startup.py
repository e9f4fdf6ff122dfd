"""How long a user waits: `--help` and the quickstart plan, without and with reasons, beside `python -c "import sky"`.

    python -m benchmarks.startup [--runs 7]

Prints the median wall time of each (seconds, warm file cache), its ratio to the peer, and the target.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
QUICKSTART: Final = ROOT / "examples" / "quickstart" / "workload.yaml"
PEER: Final = "python -c 'import sky'"


def median_s(command: list[str], runs: int, environment: dict[str, str]) -> float:
    """Median wall time in seconds over `runs`, after one run that warms the file cache."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    program = [sys.executable, "-m", "sky_melange"]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "SKY_RUNTIME_DIR": home}
        plan = [*program, "plan", "--offline", str(QUICKSTART), "--out", f"{home}/plan"]
        peer_s = median_s([sys.executable, "-c", "import sky"], runs, environment)
        rows = [
            (PEER, peer_s, None),
            ("sky-melange --help", median_s([*program, "--help"], runs, environment), 0.25),
            ("sky-melange plan --offline examples/quickstart/…", median_s(plan, runs, environment), 1.5),
            ("sky-melange plan --explain --offline examples/…", median_s([*plan, "--explain"], runs, environment), 5.0),
        ]
    print(f"{'command':52} {'seconds':>8} {'of peer':>8} {'target':>8}")
    for name, seconds, target_s in rows:
        wanted = "" if target_s is None else f"{target_s:.2f}"
        print(f"{name:52} {seconds:8.3f} {seconds / peer_s:8.2f} {wanted:>8}")


if __name__ == "__main__":
    main()
