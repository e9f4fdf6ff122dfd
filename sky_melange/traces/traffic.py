"""A counted log -> the traffic to plan for."""

from __future__ import annotations

from collections.abc import Iterator

from sky_melange.domain.buckets import BucketSize, Traffic, rates_of
from sky_melange.domain.hours import Hours
from sky_melange.domain.trace import TraceSummary
from sky_melange.errors import InputError, Mistake


def to_traffic(
    summary: TraceSummary, *, request_rate_rps: float | None = None, bucket_size: BucketSize = BucketSize.UPPER
) -> Traffic:
    """Traffic with the sizes of a log, at `request_rate_rps` or else at the log's planned rate.

    Where its hours were counted, that is the rate of the busiest one, and the others are in proportion.

    Raises InputError when there is no rate, or no request inside the buckets.
    """
    rate_rps = planned_rate(summary) if request_rate_rps is None else request_rate_rps
    if not summary.requests_inside:
        raise _mistake(summary, "every request is larger than the last edges; choose other buckets, such as extend")
    inputs, outputs = summary.grid.input_edges, summary.grid.output_edges
    means: list[list[tuple[float, float] | None]] = [[None] * len(outputs) for _ in inputs]
    for cell in summary.cells:
        means[cell.input_index][cell.output_index] = (
            cell.input_tokens / cell.requests,
            cell.output_tokens / cell.requests,
        )
    return Traffic(
        grid=summary.grid,
        rates_rps=rates_of(summary.counts(), rate_rps),
        origin=describe(summary, request_rate_rps),
        mean_tokens=tuple(tuple(row) for row in means),
        bucket_size=bucket_size,
        notes=tuple(_relevant(summary, request_rate_rps)),
        is_counted=True,
        input_parts=summary.input_parts,
        fit=summary.fit,
        hours=planned_hours(summary, rate_rps),
    )


def planned_rate(summary: TraceSummary) -> float:
    """The rate that the log itself gives, requests/s. Raises InputError when it gives none."""
    if summary.rate is None:
        raise _mistake(summary, "has no times, so no rate; give the request rate to plan for (request_rate)")
    if summary.rate.hours is not None:
        return summary.rate.hours.peak_rps
    if summary.rate.planned_rps == 0:
        raise _mistake(summary, summary.notes[-1])
    return summary.rate.planned_rps


def planned_hours(summary: TraceSummary, rate_rps: float) -> Hours | None:
    """The hours at `rate_rps` in the busiest; None where they were not asked for, or are all alike."""
    hours = None if summary.rate is None else summary.rate.hours
    return None if hours is None or hours.is_even else hours.scaled_to(rate_rps)


def describe(summary: TraceSummary, request_rate_rps: float | None) -> str:
    """Where sizes and rate come from, in words."""
    rate = "the rate as given"
    if request_rate_rps is None and summary.rate is not None:
        of_rate = summary.rate
        within = "" if of_rate.hours is None else " within its busiest hour"
        rate = f"the rate is the p{of_rate.percentile:g} of its {of_rate.window_s} s windows{within}"
    return f"{summary.source} ({summary.columns.layout}, {summary.requests:,} requests; {rate})"


def _relevant(summary: TraceSummary, request_rate_rps: float | None) -> Iterator[str]:
    """Notes on the sizes always; notes on the rate only when it is the log's."""
    for note in summary.notes:
        if request_rate_rps is None or "window" not in note:
            yield f"Traffic: {note}"


def _mistake(summary: TraceSummary, message: str) -> InputError:
    return InputError([Mistake(source=summary.source, message=message)])
