"""What `profiles measure` finds of a running vLLM, against the histograms that the engine itself keeps.

    python -m benchmarks.measure_engine http://127.0.0.1:8000 NAME [--grid 400x100] [--concurrency 4]

NAME is the server's name of the model. Nobody else may use the server meanwhile: its histograms count all requests,
those before the window too.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

HISTOGRAMS = {"ttft": "time_to_first_token_seconds", "tpot": "request_time_per_output_token_seconds"}


def counted(endpoint: str) -> dict[str, tuple[float, float]]:
    """(sum in seconds, count) of each histogram until now."""
    with urllib.request.urlopen(f"{endpoint}/metrics", timeout=30) as answer:  # noqa: S310 - an address that is given
        text = answer.read().decode("utf-8")

    def value(name: str, part: str) -> float:
        return sum(float(found) for found in re.findall(rf"^vllm:{name}_{part}(?:{{.*}})? (\S+)$", text, re.MULTILINE))

    return {key: (value(name, "sum"), value(name, "count")) for key, name in HISTOGRAMS.items()}


def main() -> None:
    """Measures one size, and prints both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint")
    parser.add_argument("name")
    parser.add_argument("--grid", default="400x100")
    parser.add_argument("--concurrency", default="4")
    options = parser.parse_args()
    before = counted(options.endpoint)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "profile.json"
        given = f"--endpoint {options.endpoint} --model any/any --served-model {options.name} --accelerator L4"
        given += f" --grid {options.grid} --concurrency {options.concurrency} --min-requests 60 --tpot-ms 100000"
        command = [sys.executable, "-m", "sky_melange", "profiles", "measure", *given.split(), "--out", str(out)]
        subprocess.run(command, check=True)
        points = json.loads(out.read_text(encoding="utf-8"))["points"]
        point = dict(zip(points["columns"], points["rows"][0], strict=True))
    after = counted(options.endpoint)
    for key in HISTOGRAMS:
        total_s, count = (now - then for now, then in zip(after[key], before[key], strict=True))
        ours, theirs = point[f"{key}_s"] * 1000, total_s / count * 1000
        print(f"{key.upper()}: measured {ours:.2f} ms, the engine's mean {theirs:.2f} ms ({ours / theirs - 1:+.1%})")


if __name__ == "__main__":
    main()
