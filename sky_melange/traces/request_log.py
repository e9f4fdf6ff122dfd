"""The requests of a log one by one, with their times to the microsecond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sky_melange.errors import InputError, Mistake
from sky_melange.traces.duckdb_sql import BLOCKS

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
