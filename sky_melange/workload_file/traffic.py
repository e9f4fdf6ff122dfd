"""The section `traffic` of version 1: a histogram, the log it is counted from, or a preset."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, Strict

from sky_melange.domain.buckets import MOST_CV, BucketSize
from sky_melange.domain.hours import MOST_HEADROOM, MOST_SIZES, WEEK
from sky_melange.domain.trace import TimeUnit, TraceOptions
from sky_melange.workload_file.field_types import ONE_LINE, Edge, ListOf, OneLine, Section, Weight, Word

SOURCES: Final = ("histogram", "trace", "preset")
"""Exactly one of these keys says how sizes are distributed."""

HOUR_SOURCES: Final = ("rates", "file", "shape", "counted")
"""Exactly one of these keys says what the hours' rates are."""

MIN_RPS: Final = 1e-6
MAX_RPS: Final = 1e9
"""They keep every later product within what a float and a solver resolve."""

SECONDS: Final = {"request_rate": 1.0, "requests_per_hour": 3600.0, "requests_per_day": 86_400.0}
"""Seconds for which each key counts the requests."""

RATES: Final = (*SECONDS, "tokens_per_month")
"""At most one of these keys says how many requests there are."""

OF_TRACES: Final = ("columns", "where", "model_column", "time_unit", "buckets", "window_s", "rate_percentile")
"""Keys that say how a log is counted."""

_OPTIONS: Final = TraceOptions()
HourRate = Annotated[float, Field(ge=0, le=1e9)]
_DAY_OR_WEEK: Final = Field(json_schema_extra={"minItems": 24, "maxItems": 168})
_Mean = Annotated[float, Field(gt=0, le=1e9)]


class HistogramSection(Section):
    """How request sizes are distributed."""

    input_tokens: ListOf[Edge] = Field(
        min_length=1,
        max_length=1000,
        description="Upper edges of the input buckets, tokens, strictly rising.",
        examples=[[100, 500, 2000]],
        json_schema_extra={"uniqueItems": True},
    )
    output_tokens: ListOf[Edge] = Field(
        min_length=1,
        max_length=1000,
        description="Upper edges of the output buckets, tokens, strictly rising.",
        examples=[[100, 500]],
        json_schema_extra={"uniqueItems": True},
    )
    weights: ListOf[ListOf[Weight]] = Field(
        description="Shares of the requests: one row per input edge, one column per output edge. Normalised to 1.",
        examples=[[[0.3, 0.1], [0.3, 0.1], [0.1, 0.1]]],
    )
    mean_tokens: ListOf[Annotated[ListOf[_Mean], Field(min_length=4, max_length=4)]] | None = Field(
        default=None,
        min_length=1,
        description="Mean sizes of the requests, one row per bucket that has any: its input edge, its output edge, "
        "mean input tokens, mean output tokens. For `bucket_size: mean`.",
        examples=[[[100, 500, 61.5, 212.4]]],
    )
    input_parts: ListOf[ListOf[Weight]] | None = Field(
        default=None,
        description="How the requests of each input bucket lie within it: one row per input edge, in 16 equal parts of "
        "its range (fewer where it has fewer sizes), or empty. Counted by from-trace from a log with bytes.",
        examples=[[[4, 1, 0], [], [1, 3]]],
    )
    source: OneLine | None = Field(
        default=None,
        description="Where the distribution comes from, in words; shown with the plan.",
        examples=["Azure conversation trace, 2023"],
    )


class ColumnsSection(Section):
    """Which columns of a log hold what."""

    input: OneLine = Field(description="Column of input tokens.", examples=["prompt_tokens"])
    output: OneLine = Field(description="Column of output tokens.", examples=["completion_tokens"])
    time: OneLine | None = Field(default=None, description="Column of the request's time.", examples=["created_at"])
    bytes: OneLine | None = Field(
        default=None,
        description="Column of the bytes of a request's body, or prompt: the router's estimates are fitted to it.",
        examples=["body_bytes"],
    )


