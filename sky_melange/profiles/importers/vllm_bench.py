"""Results of `vllm bench serve --save-result` (one JSON object a run), or --append-result (one a line).

The layout is that of vLLM 0.32, vllm/benchmarks/serve.py (github.com/vllm-project/vllm).

Results of SGLang's `python -m sglang.bench_serving --output-file` (JSON lines, one a run).

The layout is that of sglang 0.5.23, sglang/benchmark/serving.py (github.com/sgl-project/sglang). A line states neither
date nor, before `server_info` was added, model and version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sky_melange.domain.profile import ProfileKind
from sky_melange.profiles.importers.reading import Fields, quote, read_json_objects
from sky_melange.profiles.importers.request import Imported, ImportRequest, other_gpu
from sky_melange.profiles.importers.runs import Findings, Run, import_runs, serving_run

_SGLANG_KEY: Final = "total_output_tokens_retokenized"
"""Which SGLang's benchmark writes and no other."""

_SGLANG_SOURCE: Final = "SGLang bench_serving"

_QUANTIZED: Final = {"fp8": "fp8", "w8a8_fp8": "fp8", "modelopt_fp8": "fp8", "modelopt_fp4": "fp4"}
_DETAILS: Final = ("input_lens", "output_lens", "ttfts", "itls", "generated_texts", "errors", "server_info")

_METADATA: Final = {
    "tensor-parallel": ("tensor_parallel_size", "tensor-parallel-size", "tp_size", "tp"),
    "dp": ("data_parallel_size", "data-parallel-size", "dp_size", "dp"),
    "pp": ("pipeline_parallel_size", "pipeline-parallel-size", "pp_size", "pp"),
    "dtype": ("dtype", "quantization", "precision"),
    "engine-version": ("vllm_version", "engine_version", "version"),
    "gpu": ("gpu", "gpu_type", "gpu_name", "accelerator", "hardware"),
}
_DTYPES: Final = {"fp8": "fp8", "fp4": "fp4", "nvfp4": "fp4", "bf16": "bfloat16", "bfloat16": "bfloat16"}
_SEVERAL_AT_ONCE: Final = 0.1
_DATE: Final = re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})-\d{6}")


def import_vllm_bench(request: ImportRequest) -> Imported:
    """One run a file or line; sizes are the means of the run. Raises InputError with file, line and field.

    The engine is what the options say, vLLM by default: the file's `backend` is the protocol that was spoken. SGLang's
    lines are recognised, and are of SGLang.
    """
    findings = Findings()
    for path in request.paths:
        for line, content in read_json_objects(path):
            if _SGLANG_KEY in content:
                _read_sglang(content, str(path), line, findings)
            else:
                _read(Fields(content, findings.mistakes, str(path), line=line), str(path), line, findings, request)
    source = _SGLANG_SOURCE if findings.stated.get("engine") == {"sglang"} else "vllm bench serve"
    found = import_runs(request, findings, source=source, kind=ProfileKind.MEASURED)
    return found.warned(*(text for gpu in sorted(findings.stated.get("gpu", ())) for text in other_gpu(request, gpu)))


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
    _metadata(fields, findings, run)
    findings.says("model", fields.text("model_id", required=request.model is None))
    findings.says("date", _date(fields) if request.date is None else None)
    findings.says("engine", "vllm")
    fields.get("generated_texts")  # of no use in a profile, and not for every reader of it
    findings.others.append(fields.rest())


def _metadata(fields: Fields, findings: Findings, run: Run | None) -> None:
    """What `--metadata NAME=VALUE` says, as text and in the user's own names, and what shows that tokens were guessed.

    A layout of more than one replica makes the run unusable.
    """
    said = {
        option: text
        for option, names in _METADATA.items()
        for text in (str(fields.get(name)).strip() for name in names if fields.get(name) is not None)
        if text
    }
    for option in ("tensor-parallel", "pp", "dp"):
        if option in said and not (said[option].isascii() and said[option].isdecimal() and int(said[option]) > 0):
            fields.mistake(_METADATA[option][0], f"want a whole number of GPUs, found {quote(said.pop(option))}")
    copies, stages = int(said.pop("dp", 1)), int(said.pop("pp", 1))
    if copies * stages > 1 and run is not None:
        findings.runs[-1] = replace(
            findings.runs[-1],
            unusable=f"{copies} copies of {stages} stages served together: not one replica of its tensor-parallel GPUs",
        )
    for option, text in said.items():
        findings.says(option, _DTYPES.get(text.casefold()) if option == "dtype" else text)
    accepted = [name for name, value in fields.content.items() if name.startswith("spec_decode") and value]
    median_ms = fields.number("median_itl_ms", required=False)
    mean_ms = fields.number("mean_itl_ms", required=False)
    if accepted:
        findings.mark_speculative(accepted[0])
    elif median_ms is not None and mean_ms is not None and median_ms < _SEVERAL_AT_ONCE * mean_ms:
        findings.mark_speculative(
            f"most tokens came with the one before: median ITL {median_ms:g} ms, mean {mean_ms:g}"
        )


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


def import_sglang_bench(request: ImportRequest) -> Imported:
    """One run a line; sizes are the means of the run. Raises InputError with file, line and field."""
    findings = Findings()
    for path in request.paths:
        for line, content in read_json_objects(path):
            _read_sglang(content, str(path), line, findings)
    return import_runs(request, findings, source=_SGLANG_SOURCE, kind=ProfileKind.MEASURED)


def _read_sglang(content: Mapping[str, Any], source: str, line: int | None, findings: Findings) -> None:
    """Adds one line to `findings`."""
    fields = Fields(content, findings.mistakes, source, line=line)
    if _SGLANG_KEY not in content:
        fields.mistake(_SGLANG_KEY, "is missing: not a result of SGLang's bench_serving; vLLM's is `vllm-bench`")
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
