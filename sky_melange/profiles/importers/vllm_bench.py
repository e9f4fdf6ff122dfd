"""Results of `vllm bench serve --save-result` (one JSON object a run), or --append-result (one a line).

The layout is that of vLLM 0.32, vllm/benchmarks/serve.py (github.com/vllm-project/vllm).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from sky_melange.domain.profile import ProfileKind
from sky_melange.profiles.importers.reading import Fields, quote, read_json_objects
from sky_melange.profiles.importers.request import Imported, ImportRequest
from sky_melange.profiles.importers.runs import Findings, import_runs, serving_run
from sky_melange.profiles.importers.sglang_bench import SGLANG_KEY, SGLANG_SOURCE, read_sglang

_DATE: Final = re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})-\d{6}")


def import_vllm_bench(request: ImportRequest) -> Imported:
    """One run a file or line; sizes are the means of the run. Raises InputError with file, line and field.

    The engine is what the options say, vLLM by default: the file's `backend` is the protocol that was spoken. SGLang's
    lines are recognised, and are of SGLang.
    """
    findings = Findings()
    for path in request.paths:
        for line, content in read_json_objects(path):
            if SGLANG_KEY in content:
                read_sglang(content, str(path), line, findings)
            else:
                _read(Fields(content, findings.mistakes, str(path), line=line), str(path), line, findings, request)
    source = SGLANG_SOURCE if findings.stated.get("engine") == {"sglang"} else "vllm bench serve"
    return import_runs(request, findings, source=source, kind=ProfileKind.MEASURED)


def _read(fields: Fields, source: str, line: int | None, findings: Findings, request: ImportRequest) -> None:
    failed = fields.count("failed", least=0, required=False)
    sent = fields.count("num_prompts", required=False)
    completed = fields.get("completed")
    if failed is None and sent is not None and isinstance(completed, int):
        failed = max(0, sent - completed)
    run = serving_run(fields, source, line, failed=failed)
    strategy = fields.get("ramp_up_strategy")
    if run is not None:
        reason = "its request rate rose all the time (ramp_up_strategy), so it has no steady state; hold one rate"
        findings.runs.append(replace(run, unusable=reason) if strategy else run)
    findings.says("model", fields.text("model_id", required=request.model is None))
    findings.says("date", _date(fields) if request.date is None else None)
    findings.says("engine", "vllm")
    fields.get("generated_texts")  # of no use in a profile, and not for every reader of it
    findings.others.append(fields.rest())


def _date(fields: Fields) -> str | None:
    """`20261122-142306` -> `2026-11-22`; None when absent."""
    text = fields.text("date")
    if text is None:
        return None
    match = _DATE.fullmatch(text)
    if match is None:
        fields.mistake("date", f"want YYYYMMDD-hhmmss, found {quote(text)}")
        return None
    return f"{match['year']}-{match['month']}-{match['day']}"