class ArrivalsSection(Section):
    """Gaps between requests."""

    cv: float = Field(
        ge=0,
        le=MOST_CV,
        description="Their coefficient of variation (gamma distribution): 1 is Poisson, 0 evenly spaced.",
        examples=[2],
    )


class SizesSection(Section):
    """Hours whose requests have sizes of their own, over the buckets of the traffic."""

    name: Word = Field(description="What these sizes are called with the plan.", examples=["night"])
    hours: ListOf[Annotated[int, Field(ge=0, lt=WEEK)]] = Field(
        min_length=1,
        max_length=WEEK,
        description="Hours of the day, 0 to 23, or of the week from Monday 00:00, 0 to 167; each in one set.",
        examples=[[0, 1, 2, 3, 4, 5, 22, 23]],
    )
    weights: ListOf[ListOf[Weight]] = Field(
        description="Shares of the requests of these hours: one row per input edge of the traffic, one column per "
        "output edge. Normalised to 1.",
        examples=[[[0.1, 0.2], [0.2, 0.3], [0.1, 0.1]]],
    )


class HoursSection(Section):
    """When the requests come: the rate in each hour of a day or week, from exactly one source."""

    rates: Annotated[ListOf[HourRate], _DAY_OR_WEEK] | None = Field(
        default=None,
        description="Requests per second in each of the 24 hours of a day, or the 168 of a week from Monday 00:00.",
        examples=[[2, 1, 1, 1, 1, 2, 4, 8, 14, 18, 20, 20, 19, 20, 20, 19, 18, 16, 12, 9, 7, 5, 4, 3]],
    )
    file: OneLine | None = Field(
        default=None,
        description="A file that says so, relative to this one: CSV of 24 or 168 rates, CSV of dated rates or counts, "
        "Prometheus' answer to query_range, or a request log.",
        examples=["hours.csv"],
    )
    shape: Literal["evening", "office", "worldwide"] | None = Field(
        default=None,
        description="An assumed course of the week, for want of figures; request_rate is that of its busiest hour.",
        examples=["office"],
    )
    counted: Literal["day", "week"] | None = Field(
        default=None,
        description="Count the hours of a day or of a week in the `trace`.",
        examples=["week"],
    )
    cycle: Literal["day", "week"] | None = Field(
        default=None,
        description="Whose hours the dated rates of a `file` are counted by. Without it: a week where they cover each "
        "of its hours, otherwise a day.",
        examples=["week"],
    )
    headroom_fraction: float | None = Field(
        default=None,
        ge=0,
        le=MOST_HEADROOM,
        description="Reserve of a schedule and of autoscaling beyond the rate of each hour. Without it: by how much "
        "the same hour differs between the days or weeks of a log or of dated rates, otherwise 0.3.",
        examples=[0.25],
    )
    sizes: ListOf[SizesSection] = Field(
        default=(),
        max_length=MOST_SIZES - 1,
        description="Sets of hours with sizes of their own; all other hours have those of `histogram`, `trace` or "
        "`preset`. Without it: all hours have.",
        examples=[[{"name": "night", "hours": [0, 1, 2, 3, 4, 5], "weights": [[0.2, 0.8]]}]],
    )
    time_zone: OneLine = Field(
        default="UTC", description="By whose clocks the hours are, as an IANA name.", examples=["Europe/Berlin"]
    )


