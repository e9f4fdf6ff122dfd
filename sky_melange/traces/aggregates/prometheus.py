"""vLLM's histograms as Prometheus has them: sizes and rate without a log, each size apart from the other.

Read are snapshots of `/metrics` (text), and answers of Prometheus' API (JSON) to `query` and `query_range`.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import Cell, LogColumns, Outside, RateSummary, TraceOptions, TraceSummary
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.aggregates.usage import chosen, is_chosen, rate_of_steps, seen_models
from sky_melange.traces.one_model import check_one_model
from sky_melange.untrusted import one_line, parse_json

NAME: Final = "vLLM histograms of Prometheus (aggregates)"
SIGN: Final = re.compile(
    r'"resultType"\s*:|\A\s*# (HELP|TYPE) |^[a-z_]*vllm[:_]request_(prompt|generation)_tokens_bucket\{', re.MULTILINE
)
_METRIC: Final = re.compile(r"(?:^|[a-z_]*vllm[:_])request_(prompt|generation)_tokens_(bucket|sum|count)")
_SAMPLE: Final = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+(-?[0-9]+))?\s*")
_LABEL: Final = re.compile(r'\s*([A-Za-z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPES: Final = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}

WATCHERS: Final = frozenset(
    {"prometheus", "prometheus_replica", "__replica__", "thanos_replica", "receive_replica", "rule_replica", "monitor"}
)
"""Labels that name the Prometheus, not the server that it watched."""

_FEW_STEPS: Final = 3

Labels = tuple[tuple[str, str], ...]
Samples = list[tuple[float | None, float]]
Series = dict[tuple[str, str, Labels], Samples]
"""(prompt or generation; bucket, sum or count; labels) -> (second or None, value), by rising time."""


class _Axis:
    """The requests of one size by bucket, the sum of their tokens where it is known, and those beyond the last edge."""

    def __init__(self, kind: str, increases: Mapping[tuple[str, str, Labels], float], source: str) -> None:
        reached: dict[float, float] = defaultdict(float)
        self.tokens = sum(value for (of, what, _), value in increases.items() if (of, what) == (kind, "sum")) or None
        for (of, what, labels), value in increases.items():
            if (of, what) == (kind, "bucket"):
                reached[float(dict(labels)["le"])] += value
        edges = sorted(reached)
        counts = [round(reached[edge]) for edge in edges]
        rising = all(low <= high for low, high in pairwise(counts))
        if not edges or edges[-1] != math.inf or len(edges) < 2 or not rising:
            message = f'has no whole histogram of vllm:request_{kind}_tokens: want rising buckets up to le="+Inf"'
            raise InputError([Mistake(source=source, message=message)])
        inside = [high - low for low, high in zip([0, *counts], counts, strict=False)]
        self.beyond = inside.pop()
        self.requests = counts[-1]
        used = [place for place, count in enumerate(inside) if count] or [len(inside) - 1]
        first, last = used[0], used[-1] + 1
        self.edges = tuple(max(1, math.floor(edge)) for edge in edges[first:last])
        self.counts = inside[first:last]
        lowest = edges[first - 1] if first else 0.0
        self.means = self._means([lowest, *edges[first:last]], edges[-2])

    def _means(self, edges: Sequence[float], last: float) -> list[float]:
        """The mean size in each bucket: all at the same share of its width, such that the sum of tokens is right."""
        lows, widths = edges[:-1], [high - low for low, high in pairwise(edges)]
        share = 0.5
        if self.tokens is not None and not self.beyond:
            floor = sum(count * low for count, low in zip(self.counts, lows, strict=True))
            room = sum(count * width for count, width in zip(self.counts, widths, strict=True))
            share = min(1.0, max(0.0, (self.tokens - floor) / room)) if room else 1.0
        means = [max(1.0, low + share * width) for low, width in zip(lows, widths, strict=True)]
        known = sum(count * mean for count, mean in zip(self.counts, means, strict=True))
        self.beyond_tokens = round(max((self.tokens or 0) - known, self.beyond * last)) if self.beyond else 0
        return means


def summarize(documents: Mapping[str, str], options: TraceOptions) -> TraceSummary:
    """The two distributions as if a request's input said nothing about its output, at the rate of the steps."""
    source = ", ".join(documents)
    if options.buckets != TraceOptions().buckets:
        message = "has the buckets of its histograms; leave --buckets out (buckets: in a workload)"
        raise InputError([Mistake(source=source, message=message)])
    series, copies = _chosen(documents, options, source)
    increases = {key: _increase(samples) for key, samples in series.items()}
    inputs, outputs = (_Axis(kind, increases, source) for kind in ("prompt", "generation"))
    if not min(inputs.requests, outputs.requests):
        raise InputError([Mistake(source=source, message="its histograms hold no request")])
    grid = TokenGrid(input_edges=inputs.edges, output_edges=outputs.edges)
    requests = min(inputs.requests - inputs.beyond, outputs.requests - outputs.beyond)
    outside = max(inputs.requests, outputs.requests) - requests
    rate, step_s = _rate(series, options, source)
    return TraceSummary(
        source=source,
        columns=LogColumns(
            input="vllm:request_prompt_tokens",
            output="vllm:request_generation_tokens",
            time=None if rate is None else "time of the samples",
            layout=NAME,
            model="model_name",
        ),
        grid=grid,
        cells=tuple(_joint(inputs, outputs, requests)),
        outside=Outside(
            requests=outside,
            input_tokens=max(inputs.beyond_tokens, outside),
            output_tokens=max(outputs.beyond_tokens, outside),
        ),
        rate=rate,
        notes=(*_seen_twice(series, copies), *_notes(inputs, outputs, requests, outside, rate, step_s)),
    )


