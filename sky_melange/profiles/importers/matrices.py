"""Tables of maximum request rates, as Mélange and AIBrix keep them, -> the form `matrix`.

One GPU of a Mélange solver file: `gpu_info[GPU].tputs`, [input bucket][output bucket], requests/s.

The file states neither its bucket edges nor its latency target; the options must.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

from sky_melange.domain.profile import MatrixForm, ProfileKind, StatedTarget
from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.importers.reading import Mistakes, compact, quote, read_json
from sky_melange.profiles.importers.request import Imported, ImportRequest, Stated, imported

_MAX_EDGES: Final = 1000
_MAX_RATE_RPS: Final = 1e6

RateRows = tuple[tuple[float | None, ...], ...]


def rate_rows(value: Any, source: str, key: str, mistakes: Mistakes) -> RateRows:
    """Rows of requests/s of equal length, None where the file says 0 or null; mistakes are noted."""
    if not isinstance(value, list) or not value or not all(isinstance(row, list) and row for row in value):
        mistakes.add(source, "want rows of numbers such as [[2, 1], [5, 2]]", key=key)
        return ()
    if len({len(row) for row in value}) > 1 or max(len(value), len(value[0])) > _MAX_EDGES:
        mistakes.add(source, f"want at most {_MAX_EDGES} rows of equal length", key=key)
        return ()
    return tuple(
        tuple(_rate(cell, source, f"{key}[{i}][{j}]", mistakes) for j, cell in enumerate(row))
        for i, row in enumerate(value)
    )


def stated_target(request: ImportRequest, mistakes: Mistakes) -> StatedTarget:
    """The latency target that the options state."""
    if request.slo is None:
        message = "is needed (or --tpot-ms, --ttft-ms): the file does not say at which target its rates were found"
        mistakes.add("--ntpot-ms", message)
        return StatedTarget()
    return StatedTarget(tpot_s=request.slo.tpot_s, ttft_s=request.slo.ttft_s, ntpot_s=request.slo.ntpot_s)


def _rate(value: Any, source: str, key: str, mistakes: Mistakes) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        mistakes.add(source, f"want a number or null, found {quote(value)}", key=key)
        return None
    if not 0 <= value <= _MAX_RATE_RPS:
        mistakes.add(source, f"want requests/s from 0 to {_MAX_RATE_RPS:g}, found {quote(value)}", key=key)
        return None
    return float(value) or None


def edges(value: Any, source: str, key: str, mistakes: Mistakes) -> tuple[int, ...]:
    """Strictly rising token counts; empty, with the mistake noted, otherwise."""
    whole = isinstance(value, list | tuple) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    if not whole or not value or value[0] < 1 or any(b <= a for a, b in itertools.pairwise(value)):
        mistakes.add(source, "want strictly rising whole numbers of tokens", key=key)
        return ()
    return tuple(value)


def check_shape(
    rows: RateRows,
    first: Sequence[int],
    second: Sequence[int],
    source: str,
    *,
    names: tuple[str, str],
    mistakes: Mistakes,
) -> None:
    """Notes a mistake when the table is not `first` × `second`."""
    if rows and first and second and (len(rows), len(rows[0])) != (len(first), len(second)):
        message = (
            f"the table has {len(rows)} rows × {len(rows[0])} columns, but there are "
            f"{len(first)} {names[0]} × {len(second)} {names[1]} sizes"
        )
        mistakes.add(source, message)


def import_melange(request: ImportRequest) -> Imported:
    """Needs --input-edges, --output-edges, a target such as --ntpot-ms, and --entry when there are several GPUs.

    Raises InputError with file and field of every mistake.
    """
    if len(request.paths) != 1:
        raise InputError([Mistake(source="melange", message="want exactly one file")])
    path = request.paths[0]
    source = str(path)
    mistakes = Mistakes()
    content = read_json(path)
    gpus = content.get("gpu_info") if isinstance(content, dict) else None
    if not isinstance(gpus, dict) or not gpus:
        mistakes.add(source, "want an object with an entry per GPU", key="gpu_info")
        raise mistakes.error()
    name = request.entry or (next(iter(gpus)) if len(gpus) == 1 else request.accelerator)
    entry = gpus.get(name) if name is not None else None
    if not isinstance(entry, dict):
        mistakes.add("--entry", f"the file has no GPU {name!r}; it has: {', '.join(sorted(map(str, gpus)))[:200]}")
        raise mistakes.error()
    rows = rate_rows(entry.get("tputs"), source, f"gpu_info.{name}.tputs", mistakes)
    for option, value in (("--input-edges", request.input_edges), ("--output-edges", request.output_edges)):
        if value is None:
            mistakes.add(option, "is needed: the file does not say which request sizes its buckets are")
    target = stated_target(request, mistakes)
    inputs, outputs = request.input_edges or (), request.output_edges or ()
    check_shape(rows, inputs, outputs, source, names=("input", "output"), mistakes=mistakes)
    mistakes.stop()
    form = MatrixForm(input_edges=inputs, output_edges=outputs, request_rates_rps=rows, target=target)
    stated = Stated(source="Mélange solver file", kind=ProfileKind.PUBLISHED)
    return imported(request, stated, form, details=_details(content, str(name), entry))


def _details(content: dict[str, Any], name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """What else the file says; the other GPUs by name only."""
    kept = {key: compact(value) for key, value in entry.items() if key != "tputs"}
    rest = {key: compact(value) for key, value in content.items() if key != "gpu_info"}
    return {"entry": name, **kept, **rest, "other_entries": sorted(set(map(str, content["gpu_info"])) - {name})}
