"""Results of `vllm bench serve --save-result` (one JSON object a run), or --append-result (one a line).

The layout is that of vLLM 0.32, vllm/benchmarks/serve.py (github.com/vllm-project/vllm).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from sky_melange.domain.profile import ProfileKind
from sky_melange.profiles.importers.reading import Fields, quote, read_json_objects
from sky_melange.profiles.importers.request import Imported, ImportRequest, other_gpu
from sky_melange.profiles.importers.runs import Findings, Run, import_runs, serving_run
from sky_melange.profiles.importers.sglang_bench import SGLANG_KEY, SGLANG_SOURCE, read_sglang

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
            if SGLANG_KEY in content:
                read_sglang(content, str(path), line, findings)
            else:
                _read(Fields(content, findings.mistakes, str(path), line=line), str(path), line, findings, request)
    source = SGLANG_SOURCE if findings.stated.get("engine") == {"sglang"} else "vllm bench serve"
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
