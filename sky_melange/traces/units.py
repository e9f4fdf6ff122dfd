"""The unit of times that are numbers: read from the data and the format's writers, and held against itself."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import CALENDAR_FROM_S, TimeUnit
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.engine import Clock
from sky_melange.traces.times import PER_SECOND

_WORDS: Final = {
    TimeUnit.S: "seconds",
    TimeUnit.MS: "milliseconds",
    TimeUnit.US: "microseconds",
    TimeUnit.NS: "nanoseconds",
}
_FIRST_S: Final = 1_420_070_400
_LAST_S: Final = 4_102_444_800
"""2015 and 2100: no log of a language model is older, or so far ahead."""

_LONGEST_S: Final = 10 * 366 * 86_400
_HIGHEST_RPS: Final = 100_000.0
_USUAL_RPS: Final = 100.0


def choose_unit(
    clock: Clock, writer: TimeUnit, *, layout: str, window_s: int, source: str
) -> tuple[TimeUnit, str | None]:
    """(the unit, a sentence that says why), where `writer` is what the format's writers use; AUTO: none is known.

    A reading is possible when it does not put the whole log inside one window, nor over ten years, nor more than
    100,000 requests into a second. The writer's reading stands where it is possible, or at least has no unusual rate,
    and the data do not contradict it: what writes milliseconds and smaller writes whole numbers. Fractions are seconds
    where those are the one possible reading. Raises InputError with the rates of all readings where a doubt is left.
    """
    if not clock.requests or clock.lowest >= CALENDAR_FROM_S:
        is_told = clock.requests and writer is not TimeUnit.AUTO
        return (
            TimeUnit.AUTO,
            "Times are dates since 1970: they are too large to count from a start." if is_told else None,
        )
    possible = [unit for unit in _WORDS if _is_possible(clock, unit, window_s)]
    stands = writer in possible or (writer in _WORDS and _rate(clock, writer) <= _USUAL_RPS)
    if stands and (writer is TimeUnit.S or not clock.fractions):
        return writer, f"Times are {_WORDS[writer]}: {layout} writes them so."
    if clock.fractions and possible == [TimeUnit.S]:
        return TimeUnit.S, "Times are seconds: they have fractions."
    readings = "; ".join(
        f"{_WORDS[unit]}: {_rate(clock, unit):.3g} requests/s over {_span_s(clock, unit):.4g} s"
        for unit in possible or (TimeUnit.S, TimeUnit.MS)
    )
    told = "" if writer is TimeUnit.AUTO else f", though {layout} writes {_WORDS[writer]}"
    message = (
        f"the unit of {clock.requests:,} times is in doubt{told}. They may be {readings}. Give it: --time-unit "
        "s, ms, us or ns (time_unit: in a workload)"
    )
    raise InputError([Mistake(source=source, message=message)])


def is_odd_date(first_s: int, last_s: int) -> bool:
    """Whether dates are none that a log of requests can have."""
    return first_s >= CALENDAR_FROM_S and (first_s < _FIRST_S or last_s > _LAST_S)


def _is_possible(clock: Clock, unit: TimeUnit, window_s: int) -> bool:
    return window_s <= _span_s(clock, unit) <= _LONGEST_S and _rate(clock, unit) <= _HIGHEST_RPS


def _span_s(clock: Clock, unit: TimeUnit) -> float:
    return (clock.highest - clock.lowest) / PER_SECOND[unit]


def _rate(clock: Clock, unit: TimeUnit) -> float:
    return clock.requests / max(_span_s(clock, unit), 1 / PER_SECOND[unit])