class TrafficSection(Section):
    """The requests to serve: a rate, and sizes from exactly one of `histogram`, `trace` and `preset`."""

    request_rate: float | None = Field(
        default=None,
        ge=MIN_RPS,
        le=MAX_RPS,
        description="Requests per second, over all sizes together. Without it: that of the busiest hour, the "
        "trace or the preset.",
        examples=[32],
    )
    requests_per_hour: float | None = Field(
        default=None,
        ge=MIN_RPS * 3600,
        le=MAX_RPS * 3600,
        description="In place of `request_rate`: requests in the busiest hour to plan for, taken to be spread evenly.",
        examples=[120_000],
    )
    requests_per_day: float | None = Field(
        default=None,
        ge=MIN_RPS * 86_400,
        le=MAX_RPS * 86_400,
        description="In place of `request_rate`: requests per day, taken to be spread evenly, without busy hours.",
        examples=[2_000_000],
    )
    tokens_per_month: float | None = Field(
        default=None,
        gt=0,
        le=1e21,
        description="In place of `request_rate`: input and output tokens together per month of 730 hours, spread "
        "evenly; a rate by the mean sizes of the trace, the preset, or `mean_tokens`.",
        examples=[5_000_000_000],
    )
    histogram: HistogramSection | None = Field(
        default=None,
        description="Request sizes.",
        examples=[{"input_tokens": [100, 500], "output_tokens": [200], "weights": [[0.4], [0.6]]}],
    )
    trace: Annotated[str, Field(pattern=ONE_LINE, max_length=4096)] | None = Field(
        default=None,
        description="A request log to count: path or glob, relative to this file, or s3:// or gs:// address.",
        examples=["logs/requests.csv.gz"],
    )
    preset: Word | None = Field(
        default=None, description="Name of a bundled distribution.", examples=["azure-conversation-2023"]
    )
    bucket_size: Annotated[BucketSize | None, Strict(False)] = Field(
        default=None,
        description="`upper`: a bucket is planned at its largest request. `mean`: at the mean of its requests, which "
        "are taken to be log-uniform in it where their mean is not known. Without it: `mean`, or `upper` where "
        "`slo.attainment` is `mean`.",
        examples=["mean"],
    )
    arrivals: Literal["poisson", "trace"] | ArrivalsSection | None = Field(
        default=None,
        description="How requests follow each other, where they are simulated: `poisson`, gaps of another spread, or "
        "the times of the `trace` or `preset`, as many copies of it as the rate needs. Without it: `trace` with a "
        "preset that has times, otherwise `poisson`.",
        examples=["poisson"],
    )
    prefix_hit_fraction: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of each prompt that the engines find in their prefix cache and do not compute: it shortens "
        "prefill, and takes memory as before. Without it: 0.",
        examples=[0.4],
    )
    hours: Annotated[ListOf[HourRate], _DAY_OR_WEEK] | HoursSection | None = Field(
        default=None,
        description="When the requests come: 24 or 168 rates in requests per second (UTC), or where they come from. "
        "The busiest hour's is then the request_rate. Without it: always the same rate.",
        examples=[[2, 1, 1, 1, 1, 2, 4, 8, 14, 18, 20, 20, 19, 20, 20, 19, 18, 16, 12, 9, 7, 5, 4, 3]],
    )
    columns: ColumnsSection | None = Field(
        default=None,
        description="Columns of the trace. Without it they are recognised by their names.",
        examples=[{"input": "prompt", "output": "completion", "time": "created_at"}],
    )
    where: OneLine | None = Field(
        default=None,
        description="Which rows of the trace are the traffic; without it, a trace of several models is refused.",
        examples=["model = 'llama' AND status <> 'failure'"],
    )
    model_column: OneLine | None = Field(
        default=None, description="The trace's column that names the model of a request.", examples=["model"]
    )
    time_unit: Annotated[TimeUnit, Strict(False)] | None = Field(
        default=None, description="Unit of numbers in the trace's time column.", examples=["ms"]
    )
    buckets: OneLine = Field(
        default=_OPTIONS.buckets,
        description="Buckets of the trace: `melange`, `extend`, `auto:K`, or input and output edges `100,1000x50,500`.",
        examples=["auto:40"],
    )
    window_s: Annotated[int, Field(ge=1, le=604_800)] = Field(
        default=_OPTIONS.window_s,
        description="Length of the windows that the trace's rate is counted in.",
        examples=[60],
    )
    rate_percentile: float = Field(
        default=_OPTIONS.rate_percentile,
        gt=0,
        le=100,
        description="The percentile of the windows that is planned for.",
        examples=[99],
    )
