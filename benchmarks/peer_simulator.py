"""Whole plans in our simulator and in NVIDIA's AISimulate, on the same requests.

python -m benchmarks.peer_simulator --peer VENV/bin/aisimulate [--requests N] [NAME …]

For each plan of `benchmarks.tail` by NAME our router sends every request to a group. Each group is then replayed by
AISimulate, with as many replicas, running requests, cache and budget of a step: once with the step times of our
profile, so that only the mechanism differs, and once with its own kernel tables, where it has them. AISimulate asks
replicas in turn, our plans ask the least busy one, so our simulator is also run in turn.

AISimulate (Apache-2.0) is not a dependency: install `aisimulate==0.13.0.dev202610270000000085` into an environment of
its own. No file of a model is downloaded: the configurations are in its wheel.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from benchmarks import tail
from sky_melange import pipeline
from sky_melange.domain.front_door import RequestClass
from sky_melange.domain.workload import RoutingPolicy, Slo
from sky_melange.plan_file import PlanDocument
from sky_melange.profiles.step_terms import budget_of
from sky_melange.simulation import Fleet, Group, compiled
from sky_melange.simulation.arrivals import Drawn, drawn
from sky_melange.simulation.law import step_law
from sky_melange.simulation.run import serve

NAMES: Final = ("chat-32", "chat-128", "code-32", "code-32-80ms", "70B-chat-32", "qwen-chat-32")
BLOCK_TOKENS: Final = 512
CACHE_BLOCK_TOKENS: Final = 16
WARM_S: Final = 60.0
LONGEST_TOKENS: Final = 17_000

PEER_MODELS: Final = {
    "meta-llama/Llama-3.1-8B-Instruct": "meta-llama/Meta-Llama-3.1-8B",
    "meta-llama/Llama-3.1-70B-Instruct": "nvidia/Llama-3.1-70B-Instruct-FP8",
    "Qwen/Qwen3-32B": "Qwen/Qwen3-32B",
}

TABLE_OF: Final = {"model": "meta-llama/Meta-Llama-3.1-8B", "hardware": "h100_sxm", "version": "0.24.0"}
"""The label under which AISimulate looks up step times that are given to it; it says nothing of where they are from."""

Floats = NDArray[np.float64]


class Times(NamedTuple):
    """By request, seconds: to the first token, and to the last; output tokens."""

    ttft: Floats
    latency: Floats
    outputs: Floats


def main() -> int:
    """Prints the rows of docs/simulation.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=20_000)
    options = parser.parse_args()
    columns = ("plan", "simulator", "within targets", "TPOT mean", "TPOT p99", "TTFT mean", "TTFT p99")
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for case in tail.CASES:
        if case.name in options.names:
            for cells in _rows(case, options.peer, options.requests):
                print(f"| {' | '.join(cells)} |", flush=True)
    return 0


def _rows(case: tail.Case, peer: Path, count: int) -> Iterator[tuple[str, ...]]:
    workload = tail.workload_of(case)
    plan = tail.planned(workload).plan
    fleet, _ = pipeline.planned_fleet(PlanDocument(path=Path("plan.json"), plan=plan, workload=workload))
    warm = int(WARM_S * case.rate_rps)
    counted = slice(warm, warm + count)
    requests = drawn(workload.traffic, workload.traffic.arrivals, count + 2 * warm, case.rate_rps, 11, None)
    loop = compiled.loop(None)
    table, groups, _ = serve(loop, fleet, requests, slice(0, len(requests.times_s)), 11)
    running = [max(1, round(float(each["running"] / max(each["busy_s"], 1e-9)))) for each in groups]
    found: dict[str, Times] = {"ours": _times(table)}
    for name in ("ours, in turn", "AISimulate, our step times", "AISimulate, its tables"):
        found[name] = Times(*(np.full(len(table), np.nan) for _ in range(3)))
    for row, group in enumerate(fleet.groups):
        own = np.flatnonzero(table["group"] == row)
        part = Drawn(times_s=requests.times_s[own], inputs=requests.inputs[own], outputs=requests.outputs[own])
        alone, _, _ = serve(loop, _in_turn(group), part, slice(0, len(own)), 11)
        for name, times in (
            ("ours, in turn", _times(alone)),
            ("AISimulate, our step times", _replayed(peer, group, part, None, running[row])),
            ("AISimulate, its tables", _replayed(peer, group, part, PEER_MODELS[workload.model.id], running[row])),
        ):
            for whole, values in zip(found[name], times, strict=True):
                whole[own] = values
    sizes = " + ".join(f"{group.replicas} {group.profile.key.accelerator}" for group in fleet.groups)
    for name, times in found.items():
        served = Times(*(values[counted] for values in times))
        first = f"{case.name}: {sizes}" if name == "ours" else ""
        yield first, name, *_figures(served, workload.slo)


