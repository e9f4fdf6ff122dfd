"""The released Mélange solver's JSON: the input of `sky-melange solve`.

`gpu_info` holds per GPU its `cost` (USD per hour) and `tputs` ([input bucket][output bucket], requests/s): an object by
name, as in the released configuration, or a list whose entries have a `name`, as in the released README, which calls
`total_request_rate` `overall_rate`. As in the released solver's `Config`, `slice_factor` may be left out and other keys
at the top are errors, while keys of a GPU that it does not read are ignored. Unlike there, a rate of 0 or null means
that the GPU cannot serve the bucket, and the shares of `workload_distribution` must sum to 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from sky_melange.domain.spelling import did_you_mean
from sky_melange.errors import Mistake
from sky_melange.untrusted import json_value, read_text
from sky_melange.workload_file.report import MAX_MISTAKES, input_error, key_path, plural, quote

RateMatrix: TypeAlias = tuple[tuple[float | None, ...], ...]
_ShareMatrix: TypeAlias = tuple[tuple[float, ...], ...]
_Place: TypeAlias = tuple[str | int, ...]

_LIMIT_BYTES: Final = 50 * 1024 * 1024
_RATE_KEYS: Final = ("total_request_rate", "overall_rate")
"""Of the released configuration, and of the released README."""
_KEYS: Final = ("gpu_info", "workload_distribution", *_RATE_KEYS, "slice_factor")
_REQUIRED_KEYS: Final = _KEYS[:2]
_DEFAULT_SLICE_FACTOR: Final = 1
_MAX_SLICE_FACTOR: Final = 10_000
_ANSWER_COST_KEY: Final = "cost"
_LONGEST_NAME: Final = 64
_ABSENT: Final = object()
"""Stands for the value of a key that is not there: reported once, as missing."""

# The floors keep products above 0 and quotients finite; nothing real comes near them or the ceiling.
_CEILING: Final = 1e9
_SUM_TOLERANCE: Final = 1e-3
"""Shares that were rounded to a few digits still sum to 1."""
_LEAST_SHARE: Final = 1e-12
_LEAST_RATE: Final = 1e-6
_LEAST_COST: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class MelangeInput:
    """A problem for the Mélange solver.

    `request_rates_rps[gpu][input bucket][output bucket]`: the most requests/s that one GPU sustains, None where it
    cannot serve the bucket. `workload_distribution[input bucket][output bucket]` times `total_request_rate` is the
    requests/s to serve.
    """

    gpu_names: tuple[str, ...]
    cost_usd_per_hour: tuple[float, ...]
    request_rates_rps: tuple[RateMatrix, ...]
    workload_distribution: tuple[tuple[float, ...], ...]
    total_request_rate: float
    slice_factor: int


def read_melange(path: Path, *, normalize: bool = False) -> MelangeInput:
    """The solver input in a JSON file of at most 50 MiB. `normalize`: the shares are divided by their sum.

    Raises:
        InputError: with every mistake in the file; its line where it is one of JSON syntax, else its key.

    """
    source = str(path)
    content, mistakes = json_value(read_text(path, limit_bytes=_LIMIT_BYTES, allow_pipe=True), source)
    reader = _Reader(source, mistakes, normalize=normalize)
    if not isinstance(content, dict):
        reader.report((), f"want an object with the keys {', '.join(_KEYS)}, found {_found(content)}")
        raise input_error(reader.mistakes)
    problem = reader.read(content)
    if reader.mistakes:
        raise input_error(reader.mistakes)
    return problem


class _Reader:
    """Reads the parts, recording mistakes; what it returns is of use only when there are none."""

    def __init__(self, source: str, mistakes: list[Mistake], *, normalize: bool) -> None:
        self.mistakes = mistakes
        self._source = source
        self._normalize = normalize

    def report(self, path: _Place, message: str) -> None:
        """Record a mistake."""
        # A table of 50 MiB has millions of values; nobody reads a million mistakes.
        if len(self.mistakes) <= MAX_MISTAKES:
            self.mistakes.append(Mistake(source=self._source, key=key_path(path), message=message))

    def read(self, content: dict[str, object]) -> MelangeInput:
        """The whole file."""
        for key in content:
            if key not in _KEYS:
                self.report((key,), f"unknown key{did_you_mean(key, _KEYS, 'valid keys')}")
        for key in _REQUIRED_KEYS:
            if key not in content:
                self.report((key,), "is missing")
        rate_keys = [key for key in _RATE_KEYS if key in content]
        if not rate_keys:
            self.report((_RATE_KEYS[0],), f"is missing ({_RATE_KEYS[1]} means the same)")
        elif len(rate_keys) == 2:
            self.report((_RATE_KEYS[1],), f"means the same as {_RATE_KEYS[0]}; keep one of them")
        rate_key = rate_keys[0] if rate_keys else _RATE_KEYS[0]
        distribution = self._distribution(content.get("workload_distribution", _ABSENT))
        gpus = self._gpus(content.get("gpu_info", _ABSENT), distribution)
        return MelangeInput(
            gpu_names=tuple(gpus),
            cost_usd_per_hour=tuple(cost for cost, _ in gpus.values()),
            request_rates_rps=tuple(rates for _, rates in gpus.values()),
            workload_distribution=distribution,
            total_request_rate=self._quantity((rate_key,), content.get(rate_key, _ABSENT), _LEAST_RATE),
            slice_factor=self._slice_factor(content.get("slice_factor", _DEFAULT_SLICE_FACTOR)),
        )

    def _distribution(self, value: object) -> _ShareMatrix:
        path = ("workload_distribution",)
        matrix: list[tuple[float, ...]] = []
        before = len(self.mistakes)
        rows = self._rows(path, value)
        for i, row in enumerate(rows):
            for j, share in enumerate(row):
                fault = _fault(share, _LEAST_SHARE, zero_allowed=True)
                if fault:
                    self.report((*path, i, j), fault)
            matrix.append(tuple(_as_float(share) for share in row))
        if any(matrix) and not any(share for row in rows for share in row):
            self.report(path, "every share is 0; there is nothing to serve")
            return tuple(matrix)
        total = 0.0 if len(self.mistakes) > before else math.fsum(share for row in matrix for share in row)
        if total and self._normalize:
            return tuple(tuple(share / total for share in row) for row in matrix)
        if total and abs(total - 1) > _SUM_TOLERANCE:
            # Multiplied as they are, percentages would be 100 times the traffic.
            message = (
                f"the shares sum to {total:.6g}, not 1: divide each by {total:.6g}, or give --normalize for that; "
                f"where {total:.6g} times the stated rate is meant, multiply that rate, too"
            )
            self.report(path, message)
        return tuple(matrix)

    def _gpus(self, value: object, distribution: _ShareMatrix) -> dict[str, tuple[float, RateMatrix]]:
        if value is _ABSENT:
            return {}
        if isinstance(value, list) and value:
            return self._listed_gpus(value, distribution)
        if not isinstance(value, dict) or not value:
            found = f"an empty {'object' if value == {} else 'list'}" if value in ({}, []) else _found(value)
            self.report(("gpu_info",), f"want an object or a list with an entry per GPU, found {found}")
            return {}
        return {name: self._gpu(("gpu_info", name), name, entry, distribution) for name, entry in value.items()}

    def _listed_gpus(self, entries: list[object], distribution: _ShareMatrix) -> dict[str, tuple[float, RateMatrix]]:
        gpus: dict[str, tuple[float, RateMatrix]] = {}
        for index, entry in enumerate(entries):
            path = ("gpu_info", index)
            name = entry.get("name", _ABSENT) if isinstance(entry, dict) else f"entry {index}"
            if not isinstance(name, str):
                said = "is missing" if name is _ABSENT else f"want the name of the GPU, found {_found(name)}"
                self.report((*path, "name"), said)
                name = f"entry {index}"
            elif name in gpus:
                self.report((*path, "name"), f"{quote(name)} is listed twice; rename one of them")
            gpus[name] = self._gpu(path, name, entry, distribution)
        return gpus

    def _gpu(self, path: _Place, name: str, entry: object, distribution: _ShareMatrix) -> tuple[float, RateMatrix]:
        if name == _ANSWER_COST_KEY:
            self.report(path, "a GPU may not be named 'cost': the answer has a key of that name; rename it")
        elif not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            self.report(path, f"a GPU's name must be 1 to {_LONGEST_NAME} printable characters; rename it")
        if not isinstance(entry, dict):
            self.report(path, f"want an object with cost and tputs, found {_found(entry)}")
            return 0.0, ()
        for key in ("cost", "tputs"):
            if key not in entry:
                self.report((*path, key), "is missing")
        cost = self._quantity((*path, "cost"), entry.get("cost", _ABSENT), _LEAST_COST)
        return cost, self._rates((*path, "tputs"), entry.get("tputs", _ABSENT), distribution)

    def _rates(self, path: _Place, value: object, distribution: _ShareMatrix) -> RateMatrix:
        rows = self._rows(path, value)
        found, expected = _shape(rows), _shape(distribution)
        if found and expected and found != expected:
            self.report(path, f"{found} found, expected {expected}, as in workload_distribution")
        for i, row in enumerate(rows):
            for j, rate in enumerate(row):
                fault = "" if rate is None else _fault(rate, _LEAST_RATE, zero_allowed=True)
                if fault:
                    self.report((*path, i, j), fault)
        return tuple(tuple(_as_float(rate) or None for rate in row) for row in rows)

    def _rows(self, path: _Place, value: object) -> list[list[object]]:
        """The rows of a table; empty, with the mistake recorded, when it is none."""
        if value is _ABSENT:
            return []
        if not isinstance(value, list) or not value:
            found = "an empty list" if value == [] else _found(value)
            self.report(path, f"want a list of rows such as [[0.2, 0.1], [0.5, 0.2]], found {found}")
            return []
        width = len(value[0]) if isinstance(value[0], list) else 0
        for i, row in enumerate(value):
            if not isinstance(row, list) or not row:
                found = "an empty list" if row == [] else _found(row)
                self.report((*path, i), f"want a list of numbers, found {found}")
            elif width and len(row) != width:
                message = f"{plural(len(row), 'column')} found, expected {width} as in the first row"
                self.report((*path, i), message)
        return [row if isinstance(row, list) else [] for row in value]

    def _quantity(self, path: _Place, value: object, least: float) -> float:
        if value is not _ABSENT:
            fault = _fault(value, least, zero_allowed=False)
            if fault:
                self.report(path, fault)
        return _as_float(value)

    def _slice_factor(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_SLICE_FACTOR:
            return value
        self.report(("slice_factor",), f"want a whole number from 1 to {_MAX_SLICE_FACTOR:,}, found {_found(value)}")
        return _DEFAULT_SLICE_FACTOR


def _fault(value: object, least: float, *, zero_allowed: bool) -> str:
    """What is wrong with a number, or ""."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"want a number, found {_found(value)}"
    if least <= value <= _CEILING or (zero_allowed and value == 0):
        return ""
    if not math.isfinite(value):
        return "must be a finite number"
    if value > _CEILING:
        return f"must be at most {_CEILING:,.0f}, found {_found(value)}"
    if value < 0 or zero_allowed:
        wanted = f"0 or at least {least:g}" if zero_allowed else "greater than 0"
        return f"must be {wanted}, found {_found(value)}"
    return f"must be at least {least:g}, found {_found(value)}"


def _shape(rows: Sequence[Sequence[object]]) -> str:
    """`2 rows × 3 columns`; "" for rows that are empty or of several lengths, which have been reported."""
    widths = {len(row) for row in rows}
    if len(widths) != 1 or widths == {0}:
        return ""
    return f"{plural(len(rows), 'row')} × {plural(widths.pop(), 'column')}"


def _as_float(value: object) -> float:
    is_usable = isinstance(value, int | float) and abs(value) <= _CEILING
    return float(value) if is_usable else 0.0  # type: ignore[arg-type]


def _found(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return f"the text {quote(value)}"
    return quote(json.dumps(value))[1:-1]
