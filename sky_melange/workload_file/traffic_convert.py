"""The validated section `traffic` -> `domain.Traffic`; logs and presets are looked up by whoever reads the file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from sky_melange.domain.buckets import Arrivals, BucketSize, TokenGrid, Traffic, rates_of
from sky_melange.domain.trace import TraceReference
from sky_melange.domain.units import HOURS_PER_MONTH, SECONDS_PER_HOUR
from sky_melange.errors import InputError, Mistake
from sky_melange.workload_file.hour_sizes import with_sizes, without_sizes
from sky_melange.workload_file.hours import StatedHours, counted_hours, is_shape, log_options, with_headroom
from sky_melange.workload_file.traffic import (
    MAX_RPS,
    MIN_RPS,
    RATES,
    SECONDS,
    ArrivalsSection,
    HistogramSection,
    HoursSection,
    TrafficSection,
)

ResolveTraffic = Callable[[TraceReference], Traffic]
"""Counts a log or looks up a preset."""


def to_traffic(
    section: TrafficSection,
    file_name: str,
    resolve: ResolveTraffic | None,
    usual_size: BucketSize = BucketSize.UPPER,
    hours: StatedHours | None = None,
) -> Traffic:
    """The traffic; `file_name` is the origin of a histogram that names none, `usual_size` where none is given.

    `hours` are those that the section states. `checks` has seen to it that there is a rate with a histogram. Raises
    ValueError for a trace or preset without `resolve`: a mistake of the caller.
    """
    if hours is not None and section.request_rate is None and not is_shape(section):
        section = section.model_copy(update={"request_rate": hours[0].peak_rps})
    traffic, others = without_sizes(_sized(section, file_name, resolve, usual_size))
    traffic = _at_tokens(traffic, section.tokens_per_month)
    scaled = traffic.hours
    if hours is not None:
        rate = traffic.request_rate_rps if section.request_rate is None else section.request_rate
        scaled = hours[0].scaled_to(rate)
        traffic = replace(traffic, hours=None if scaled.is_even else scaled)
    traffic = with_sizes(section, traffic, scaled, others)
    traffic = replace(traffic, hours=with_headroom(section, traffic.hours))
    doubts = (f"Hours: {note}" for note in _doubts(traffic, () if hours is None else hours[1]))
    # Traffic that stands in for what is missing has them already.
    notes = tuple(dict.fromkeys((*traffic.notes, *_spread(section, traffic.request_rate_rps), *doubts)))
    return replace(traffic, prefix_hit_fraction=float(section.prefix_hit_fraction), notes=notes)


def _doubts(traffic: Traffic, notes: tuple[str, ...]) -> Iterator[str]:
    yield from notes
    jump = None if traffic.hours is None else traffic.hours.steepest_jump()
    if jump is not None:
        yield f"{jump}."


def _spread(section: TrafficSection, rate_rps: float) -> Iterator[str]:
    """What a count over a long time leaves out."""
    for key in RATES[2:]:
        if getattr(section, key) is not None:
            yield (
                f"Traffic: {key} is spread evenly, {rate_rps:.4g} requests per second at all times: plan for the "
                "busiest hour with request_rate, or targets are missed in it"
            )


def _rate(section: TrafficSection) -> float | None:
    """Requests per second; 1 where the file counts tokens, until their mean number is known."""
    if section.tokens_per_month is not None:
        return 1.0
    given = ((getattr(section, key), seconds) for key, seconds in SECONDS.items())
    return next((count / seconds for count, seconds in given if count is not None), None)


def _at_tokens(traffic: Traffic, tokens_per_month: float | None) -> Traffic:
    """The traffic at the rate that makes so many tokens. Raises InputError where mean sizes or the rate are no good."""
    if tokens_per_month is None:
        return traffic
    tokens = traffic.mean_request_tokens
    if tokens is None:
        message = "needs the mean sizes of every bucket that has requests: write them in histogram.mean_tokens"
        raise InputError([Mistake(source="traffic", key="tokens_per_month", message=message)])
    rate_rps = tokens_per_month / tokens / (HOURS_PER_MONTH * SECONDS_PER_HOUR)
    if not MIN_RPS <= rate_rps <= MAX_RPS:
        message = f"makes {rate_rps:.4g} requests per second, of {tokens:,.0f} tokens; want {MIN_RPS:g} to {MAX_RPS:g}"
        raise InputError([Mistake(source="traffic", key="tokens_per_month", message=message)])
    if math.isclose(rate_rps, traffic.request_rate_rps):
        return traffic
    return replace(traffic, rates_rps=rates_of(traffic.rates_rps, rate_rps))


def _sized(section: TrafficSection, file_name: str, resolve: ResolveTraffic | None, usual_size: BucketSize) -> Traffic:
    rate_rps = _rate(section)
    if section.histogram is not None and rate_rps is not None:
        traffic = _of_histogram(section.histogram, rate_rps, file_name)
        if section.bucket_size is BucketSize.UPPER and usual_size is BucketSize.MEAN:
            # Asked for where single requests count: all are as large as their bucket, in simulation too.
            traffic = replace(traffic, mean_tokens=_edges(traffic.grid))
        return replace(traffic, bucket_size=section.bucket_size or usual_size, arrivals=_arrivals(section, False))
    if resolve is None:
        raise ValueError("this caller of read_workload gives no trace_traffic, so it reads histograms only")
    traffic = resolve(_reference(section, usual_size))
    return replace(traffic, arrivals=_arrivals(section, traffic.arrivals.log is not None))


def _arrivals(section: TrafficSection, has_times: bool) -> Arrivals:
    """As given, or the preset's own, where its sizes are those of every hour.

    `checks` has seen to it that `trace` is said with a trace or preset.
    """
    given = section.arrivals
    if given is None and isinstance(section.hours, HoursSection) and section.hours.sizes:
        return Arrivals()
    if isinstance(given, ArrivalsSection):
        return Arrivals(cv=float(given.cv))
    if given == "poisson" or (given is None and (section.preset is None or not has_times)):
        return Arrivals()
    return Arrivals(log=section.trace if section.preset is None else section.preset)


def _of_histogram(histogram: HistogramSection, request_rate: float, file_name: str) -> Traffic:
    return Traffic(
        grid=TokenGrid(input_edges=histogram.input_tokens, output_edges=histogram.output_tokens),
        rates_rps=rates_of(histogram.weights, request_rate),
        origin=histogram.source if histogram.source is not None else f"histogram in {file_name}",
        mean_tokens=_means(histogram),
        input_parts=histogram.input_parts,
    )


def _means(histogram: HistogramSection) -> tuple[tuple[tuple[float, float] | None, ...], ...] | None:
    if histogram.mean_tokens is None:
        return None
    found = {(row[0], row[1]): (float(row[2]), float(row[3])) for row in histogram.mean_tokens}
    return tuple(tuple(found.get((i, j)) for j in histogram.output_tokens) for i in histogram.input_tokens)


def _edges(grid: TokenGrid) -> tuple[tuple[tuple[float, float], ...], ...]:
    return tuple(tuple((float(i), float(j)) for j in grid.output_edges) for i in grid.input_edges)


def _reference(section: TrafficSection, usual_size: BucketSize) -> TraceReference:
    return TraceReference(
        files=() if section.trace is None else (section.trace,),
        preset=section.preset,
        request_rate_rps=_rate(section),
        bucket_size=section.bucket_size or usual_size,
        options=replace(log_options(section), hours=counted_hours(section)),
    )