def _figures(times: Times, slo: Slo) -> tuple[str, ...]:
    if np.isnan(times.ttft).any():
        return ("no tables", "", "", "", "")
    many = times.outputs > 1
    tpot = np.where(many, (times.latency - times.ttft) / np.maximum(times.outputs - 1, 1), 0.0)
    met = (times.ttft <= (slo.ttft_s or np.inf)) & (tpot <= (slo.tpot_s or np.inf))
    own, first = tpot[many] * 1000, times.ttft * 1000
    return (
        f"{met.mean():.2%}",
        *(f"{value:.1f} ms" for value in (own.mean(), np.quantile(own, 0.99))),
        *(f"{value:.0f} ms" for value in (first.mean(), np.quantile(first, 0.99))),
    )


def _times(table: Any) -> Times:
    arrival = table["arrival_s"]
    return Times(table["first_s"] - arrival, table["last_s"] - arrival, table["outputs"].astype(np.float64))


def _in_turn(group: Group) -> Fleet:
    """Its replicas, each asked in turn."""
    alone = dataclasses.replace(group, instances=group.replicas, ranks=1, in_turn=True)
    one = RequestClass(
        name="all",
        max_input_tokens=None,
        max_output_tokens=None,
        rate_rps=1.0,
        shares=((group.name, 1.0),),
        spare=(),
    )
    return Fleet(groups=(alone,), classes=(one,), policy=RoutingPolicy.BLIND, spills=False)


def _replayed(program: Path, group: Group, requests: Drawn, model: str | None, running: int) -> Times:
    """By AISimulate; `model` None: with the step times of the group's profile. NaN where it has no tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trace = folder / "requests.jsonl"
        trace.write_text("".join(_lines(requests)), encoding="utf-8")
        key = group.profile.key
        timing: dict[str, object] = {}
        tensor, hardware = key.tensor_parallel, f"{key.accelerator.lower()}_sxm"
        if model is None:
            tensor, hardware, model = 1, TABLE_OF["hardware"], TABLE_OF["model"]
            path = _step_table(group, requests, running, folder)
            timing = {"estimation_mode": "fpm_interpolation", "fallback_policy": "deny", "fpm_parquet_path": str(path)}
        kept: dict[str, object] = {"block_size": CACHE_BLOCK_TOKENS, "prefix_caching": False}
        if group.profile.kv_cache_tokens is not None:
            kept["capacity"] = {"type": "fixed", "blocks": int(group.profile.kv_cache_tokens // CACHE_BLOCK_TOKENS)}
        workers = {
            "parallelism": {"tensor": tensor, "replicas": group.replicas},
            "scheduler": {
                "max_sequences": group.most_running,
                "max_batched_tokens": budget_of(group.profile),
            },
            "kv_cache": kept,
            "timing": timing,
        }
        document = {
            "traffic": {
                "source": {"type": "trace", "paths": [str(trace)], "format": "mooncake"},
                "load": {"type": "trace_timestamps"},
            },
            "engine": {
                "mode": "aggregated",
                "model": model,
                "hardware": hardware,
                "backend": "vllm",
                "workers": {"aggregated": workers},
            },
        }
        config, out = folder / "prediction.json", folder / "out"
        config.write_text(json.dumps(document), encoding="utf-8")
        command = [str(program), "predict", "-c", str(config), "--output-dir", str(out), "--capture-per-request"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            print(f"{group.name}: {done.stderr.strip()[:300]}", file=sys.stderr)
            return Times(*(np.full(len(requests.times_s), np.nan) for _ in range(3)))
        return _read(out / "requests.jsonl")


def _read(path: Path) -> Times:
    """In order of arrival, as they were written."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows.sort(key=lambda row: int(row["session_id"].rpartition("_")[2]))
    names = ("arrival_time_ms", "first_token_ms", "last_token_ms", "output_length")
    arrival, first, last, outputs = (np.array([row[name] for row in rows], dtype=np.float64) for name in names)
    return Times((first - arrival) / 1000, (last - arrival) / 1000, outputs)


