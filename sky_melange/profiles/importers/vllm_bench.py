"""Results of `vllm bench serve --save-result` (one JSON object a run), or --append-result (one a line)."""

from __future__ import annotations

import re
from typing import Any, Final

from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.units import ms_to_s
from sky_melange.profiles.importers.reading import Fields, Mistakes, quote, read_json_objects
from sky_melange.profiles.importers.request import Imported, ImportRequest, Stated, imported
from sky_melange.profiles.importers.runs import Run, points_form

_DATE: Final = re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})-\d{6}")


def import_vllm_bench(request: ImportRequest) -> Imported:
    """One run a file or line; sizes are the means of the run. Raises InputError with file, line and field.

    `mean_tpot_ms` excludes the first token, as ours does. The engine is what the options say, vLLM by default:
    the file's `backend` is the protocol that was spoken.
    """
    mistakes = Mistakes()
    runs: list[Run] = []
    others: list[dict[str, Any]] = []
    models: set[str] = set()
    dates: set[str] = set()
    failed = 0
    for path in request.paths:
        for line, content in read_json_objects(path):
            fields = Fields(content, mistakes, str(path), line=line)
            run = _run(fields, str(path), line)
            if run is not None:
                runs.append(run)
            failed += fields.count("failed", least=0, required=False) or 0
            models.add(fields.text("model_id", required=True) or "")
            dates.add(_date(fields))
            others.append(fields.rest())
    mistakes.stop()
    if len(models) > 1 and request.model is None:
        mistakes.add("--model", f"is needed: the files are of several models: {', '.join(sorted(models))}")
    form, warnings = points_form(runs, mistakes)
    stated = Stated(
        source="vllm bench serve",
        kind=ProfileKind.MEASURED,
        model=min(models),
        engine="vllm",
        date=max(dates) or None,
    )
    if failed:
        warnings = (*warnings, f"{failed} requests failed in these runs; the figures are of the others")
    return imported(request, stated, form, details={"runs": others}, warnings=warnings)


def _run(fields: Fields, source: str, line: int | None) -> Run | None:
    completed = fields.count("completed")
    input_tokens = fields.count("total_input_tokens")
    output_tokens = fields.count("total_output_tokens")
    rate_rps = fields.positive("request_throughput")
    ttft_ms = fields.positive("mean_ttft_ms")
    tpot_ms = fields.positive("mean_tpot_ms")
    concurrency = fields.count("max_concurrency", required=False)
    if None in (completed, input_tokens, output_tokens, rate_rps, ttft_ms, tpot_ms):
        return None
    return Run(
        source=source,
        line=line,
        input_tokens=(input_tokens or 0) / (completed or 1),
        output_tokens=(output_tokens or 0) / (completed or 1),
        concurrency=concurrency,
        ttft_s=ms_to_s(ttft_ms or 0),
        tpot_s=ms_to_s(tpot_ms or 0),
        request_rate_rps=rate_rps,
    )


def _date(fields: Fields) -> str:
    """`20261122-142306` -> `2026-11-22`; "" when absent."""
    text = fields.text("date")
    if text is None:
        return ""
    match = _DATE.fullmatch(text)
    if match is None:
        fields.mistake("date", f"want YYYYMMDD-hhmmss, found {quote(text)}")
        return ""
    return f"{match['year']}-{match['month']}-{match['day']}"
