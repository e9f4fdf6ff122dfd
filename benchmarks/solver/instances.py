"""Seeded problems for benchmarks.

`plausible`: GPUs that obey a roofline, at several sizes of machine, in several places at slightly different prices, and
a lognormal mix of request sizes: what a catalog and a request log look like. `unstructured`: every load and price drawn
independently, as no market is, which leaves a solver no structure to prove anything from.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from sky_melange.optimizer.limits.accelerators import Cap
from sky_melange.optimizer.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """Made-up figures near real ones: dense 16-bit TFLOP/s, memory TB/s and GB, and USD/h."""

    tflops: float
    tbytes_per_s: float
    memory_gb: float
    usd_per_hour: float


_GPUS = (
    Gpu(tflops=121, tbytes_per_s=0.30, memory_gb=24, usd_per_hour=0.70),
    Gpu(tflops=125, tbytes_per_s=0.60, memory_gb=24, usd_per_hour=1.01),
    Gpu(tflops=362, tbytes_per_s=0.86, memory_gb=48, usd_per_hour=1.86),
    Gpu(tflops=312, tbytes_per_s=1.56, memory_gb=40, usd_per_hour=2.20),
    Gpu(tflops=312, tbytes_per_s=2.04, memory_gb=80, usd_per_hour=3.00),
    Gpu(tflops=989, tbytes_per_s=3.35, memory_gb=80, usd_per_hour=4.60),
    Gpu(tflops=989, tbytes_per_s=4.80, memory_gb=141, usd_per_hour=5.50),
    Gpu(tflops=2250, tbytes_per_s=8.00, memory_gb=180, usd_per_hour=7.20),
)
_PARAMETERS_E9 = 8.0
_KV_BYTES_PER_TOKEN = 131_072
_SIZES = (1, 2, 4, 8)


def plausible(
    seed: int, *, classes: int, candidates: int, rate_rps: float = 200.0, max_utilization: float = 0.9
) -> Problem:
    """`classes` request sizes (a grid with lognormal weights), `candidates` offers of eight GPUs in 1, 2, 4 and 8."""
    rng = random.Random(seed)  # noqa: S311 - repeatable numbers, nothing secret
    sizes = _request_sizes(classes)
    weights = [_lognormal(i, 700, 1.2) * _lognormal(o, 180, 1.0) for i, o in sizes]
    rates = [rate_rps * weight / math.fsum(weights) for weight in weights]
    offers = [(index % len(_GPUS), _SIZES[(index // len(_GPUS)) % len(_SIZES)]) for index in range(candidates)]
    skew = [rng.uniform(0.9, 1.1) for _ in _GPUS]
    loads = tuple(
        tuple(_load(rate, size, _GPUS[gpu], skew[gpu], count) for gpu, count in offers)
        for rate, size in zip(rates, sizes, strict=True)
    )
    prices = tuple(round(_GPUS[gpu].usd_per_hour * count * rng.uniform(0.85, 1.6), 4) for gpu, count in offers)
    return Problem(
        loads=loads,
        prices=prices,
        replicas=tuple(count for _, count in offers),
        max_utilization=max_utilization,
        weights=tuple(weight / math.fsum(weights) for weight in weights),
    )


def with_quotas(problem: Problem, *, gpus: int) -> Problem:
    """The same with a quota of `gpus` for each GPU model in each place, so that nowhere makes up for elsewhere."""
    caps = []
    for gpu in range(len(_GPUS)):
        for place in range(math.ceil(problem.candidate_count / (len(_GPUS) * len(_SIZES)))):
            usage = tuple(
                count if index % len(_GPUS) == gpu and index // (len(_GPUS) * len(_SIZES)) == place else 0
                for index, count in enumerate(problem.replicas)
            )
            if any(usage):
                caps.append(Cap(name=f"quota of gpu {gpu} in place {place}", weights=usage, limit=gpus))
    return replace(problem, limits=tuple(caps))


def unstructured(seed: int, *, classes: int, candidates: int, total_load: float = 40.0) -> Problem:
    """Loads and prices drawn independently; every class is served by nine candidates in ten."""
    rng = random.Random(seed)  # noqa: S311
    most = 2 * total_load / classes
    loads = [
        [None if rng.random() < 0.1 else rng.uniform(0.05 * most, most) for _ in range(candidates)]
        for _ in range(classes)
    ]
    for row in loads:
        if all(load is None for load in row):
            row[0] = most
    return Problem(
        loads=tuple(tuple(row) for row in loads),
        prices=tuple(round(rng.uniform(0.5, 9.0), 4) for _ in range(candidates)),
        replicas=(1,) * candidates,
        max_utilization=1.0,
    )


def gpu_types(seed: int, *, buckets: int, types: int, rate_rps: float) -> Problem:
    """The setting of the Mélange paper: one offer a GPU type, full utilisation."""
    return plausible(seed, classes=buckets, candidates=types, rate_rps=rate_rps, max_utilization=1.0)


def _request_sizes(classes: int) -> list[tuple[int, int]]:
    columns = max(1, round(math.sqrt(classes / 1.5)))
    rows = math.ceil(classes / columns)
    grid = [(_edge(25, 16_000, r, rows), _edge(25, 2_000, c, columns)) for r in range(rows) for c in range(columns)]
    return grid[:classes]


def _edge(first: int, last: int, index: int, count: int) -> int:
    return first if count == 1 else round(first * (last / first) ** (index / (count - 1)))


def _lognormal(size: int, median: float, sigma: float) -> float:
    return math.exp(-((math.log(size / median) / sigma) ** 2) / 2)


def _load(rate_rps: float, size: tuple[int, int], gpu: Gpu, skew: float, count: int) -> float | None:
    """Instances that the rate keeps busy: prefill is bound by arithmetic, decoding by memory traffic and capacity."""
    input_tokens, output_tokens = size
    held = _KV_BYTES_PER_TOKEN * (input_tokens + output_tokens / 2)
    room = gpu.memory_gb * 1e9 * 0.9 - _PARAMETERS_E9 * 2e9
    concurrent = min(256.0, room / held)
    if concurrent < 1:
        return None
    prefill_s = input_tokens * 2 * _PARAMETERS_E9 * 1e9 / (gpu.tflops * 1e12 * 0.5)
    step_s = (_PARAMETERS_E9 * 2e9 + concurrent * held) / (gpu.tbytes_per_s * 1e12 * 0.7)
    busy_s = prefill_s + output_tokens * step_s / concurrent
    return rate_rps * busy_s * skew / count
