"""Rules of the section `traffic` that span several keys."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from sky_melange.domain.buckets import part_edges
from sky_melange.domain.spelling import did_you_mean
from sky_melange.errors import InputError, Mistake
from sky_melange.workload_file.hours import check_hours, has_rates
from sky_melange.workload_file.nodes import (
    KeyPath,
    MappingNode,
    ScalarNode,
    SequenceNode,
    Unreadable,
    YamlDocument,
    YamlNode,
)
from sky_melange.workload_file.report import key_path, quote
from sky_melange.workload_file.schema_lookup import meant_key, valid_keys
from sky_melange.workload_file.traffic import OF_TRACES, RATES, SOURCES

_TRAFFIC: Final = ("traffic",)
_MEANS: Final = ("traffic", "histogram", "mean_tokens")
_PARTS: Final = ("traffic", "histogram", "input_parts")
_MAX_MEANS: Final = 20_000
_ROW_LENGTH: Final = 4


def check_traffic(document: YamlDocument, known_presets: Collection[str] | None) -> Iterator[Mistake]:
    """Exactly one source; a rate with a histogram; keys of traces only with one; means for buckets that exist."""
    traffic = document.find(_TRAFFIC)
    if not isinstance(traffic, MappingNode):
        return
    given: list[str] = [name for name in SOURCES if name in traffic.entries]
    if not given:
        message = "give exactly one of histogram, trace, preset, for example `trace: logs/requests.csv.gz`"
        yield _mistake(document, _TRAFFIC, message)
    for name in given[1:]:
        yield _mistake(
            document, ("traffic", name), f"cannot be combined with {given[0]}; use exactly one of {', '.join(SOURCES)}"
        )
    rates = [name for name in RATES if name in traffic.entries]
    for name in rates[1:]:
        message = f"cannot be combined with {rates[0]}; use exactly one of {', '.join(RATES)}"
        yield _mistake(document, ("traffic", name), message)
    if rates and rates[0] != RATES[0] and "hours" in traffic.entries:
        message = f"cannot be combined with hours: write the busiest hour's {RATES[0]}, or leave out hours"
        yield _mistake(document, ("traffic", rates[0]), message)
    meant = {meant_key(name, _TRAFFIC) for name in traffic.entries if name not in valid_keys(_TRAFFIC)}
    if given == ["histogram"] and not rates and not meant & set(RATES) and not has_rates(document):
        yield _mistake(document, _TRAFFIC, "request_rate is missing; write for example `request_rate: 32`")
    if given == ["histogram"] and rates == ["tokens_per_month"] and not _has_means(document):
        message = (
            "is a rate only where the mean sizes are known: add histogram.mean_tokens, or write `request_rate: 32`"
        )
        yield _mistake(document, ("traffic", "tokens_per_month"), message)
    is_counted = "trace" in traffic.entries or document.find(("traffic", "hours", "file")) is not None
    for name in OF_TRACES if not is_counted else ():
        if name in traffic.entries:
            message = "says how a log is counted; only valid together with trace or hours.file"
            yield _mistake(document, ("traffic", name), message)
    yield from check_hours(document)
    arrivals = document.find(("traffic", "arrivals"))
    if given == ["histogram"] and isinstance(arrivals, ScalarNode) and arrivals.value == "trace":
        message = "a histogram has no times; write `poisson`, or `{cv: 2}`"
        yield _mistake(document, ("traffic", "arrivals"), message)
    yield from _check_preset(document, known_presets)
    yield from _check_means(document)
    yield from _check_parts(document)


def _has_means(document: YamlDocument) -> bool:
    """Whether the file says how large the requests of its buckets are: their means, or that all are the largest."""
    size, attainment = document.find(("traffic", "bucket_size")), document.find(("slo", "attainment"))
    is_largest = isinstance(size, ScalarNode) and size.value == "upper"
    is_mean = isinstance(attainment, ScalarNode) and attainment.value == "mean"
    return document.find(_MEANS) is not None or (is_largest and not is_mean)


def _check_preset(document: YamlDocument, known: Collection[str] | None) -> Iterator[Mistake]:
    node = document.find(("traffic", "preset"))
    if known is None or not isinstance(node, ScalarNode) or not isinstance(node.value, str) or node.value in known:
        return
    message = f"unknown preset {quote(node.value)}{did_you_mean(node.value, sorted(known), 'presets')}"
    yield _mistake(document, ("traffic", "preset"), message)


def _check_means(document: YamlDocument) -> Iterator[Mistake]:
    """Every row of means is of a bucket, once."""
    inputs, outputs = (
        _numbers(document.find(("traffic", "histogram", f"{axis}_tokens"))) for axis in ("input", "output")
    )
    table = document.find(_MEANS)
    rows = table.items[:_MAX_MEANS] if isinstance(table, SequenceNode) else []
    seen: set[tuple[float, float]] = set()
    for index, row in enumerate(rows):
        if isinstance(row, SequenceNode) and len(row.items) != _ROW_LENGTH:
            message = f"want {_ROW_LENGTH} numbers: input edge, output edge, mean input tokens, mean output tokens"
            yield _mistake(document, (*_MEANS, index), message)
        found = _numbers(row)
        if len(found) != _ROW_LENGTH:
            continue
        bucket = (found[0], found[1])
        if bucket[0] not in inputs or bucket[1] not in outputs:
            message = f"there is no bucket with the upper edges {bucket[0]:g} in, {bucket[1]:g} out"
            yield _mistake(document, (*_MEANS, index), message)
        elif bucket in seen:
            yield _mistake(document, (*_MEANS, index), f"the bucket {bucket[0]:g} in, {bucket[1]:g} out is repeated")
        elif found[2] > bucket[0] or found[3] > bucket[1]:
            yield _mistake(document, (*_MEANS, index), "a mean is larger than the bucket's upper edge")
        seen.add(bucket)


def _check_parts(document: YamlDocument) -> Iterator[Mistake]:
    edges = _numbers(document.find(("traffic", "histogram", "input_tokens")))
    table = document.find(_PARTS)
    if not isinstance(table, SequenceNode) or not edges:
        return
    rows = [_numbers(row) for row in table.items[:_MAX_MEANS]]
    for index, message in part_mistakes([int(edge) for edge in edges], rows):
        yield _mistake(document, _PARTS if index is None else (*_PARTS, index), message)


def part_mistakes(edges: Sequence[int], rows: Sequence[Sequence[float]]) -> Iterator[tuple[int | None, str]]:
    """(row, what is wrong) of `input_parts`; no row: of all."""
    if len(rows) != len(edges):
        yield None, f"want one row per input edge, {len(edges)}, found {len(rows)}"
        return
    for index, (low, high, row) in enumerate(zip((0, *edges), edges, rows, strict=False)):
        wanted = len(part_edges(low, high)) if low < high else 0
        if row and (len(row) != wanted or not any(part > 0 for part in row)):
            yield index, f"want {wanted} numbers for the sizes {low + 1} to {high}, one of them above 0, or []"


def _numbers(node: YamlNode | None) -> list[float]:
    """The items of a list of numbers; empty when it is anything else."""
    if not isinstance(node, SequenceNode):
        return []
    values = [
        item.value
        for item in node.items
        if isinstance(item, ScalarNode) and not isinstance(item.value, bool | str | Unreadable)
    ]
    return [float(value) for value in values] if len(values) == len(node.items) else []


def at_key(document: YamlDocument, path: KeyPath, error: InputError) -> InputError:
    """The same mistakes, each at the key of the workload that led to them: their own in `traffic`, or `path`."""
    return InputError(
        [
            _mistake(document, (*_TRAFFIC, *_path_of(mistake.key)), mistake.message)
            if mistake.source == _TRAFFIC[0] and mistake.key
            else _mistake(document, path, str(mistake))
            for mistake in error.mistakes
        ]
    )


def _path_of(key: str) -> KeyPath:
    """`hours.sizes[0].weights` by its parts."""
    return tuple(int(part) if part.isdecimal() else part for part in re.findall(r"[^.\[\]]+", key))


def _mistake(document: YamlDocument, path: KeyPath, message: str) -> Mistake:
    return Mistake(source=document.source, line=document.line_of(path), key=key_path(path), message=message)
