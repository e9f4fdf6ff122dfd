"""Results of SGLang's `python -m sglang.bench_serving --output-file` (JSON lines, one a run).

The layout is that of sglang 0.5.23, sglang/benchmark/serving.py (github.com/sgl-project/sglang). A line states neither
date nor, before `server_info` was added, model and version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sky_melange.domain.profile import ProfileKind
from sky_melange.profiles.importers.reading import Fields, read_json_objects
from sky_melange.profiles.importers.request import Imported, ImportRequest
from sky_melange.profiles.importers.runs import Findings, import_runs, serving_run

SGLANG_KEY: Final = "total_output_tokens_retokenized"
"""Which SGLang's benchmark writes and no other."""

SGLANG_SOURCE: Final = "SGLang bench_serving"

_DETAILS: Final = ("input_lens", "output_lens", "ttfts", "itls", "generated_texts", "errors", "server_info")


def import_sglang_bench(request: ImportRequest) -> Imported:
    """One run a line; sizes are the means of the run. Raises InputError with file, line and field."""
    findings = Findings()
    for path in request.paths:
        for line, content in read_json_objects(path):
            read_sglang(content, str(path), line, findings)
    return import_runs(request, findings, source=SGLANG_SOURCE, kind=ProfileKind.MEASURED)


def read_sglang(content: Mapping[str, Any], source: str, line: int | None, findings: Findings) -> None:
    """Adds one line to `findings`."""
    fields = Fields(content, findings.mistakes, source, line=line)
    if SGLANG_KEY not in content:
        fields.mistake(SGLANG_KEY, "is missing: not a result of SGLang's bench_serving; vLLM's is `vllm-bench`")
    errors = fields.get("errors")
    # Only --output-details says which requests failed: "" for those that did not.
    failed = sum(bool(error) for error in errors) if isinstance(errors, list) else None
    run = serving_run(fields, source, line, failed=failed)
    if run is not None:
        if fields.get("request_rate") == "trace":
            run = replace(run, concurrency=None)
        findings.runs.append(run)
    server = content.get("server_info")
    server = Fields(server if isinstance(server, dict) else {}, findings.mistakes, source, line=line)
    findings.says("model", server.text("model_path"))
    findings.says("engine-version", server.text("version"))
    findings.says("tensor-parallel", server.count("tp_size", required=False))
    findings.says("engine", "sglang")
    for name in _DETAILS:
        fields.get(name)
    findings.others.append(fields.rest())
