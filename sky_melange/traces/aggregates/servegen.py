"""ServeGen's clients: `chunk-N-trace.csv`, rates by window, and `chunk-N-dataset.json`, sizes by window.

Each line of the first is a window's start in seconds, its requests/s, the coefficient of variation of its gaps, the law
fitted to them and two parameters. The second holds, by the start of longer windows, the probability of each number of
input and of output tokens. Within one window of one client sizes are independent here; over all of them they are not.
"""

from __future__ import annotations

import csv
import io
import math
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import Cell, LogColumns, TraceOptions, TraceSummary
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.aggregates.usage import rate_of_steps, within
from sky_melange.traces.edges import MAX_TOKENS, Step, choose, extended, fine_edges, parse_buckets
from sky_melange.untrusted import parse_json

NAME: Final = "ServeGen clients (aggregates)"
SIGN: Final = re.compile(
    r'"(?:in|out)put_tokens"\s*:\s*"\{|^\d+(?:\.\d*)?,[\d.eE+-]+,[\d.eE+-]*,(?:Gamma|Weibull|Exponential),',
    re.MULTILINE,
)

_TRACE: Final = "-trace.csv"
_SIZES: Final = "-dataset.json"
_WINDOW_S: Final = 600
_AXES: Final = ("input_tokens", "output_tokens")
_MOST_WINDOWS: Final = 100_000
_MOST_RPS: Final = 1e7

