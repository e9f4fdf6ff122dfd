"""OpenAI's usage of completions, and of those who answer like it: tokens and requests by hour or day."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import Cell, LogColumns, Outside, TraceOptions, TraceSummary
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.aggregates.usage import chosen, is_chosen, rate_of_steps, seen_models
from sky_melange.traces.edges import extended, parse_buckets
from sky_melange.traces.one_model import check_one_model
from sky_melange.traces.text import one_line

NAME: Final = "OpenAI usage (aggregates)"
SIGN: Final = re.compile(r'"object"\s*:\s*"bucket"|"num_model_requests"')


def summarize(documents: Mapping[str, str], options: TraceOptions) -> TraceSummary:
    """Every result is as many requests of its mean size, evenly over its hour or day."""
    source = ", ".join(documents)
    condition = chosen(options)
    grid = _grid(options, source)
    rows = [row for row in _rows(documents) if is_chosen(row[2], condition, source=source)]
    rows = [row for row in rows if _is_within(row[0], row[1], options)]
    counted = [
        (begin, end, *(int(result[key] or 0) for key in ("num_model_requests", "input_tokens", "output_tokens")))
        for begin, end, result in rows
    ]
    models = [result.get("model") for _, _, result in rows]
    seen = seen_models(
        (model, count, inputs + outputs)
        for model, (_, _, count, inputs, outputs) in zip(models, counted, strict=True)
        if count
    )
    check_one_model(source, "model", seen, options)
    counted = [row for row in counted if row[2] and row[3] and row[4]]
    if not counted:
        raise InputError([Mistake(source=source, message="holds no requests with input and output tokens")])
    sums: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for _, _, count, inputs, outputs in counted:
        place = bisect_left(grid.input_edges, inputs / count), bisect_left(grid.output_edges, outputs / count)
        sums[place] = [total + more for total, more in zip(sums[place], (count, inputs, outputs), strict=True)]
    cells = [
        Cell(input_index=i, output_index=j, requests=n, input_tokens=inputs, output_tokens=outputs)
        for (i, j), (n, inputs, outputs) in sorted(sums.items())
    ]
    inside = [c for c in cells if c.input_index < len(grid.input_edges) and c.output_index < len(grid.output_edges)]
    beyond = [cell for cell in cells if cell not in inside]
    longest = max(end - begin for begin, end, *_ in counted)
    return TraceSummary(
        source=source,
        columns=LogColumns(input="input_tokens", output="output_tokens", time="start_time", layout=NAME, model="model"),
        grid=grid,
        cells=tuple(inside),
        outside=Outside(
            requests=sum(cell.requests for cell in beyond),
            input_tokens=sum(cell.input_tokens for cell in beyond),
            output_tokens=sum(cell.output_tokens for cell in beyond),
        ),
        rate=rate_of_steps(((begin, end, count) for begin, end, count, *_ in counted), options),
        notes=(
            f"These are aggregates: each of {len(counted):,} sums is planned as requests of its mean size, which hides "
            f"the long ones, and evenly over its {longest:,} s, which hides every burst. Plan a log of requests, or "
            "vLLM's histograms, before you buy.",
            *(_outside(beyond, sum(cell.requests for cell in cells)) if beyond else ()),
        ),
    )


def _outside(beyond: list[Cell], requests: int) -> Iterator[str]:
    count = sum(cell.requests for cell in beyond)
    yield f"{count:,} of {requests:,} requests are on average larger than the last edges; --buckets extend adds some."


def _grid(options: TraceOptions, source: str) -> TokenGrid:
    wanted = parse_buckets(options.buckets)
    if isinstance(wanted, int):
        raise InputError([Mistake(source=source, message="are aggregates: --buckets auto:K needs single requests")])
    return extended() if wanted is None else wanted


def _is_within(begin: int, end: int, options: TraceOptions) -> bool:
    return (options.since_s is None or begin >= options.since_s) and (options.until_s is None or end <= options.until_s)


def _rows(documents: Mapping[str, str]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(from second, to second, the result) of every page."""
    for name, document in documents.items():
        text, at, decoder = document.strip(), 0, json.JSONDecoder()
        while at < len(text):
            try:
                page, at = decoder.raw_decode(text, at)
                buckets = page["data"] if isinstance(page, dict) else page
                for bucket in buckets:
                    begin, end = int(bucket["start_time"]), int(bucket["end_time"])
                    if not 0 <= begin < end <= begin + 366 * 86_400:
                        raise ValueError("a bucket from start_time to end_time that is no period")
                    for result in bucket["results"]:
                        counts = [result[key] or 0 for key in ("num_model_requests", "input_tokens", "output_tokens")]
                        if any(not isinstance(count, int) or not 0 <= count < 10**15 for count in counts):
                            raise ValueError("counts that are no whole numbers")
                        yield begin, end, result
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                what = f"lacks the key {error}" if isinstance(error, KeyError) else f"holds {one_line(str(error))}"
                message = f"is no page of usage: it {what}; want data[].start_time, end_time, results[].input_tokens …"
                raise InputError([Mistake(source=name, message=message)]) from error
            at = len(text) - len(text[at:].lstrip())
