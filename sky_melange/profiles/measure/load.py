"""Holds one concurrency and looks at its steady state: a closed loop of N workers, each with one request in flight.

A start of N equal requests at once would march in step: all prefill, then all decode, which no traffic does. So each
worker's first request, the warm-up, has a random length, after which the workers stay spread out. The window opens when
every warm-up request has finished. It closes at the last request needed, with the load still at N: whatever is in
flight then is cut off, so there is no tail. TTFT and TPOT are of requests that started after every warm-up request
had its first token (the burst of prefills is over) and finished in the window; the rate counts all that finished in it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, Protocol

from sky_melange.profiles.measure.results import ErrorKind, Failure, LevelFailure, LevelResult, Spread, Success
from sky_melange.profiles.measure.spec import Effort, Shape

_BATCHES: Final = 6
_LEAST_PER_BATCH: Final = 2

_LAG_PROBE_S: Final = 0.02
_RETRY_PAUSES_S: Final = (0.0, 0.1, 0.2, 0.5, 1.0)
"""By failures in a row of one worker. The first retry is at once: a pause would lower the concurrency."""

_LEAST_IN_FLIGHT_FRACTION: Final = 0.95
_LEAST_FAILURES: Final = 5
_LEAST_STALLS: Final = 2
_LEAST_REFUSALS: Final = 3


class Generator(Protocol):
    """What a level needs of a client."""

    async def generate(
        self, prompt: str, output_tokens: int, on_first_token: Callable[[], None] | None = None
    ) -> Success | Failure:
        """Serves one request."""


async def run_level(
    client: Generator, make_prompt: Callable[[], str], shape: Shape, concurrency: int, effort: Effort
) -> LevelResult | LevelFailure:
    """Measures one shape at one concurrency, in at most `effort.level_limit_s`."""
    level = _Level(client, make_prompt, shape, concurrency, effort)
    lengths = Random(f"{effort.seed} {shape} {concurrency}")  # noqa: S311 - a load, no secret
    tasks = [
        asyncio.create_task(level.work(lengths.randint(1, shape.output_tokens)), name=f"worker {index}")
        for index in range(concurrency)
    ]
    tasks.append(asyncio.create_task(level.watch_lag(), name="lag"))
    try:
        async with asyncio.timeout(effort.level_limit_s):
            await level.enough.wait()
    except TimeoutError:
        pass  # the result says whether what there is suffices
    finally:
        level.close()
        for task in tasks:
            task.cancel()
        finished = await asyncio.gather(*tasks, return_exceptions=True)
    for result in finished:
        if isinstance(result, Exception):
            raise result  # a bug in a worker; cancellations are no Exceptions
    return level.result()


class _Level:
    """The state of one level."""

    def __init__(
        self, client: Generator, make_prompt: Callable[[], str], shape: Shape, concurrency: int, effort: Effort
    ) -> None:
        self.enough = asyncio.Event()
        self._client = client
        self._make_prompt = make_prompt
        self._shape = shape
        self._concurrency = concurrency
        self._effort = effort
        self._begun_s = time.perf_counter()
        self._ended_s = self._begun_s
        self._ramping = concurrency
        self._warming = concurrency
        self._ramp_end_s: float | None = None
        self._window_start_s: float | None = None
        self._completed = 0
        self._samples: list[Success] = []
        self._errors: Counter[ErrorKind] = Counter()
        self._last_failure: Failure | None = None
        self._failed_in_a_row: Counter[ErrorKind] = Counter()
        self._given_up = False
        self._paused_s = 0.0
        self._lags_s: list[float] = []

    async def work(self, first_output_tokens: int) -> None:
        """One worker: a warm-up request, then one request after the other."""
        begun = asyncio.Event()
        outcome = await self._client.generate(self._make_prompt(), first_output_tokens, lambda: self._ramped(begun))
        self._ramped(begun)
        self._warm(outcome)
        failures = int(isinstance(outcome, Failure))
        while not self.enough.is_set():
            if failures > 1:
                await self._pause(_RETRY_PAUSES_S[min(failures, len(_RETRY_PAUSES_S)) - 1])
            outcome = await self._client.generate(self._make_prompt(), self._shape.output_tokens)
            failures = failures + 1 if isinstance(outcome, Failure) else 0
            self._record(outcome)

    async def _pause(self, seconds: float) -> None:
        """Waits before a retry; the time in the window counts as time without a request in flight."""
        begun_s = time.perf_counter()
        try:
            await asyncio.sleep(seconds)
        finally:
            if self._window_start_s is not None:
                self._paused_s += time.perf_counter() - max(begun_s, self._window_start_s)

    async def watch_lag(self) -> None:
        """How late this event loop wakes up: were it late, the client would be measured instead of the server."""
        while True:
            due_s = time.perf_counter() + _LAG_PROBE_S
            await asyncio.sleep(_LAG_PROBE_S)
            if self._window_start_s is not None:
                self._lags_s.append(max(0.0, time.perf_counter() - due_s))

    def close(self) -> None:
        """No outcome counts from here on."""
        if not self.enough.is_set():
            self._ended_s = time.perf_counter()
            self.enough.set()

    def _ramped(self, begun: asyncio.Event) -> None:
        """A worker's first request has its first token, or has failed; the first call of each worker counts."""
        if begun.is_set():
            return
        begun.set()
        self._ramping -= 1
        if self._ramping == 0:
            self._ramp_end_s = time.perf_counter()

    def _warm(self, outcome: Success | Failure) -> None:
        self._note_health(outcome)
        self._warming -= 1
        if self._warming == 0:
            self._window_start_s = outcome.finished_s

    def _record(self, outcome: Success | Failure) -> None:
        if self.enough.is_set():
            return
        self._note_health(outcome)
        if self._window_start_s is None:
            return
        if isinstance(outcome, Failure):
            self._errors[outcome.kind] += 1
            return
        self._completed += 1
        if self._ramp_end_s is not None and outcome.started_s >= self._ramp_end_s:
            self._samples.append(outcome)
        if len(self._samples) >= self._effort.samples(self._concurrency):
            self._ended_s = outcome.finished_s
            self.enough.set()

    def _note_health(self, outcome: Success | Failure) -> None:
        """Gives the level up when nothing succeeds any more, or when the server says that the request is wrong."""
        if isinstance(outcome, Success):
            self._failed_in_a_row.clear()
            return
        self._last_failure = outcome
        failed = self._failed_in_a_row
        failed[outcome.kind] += 1
        # A refusal will not change; a stall takes long, so few must do; anything else may be a passing burst.
        if (
            failed[ErrorKind.REFUSED] >= _LEAST_REFUSALS
            or failed[ErrorKind.STALLED] >= max(_LEAST_STALLS, self._concurrency)
            or failed.total() >= max(_LEAST_FAILURES, 2 * self._concurrency)
        ):
            self._given_up = True
            self._ended_s = outcome.finished_s
            self.enough.set()

    def result(self) -> LevelResult | LevelFailure:
        """The figures, or why there are none."""
        last = "" if self._last_failure is None else f"; last: {self._last_failure.detail}"
        if self._given_up:
            failed_in_a_row = self._failed_in_a_row
            refused = failed_in_a_row[ErrorKind.REFUSED] >= _LEAST_REFUSALS
            reason = f"{failed_in_a_row.total()} requests failed in a row{last}"
            return LevelFailure(reason=reason, suspect=not refused, refused=refused)
        failed = sum(self._errors.values())
        attempts = failed + self._completed
        if failed > self._effort.max_error_fraction * attempts:
            return LevelFailure(reason=f"{failed} of {attempts} requests failed{last}")
        if self._window_start_s is None or len(self._samples) < self._effort.min_requests:
            reason = f"only {len(self._samples)} requests finished in {self._effort.level_limit_s:g} s{last}"
            return LevelFailure(reason=reason, suspect=self._completed == 0)
        window_s = self._ended_s - self._window_start_s
        in_flight = self._concurrency - self._paused_s / window_s
        if in_flight < _LEAST_IN_FLIGHT_FRACTION * self._concurrency:
            return LevelFailure(reason=f"failures left only {in_flight:.1f} requests in flight{last}")
        ttfts_s = [sample.ttft_s for sample in self._samples]
        tpots_s = [sample.tpot_s for sample in self._samples if sample.tpot_s is not None]
        if sorted(tpots_s)[len(tpots_s) // 2] <= 0:
            return LevelFailure(reason="an answer's tokens come all at once: something buffers the stream")
        return LevelResult(
            shape=self._shape,
            concurrency=self._concurrency,
            input_tokens=sum(sample.prompt_tokens for sample in self._samples) / len(self._samples),
            requests=len(self._samples),
            completed=self._completed,
            window_s=window_s,
            elapsed_s=self._ended_s - self._begun_s,
            ttft_s=spread(ttfts_s),
            tpot_s=spread(tpots_s),
            errors={kind.value: count for kind, count in sorted(self._errors.items())},
            client_lag_s=sum(self._lags_s) / len(self._lags_s) if self._lags_s else 0.0,
        )


def spread(values: Sequence[float]) -> Spread:
    """Statistics of `values` (seconds, in order of time, at least one)."""
    ordered = sorted(values)
    return Spread(
        mean=math.fsum(values) / len(values),
        p50=percentile(ordered, 0.50),
        p99=percentile(ordered, 0.99),
        standard_error=standard_error(values),
    )


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """Percentile of sorted values, linear between the two nearest."""
    position = fraction * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def standard_error(values: Sequence[float]) -> float | None:
    """Standard error of the mean by batch means: requests that ran side by side are not independent, batches nearly.

    None with fewer than two values in each of six batches. Formula: Law, Simulation Modeling and Analysis, 9.5.3.
    """
    size = len(values) // _BATCHES
    if size < _LEAST_PER_BATCH:
        return None
    means = [math.fsum(values[i * size : (i + 1) * size]) / size for i in range(_BATCHES)]
    mean = math.fsum(means) / _BATCHES
    variance = math.fsum((value - mean) ** 2 for value in means) / (_BATCHES - 1)
    return math.sqrt(variance / _BATCHES)
