"""Measured serving runs, and what those that wait for memory or a place in the batch tell of its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

_WAITS_S: Final = 2.0
_WAITS_SHARE: Final = 0.1
_WAITS_RATIO: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One steady state of one engine: `concurrency` requests in flight; `setup` names engine version or date."""

    name: str
    setup: str
    input_tokens: int
    output_tokens: int
    concurrency: int
    ttft_s: float
    tpot_s: float

    @property
    def decode_s(self) -> float:
        """Seconds from the first token to the last."""
        return self.tpot_s * (self.output_tokens - 1)

    @property
    def running(self) -> float:
        """Requests that decode on average, of those in flight, in a steady state (Little's law)."""
        return self.concurrency * self.decode_s / (self.decode_s + self.ttft_s)

    @property
    def places(self) -> float:
        """Requests that decode at once, if all were sent at once and none after them.

        They then run in `concurrency ÷ places` waves, and the mean one waits for half of those before the last, so
        that TTFT is `(concurrency ÷ places − 1) ÷ 2` decoding times.
        """
        return self.concurrency / (1 + 2 * self.ttft_s / self.decode_s)

    def held_tokens(self, output_share_held: float) -> float:
        """Tokens of KV cache that one request of this size holds on average."""
        return self.input_tokens + output_share_held * self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What bounds the requests that run at once: tokens of KV cache, places in the batch; infinity: nothing."""

    kv_cache_tokens: float
    max_running: float
    output_share_held: float

    def running(self, run: Run) -> float:
        """Requests of this run that decode at once; the rest of its concurrency waits."""
        held = self.kv_cache_tokens / run.held_tokens(self.output_share_held)
        return min(float(run.concurrency), held, self.max_running)


def waits_for_memory(runs: Sequence[Run]) -> list[bool]:
    """Whether each run's TTFT is queueing rather than prefill.

    Without queueing TTFT grows at most as the prompt tokens in flight, N·I. A run waits when its TTFT is over
    `_WAITS_RATIO` times what that growth allows from any other run, and is a tenth of its decoding or more.
    """
    return [
        run.ttft_s > _WAITS_S
        and run.ttft_s > _WAITS_SHARE * run.decode_s
        and any(_grown_ttft_s(other, run) * _WAITS_RATIO < run.ttft_s for other in runs if other is not run)
        for run in runs
    ]


def without_waiting(runs: Sequence[Run]) -> list[Run]:
    """The runs that wait for nothing. There always are some: the one with the least TTFT never waits."""
    return [run for run, waits in zip(runs, waits_for_memory(runs), strict=True) if not waits]


def limits(runs: Sequence[Run], kv_cache_tokens: float, output_share_held: float) -> list[Limit]:
    """Limits worth trying: the estimate of the memory, and what the runs that wait hold or how many of them run.

    How many run follows from how long the others wait, which depends on how the requests were sent: at a steady
    concurrency (Little's law) or all at once. No table says which, so both are tried.
    """
    free = without_waiting(runs)
    waiting = [run for run in runs if run not in free]
    held = max((run.concurrency * run.held_tokens(output_share_held) for run in free), default=0.0)
    # Runs that do not wait prove that the memory holds them, whatever was estimated.
    found = [(max(kv_cache_tokens, held), math.inf)]
    for counts in ([run.running for run in waiting], [run.places for run in waiting]):
        if waiting:
            tokens = [n * run.held_tokens(output_share_held) for n, run in zip(counts, waiting, strict=True)]
            found += [(float(np.median(tokens)), math.inf), (math.inf, float(np.median(counts)))]
    return [Limit(kv_cache_tokens=kv, max_running=most, output_share_held=output_share_held) for kv, most in found]


def _grown_ttft_s(low: Run, high: Run) -> float:
    ratio = high.concurrency * high.input_tokens / (low.concurrency * low.input_tokens)
    return low.ttft_s * max(1.0, ratio)
