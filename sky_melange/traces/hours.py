"""Requests, or dated rates -> the rate in each hour of a day or week, by the clocks of a time zone.

Windows and samples count in the hour in which they lie, each with the seconds that it stands for; of those of all the
days or weeks the percentile is taken. Local hours are found from UTC a quarter of an hour at a time: every zone's
clocks differ from UTC by whole quarters. So a day of 23 or 25 hours has one hour of the cycle less, or one twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

from sky_melange.domain.hours import (
    DAY,
    MOST_WINDOWS,
    USUAL_HEADROOM,
    USUAL_HEADROOM_BASIS,
    WEEK,
    WINDOW_MINUTES,
    HourCount,
    Hours,
    hour_name,
)
from sky_melange.domain.trace import CALENDAR_FROM_S
from sky_melange.errors import InputError, Mistake
from sky_melange.resources import time_zone

HOUR_S: Final = 3600
_QUARTER_S: Final = 900
_HALF_S: Final = 1800
_LONGEST_S: Final = 5 * 366 * 24 * HOUR_S
_MOST_RANGES: Final = 4
_WINDOW_S: Final = WINDOW_MINUTES * 60

_MOST_COMPARED: Final = 14
"""Days or weeks that are compared with each other, the last ones."""

_FEWEST_COMPARED: Final = 2

_MOST_DERIVED: Final = 1.0
"""Hours that more than double from week to week are not a schedule's matter."""

_Rates = Sequence[tuple[float, int]]
"""(rate, seconds)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A rate in requests/s, known of the seconds from `begin_s` until before `end_s` (since 1970, UTC)."""

    begin_s: int
    end_s: int
    rate_rps: float


@dataclass(frozen=True, slots=True)
class Piece:
    """Seconds within one hour of the local clocks; `hour` of the week."""

    begin_s: int
    end_s: int
    hour: int


class _Found:
    """What each hour of the week has been seen to need, each time that it was seen, and its longest piece."""

    def __init__(self) -> None:
        self.pieces: list[list[tuple[Piece, _Rates]]] = [[] for _ in range(WEEK)]
        self.longest_s = [0] * WEEK

    def saw(self, piece: Piece, rates: _Rates) -> None:
        self.longest_s[piece.hour] = max(self.longest_s[piece.hour], piece.end_s - piece.begin_s)
        self.pieces[piece.hour].append((piece, rates))

    def seen(self, hour: int, cycle: int) -> list[_Rates]:
        """Of an hour of the cycle each time that something is known of it, the earliest first."""
        times = [each for pieces in self.pieces[hour::cycle] for each in pieces]
        return [rates for _, rates in sorted(times, key=lambda each: each[0].begin_s) if rates]

    def missing(self, cycle: int) -> list[int]:
        """The hours of which no half has been seen at once."""
        return [hour for hour in range(cycle) if max(self.longest_s[hour::cycle]) < _HALF_S]