_Law: TypeAlias = tuple[Any, Any]
"""Sizes in tokens, rising, and the probability of each: arrays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Client:
    """`rates_rps` by the start of windows; `laws` of input and output tokens, likewise."""

    rates_rps: dict[int, float]
    laws: dict[int, tuple[_Law, _Law]]

    def expected(self) -> Iterator[tuple[float, tuple[_Law, _Law] | None]]:
        """(requests, their sizes) of each of the longer windows; None where nobody knows."""
        starts = sorted(self.laws)
        sums: dict[int, float] = defaultdict(float)
        for start, rate in self.rates_rps.items():
            sums[bisect_right(starts, start) - 1] += rate * _WINDOW_S
        for place, requests in sorted(sums.items()):
            yield requests, self.laws[starts[place]] if place >= 0 else None


def summarize(documents: Mapping[str, str], options: TraceOptions) -> TraceSummary:
    """As many requests of each size as are expected: rates x probabilities, summed over clients and windows."""
    source = ", ".join(documents) if len(documents) <= 4 else f"{len(documents)} files of ServeGen"
    if options.where is not None:
        raise InputError([Mistake(source="where", message="has nothing to choose: these files name no columns")])
    clients = _clients(documents, options)
    total = math.fsum(requests for client in clients for requests, _ in client.expected())
    known = [(requests, laws) for client in clients for requests, laws in client.expected() if laws is not None]
    sized = math.fsum(requests for requests, _ in known)
    if not sized:
        raise InputError([Mistake(source=source, message=_lacks(documents))])
    grid = _grid(known, options)
    inside, outside = within(_cells(known, grid), grid)
    sums: dict[int, float] = defaultdict(float)
    for client in clients:
        for start, rate in client.rates_rps.items():
            sums[start] += rate * _WINDOW_S
    return TraceSummary(
        source=source,
        columns=LogColumns(input=_AXES[0], output=_AXES[1], time="start", layout=NAME),
        grid=grid,
        cells=inside,
        outside=outside,
        rate=rate_of_steps(
            ((s, s + _WINDOW_S, round(count)) for s, count in sorted(sums.items())), options, source=source
        ),
        notes=tuple(_notes(len(clients), total, sized, outside.requests)),
    )


def _notes(clients: int, total: float, sized: float, outside: int) -> Iterator[str]:
    yield (
        f"These are rates and distributions of {clients:,} clients, not requests: sizes are independent within a "
        f"client's window, and requests come evenly within its {_WINDOW_S:,} s, which hides shorter bursts."
    )
    if sized < total * (1 - 1e-9):
        yield (
            f"The sizes of {1 - sized / total:.1%} of the requests are not in the files; they count in the rate and "
            "are taken to be like the others."
        )
    if outside:
        yield f"{outside:,} requests are larger than the last edges; --buckets extend adds some."


def _lacks(documents: Mapping[str, str]) -> str:
    has_sizes = any(_kind(name) == _SIZES for name in documents)
    if has_sizes and all(_kind(name) == _SIZES for name in documents):
        return f"says what sizes requests have, and not how many there are: give the chunk-N{_TRACE} beside it, too"
    if not has_sizes:
        return f"says how many requests there are, and not their sizes: give the chunk-N{_SIZES} beside it, too"
    return "holds no requests with sizes in any window"


def _clients(documents: Mapping[str, str], options: TraceOptions) -> list[_Client]:
    rates: dict[str, dict[int, float]] = {}
    laws: dict[str, dict[int, tuple[_Law, _Law]]] = {}
    for name, text in documents.items():
        if _kind(name) == _TRACE:
            rates[_plain(name).removesuffix(_TRACE)] = _rates(name, text, options)
        else:
            laws[_plain(name).removesuffix(_SIZES)] = _laws(name, text)
    return [_Client(rates_rps=rates.get(key, {}), laws=laws.get(key, {})) for key in sorted({*rates, *laws})]


def _kind(name: str) -> str:
    """Which of the two a file is. Raises InputError for a name that pairs with none."""
    for ending in (_TRACE, _SIZES):
        if _plain(name).endswith(ending):
            return ending
    message = f"is of ServeGen; its files are paired by their names, chunk-N{_TRACE} and chunk-N{_SIZES}: name it so"
    raise InputError([Mistake(source=name, message=message)])


def _plain(name: str) -> str:
    return name.removesuffix(".gz").removesuffix(".zst").removesuffix(".bz2")


def _rates(name: str, text: str, options: TraceOptions) -> dict[int, float]:
    found: dict[int, float] = {}
    for number, row in enumerate(csv.reader(io.StringIO(text)), start=1):
        if not row:
            continue
        try:
            start, rate = float(row[0]), float(row[1] or 0)
            is_one = start >= 0 and start == int(start) and 0 <= rate <= _MOST_RPS
        except (ValueError, IndexError, OverflowError):
            is_one = False
        if not is_one:
            message = f"want start in whole seconds, requests/s, cv …, found {','.join(row)[:60]!r}"
            raise InputError([Mistake(source=f"{name}:{number}", message=message)])
        begin = int(start)
        if begin in found:
            raise InputError([Mistake(source=f"{name}:{number}", message=f"has the window from {begin} s twice")])
        if (options.since_s is None or begin >= options.since_s) and (
            options.until_s is None or begin + _WINDOW_S <= options.until_s
        ):
            found[begin] = rate
        if len(found) > _MOST_WINDOWS:
            raise InputError([Mistake(source=name, message=f"has more than {_MOST_WINDOWS:,} windows")])
    return found


def _laws(name: str, text: str) -> dict[int, tuple[_Law, _Law]]:
    windows = parse_json(text, name)
    try:
        found = {int(start): tuple(_law(sizes[axis]) for axis in _AXES) for start, sizes in windows.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        what = f"lacks the key {error}" if isinstance(error, KeyError) else str(error)[:80]
        message = f'want {{"0": {{"input_tokens": "{{12: 0.5, …}}", "output_tokens": …}}}}, but it: {what}'
        raise InputError([Mistake(source=name, message=message)]) from error
    return {start: (law[0], law[1]) for start, law in found.items() if len(law[0][0]) and len(law[1][0])}


def _law(text: str) -> _Law:
    """From `{12: 0.5, 40: 0.5}`; empty where no size has a probability."""
    body = text.strip().removeprefix("{").removesuffix("}").strip().removesuffix(",")
    pairs = [part.split(":") for part in body.split(",")] if body else []
    sizes = np.array([int(float(size)) for size, _ in pairs], dtype=np.int64)
    parts = np.array([float(part) for _, part in pairs], dtype=float)
    if len(sizes) and not (sizes.min() >= 0 and sizes.max() <= MAX_TOKENS):
        raise ValueError(f"has a size that is not from 0 to {MAX_TOKENS:,} tokens")
    if not np.isfinite(parts).all() or (parts < 0).any():
        raise ValueError("has a probability that is none")
    kept = (parts > 0) & (sizes > 0)
    sizes, parts = sizes[kept], parts[kept]
    order = np.argsort(sizes, kind="stable")
    return sizes[order], parts[order] / (parts.sum() or 1.0)


def _grid(known: list[tuple[float, tuple[_Law, _Law]]], options: TraceOptions) -> TokenGrid:
    wanted = parse_buckets(options.buckets)
    if not isinstance(wanted, int):
        return extended() if wanted is None else wanted
    inputs, outputs = (_steps([(requests, laws[axis]) for requests, laws in known]) for axis in (0, 1))
    return choose(inputs, outputs, wanted)


def _steps(laws: list[tuple[float, _Law]]) -> list[Step]:
    edges = np.array(fine_edges(), dtype=np.int64)
    counts, tokens, largest = np.zeros(len(edges)), np.zeros(len(edges)), np.zeros(len(edges), dtype=np.int64)
    for requests, (sizes, parts) in laws:
        places = np.searchsorted(edges, sizes)
        np.add.at(counts, places, requests * parts)
        np.add.at(tokens, places, requests * parts * sizes)
        np.maximum.at(largest, places, sizes)
    return [
        Step(requests=round(count), tokens=round(total), largest=int(size))
        for count, total, size in zip(counts.tolist(), tokens.tolist(), largest.tolist(), strict=True)
        if round(count)
    ]


def _cells(known: list[tuple[float, tuple[_Law, _Law]]], grid: TokenGrid) -> Iterator[Cell]:
    """Those with requests, of the grid and (indices past its edges) beyond it, in whole requests and tokens."""
    edges = [np.array(axis, dtype=np.int64) for axis in (grid.input_edges, grid.output_edges)]
    shape = (len(edges[0]) + 1, len(edges[1]) + 1)
    counts, inputs, outputs = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for requests, laws in known:
        mass, tokens = [], []
        for axis, (sizes, parts) in enumerate(laws):
            places = np.searchsorted(edges[axis], sizes)
            mass.append(np.bincount(places, weights=parts, minlength=shape[axis]))
            tokens.append(np.bincount(places, weights=parts * sizes, minlength=shape[axis]))
        counts += requests * np.outer(mass[0], mass[1])
        inputs += requests * np.outer(tokens[0], mass[1])
        outputs += requests * np.outer(mass[0], tokens[1])
    for i, j in np.ndindex(*shape):
        requests = round(float(counts[i, j]))
        if requests:
            mean_input, mean_output = inputs[i, j] / counts[i, j], outputs[i, j] / counts[i, j]
            yield Cell(
                input_index=i,
                output_index=j,
                requests=requests,
                input_tokens=round(float(mean_input) * requests),
                output_tokens=round(float(mean_output) * requests),
            )
