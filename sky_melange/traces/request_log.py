"""The requests of a log one by one, with their times to the microsecond; and what a prefix cache finds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sky_melange.domain.trace import PrefixCache, PrefixHits
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.duckdb_sql import BLOCKS
from sky_melange.untrusted import json_or_none

_MOST_BLOCKS: Final = 50_000_000
"""Of a log; they are counted one by one."""

_MOST_REPLICAS: Final = 10_000

MOST_REQUESTS: Final = 5_000_000
QUERY_COLUMNS: Final = ("input", "output", "second", "fraction", "raw")
_SCALES: Final = (1.0, 1e3, 1e6, 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLog:
    """Valid requests by rising time. `times_s` None: the log has no times. `source` names it.

    `blocks`: of each prompt, as the log has them, where they were asked for; each is of `block_tokens`.
    """

    source: str
    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    times_s: NDArray[np.float64] | None
    blocks: tuple[str | None, ...] | None = None
    block_tokens: int = 0

    @property
    def span_s(self) -> float:
        """From the first request to where the one after the last would be expected; 0 without two times."""
        if self.times_s is None or len(self.times_s) < 2:
            return 0.0
        span = float(self.times_s[-1] - self.times_s[0])
        return span * len(self.times_s) / (len(self.times_s) - 1)


def request_log(source: str, columns: dict[str, Any], *, has_times: bool) -> RequestLog:
    """From the columns of the query. Raises InputError when there is no row, or more than MOST_REQUESTS."""
    inputs = np.asarray(columns["input"], dtype=np.float64).astype(np.int64)
    outputs = np.asarray(columns["output"], dtype=np.float64).astype(np.int64)
    problem = "holds no valid request; `sky-melange workload from-trace` says why not" if not len(inputs) else ""
    if len(inputs) > MOST_REQUESTS:
        problem = f"holds more than {MOST_REQUESTS:,} requests; cut out a part"
    if problem:
        raise InputError([Mistake(source=source, message=problem)])
    if not has_times:
        # No order is kept on the way; this one depends on nothing else.
        order = np.lexsort((outputs, inputs))
        return RequestLog(source=source, inputs=inputs[order], outputs=outputs[order], times_s=None)
    times = _times(np.asarray(columns["second"], dtype=np.float64), columns["fraction"], columns["raw"])
    blocks = columns.get(BLOCKS)
    if blocks is None:
        order = np.lexsort((outputs, inputs, times))
    else:
        # Which of two alike came first depends on nothing but them.
        keys = zip(times.tolist(), inputs.tolist(), outputs.tolist(), map(str, blocks), range(len(inputs)), strict=True)
        order = np.array([key[-1] for key in sorted(keys)])
        blocks = tuple(blocks[row] for row in order)
    return RequestLog(source=source, inputs=inputs[order], outputs=outputs[order], times_s=times[order], blocks=blocks)


def parse_prefix_cache(text: str) -> PrefixCache:
    """`400000` tokens, or `400000x4` for four replicas. Raises InputError for anything else."""
    tokens, _, replicas = text.partition("x")
    if not (_is_count(tokens) and (replicas == "" if "x" not in text else _is_count(replicas))):
        message = f"want tokens of a replica's KV cache such as 400000, or 400000x4 for 4 replicas, found {text[:40]!r}"
        raise InputError([Mistake(source="--prefix-cache", message=message)])
    cache = PrefixCache(tokens=int(tokens), replicas=int(replicas or 1))
    if cache.replicas > _MOST_REPLICAS:
        message = f"want at most {_MOST_REPLICAS:,} replicas, found {cache.replicas:,}"
        raise InputError([Mistake(source="--prefix-cache", message=message)])
    return cache


def prefix_hits(log: RequestLog, cache: PrefixCache) -> PrefixHits:
    """Requests go to the replicas in turn, as a router sends them that knows no prompts.

    Each keeps the blocks that it used last. Of a prompt the blocks from its beginning that are there are found, and at
    least one token is computed. Raises InputError for blocks that are no list of ids, too many, or without times.
    """
    if log.blocks is None or log.times_s is None:
        message = "has no times, so nobody knows which prompts came before: --prefix-cache cannot measure it"
        raise InputError([Mistake(source=log.source, message=message)])
    most = cache.tokens // log.block_tokens
    kept: list[OrderedDict[int | str, None]] = [OrderedDict() for _ in range(cache.replicas)]
    found = seen = 0
    for row, (text, inputs) in enumerate(zip(log.blocks, log.inputs.tolist(), strict=True)):
        blocks = _ids(text, log.source, row)
        seen += len(blocks)
        if seen > _MOST_BLOCKS:
            message = f"has more than {_MOST_BLOCKS:,} blocks of prompts; cut out a part with --since and --until"
            raise InputError([Mistake(source=log.source, message=message)])
        own = kept[row % cache.replicas]
        hits = next((place for place, block in enumerate(blocks) if block not in own), len(blocks))
        found += min(hits * log.block_tokens, inputs - 1)
        # The end of a prompt goes first when memory is short.
        for block in reversed(blocks):
            own[block] = None
            own.move_to_end(block)
        while len(own) > most:
            own.popitem(last=False)
    return PrefixHits(cache=cache, fraction=found / int(log.inputs.sum()))


def _times(seconds: NDArray[np.float64], fractions: Sequence[str], raw: Sequence[str]) -> NDArray[np.float64]:
    """Whole seconds, and what follows: digits after the point of a date, or what a number has over them in its unit."""
    found = np.zeros(len(seconds))
    for row, (second, digits, text) in enumerate(zip(seconds, fractions, raw, strict=True)):
        if digits:
            found[row] = float(f"0.{digits}")
        elif ":" not in text:
            value = float(text)
            scaled = (value / scale - second for scale in _SCALES)
            found[row] = next((rest for rest in scaled if 0.0 <= rest < 1.0), 0.0)
    return seconds + found


def _ids(text: str | None, source: str, row: int) -> list[int | str]:
    ids = json_or_none(text or "")
    if not isinstance(ids, list) or not all(isinstance(each, int | str) for each in ids):
        message = f"request {row + 1:,} by time: want a list of block ids such as [0, 1], found {str(text)[:40]!r}"
        raise InputError([Mistake(source=source, key="hash_ids", message=message)])
    return ids


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 12 and int(text) > 0
