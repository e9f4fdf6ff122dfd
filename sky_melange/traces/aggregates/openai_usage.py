"""OpenAI's usage of completions, and of those who answer like it: tokens and requests by hour or day."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import Cell, LogColumns, TraceOptions, TraceSummary
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.aggregates.usage import chosen, is_chosen, rate_of_steps, seen_models, within
from sky_melange.traces.edges import extended, parse_buckets
from sky_melange.traces.one_model import check_one_model
from sky_melange.traces.where import columns_of
from sky_melange.untrusted import first_json, one_line, own_json

NAME: Final = "OpenAI usage (aggregates)"
SIGN: Final = re.compile(r'"object"\s*:\s*"bucket"|"num_model_requests"')


def summarize(documents: Mapping[str, str], options: TraceOptions) -> TraceSummary:
    """Every result is as many requests of its mean size, evenly over its hour or day."""
    source = ", ".join(documents)
    condition = chosen(options)
    grid = _grid(options, source)
    usage = _Usage(documents)
    rows = [row for row in usage.rows() if is_chosen(row[2], condition, source=source)]
    rows = [row for row in rows if _is_within(row[0], row[1], options)]
    batches = 0
    if "batch" not in {name.casefold() for name in columns_of(condition)}:
        batches = sum(int(result["num_model_requests"] or 0) for _, _, result in rows if result.get("batch") is True)
        rows = [row for row in rows if row[2].get("batch") is not True]
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
    inside, outside = within(cells, grid)
    longest = max(end - begin for begin, end, *_ in counted)
    return TraceSummary(
        source=source,
        columns=LogColumns(input="input_tokens", output="output_tokens", time="start_time", layout=NAME, model="model"),
        grid=grid,
        cells=inside,
        outside=outside,
        rate=rate_of_steps(((begin, end, count) for begin, end, count, *_ in counted), options, source=source),
        notes=(
            f"These are aggregates: each of {len(counted):,} sums is planned as requests of its mean size, which hides "
            f"the long ones, and evenly over its {longest:,} s, which hides every burst. Plan a log of requests, or "
            "vLLM's histograms, before you buy.",
            *usage.notes(),
            *(_of_batches(batches) if batches else ()),
            *(_outside(outside.requests, sum(cell.requests for cell in cells)) if outside.requests else ()),
        ),
    )


def _outside(count: int, requests: int) -> Iterator[str]:
    yield f"{count:,} of {requests:,} requests are on average larger than the last edges; --buckets extend adds some."


def _of_batches(requests: int) -> Iterator[str]:
    yield (
        f'{requests:,} requests of batches are not counted, which nobody waits for: --where "batch = TRUE" chooses '
        'them, and --where "batch = TRUE OR batch <> TRUE" all.'
    )


def _grid(options: TraceOptions, source: str) -> TokenGrid:
    wanted = parse_buckets(options.buckets)
    if isinstance(wanted, int):
        raise InputError([Mistake(source=source, message="are aggregates: --buckets auto:K needs single requests")])
    return extended() if wanted is None else wanted


def _is_within(begin: int, end: int, options: TraceOptions) -> bool:
    return (options.since_s is None or begin >= options.since_s) and (options.until_s is None or end <= options.until_s)


class _Usage:
    """The results of all pages, each once: pages that were fetched apart may overlap.

    Raises InputError for what is no page, and where results cannot be told from repeated ones.
    """

    def __init__(self, documents: Mapping[str, str]) -> None:
        self._found: dict[tuple[int, int], dict[str, dict[str, Any]]] = {}
        self._repeated = 0
        self._ends: list[int] = []
        for name, document in documents.items():
            for page, buckets, has_more in _pages(name, document):
                self._add(f"{name} (page {page})", buckets)
                if has_more and buckets:
                    self._ends.append(max(end for _, end, _ in buckets))
        bounds = sorted(self._found)
        for (_, end), (begin, later) in pairwise(bounds):
            if begin < end:
                message = (
                    f"has buckets that overlap, to {end} and from {begin} to {later} (seconds since 1970): give those "
                    "of one bucket_width"
                )
                raise InputError([Mistake(source=", ".join(documents), message=message)])
        starts = {begin for begin, _ in bounds}
        self._ends = [end for end in self._ends if end not in starts]

    def rows(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """(from second, to second, the result)."""
        for begin, end in sorted(self._found):
            for result in self._found[begin, end].values():
                yield begin, end, result

    def notes(self) -> Iterator[str]:
        """What a reader should know of the pages."""
        if self._repeated:
            yield f"{self._repeated:,} sums are in several pages, and count once."
        for end in sorted(set(self._ends)):
            moment = datetime.fromtimestamp(end, tz=UTC)
            yield (
                f"A page that ends {moment:%Y-%m-%d %H:%M UTC} says has_more, and the next one is not among the files: "
                "what came later is not counted. Fetch it with ?page=<next_page>."
            )

    def _add(self, source: str, buckets: list[_Bucket]) -> None:
        for begin, end, results in buckets:
            before = self._found.setdefault((begin, end), {})
            groups = {json.dumps(_group(result), sort_keys=True): result for result in results}
            if len(groups) < len(results):
                raise InputError(
                    [Mistake(source=source, message=f"has two sums of one group in the bucket from {begin}")]
                )
            if before and groups and _grouping(before) != _grouping(groups):
                message = f"groups the bucket from {begin} otherwise than an earlier page; give pages of one group_by"
                raise InputError([Mistake(source=source, message=message)])
            for group, result in groups.items():
                other = before.get(group)
                self._repeated += other is not None
                # A bucket that was not over when it was fetched first has more the second time.
                if other is None or (other["num_model_requests"] or 0) < (result["num_model_requests"] or 0):
                    before[group] = result


_Bucket = tuple[int, int, list[dict[str, Any]]]


def _group(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a sum is of."""
    return {
        name: value
        for name, value in result.items()
        if isinstance(value, str | bool) and not name.startswith("num_") and not name.endswith("_tokens")
    }


def _grouping(groups: Iterable[str]) -> set[str]:
    return {name for group in groups for name in own_json(group)}


def _pages(name: str, document: str) -> Iterator[tuple[int, list[_Bucket], bool]]:
    """(number, buckets, whether there are more) of every page."""
    text, at, number = document.strip(), 0, 0
    while at < len(text):
        number += 1
        try:
            page, at = first_json(text, at)
            buckets = page["data"] if isinstance(page, dict) else page
            found = [_bucket(bucket) for bucket in buckets]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            what = f"lacks the key {error}" if isinstance(error, KeyError) else f"holds {one_line(str(error))}"
            message = f"is no page of usage: it {what}; want data[].start_time, end_time, results[].input_tokens …"
            raise InputError([Mistake(source=name, message=message)]) from error
        yield number, found, isinstance(page, dict) and page.get("has_more") is True
        at = len(text) - len(text[at:].lstrip())


def _bucket(bucket: Mapping[str, Any]) -> _Bucket:
    begin, end = int(bucket["start_time"]), int(bucket["end_time"])
    if not 0 <= begin < end <= begin + 366 * 86_400:
        raise ValueError("a bucket from start_time to end_time that is no period")
    results = [dict(result) for result in bucket["results"]]
    for result in results:
        counts = [result[key] or 0 for key in ("num_model_requests", "input_tokens", "output_tokens")]
        if any(not isinstance(count, int) or not 0 <= count < 10**15 for count in counts):
            raise ValueError("counts that are no whole numbers")
    return begin, end, results
