"""Distributions that ship with the package: counted traces, with their provenance and licence."""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import Cell, LogColumns, Outside, RateSummary, Rejection, TimeUnit, TraceSummary
from sky_melange.errors import MissingDataError
from sky_melange.resources import data_path
from sky_melange.untrusted import own_json

if TYPE_CHECKING:
    from sky_melange.traces.request_log import RequestLog

SCHEMA_VERSION: Final = 1


def preset_names() -> tuple[str, ...]:
    """Names of the presets, sorted."""
    return tuple(sorted(path.stem for path in data_path("catalogs", "presets").glob("*.json")))


def load_preset(name: str) -> TraceSummary:
    """A preset by name. Raises MissingDataError when there is none, listing those that there are."""
    if name not in preset_names():
        raise MissingDataError(f"there is no preset {name!r}; there are: {', '.join(preset_names())}")
    document = own_json(data_path("catalogs", "presets", f"{name}.json").read_text(encoding="utf-8"))
    return from_document(document)


def has_requests(name: str) -> bool:
    """Whether a preset has its requests one by one, with their times."""
    return _requests_path(name).is_file()


def preset_requests(name: str) -> RequestLog:
    """The requests of a preset, which has them."""
    import numpy as np

    from sky_melange.traces.request_log import RequestLog

    lines = gzip.decompress(_requests_path(name).read_bytes()).decode("ascii").split("\n", 1)[1]
    found = np.loadtxt(lines.splitlines(), dtype=np.int64, delimiter=",", ndmin=2)
    return RequestLog(source=name, times_s=found[:, 0] / 1000.0, inputs=found[:, 1].copy(), outputs=found[:, 2].copy())


def requests_text(log: RequestLog) -> bytes:
    """What `preset_requests` reads: milliseconds since the first request, input and output tokens; gzip."""
    if log.times_s is None:
        raise ValueError("a log without times")
    import numpy as np

    millis = np.rint((log.times_s - log.times_s[0]) * 1000.0).astype(np.int64)
    rows = zip(millis.tolist(), log.inputs.tolist(), log.outputs.tolist(), strict=True)
    text = "".join(f"{row[0]},{row[1]},{row[2]}\n" for row in rows)
    return gzip.compress(f"ms,input,output\n{text}".encode("ascii"), compresslevel=9, mtime=0)


def _requests_path(name: str) -> Path:
    return data_path("catalogs", "presets") / f"{name}.requests.csv.gz"


def to_document(summary: TraceSummary, provenance: dict[str, str]) -> dict[str, Any]:
    """The JSON of a preset. Cells are `[input index, output index, requests, input tokens, output tokens]`."""
    rate = summary.rate
    return {
        "schema_version": SCHEMA_VERSION,
        "source": summary.source,
        "provenance": provenance,
        "columns": summary.columns.document(),
        "input_edges": list(summary.grid.input_edges),
        "output_edges": list(summary.grid.output_edges),
        "cells": [list(dataclasses.astuple(cell)) for cell in summary.cells],
        "outside": dataclasses.asdict(summary.outside),
        "rejected": {str(name): count for name, count in summary.rejected.items()},
        "zoneless": summary.zoneless,
        "rate": None if rate is None else _rate_document(rate),
        "time_reading": summary.time_reading,
        "notes": list(summary.notes),
    }


def from_document(document: dict[str, Any]) -> TraceSummary:
    """The summary in a preset's JSON, which this package wrote."""
    columns = document["columns"]
    return TraceSummary(
        source=document["source"],
        columns=LogColumns(
            **{
                **columns,
                "time_unit": TimeUnit(columns["time_unit"]),
                "unused": tuple(columns.get("unused", ())),
            }
        ),
        grid=TokenGrid(
            input_edges=tuple(document["input_edges"]),
            output_edges=tuple(document["output_edges"]),
        ),
        cells=tuple(
            Cell(
                input_index=cell[0],
                output_index=cell[1],
                requests=cell[2],
                input_tokens=cell[3],
                output_tokens=cell[4],
            )
            for cell in document["cells"]
        ),
        outside=Outside(**document["outside"]),
        rejected={Rejection(name): count for name, count in document["rejected"].items()},
        zoneless=document["zoneless"],
        rate=None if document["rate"] is None else _rate(document["rate"]),
        time_reading=document["time_reading"],
        notes=tuple(document["notes"]),
    )


def _rate_document(rate: RateSummary) -> dict[str, Any]:
    """Without hours: those of a day are counted by the clocks of a zone, which a workload chooses."""
    found = dataclasses.asdict(rate)
    del found["hours"]
    return found


def _rate(rate: dict[str, Any]) -> RateSummary:
    week = rate["hour_of_week"]
    return RateSummary(
        **{
            **rate,
            "hour_of_week": None if week is None else tuple(tuple(day) for day in week),
            "over_time": tuple((start, value) for start, value in rate["over_time"]),
            "burstiness": tuple((scale_s, factor) for scale_s, factor in rate["burstiness"]),
        }
    )
