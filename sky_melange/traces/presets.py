"""Distributions that ship with the package: counted traces, with their provenance and licence."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import Cell, LogColumns, Outside, RateSummary, Rejection, TimeUnit, TraceSummary
from sky_melange.errors import MissingDataError
from sky_melange.resources import data_path

SCHEMA_VERSION: Final = 1


def preset_names() -> tuple[str, ...]:
    """Names of the presets, sorted."""
    return tuple(sorted(path.stem for path in data_path("catalogs", "presets").glob("*.json")))


def load_preset(name: str) -> TraceSummary:
    """A preset by name. Raises MissingDataError when there is none, listing those that there are."""
    if name not in preset_names():
        raise MissingDataError(f"there is no preset {name!r}; there are: {', '.join(preset_names())}")
    document = json.loads(data_path("catalogs", "presets", f"{name}.json").read_text(encoding="utf-8"))
    return from_document(document)


def to_document(summary: TraceSummary, provenance: dict[str, str]) -> dict[str, Any]:
    """The JSON of a preset. Cells are `[input index, output index, requests, input tokens, output tokens]`."""
    rate = summary.rate
    return {
        "schema_version": SCHEMA_VERSION,
        "source": summary.source,
        "provenance": provenance,
        "columns": dataclasses.asdict(summary.columns),
        "input_edges": list(summary.grid.input_edges),
        "output_edges": list(summary.grid.output_edges),
        "cells": [list(dataclasses.astuple(cell)) for cell in summary.cells],
        "outside": dataclasses.asdict(summary.outside),
        "rejected": {str(name): count for name, count in summary.rejected.items()},
        "zoneless": summary.zoneless,
        "rate": None if rate is None else dataclasses.asdict(rate),
        "time_reading": summary.time_reading,
        "notes": list(summary.notes),
    }


def from_document(document: dict[str, Any]) -> TraceSummary:
    """The summary in a preset's JSON, which this package wrote."""
    columns = document["columns"]
    return TraceSummary(
        source=document["source"],
        columns=LogColumns(**{**columns, "time_unit": TimeUnit(columns["time_unit"])}),
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


def _rate(rate: dict[str, Any]) -> RateSummary:
    week = rate["hour_of_week"]
    return RateSummary(
        **{
            **rate,
            "hour_of_week": None if week is None else tuple(tuple(day) for day in week),
            "over_time": tuple((start, value) for start, value in rate["over_time"]),
        }
    )