def _notes(
    inputs: _Axis, outputs: _Axis, requests: int, outside: int, rate: RateSummary | None, step_s: int
) -> Iterator[str]:
    yield (
        "These are histograms of input and of output sizes: how they go together is not known, and taken as "
        "independent. If long prompts have long answers, the plan is too small for them."
    )
    planned, known = 0.0, 0.0
    for axis in (inputs, outputs):
        planned += sum(count * edge for count, edge in zip(axis.counts, axis.edges, strict=True)) / max(
            1, axis.requests
        )
        known += sum(count * mean for count, mean in zip(axis.counts, axis.means, strict=True)) / max(1, axis.requests)
    yield (
        f"The buckets are wide: at their upper edges (--bucket-size upper) requests are planned with "
        f"{planned / known - 1:.0%} more tokens than they had, at their means (mean, the default) with as many."
    )
    if outside:
        yield (
            f"{outside:,} of {requests + outside:,} requests are larger than the last edges of the histograms; they "
            "count in the rate, but are planned at the sizes of the others."
        )
    if rate is None:
        yield "A single snapshot has no rate: give the request rate, or an answer of Prometheus' API to query_range."
    else:
        yield f"The rate is known by steps of {step_s:,} s: shorter bursts are not seen."


def _chosen(documents: Mapping[str, str], options: TraceOptions, source: str) -> tuple[Series, int]:
    """(the series of one model, servers that several Prometheus saw). Raises InputError for several models, or none."""
    condition = chosen(options)
    found: Series = {}
    for name, text in documents.items():
        for kind, what, labels, samples in _series(name, text):
            row = {key: value for key, value in labels if key != "le"}
            if not is_chosen({"model_name": None} | row, condition, source=name):
                continue
            within = [(at, value) for at, value in samples if _is_within(at, options)]
            if not within:
                continue
            before = found.setdefault((kind, what, labels), [])
            if before and any(at is None for at, _ in (*before, *within)):
                message = (
                    "repeats a series of an earlier file, and neither has times; take a range (query_range) instead"
                )
                raise InputError([Mistake(source=name, message=message)])
            before.extend(within)
    if not found:
        message = (
            "holds no vllm:request_prompt_tokens_bucket or vllm:request_generation_tokens_bucket that is asked for"
        )
        raise InputError([Mistake(source=source, message=message)])
    found, copies = _each_once(found)
    for samples in found.values():
        samples.sort(key=lambda sample: sample[0] or 0.0)
    _begin_new_servers(found)
    counts = (
        (dict(labels).get("model_name"), round(_increase(samples)), 0)
        for (kind, what, labels), samples in found.items()
        if kind == "prompt" and what == "bucket" and dict(labels)["le"] == "+Inf"
    )
    check_one_model(source, "model_name", seen_models(counts), options)
    return found, copies


