"""How long a refresh of twenty clouds takes from a server that waits 100 ms before each answer.

    python -m benchmarks.prices.refresh [--data ../shared/data] [--runs 5] [--delay 0.1]

The server is a process of its own on loopback (tests/prices/server.py) and serves the real catalogs, some of them under
two names to make twenty. Prints the median wall time of a first refresh (every body is transferred, read, written and
synced) and of a second (nothing changed). Exits with 1 when either takes more than 1.5 s.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
SECONDS: Final = 1.5
CLOUDS: Final = 20

SERVER: Final = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/prices")
from server import CatalogServer
with CatalogServer(delay_s=float(sys.argv[2])) as server:
    # Clouds that have no newer catalog fill up the number.
    files = {}
    for folder in ("catalogs", "catalogs-2024-11"):
        for path in sorted((Path(sys.argv[1]) / folder).glob("*/vms.csv")):
            files.setdefault(path.parent.name, path)
    for cloud in list(files)[: int(sys.argv[3])]:
        server.put(cloud, files[cloud].read_bytes())
    print(server.url, *sorted(server._contents), flush=True)
    sys.stdin.read()
"""


def main() -> int:
    """Measures and prints; the exit status says whether the target holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--delay", type=float, default=0.1)
    options = parser.parse_args()
    catalogs = options.data / "catalogs"
    if not catalogs.is_dir():
        print(f"no catalogs in {options.data}: give their folder with --data", file=sys.stderr)
        return 2
    command = [sys.executable, "-c", SERVER, str(options.data), str(options.delay), str(CLOUDS)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout is None or server.stdin is None:
            return 1
        url, *clouds = server.stdout.readline().split()
        first, second = zip(*(measure(url, clouds) for _ in range(options.runs)), strict=True)
        server.stdin.close()
    print(f"{len(clouds)} clouds, {options.delay:g} s before each answer, median of {options.runs}:")
    for name, seconds in (("first refresh", first), ("nothing changed", second)):
        print(f"  {name:16} {statistics.median(seconds):6.3f} s   (target {SECONDS} s)")
    return 0 if max(statistics.median(first), statistics.median(second)) <= SECONDS else 1


def measure(url: str, clouds: list[str]) -> tuple[float, float]:
    """Seconds of a first and of a second refresh with a new cache. Raises SystemExit when a cloud is missing."""
    from sky_melange.prices import FetchLimits
    from sky_melange.prices.hosted.fetch import Fetcher, refresh
    from sky_melange.prices.hosted.store import CatalogStore

    taken = []
    with tempfile.TemporaryDirectory() as folder:
        fetcher = Fetcher(store=CatalogStore(Path(folder)), limits=FetchLimits(), now=datetime.now(UTC))
        for _ in range(2):
            start = time.perf_counter()
            outcomes = refresh(fetcher, clouds, [url])
            taken.append(time.perf_counter() - start)
            problems = [outcome.problem for outcome in outcomes.values() if outcome.fetched is None]
            if problems:
                sys.exit(f"not everything was fetched: {problems[0]}")
    return taken[0], taken[1]


if __name__ == "__main__":
    sys.exit(main())
