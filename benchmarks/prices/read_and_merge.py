"""Reading and merging every catalog, beside SkyPilot's own `list_accelerators` over the same files in the same run.

    python -m benchmarks.prices.read_and_merge [--data ../shared/data] [--runs 5]

Each run is a process of its own on one core. Ours reads the files of `catalogs/`, joins, judges (with the lists and
the embedded prices as witnesses, read in the same time, as a plan does) and sorts them into a price book; the peer
answers `list_accelerators` for all regions, whose files are the same (commas quoted where pandas could not read the
file otherwise). Prints the medians of the wall and processor time of the work alone (imports apart) and the largest
memory. The work never waits, so its processor time is what it takes on a core of its own; the wall time is longer
where the machine is busy. Exits with 1 when ours takes more than 0.5 s of a core, more than 200 MB, or more than a
twentieth of the peer's time of a core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
SECONDS: Final = 0.5
MEGABYTES: Final = 200.0
TIMES: Final = 20.0
EXTRA_FILES: Final = {
    "images.csv": "Tag,Region,OS,OSVersion,ImageId,CreationDate\n",
    "accelerator_quota_mapping.csv": "Accelerator,OnDemandInstanceCode,SpotInstanceCode\n",
}

OURS: Final = """
import json, os, resource, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
begin = time.perf_counter()
from pathlib import Path
from sky_melange.domain.offer import PriceProvenance
from sky_melange.domain.workload import Disagreement
from sky_melange.prices.book import make_book
from sky_melange.prices.current import merge
from sky_melange.prices.offers import read_catalog
from sky_melange.prices.opinions import load_opinions
from sky_melange.prices.past import embedded_past
imported, cpu = time.perf_counter(), time.process_time()
made = {}
def provenance(date, detail):
    if detail not in made:
        made[detail] = PriceProvenance(source="skypilot", detail=detail, fetched_at="2026-06-01")
    return made[detail]
catalogs, rows = [], 0
for cloud in json.loads(sys.argv[2]):
    content = (Path(sys.argv[1]) / cloud / "vms.csv").read_bytes()
    rows += content.count(b"\\n") - 1
    catalogs.append(read_catalog(content, cloud, cloud, provenance))
merged = merge([("skypilot", catalogs)], Disagreement.HIGHEST)
book = make_book(merged.catalogs, load_opinions(), past=embedded_past())
taken, cpu = time.perf_counter() - imported, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
figures = {"import_s": imported - begin, "work_s": taken, "cpu_s": cpu, "peak_mb": peak}
print(json.dumps({**figures, "rows": rows, "found": len(book.offers)}))
"""

PEER: Final = """
import json, os, resource, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
begin = time.perf_counter()
import sky
from sky import catalog
imported, cpu = time.perf_counter(), time.process_time()
found = catalog.list_accelerators(gpus_only=True, all_regions=True, clouds=json.loads(sys.argv[2]))
taken, cpu = time.perf_counter() - imported, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
count = sum(len(entries) for entries in found.values())
print(json.dumps({"import_s": imported - begin, "work_s": taken, "cpu_s": cpu, "peak_mb": peak, "found": count}))
"""


def seed(catalogs: Path, clouds: list[str], home: Path) -> None:
    """The files where SkyPilot looks for them, so that it needs no network."""
    folder = home / ".sky" / "catalogs" / "v8"
    for cloud in clouds:
        (folder / cloud).mkdir(parents=True)
        text = (catalogs / cloud / "vms.csv").read_text(encoding="utf-8")
        (folder / cloud / "vms.csv").write_text(text.replace(",V1,V2\n", ',"V1,V2"\n'), encoding="utf-8")
        for name, content in EXTRA_FILES.items():
            (folder / cloud / name).write_text(content)
    (folder / "common").mkdir()
    (folder / "common" / "accelerators.csv").write_bytes((catalogs / "common" / "accelerators.csv").read_bytes())
    (folder / "common" / "metadata.csv").write_text("GPU,MemoryGB,Manufacturer\n")


def measure(code: str, catalogs: Path, clouds: list[str], runs: int, environment: dict[str, str]) -> dict[str, Any]:
    """Median seconds and largest memory over `runs`, after one run that warms the file cache."""
    found: list[dict[str, Any]] = []
    for _ in range(runs + 1):
        command = [sys.executable, "-c", code, str(catalogs), json.dumps(clouds)]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    kept = found[1:]
    return {
        **kept[-1],
        "work_s": statistics.median(run["work_s"] for run in kept),
        "cpu_s": statistics.median(run["cpu_s"] for run in kept),
        "import_s": statistics.median(run["import_s"] for run in kept),
        "peak_mb": max(run["peak_mb"] for run in kept),
    }


def main() -> int:
    """Measures and prints; the exit status says whether the targets hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    catalogs = options.data / "catalogs"
    if not catalogs.is_dir():
        print(f"no catalogs in {options.data}: give their folder with --data", file=sys.stderr)
        return 2
    sys.path.insert(0, str(ROOT))
    from sky_melange.prices import launchable_clouds

    clouds = sorted(path.parent.name for path in catalogs.glob("*/vms.csv"))
    # The peer's list leaves out the clouds that it cannot launch on, and one it reads only with credentials.
    shared = [cloud for cloud in clouds if cloud in launchable_clouds()]
    with tempfile.TemporaryDirectory() as home:
        seed(catalogs, shared, Path(home))
        environment = os.environ | {
            "HOME": home,
            "SKY_RUNTIME_DIR": home,
            "PYTHONPATH": str(ROOT),
            "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
        }
        ours = measure(OURS, catalogs, clouds, options.runs, environment)
        peer = measure(PEER, catalogs, shared, max(1, options.runs // 2), environment)
    print(f"{'':28} {'clouds':>7} {'import s':>9} {'wall s':>7} {'core s':>7} {'peak MB':>8} {'entries':>8}")
    rows = (("sky-melange", ours, len(clouds)), ("SkyPilot list_accelerators", peer, len(shared)))
    for name, row, count in rows:
        figures = (
            f"{row['import_s']:9.3f} {row['work_s']:7.3f} {row['cpu_s']:7.3f} {row['peak_mb']:8.1f} {row['found']:8}"
        )
        print(f"{name:28} {count:7} {figures}")
    print(f"{ours['rows']} rows; target {SECONDS} s of a core and {MEGABYTES:g} MB")
    times = peer["cpu_s"] / ours["cpu_s"]
    print(f"{times:.1f} times less of a core; target {TIMES:g}")
    return 0 if ours["cpu_s"] <= SECONDS and times >= TIMES and ours["peak_mb"] <= MEGABYTES else 1


if __name__ == "__main__":
    sys.exit(main())
