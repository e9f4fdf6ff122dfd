"""How long a user waits: `--help`, `solve` and the quickstart plan, with and without reasons, next to `import sky`.

    python -m benchmarks.startup [--runs 7]

Prints the median wall and processor time of each (seconds, warm file cache), its ratio to the peer, and the target of
its wall time.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
QUICKSTART: Final = ROOT / "examples" / "quickstart" / "workload.yaml"
MELANGE: Final = ROOT / "examples" / "melange" / "melange.json"
PEER: Final = "python -c 'import sky'"


def median_s(command: list[str], runs: int, environment: dict[str, str]) -> tuple[float, float]:
    """Median wall and processor time in seconds over `runs`, after one run that warms the file cache."""
    times = []
    for _ in range(runs + 1):
        start, start_cpu = time.perf_counter(), _cpu_s()
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        times.append((time.perf_counter() - start, _cpu_s() - start_cpu))
    return statistics.median(wall for wall, _ in times[1:]), statistics.median(cpu for _, cpu in times[1:])


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    program = [sys.executable, "-m", "sky_melange"]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "SKY_RUNTIME_DIR": home}
        plan = [*program, "plan", "--offline", str(QUICKSTART), "--out", f"{home}/plan"]
        solve = [*program, "solve", str(MELANGE)]
        peer_s = median_s([sys.executable, "-c", "import sky"], runs, environment)
        rows = [
            (PEER, peer_s, None),
            ("sky-melange --help", median_s([*program, "--help"], runs, environment), 0.25),
            ("sky-melange solve examples/melange/melange.json", median_s(solve, runs, environment), None),
            ("sky-melange plan --offline --no-simulate …", median_s([*plan, "--no-simulate"], runs, environment), 0.55),
            ("sky-melange plan --offline examples/quickstart/…", median_s(plan, runs, environment), 1.5),
            ("sky-melange plan --explain --offline examples/…", median_s([*plan, "--explain"], runs, environment), 5.0),
        ]
    print(f"{'command':52} {'seconds':>8} {'CPU':>8} {'of peer':>8} {'target':>8}")
    for name, (seconds, cpu_s), target_s in rows:
        wanted = "" if target_s is None else f"{target_s:.2f}"
        print(f"{name:52} {seconds:8.3f} {cpu_s:8.3f} {seconds / peer_s[0]:8.2f} {wanted:>8}")


if __name__ == "__main__":
    main()
