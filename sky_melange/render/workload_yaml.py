"""The text of a workload.yaml: of a counted log, and of a few answers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sky_melange.domain.buckets import MOST_CV, BucketSize
from sky_melange.domain.hours import DAY, hour_name
from sky_melange.domain.router import RouterSettings
from sky_melange.domain.trace import HourSizes, TraceSummary

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
"""Text that YAML reads as it stands; all other is quoted."""


_EVENLY: Final = "spread evenly; better: request_rate, per second in the busiest minutes"


@dataclass(frozen=True, kw_only=True)
class Named:
    """Whose traffic it is."""

    __slots__ = ()
    name: str
    model: str
    config: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame(Named):
    """What a workload says beside its traffic: taken from options, since no log knows it."""

    dtype: str
    tpot_ms: float
    ttft_ms: float
    bucket_size: BucketSize


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch(Named):
    """A workload in a few words. None is what was not said; `max_model_len` bounds input and output together.

    `rate_key` is `request_rate`, or another key that says how many requests there are.
    """

    dtype: str | None
    engine: str | None
    rate_key: str
    rate: float
    preset: str | None
    input_tokens: int | None
    output_tokens: int | None
    tpot_ms: float | None
    ttft_ms: float | None
    clouds: tuple[str, ...]
    accelerators: tuple[str, ...]
    min_profile_kind: str | None
    max_model_len: int | None


def sketch_yaml(sketch: Sketch) -> str:
    """The text, with a comment wherever something was taken for granted."""
    return "\n".join(_sketched(sketch)) + "\n"


def _sketched(sketch: Sketch) -> Iterator[str]:
    yield "# Every key: `sky-melange schema`, docs/workload.md."
    yield "version: 1"
    yield f"name: {_scalar(sketch.name)}   # the prefix of what is launched"
    yield "model:"
    yield f"  id: {_scalar(sketch.model)}"
    if sketch.dtype is not None:
        yield f"  dtype: {_scalar(sketch.dtype)}"
    if sketch.config is not None:
        yield f"  config: {_scalar(sketch.config)}"
    if sketch.max_model_len is not None:
        yield f"  max_model_len: {sketch.max_model_len}   # input and output together; longer requests are refused"
    yield "slo:"
    if sketch.ttft_ms is not None:
        yield f"  ttft_ms: {sketch.ttft_ms:g}   # a request's time to its first token"
    if sketch.tpot_ms is not None:
        yield f"  tpot_ms: {sketch.tpot_ms:g}   # its time per token after that"
    yield "  attainment: 0.99   # the share of requests that must meet every target"
    yield "traffic:"
    unit = "requests per second in the busiest minutes to plan for" if sketch.rate_key == "request_rate" else _EVENLY
    yield f"  {sketch.rate_key}: {sketch.rate!r}   # {unit}"
    if sketch.preset is not None:
        yield f"  preset: {_scalar(sketch.preset)}   # sizes and arrivals of that trace"
    else:
        yield "  bucket_size: upper"
        yield "  histogram:   # all requests of one size; yours: `sky-melange workload from-trace LOG`"
        yield f"    input_tokens: [{sketch.input_tokens}]"
        yield f"    output_tokens: [{sketch.output_tokens}]"
        yield "    weights: [[1]]"
    chosen = {"clouds": sketch.clouds, "accelerators": sketch.accelerators}
    if any(chosen.values()):
        yield "candidates:"
        yield from (f"  {key}: [{', '.join(map(_scalar, values))}]" for key, values in chosen.items() if values)
    else:
        yield "# candidates: {clouds: [aws, gcp], accelerators: [L4, H100]}   # without it: SkyPilot's enabled clouds"
    if sketch.min_profile_kind is not None:
        yield f"constraints: {{min_profile_kind: {_scalar(sketch.min_profile_kind)}}}"
    if sketch.engine is not None:
        yield "launch:"
        yield f"  engine: {_scalar(sketch.engine)}"


def workload_yaml(
    summary: TraceSummary, frame: Frame, *, request_rate_rps: float, origin: str, sizes: Sequence[HourSizes] = ()
) -> str:
    """The text. Weights are the requests counted; means have one decimal. Same summary, same bytes.

    `sizes`: of sets of hours, where they differ; the histogram is that of the first.
    """
    return "\n".join(_lines(summary, frame, request_rate_rps, origin, sizes)) + "\n"


def _lines(
    summary: TraceSummary, frame: Frame, request_rate_rps: float, origin: str, sizes: Sequence[HourSizes]
) -> Iterator[str]:
    yield f"# Traffic counted by `sky-melange workload from-trace` from {summary.source}."
    yield from (f"# {note}" for note in summary.notes)
    yield "version: 1"
    yield f"name: {_scalar(frame.name)}"
    config = "" if frame.config is None else f", config: {_scalar(frame.config)}"
    yield f"model: {{id: {_scalar(frame.model)}, dtype: {_scalar(frame.dtype)}{config}}}   # yours to choose"
    yield f"slo: {{tpot_ms: {frame.tpot_ms:g}, ttft_ms: {frame.ttft_ms:g}, attainment: 0.99}}   # yours to choose"
    yield "traffic:"
    yield from _rate(summary, request_rate_rps, has_sizes=len(sizes) > 1)
    yield from _sizes_by_hour(sizes[1:])
    yield f"  bucket_size: {frame.bucket_size}"
    yield from _arrivals(summary)
    if summary.prefix_hits is not None:
        fraction = math.floor(summary.prefix_hits.fraction * 1000) / 1000
        yield f"  prefix_hit_fraction: {fraction:g}   # {str(summary.prefix_hits).removesuffix('.')}"
    yield "  histogram:"
    yield f"    source: {json.dumps(origin[:200], ensure_ascii=False)}"
    yield f"    input_tokens: {list(summary.grid.input_edges)}"
    yield f"    output_tokens: {list(summary.grid.output_edges)}"
    yield "    weights:   # requests: one row per input edge, one column per output edge"
    yield from (f"      - {row}" for row in _table(sizes[0].requests if len(sizes) > 1 else summary.counts()))
    yield "    mean_tokens:   # per bucket: input edge, output edge, mean input tokens, mean output tokens"
    for cell in summary.cells:
        edges = f"{summary.grid.input_edges[cell.input_index]}, {summary.grid.output_edges[cell.output_index]}"
        means = f"{cell.input_tokens / cell.requests:.1f}, {cell.output_tokens / cell.requests:.1f}"
        yield f"      - [{edges}, {means}]"
    if summary.input_parts is not None:
        yield "    input_parts:   # per input bucket: requests in equal parts of its range"
        yield from (f"      - {list(row)}" for row in summary.input_parts)
    if summary.fit is not None:
        router = RouterSettings.fitted(summary.fit)
        yield f"router:   # fitted to {summary.fit.requests:,} requests of the log"
        yield f"  bytes_per_token: {router.bytes_per_token:g}"
        yield f"  envelope_bytes: {router.envelope_bytes}"
        yield f"  size_error: {router.size_error_fraction:g}"
        yield f"  size_bias: {router.size_bias_fraction:g}   # how far later traffic may differ on average"


def _table(counts: Sequence[Sequence[int]]) -> Iterator[str]:
    width = max(len(str(count)) for row in counts for count in row)
    return (f"[{', '.join(f'{count:{width}d}' for count in row)}]" for row in counts)


def _sizes_by_hour(sizes: Sequence[HourSizes]) -> Iterator[str]:
    if sizes:
        yield "    sizes:   # hours with requests of other sizes; all others have those of the histogram"
    for each in sizes:
        yield f"      - name: {each.name}   # tokens of the mean request"
        yield f"        hours: {list(each.hours)}"
        yield "        weights:"
        yield from (f"          - {row}" for row in _table(each.requests))


def _arrivals(summary: TraceSummary) -> Iterator[str]:
    """Gaps with which drawn requests ask for the fleet that the log asks for; 1 is Poisson."""
    if summary.rate is None or summary.rate.gap_cv is None:
        return
    factors = dict(summary.rate.burstiness)
    cv = min(round(summary.rate.gap_cv, 2), MOST_CV)
    told = ", ".join(f"{factor:.3g} at {scale_s} s" for scale_s, factor in sorted(factors.items()))
    yield f"  arrivals: {{cv: {cv:g}}}   # variance of the requests in a window ÷ Poisson's: {told}"


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _rate(summary: TraceSummary, request_rate_rps: float, *, has_sizes: bool) -> Iterator[str]:
    hours = None if summary.rate is None else summary.rate.hours
    if hours is None or (hours.is_even and not has_sizes):
        yield f"  request_rate: {request_rate_rps!r}{_rate_comment(summary, request_rate_rps)}"
        return
    yield f"  # {hours.origin[:200]}."
    yield "  hours:   # the busiest one's is the rate that the plan serves"
    yield f"    time_zone: {_scalar(hours.time_zone)}"
    yield f"    headroom_fraction: {hours.headroom_fraction:g}   # {hours.headroom_basis}"
    yield "    rates: ["
    rates = [format(Decimal(f"{rate:.6g}"), "f") for rate in hours.scaled_to(request_rate_rps).rates_rps]
    for start in range(0, len(rates), DAY):
        name = "from 00:00" if len(rates) == DAY else hour_name(start, len(rates))
        yield f"      {', '.join(rates[start : start + DAY])},   # {name}"
    yield "    ]"


def _rate_comment(summary: TraceSummary, request_rate_rps: float) -> str:
    rate = summary.rate
    if rate is None or rate.planned_rps != request_rate_rps:
        return "   # requests per second, as given"
    return (
        f"   # requests per second: p{rate.percentile:g} of {rate.window_s} s windows; "
        f"mean {rate.mean_rps:.4g}, peak {rate.peak_rps:.4g}"
    )