def _each_once(series: Series) -> tuple[Series, int]:
    """(each series once: of several Prometheus that watch a server, the one that saw most of it; how many others).

    All series of a server come from the same Prometheus, so that its buckets and sums belong together.
    """
    watchers: dict[Labels, dict[Labels, int]] = defaultdict(lambda: defaultdict(int))
    for (_, _, labels), samples in series.items():
        server, watcher = _apart(labels)
        watchers[server][watcher] += len(samples)
    best = {server: max(sorted(found), key=lambda each: found[each]) for server, found in watchers.items()}
    kept = {key: samples for key, samples in series.items() if best[_apart(key[2])[0]] == _apart(key[2])[1]}
    return kept, sum(len(found) - 1 for found in watchers.values())


def _apart(labels: Labels) -> tuple[Labels, Labels]:
    """(what names the server, what names the Prometheus that watched it), without `le`."""
    server = tuple(pair for pair in labels if pair[0] != "le" and pair[0] not in WATCHERS)
    return server, tuple(pair for pair in labels if pair[0] in WATCHERS)


def _begin_new_servers(series: Series) -> None:
    """Counters of a server that begins within the range begin at 0 a step before its first sample.

    A server is taken to be new where it counted no more by then than in a few steps; otherwise it was there before, and
    what it had counted is of another time.
    """
    firsts = [samples[0][0] for samples in series.values() if samples[0][0] is not None]
    begin = min(firsts, default=0.0)
    new: dict[Labels, float] = {}
    for (kind, what, labels), samples in series.items():
        if not (kind == "prompt" and what == "bucket" and dict(labels)["le"] == "+Inf") or len(samples) < 2:
            continue
        (first, value), (second, _) = samples[:2]
        if first is None or second is None or first - begin < (second - first) / 2:
            continue
        most = max(now - before for (_, before), (_, now) in pairwise(samples))
        if value <= _FEW_STEPS * most:
            new[_apart(labels)[0]] = second - first
    for (_, _, labels), samples in series.items():
        step_s, first = new.get(_apart(labels)[0]), samples[0][0]
        if step_s is not None and first is not None:
            samples.insert(0, (max(begin, first - step_s), 0.0))


def _seen_twice(series: Series, copies: int) -> Iterator[str]:
    """Servers that several Prometheus watch, by a label that is known to name them, or by what they counted."""
    if copies:
        yield f"{copies:,} servers were seen by more than one Prometheus (an HA pair), and count once."
    seen: dict[tuple[float, ...], int] = defaultdict(int)
    for (kind, what, labels), samples in series.items():
        values = tuple(value for _, value in samples)
        if kind == "prompt" and what == "bucket" and dict(labels)["le"] == "+Inf" and len(set(values)) > _FEW_STEPS:
            seen[values] += 1
    if alike := sum(count - 1 for count in seen.values()):
        yield (
            f"{alike:,} servers counted exactly what another did all the time: if one server is seen under several "
            "labels, the rate is too high. Choose with --where, or aggregate the query: max without (LABEL) (…)."
        )


def _is_within(at: float | None, options: TraceOptions) -> bool:
    return at is None or ((options.since_s or 0) <= at and (options.until_s is None or at < options.until_s))


def _increase(samples: Samples) -> float:
    """Of a counter, whatever was lost when a server began anew; a single sample counts from the server's start."""
    if len(samples) == 1:
        return samples[0][1]
    return sum(now - before if now >= before else now for (_, before), (_, now) in _pairs(samples))


def _pairs(samples: Samples) -> Iterator[tuple[tuple[float | None, float], tuple[float | None, float]]]:
    return pairwise(samples)


def _rate(series: Series, options: TraceOptions, source: str) -> tuple[RateSummary | None, int]:
    """(the rate, the longest step in seconds)."""
    steps: dict[tuple[int, int], float] = defaultdict(float)
    for (kind, what, labels), samples in series.items():
        if kind == "prompt" and what == "bucket" and dict(labels)["le"] == "+Inf":
            for (begin, before), (end, now) in _pairs(samples):
                if begin is not None and end is not None and int(end) > int(begin):
                    steps[int(begin), int(end)] += now - before if now >= before else now
    counts = ((begin, end, round(count)) for (begin, end), count in sorted(steps.items()))
    rate = rate_of_steps(counts, options, source=source)
    return rate, max((end - begin for begin, end in steps), default=0)


