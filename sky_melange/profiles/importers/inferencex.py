"""Rows of InferenceX (once InferenceMAX): `agg_*.json`, one object or a list of them.

The layout is that of utils/process_result.py (github.com/SemiAnalysisAI/InferenceX): a run of its serving benchmark
with latencies in seconds and throughput per GPU. A list may hold several GPUs, models and layouts; the options choose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sky_melange.domain.profile import ProfileKind
from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.importers.reading import Fields, Mistakes, quote, read_json
from sky_melange.profiles.importers.request import Imported, ImportRequest, other_gpu
from sky_melange.profiles.importers.runs import Findings, Run, import_runs

_VERSION: Final = re.compile(r":v?(?P<version>\d+\.\d+[\w.]*)")
_MOST_ROWS: Final = 100_000
_TRUE: Final = ("true", "yes", "1")
"""Rows have booleans as text, too."""

_NONE: Final = ("none", "false", "off", "no")
_NAMES: Final = ("hw", "model", "framework", "precision", "tp", "spec_decoding")


def import_inferencex(request: ImportRequest) -> Imported:
    """The rows that --entry (hw), --model, --engine, --dtype and --tensor-parallel leave; they must be of one setting.

    Raises InputError with row and field of every mistake.
    """
    findings = Findings()
    found: list[tuple[str, Mapping[str, Any]]] = []
    for path in request.paths:
        content = read_json(path)
        rows = content if isinstance(content, list) else [content]
        if len(rows) > _MOST_ROWS:
            findings.mistakes.add(str(path), f"holds {len(rows)} rows, more than {_MOST_ROWS}")
            continue
        for index, row in enumerate(rows):
            place = f"{path}: [{index}]" if isinstance(content, list) else str(path)
            if isinstance(row, dict):
                found.append((place, row))
            else:
                findings.mistakes.add(place, f"want an object, found {quote(row)}")
    findings.mistakes.stop()
    for place, row in _chosen(found, request):
        run = _run(Fields(row, findings.mistakes, place), place, row, request, findings)
        if run is not None:
            findings.runs.append(run)
    found_runs = import_runs(request, findings, source="InferenceX", kind=ProfileKind.PUBLISHED)
    return found_runs.warned(*other_gpu(request, findings.one("entry", request.entry)))


def _chosen(found: list[tuple[str, Mapping[str, Any]]], request: ImportRequest) -> list[tuple[str, Mapping[str, Any]]]:
    """The rows of one setting. Raises InputError with the options that would choose it."""
    given = {
        "hw": ("--entry", request.entry),
        "model": ("--model", request.model),
        "framework": ("--engine", request.engine),
        "precision": ("--dtype", request.dtype),
        "tp": ("--tensor-parallel", request.tensor_parallel),
        "spec_decoding": ("another file: rows with and without speculative decoding", None),
    }
    mistakes = Mistakes()
    rows = found
    for name in _NAMES:
        option, wanted = given[name]
        values = sorted({str(row.get(name)) for _, row in rows})
        if len(values) > 1 and wanted is not None:
            rows = [(place, row) for place, row in rows if str(row.get(name)) == str(wanted)]
            if not rows:
                raise InputError([Mistake(source=option, message=f"no row has {name} {wanted}: {_listed(values)}")])
        elif len(values) > 1:
            mistakes.add(option, f"is needed: the rows are of several {name}: {_listed(values)}")
    mistakes.stop()
    return rows


def _listed(values: list[str]) -> str:
    return ", ".join(values)[:200]


def _run(fields: Fields, place: str, row: Mapping[str, Any], request: ImportRequest, findings: Findings) -> Run | None:
    split = any(str(row.get(name)).strip().casefold() in _TRUE for name in ("disagg", "is_multinode"))
    guessed = fields.text("spec_decoding")
    if guessed is not None and guessed.casefold() not in _NONE:
        findings.mark_speculative(f"spec_decoding {guessed}")
    inputs = _size(fields, "isl", "--input-edges", request.input_edges)
    outputs = _size(fields, "osl", "--output-edges", request.output_edges)
    concurrency = fields.count("conc")
    ttft_s, tpot_s = fields.positive("mean_ttft"), fields.positive("mean_tpot")
    median_s = fields.positive("median_ttft", required=False)
    tensor_parallel = fields.count("tp", required=not split)
    per_gpu = fields.positive("output_tput_per_gpu", required=not split)
    image = fields.text("image")
    version = _VERSION.search(image or "")
    findings.says("entry", fields.text("hw"))
    findings.says("model", fields.text("model"))
    findings.says("engine", fields.text("framework"))
    findings.says("engine-version", version["version"] if version else None)
    findings.says("dtype", fields.text("precision"))
    findings.says("tensor-parallel", tensor_parallel)
    findings.others.append(fields.rest())
    if None in (inputs, outputs, concurrency, ttft_s, tpot_s):
        return None
    return Run(
        source=place,
        input_tokens=inputs or 0,
        output_tokens=outputs or 0,
        concurrency=concurrency,
        ttft_s=ttft_s or 0,
        tpot_s=tpot_s or 0,
        request_rate_rps=None if per_gpu is None else per_gpu * (tensor_parallel or 0) / (outputs or 1),
        ttft_median_s=median_s,
        unusable="prefill and decoding ran on GPUs of their own, which no single replica is" if split else None,
    )


def _size(fields: Fields, name: str, option: str, edges: tuple[int, ...] | None) -> int | None:
    """Tokens of a request; older rows do not say them."""
    if fields.get(name) is not None:
        return fields.count(name)
    if edges is None or len(edges) != 1:
        fields.mistake(name, f"is missing; say it with {option} TOKENS")
        return None
    return edges[0]
