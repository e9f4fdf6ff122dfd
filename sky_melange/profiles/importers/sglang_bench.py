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

_QUANTIZED: Final = {"fp8": "fp8", "w8a8_fp8": "fp8", "modelopt_fp8": "fp8", "modelopt_fp4": "fp4"}
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
    said = content.get("server_info")
    server = Fields(said if isinstance(said, dict) else {}, findings.mistakes, source, line=line)
    run = serving_run(fields, source, line, failed=failed)
    accepted = fields.number("accept_length", required=False)
    if accepted is not None and accepted > 1:
        findings.mark_speculative(f"accept_length {accepted:.3g}")
    data = fields.text("dataset_name")
    if data is not None and ("shared-prefix" in data or data in ("mooncake", "multi-turn")):
        findings.mark_cached(f"dataset {data}")
    if run is not None:
        findings.runs.append(replace(run, unusable=_several_engines(server)))
    findings.says("dtype", _QUANTIZED.get(server.text("quantization") or ""))
    findings.says("model", server.text("model_path"))
    findings.says("engine-version", server.text("version"))
    findings.says("tensor-parallel", server.count("tp_size", required=False))
    findings.says("engine", "sglang")
    for name in _DETAILS:
        fields.get(name)
    findings.others.append(fields.rest())


def _several_engines(server: Fields) -> str | None:
    """Why the server was more than the `tp_size` GPUs of one replica; None when it was not."""
    copies = server.count("dp_size", required=False) or 1
    stages = server.count("pp_size", required=False) or 1
    if server.get("enable_dp_attention") is True:
        copies = 1  # within the same GPUs
    if copies * stages == 1:
        return None
    return f"{copies} copies (dp_size) of {stages} stages (pp_size) served together: not one replica of tp_size GPUs"