def _joint(inputs: _Axis, outputs: _Axis, requests: int) -> Iterator[Cell]:
    """Whole requests; what a row is short of by rounding is made up for in the next."""
    of_inputs, of_outputs = sum(inputs.counts), sum(outputs.counts)
    due = [0.0] * len(outputs.counts)
    taken = 0
    reached = 0.0
    for i, in_row in enumerate(inputs.counts):
        reached += in_row * requests / of_inputs
        due = [
            rest + in_row * requests / of_inputs * count / of_outputs
            for rest, count in zip(due, outputs.counts, strict=True)
        ]
        row = [max(0, math.floor(share)) for share in due]
        most = sorted(range(len(due)), key=lambda j: row[j] - due[j])
        for j in most[: max(0, round(reached) - taken - sum(row))]:
            row[j] += 1
        taken += sum(row)
        due = [share - count for share, count in zip(due, row, strict=True)]
        for j, count in enumerate(row):
            if count:
                yield Cell(
                    input_index=i,
                    output_index=j,
                    requests=count,
                    input_tokens=round(count * inputs.means[i]),
                    output_tokens=round(count * outputs.means[j]),
                )


def _series(name: str, text: str) -> Iterator[tuple[str, str, Labels, Samples]]:
    """(prompt or generation; bucket, sum or count; labels; samples) of the series that matter."""
    if text.lstrip()[:1] == "{":
        yield from _series_of_json(name, text)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        metric = _METRIC.match(line)
        if metric is None:
            continue
        sample = _SAMPLE.fullmatch(line)
        labels = None if sample is None else _labels(sample[2] or "")
        if sample is None or labels is None:
            raise InputError([Mistake(source=name, line=number, message="is no sample of Prometheus' text format")])
        at = None if sample[4] is None else int(sample[4]) / 1000
        yield metric[1], metric[2], *_checked(name, number, metric[2], labels, [(at, sample[3])])


def _series_of_json(name: str, text: str) -> Iterator[tuple[str, str, Labels, Samples]]:
    document = parse_json(text, name)
    try:
        if document["status"] != "success":
            raise ValueError(f"the status {document['status']}")
        results = [(dict(each["metric"]), each.get("values") or [each["value"]]) for each in document["data"]["result"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"is no answer of Prometheus' API to query or query_range: {one_line(repr(error))}"
        raise InputError([Mistake(source=name, message=message)]) from error
    for labels, values in results:
        metric = _METRIC.fullmatch(str(labels.pop("__name__", "")))
        if metric is not None:
            ordered = tuple(sorted((str(key), str(value)) for key, value in labels.items()))
            yield metric[1], metric[2], *_checked(name, None, metric[2], ordered, values)


def _checked(name: str, line: int | None, what: str, labels: Labels, values: Any) -> tuple[Labels, Samples]:
    """Raises InputError where numbers are none."""
    try:
        samples: Samples = [(None if at is None else float(at), float(value)) for at, value in values]
        edge = float(dict(labels)["le"]) if what == "bucket" else 1.0
    except (ValueError, TypeError, KeyError) as error:
        message = f"has a sample that is not a number or has no bucket: {one_line(repr(error))}"
        raise InputError([Mistake(source=name, line=line, message=message)]) from error
    numbers = [value for _, value in samples] + [at or 0.0 for at, _ in samples]
    if not edge > 0 or any(not 0 <= number < 1e15 for number in numbers):
        message = "has a sample that is negative or not finite; want counters, not their rates"
        raise InputError([Mistake(source=name, line=line, message=message)])
    return labels, samples


def _labels(text: str) -> Labels | None:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        label = _LABEL.match(text, at)
        if label is None:
            return None
        found[label[1]] = re.sub(r"\\.", lambda escape: _ESCAPES.get(escape[0], escape[0]), label[2])
        at = label.end()
    return tuple(sorted(found.items()))