def _lines(requests: Drawn) -> Iterator[str]:
    """Prompts share no prefix."""
    blocks = 0
    for time_s, inputs, outputs in zip(requests.times_s, requests.inputs, requests.outputs, strict=True):
        count = -(-int(inputs) // BLOCK_TOKENS)
        request = {"timestamp": time_s * 1000, "input_length": int(inputs), "output_length": int(outputs)}
        yield json.dumps({**request, "hash_ids": list(range(blocks, blocks + count))}) + "\n"
        blocks += count


def _step_table(group: Group, requests: Drawn, running: int, folder: Path) -> Path:
    """Our law as a table of forward passes, from which AISimulate interpolates.

    It adds the time of prompts to that of decoding where a step has both, as our law does. What prompts cost is taken
    at the mean number that run, and the I/O that our steps carry (`loop._step_s`) at its mean over the tokens.
    """
    most = group.most_running
    law = step_law(group.profile, most)
    prompt, square = float(law.prompt[min(running, most)]), float(law.square[min(running, most)])
    burden = float(requests.inputs.sum() / requests.outputs.sum())
    rows: list[tuple[str, int, int, int, float]] = []
    for n in range(1, most + 1):
        extra = law.prompt[n] * burden if n >= law.own_from else 0.0
        for tokens in _knots(n, n * LONGEST_TOKENS, 24):
            rows.append(("decode", n, 0, tokens, float(law.base[n] + law.context[n] * tokens + extra)))
    budget = budget_of(group.profile)
    for n in (*range(1, 17), *range(20, 65, 4), *range(80, 257, 16)):
        for tokens in _knots(n, budget, 32):
            for before in (0, *_knots(1, LONGEST_TOKENS, 24)):
                seconds = prompt * tokens + square * tokens * (2 * before + tokens) / n
                rows.append(("prefill", n, tokens, before, seconds))
    path = folder / "steps.parquet"
    _write(rows, path)
    return path


def _knots(least: int, most: int, count: int) -> Sequence[int]:
    return sorted({round(value) for value in np.geomspace(least, most, count)})


def _write(rows: Sequence[tuple[str, int, int, int, float]], path: Path) -> None:
    """In AISimulate's format of measured forward passes, with the record next to it that it asks for."""
    version, model, system = TABLE_OF["version"], TABLE_OF["model"], TABLE_OF["hardware"]
    policy, source = "dynamo_native_single_sample_v1", "0" * 64
    texts = {
        "model_path": model, "system": system, "backend": "vllm", "backend_version": version,
        "runtime_backend_version": version, "weight_quantization": "bfloat16", "gemm_quant_mode": "bfloat16",
        "moe_quant_mode": "bfloat16", "fmha_quant_mode": "bfloat16", "fmha_resolution": "", "comm_quant_mode": "half",
        "kv_cache_dtype": "bfloat16", "parallel_strategy": "single", "moe_backend": "auto", "attention_backend": "auto",
        "model_config_sha256": "", "execution_profile": "full", "engram_residency": "none", "input_modality": "text",
        "partition_policy": "balanced_v1", "measurement_policy": policy, "model_support_level": "",
        "model_template_id": "", "model_template_version": "", "aic_database_version": version,
        "source_plan_sha256": source, "collector_attempt_id": "0", "runtime_run_id": "0", "runtime_grid_digest": "0",
    }  # fmt: skip
    numbers = {"tp": 1, "pp": 1, "dp": 1, "moe_tp": 1, "moe_ep": 1, "cp": 1, "global_warmup_iterations": 0}
    numbers |= {"warmup_repeats": 0, "measurement_repeats": 1}
    fixed = [f"'{value}' AS {name}" for name, value in texts.items()]
    fixed += [f"{value}::BIGINT AS {name}" for name, value in numbers.items()]
    with duckdb.connect() as database:
        database.execute("CREATE TABLE passes (kind VARCHAR, n BIGINT, prompts BIGINT, kept BIGINT, ms DOUBLE)")
        listed = path.with_suffix(".csv")
        listed.write_text("".join(f"{k},{n},{p},{c},{s * 1000!r}\n" for k, n, p, c, s in rows), encoding="utf-8")
        database.execute(f"COPY passes FROM '{listed}'")
        database.execute(  # all of it is written here
            f"COPY (SELECT {', '.join(fixed)}, kind AS cell_id, kind AS workload_kind, n AS batch_size, "  # noqa: S608
            "prompts AS total_prefill_tokens, kept AS total_kv_read_tokens, ms AS latency_ms, "
            "FALSE AS enable_wideep, FALSE AS enable_eplb, "
            "CASE kind WHEN 'decode' THEN 'real_kv' ELSE 'n/a' END AS kv_seed_regime "
            f"FROM passes) TO '{path}' (FORMAT parquet)"
        )
    record = {
        "schema_name": "aic_fpm_forward_perf",
        "schema_version": 7,
        "coordinate_system": "iteration_totals_balanced_v1",
        "measurement_policy": policy,
        "warmup_repeats": 0,
        "measurement_repeats": 1,
        "row_count": len(rows),
        "parquet_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "source_plan_sha256": [source],
        "collector_attempt_ids": ["0"],
        "runtime_run_ids": ["0"],
        "runtime_grid_digests": ["0"],
        "aic_revision": "",
        "model_paths": [model],
        "system": system,
        "backend": "vllm",
        "backend_version": version,
    }
    path.with_suffix(".metadata.json").write_text(json.dumps(record), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
