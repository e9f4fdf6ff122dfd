"""One replica of a plan's group in our simulator and in NVIDIA's AISimulate, on the same requests.

python -m benchmarks.peer_simulator PLAN GROUP RATE --peer VENV/bin/aisimulate

AISimulate (Apache-2.0) is not a dependency: install `aisimulate==0.13.0.dev202610270000000085` into an environment of
its own.
It has kernel tables of its own, and no file of the model is downloaded: the base model's configuration is in its wheel.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sky_melange.pipeline import planned_fleet
from sky_melange.plan_file import read_plan
from sky_melange.simulation import Arrivals, compiled
from sky_melange.simulation.arrivals import Drawn, drawn
from sky_melange.simulation.fleet import Fleet
from sky_melange.simulation.run import serve

BLOCK_TOKENS = 512
PEER_MODELS = {"meta-llama/Llama-3.1-8B-Instruct": "meta-llama/Meta-Llama-3.1-8B", "Qwen/Qwen3-32B": "Qwen/Qwen3-32B"}
Floats = NDArray[np.float64]


def main() -> int:
    """Prints one line for each simulator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("group")
    parser.add_argument("rate", type=float)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=4000)
    options = parser.parse_args()
    document = read_plan(options.plan)
    workload = document.workload
    fleet = _alone(planned_fleet(document)[0], options.group)
    requests = drawn(workload.traffic, Arrivals(), options.requests, options.rate, 0, None)
    table, _, _ = serve(compiled.loop(None), fleet, requests, slice(0, options.requests), 0)
    ours = (table["first_s"] - table["arrival_s"], table["last_s"] - table["arrival_s"], table["outputs"])
    with tempfile.TemporaryDirectory() as folder:
        theirs = _peer(options.peer, fleet, requests, PEER_MODELS[workload.model.id], Path(folder))
    for name, (ttft, latency, outputs) in (("sky-melange", ours), ("aisimulate", theirs)):
        tpot = (latency - ttft)[outputs > 1] / (outputs[outputs > 1] - 1)
        whole = np.zeros(len(ttft))
        whole[outputs > 1] = tpot
        slo = workload.slo
        met = (ttft <= (slo.ttft_s or np.inf)) & (whole <= (slo.tpot_s or np.inf))
        print(
            f"{name}: {met.mean():.2%} within targets; TPOT mean {tpot.mean() * 1000:.1f}, "
            f"p99 {np.quantile(tpot, 0.99) * 1000:.1f} ms; TTFT mean {ttft.mean() * 1000:.0f}, "
            f"p99 {np.quantile(ttft, 0.99) * 1000:.0f} ms"
        )
    return 0


def _alone(fleet: Fleet, name: str) -> Fleet:
    """One replica of a group."""
    group = next(group for group in fleet.groups if group.name == name)
    one = dataclasses.replace(fleet.classes[0], shares=((name, 1.0),), spare=())
    alone = dataclasses.replace(group, instances=1, ranks=1)
    return dataclasses.replace(fleet, groups=(alone,), classes=(one,), spills=False)


def _peer(program: Path, fleet: Fleet, requests: Drawn, model: str, folder: Path) -> tuple[Floats, Floats, Floats]:
    """TTFT, latency (seconds) and output tokens. Prompts share no prefix."""
    blocks = 0
    lines = []
    for time_s, inputs, outputs in zip(requests.times_s, requests.inputs, requests.outputs, strict=True):
        count = -(-int(inputs) // BLOCK_TOKENS)
        request = {"timestamp": time_s * 1000, "input_length": int(inputs), "output_length": int(outputs)}
        lines.append(json.dumps({**request, "hash_ids": list(range(blocks, blocks + count))}))
        blocks += count
    trace, config, out = folder / "requests.jsonl", folder / "prediction.json", folder / "out"
    trace.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (group,) = fleet.groups
    key = group.profile.key
    workers = {
        "parallelism": {"tensor": key.tensor_parallel},
        "scheduler": {"max_sequences": group.running_limit},
    }
    engine = {"mode": "aggregated", "model": model, "hardware": f"{key.accelerator.lower()}_sxm", "backend": "vllm"}
    document = {
        "traffic": {
            "source": {"type": "trace", "paths": [str(trace)], "format": "mooncake"},
            "load": {"type": "trace_timestamps"},
        },
        "engine": {**engine, "workers": {"aggregated": workers}},
    }
    config.write_text(json.dumps(document), encoding="utf-8")
    command = [str(program), "predict", "-c", str(config), "--output-dir", str(out), "--capture-per-request"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in (out / "requests.jsonl").read_text(encoding="utf-8").splitlines()]
    names = ("arrival_time_ms", "first_token_ms", "last_token_ms", "output_length")
    arrival, first, last, outputs = (np.array([row[name] for row in rows], dtype=np.float64) for name in names)
    return (first - arrival) / 1000, (last - arrival) / 1000, outputs


if __name__ == "__main__":
    sys.exit(main())