def local_pieces(first_s: int, end_s: int, zone_name: str) -> Iterator[Piece]:
    """The hours of a zone's clocks from one second until before another, in order; the ends may be cut off."""
    zone = time_zone(zone_name)
    begin, hour, shift = first_s, -1, None
    for quarter in range(first_s // _QUARTER_S * _QUARTER_S, end_s, _QUARTER_S):
        local = datetime.fromtimestamp(quarter, tz=zone)
        now = local.weekday() * DAY + local.hour
        if (now, local.utcoffset()) != (hour, shift):
            if hour >= 0:
                yield Piece(begin, quarter, hour)
            begin, hour, shift = max(quarter, first_s), now, local.utcoffset()
    if hour >= 0:
        yield Piece(begin, end_s, hour)


def hours_of_requests(
    seconds: Any, requests: Any, wanted: HourCount, *, window_s: int, percentile: float, source: str
) -> Hours:
    """From the `requests` in each of `seconds` (arrays, rising): the percentile of the windows within each hour.

    As for the whole log a window begins at every second; those count that lie within an hour and within the log.
    Raises InputError where the log has no dates, or does not say of every hour what it needs.
    """
    import numpy as np

    first_s, end_s = int(seconds[0]), int(seconds[-1]) + 1
    if first_s < CALENDAR_FROM_S:
        raise _mistake(source, "its times count from its own start: they are in no hour of a day; give dates")
    if window_s > HOUR_S:
        message = (
            f"windows of {window_s} s do not fit into an hour; take one of at most {HOUR_S} s (window_s, --window)"
        )
        raise _mistake(source, message)
    _check_length(first_s, end_s, source)
    found = _Found()
    for piece in local_pieces(first_s, end_s, wanted.time_zone):
        length = piece.end_s - piece.begin_s
        if length < window_s:
            found.saw(piece, ())
            continue
        low, high = np.searchsorted(seconds, [piece.begin_s, piece.end_s])
        if low == high:
            found.saw(piece, ((0.0, length - window_s + 1),))
            continue
        reached = np.zeros(length + 1, dtype=np.int64)
        reached[seconds[low:high] - piece.begin_s + 1] = requests[low:high]
        np.cumsum(reached, out=reached)
        counts, weights = np.unique(reached[window_s:] - reached[:-window_s], return_counts=True)
        rates = (counts / window_s).tolist()
        found.saw(piece, tuple(zip(rates, weights.tolist(), strict=True)))
    # Whole windows only: those at the ends of the log say less.
    first = first_s // _WINDOW_S
    counted = np.bincount((seconds // _WINDOW_S - first).astype(np.int64), weights=requests)
    whole = counted[-(-first_s // _WINDOW_S) - first : end_s // _WINDOW_S - first]
    windows = _rounded((whole / _WINDOW_S).tolist())
    return _hours(found, wanted, percentile, f"{window_s} s windows", source, windows)


def hours_of_samples(samples: Sequence[Sample], wanted: HourCount, *, percentile: float, source: str) -> Hours:
    """From dated rates, in any order; raises InputError as `hours_of_requests` does."""
    found = _Found()
    ordered = sorted(samples, key=lambda sample: sample.begin_s)
    if ordered[0].begin_s < CALENDAR_FROM_S:
        raise _mistake(source, "its times count from its own start: they are in no hour of a day; give dates")
    _check_length(ordered[0].begin_s, ordered[-1].end_s, source)
    steps = [sample.end_s - sample.begin_s for sample in ordered]
    if max(steps) > HOUR_S:
        message = (
            f"its rates are {max(steps) / HOUR_S:.3g} hours apart, and say nothing of single hours; give one an hour"
        )
        raise _mistake(source, f"{message}, or more")
    for begin, end, inside in _runs(ordered):
        at = 0
        for piece in local_pieces(begin, end, wanted.time_zone):
            while inside[at].end_s <= piece.begin_s:
                at += 1
            rates = (
                (sample.rate_rps, min(sample.end_s, piece.end_s) - max(sample.begin_s, piece.begin_s))
                for sample in _from(inside, at, piece.end_s)
            )
            found.saw(piece, tuple(rates))
    counted = f"rates of {_span(sorted(steps)[len(steps) // 2])} each"
    return _hours(found, wanted, percentile, counted, source, _windows_of(ordered))


def _from(samples: Sequence[Sample], at: int, end_s: int) -> Iterator[Sample]:
    while at < len(samples) and samples[at].begin_s < end_s:
        yield samples[at]
        at += 1


def _runs(ordered: Sequence[Sample]) -> Iterator[tuple[int, int, Sequence[Sample]]]:
    """(begin, end, the samples) of what is known without a gap."""
    start = 0
    for at in range(1, len(ordered) + 1):
        if at == len(ordered) or ordered[at].begin_s > ordered[at - 1].end_s:
            yield ordered[start].begin_s, ordered[at - 1].end_s, ordered[start:at]
            start = at


def _windows_of(ordered: Sequence[Sample]) -> tuple[float, ...]:
    """The mean of each window of which at least a half is known, in order; the latest."""
    seen: dict[int, list[float]] = {}
    first_s = ordered[-1].end_s - MOST_WINDOWS * _WINDOW_S
    for sample in ordered:
        begin = max(sample.begin_s, first_s)
        while begin < sample.end_s:
            number = begin // _WINDOW_S
            end = min(sample.end_s, (number + 1) * _WINDOW_S)
            window = seen.setdefault(number, [0.0, 0.0])
            window[0] += sample.rate_rps * (end - begin)
            window[1] += end - begin
            begin = end
    return _rounded([total / known for _, (total, known) in sorted(seen.items()) if known >= _WINDOW_S / 2])


def _rounded(rates: Sequence[float]) -> tuple[float, ...]:
    """The latest, to six digits."""
    return tuple(float(f"{rate:.6g}") for rate in rates[-MOST_WINDOWS:])


def gap_note(samples: Iterable[Sample]) -> str | None:
    """Which times within the dated rates have none, where any have none."""
    ends = [(begin, end) for begin, end, _ in _runs(sorted(samples, key=lambda sample: sample.begin_s))]
    gaps = [(before[1], after[0]) for before, after in pairwise(ends)]
    if not gaps:
        return None
    shown = ", ".join(f"{_moment(begin)} to {_moment(end)}" for begin, end in gaps[:_MOST_RANGES])
    more = f" and {len(gaps) - _MOST_RANGES} more" if len(gaps) > _MOST_RANGES else ""
    return f"the dated rates have gaps, for which the other days stand: {shown}{more} (UTC)"


def _hours(
    found: _Found, wanted: HourCount, percentile: float, counted: str, source: str, windows_rps: tuple[float, ...]
) -> Hours:
    cycle = wanted.cycle or (WEEK if not found.missing(WEEK) else DAY)
    missing = found.missing(cycle)
    if missing:
        of = "day" if cycle == DAY else "week"
        message = (
            f"says nothing of {len(missing)} hours of the {of}: {hour_ranges(missing, cycle)} ({wanted.time_zone})"
        )
        instead = "; take more of it"
        if cycle == WEEK and not found.missing(DAY):
            instead += ", or count the hours of a day, of which it covers all"
        raise _mistake(source, message + instead)
    rates = tuple(
        _percentile((pair for rates in found.seen(hour, cycle) for pair in rates), percentile) for hour in range(cycle)
    )
    if not any(rates):
        message = f"percentile {percentile:g} of its rates is 0 in every hour; take a higher one (rate_percentile)"
        raise _mistake(source, message)
    # An hour of the cycle is known from so many days or weeks.
    times = sorted(sum(map(len, found.pieces[hour::cycle])) for hour in range(cycle))[cycle // 2]
    noun = "day" if cycle == DAY else "week"
    over = f"{times} {noun}{'s' if times > 1 else ''}"
    headroom_fraction, basis = _headroom(found, cycle, percentile, max(rates))
    return Hours(
        rates_rps=rates,
        time_zone=wanted.time_zone,
        origin=f"{source}: p{percentile:g} of its {counted} within each hour of the {noun}, over {over}",
        headroom_fraction=headroom_fraction,
        headroom_basis=basis,
        windows_rps=windows_rps,
    )


def _headroom(found: _Found, cycle: int, percentile: float, peak_rps: float) -> tuple[float, str]:
    """(reserve, why that much): so many percent of the requests came at no more than the other days or weeks had.

    Rates above those of the busiest hour count as that: a reserve never goes beyond it. An hour that is known once says
    nothing.
    """
    ratios: list[tuple[float, float]] = []
    compared = 0
    for hour in range(cycle):
        times = found.seen(hour, cycle)[-_MOST_COMPARED:]
        compared = max(compared, len(times))
        for number, own in enumerate(times if len(times) > 1 else ()):
            others = (pair for rates in (*times[:number], *times[number + 1 :]) for pair in rates)
            usual = _percentile(others, percentile)
            ratios += [
                (min(rate, peak_rps) / usual if usual > 0 else math.inf, rate * seconds)
                for rate, seconds in own
                if rate > 0
            ]
    if compared < _FEWEST_COMPARED or not ratios:
        return USUAL_HEADROOM, USUAL_HEADROOM_BASIS
    ratios.sort()
    left = math.fsum(weight for _, weight in ratios) * percentile / 100
    reached = 0.0
    for ratio, weight in ratios:
        reached = ratio
        left -= weight
        if left <= 0:
            break
    noun = "days" if cycle == DAY else "weeks"
    if reached - 1 > _MOST_DERIVED:
        return _MOST_DERIVED, f"the most that is derived: the same hour of {compared} {noun} differs by more"
    fraction = max(0.0, math.ceil((reached - 1) * 100 - 1e-9) / 100)
    return fraction, f"{percentile:g} % of the requests of each of {compared} {noun} were within that of the others"


def _percentile(rates: Iterable[tuple[float, int]], percentile: float) -> float:
    """The nearest rank of (rate, seconds): the least that so many percent of the seconds do not exceed."""
    ordered = sorted(rates)
    rank = max(1, math.ceil(Fraction(str(percentile)) * sum(weight for _, weight in ordered) / 100))
    for rate, weight in ordered:
        rank -= weight
        if rank <= 0:
            return rate
    raise ValueError("no rates")


def hour_ranges(hours: Sequence[int], cycle: int) -> str:
    """Hours of a cycle, rising, in words: `Monday 09:00 to 17:00, Tuesday 03:00 to 04:00 and 7 hours more`."""
    ranges: list[list[int]] = []
    for hour in hours:
        if ranges and hour == ranges[-1][1] and hour % DAY:
            ranges[-1][1] = hour + 1
        else:
            ranges.append([hour, hour + 1])
    shown = [f"{hour_name(begin, cycle)} to {(end - 1) % DAY + 1:02d}:00" for begin, end in ranges[:_MOST_RANGES]]
    rest = sum(end - begin for begin, end in ranges[_MOST_RANGES:])
    return ", ".join(shown) + (f" and {rest} hours more" if rest else "")


def _check_length(first_s: int, end_s: int, source: str) -> None:
    if end_s - first_s > _LONGEST_S:
        years = (end_s - first_s) / (365.25 * 24 * HOUR_S)
        message = (
            f"spans {years:.0f} years, from {_moment(first_s)} to {_moment(end_s)}: hours are counted over 5 at most"
        )
        raise _mistake(source, f"{message}; take a part of it, such as the last weeks")


def _moment(second: int) -> str:
    return datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%d %H:%M")


def _span(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"


def _mistake(source: str, message: str) -> InputError:
    return InputError([Mistake(source=source, message=message)])
