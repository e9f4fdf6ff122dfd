"""A row of MLPerf Inference's results (`summary_results.json`): the largest rate of a system within its limits.

The layout is that of github.com/mlcommons/inference_results_v4.1. A row states neither its latency limits (the rules of
the round do, for the 99th percentile) nor the input sizes of its data set; the options must. Throughput is of all
accelerators of the system.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from sky_melange.domain.profile import MatrixForm, ProfileKind
from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.importers.matrices import stated_target
from sky_melange.profiles.importers.reading import Fields, Mistakes, compact, quote, read_json
from sky_melange.profiles.importers.request import Imported, ImportRequest, Stated, imported, other_gpu

_SCENARIOS: Final = ("Server", "Interactive")
_TOKENS: Final = re.compile(r"TOKENS_PER_SAMPLE: (?P<tokens>\d+(\.\d+)?)")
_ENGINE: Final = re.compile(r"\b(?P<name>vLLM|SGLang|TensorRT-LLM)[ -]v?(?P<version>\d[\w.+]*)", re.IGNORECASE)
_KEYS: Final = ("ID", "Submitter", "Platform", "Model", "Scenario")
_SHOWN: Final = 8


def import_mlperf(request: ImportRequest) -> Imported:
    """One row, chosen by --entry ID/MODEL/SCENARIO, as a `matrix` of one size. Raises InputError with row and field."""
    if len(request.paths) != 1:
        raise InputError([Mistake(source="mlperf", message="want exactly one file")])
    path = request.paths[0]
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(row, dict) and "Scenario" in row for row in content):
        message = f"want MLPerf's summary_results.json (a list of rows with Scenario), found {quote(content)}"
        raise InputError([Mistake(source=str(path), message=message)])
    index = _chosen(content, request.entry)
    row = content[index]
    mistakes = Mistakes()
    fields = Fields(row, mistakes, f"{path}: [{index}]")
    scenario = fields.text("Scenario")
    if scenario not in _SCENARIOS:
        said = f"want {' or '.join(_SCENARIOS)}, found {quote(scenario)}"
        fields.mistake("Scenario", f"{said}, which holds no latency: no rate to plan with")
    if (fields.number("errors", required=False) or 0) > 0 or fields.get("compliance") in (0, False):
        fields.mistake("compliance", "the submission has errors or failed its compliance tests: not a measurement")
    nodes = fields.count("Nodes", required=False)
    if nodes is not None and nodes > 1:
        fields.mistake("Nodes", f"want 1, found {nodes}: a replica is within one machine")
    gpus, tensor_parallel = fields.count("a#"), request.tensor_parallel
    if tensor_parallel is None:
        mistakes.add("--tensor-parallel", f"is needed: the row does not say how many of its {gpus} GPUs a replica had")
    elif gpus is not None and gpus % tensor_parallel:
        mistakes.add("--tensor-parallel", f"want a divisor of {gpus}, the GPUs of the system; found {tensor_parallel}")
    rate_rps, mean_output = _rate(fields)
    input_tokens = _edge("--input-edges", request.input_edges, None, mistakes)
    output_tokens = _edge("--output-edges", request.output_edges, mean_output, mistakes)
    target = stated_target(request, mistakes)
    engine = _ENGINE.search(fields.text("Software") or "")
    version, name, gpu = fields.text("version"), fields.text("ID"), fields.text("Accelerator")
    stated = Stated(
        source=f"MLPerf Inference {version}, {name}, {fields.text('Submitter')}",
        kind=ProfileKind.PUBLISHED,
        engine=engine["name"].lower() if engine else None,
        engine_version=engine["version"].rstrip(".") if engine else None,
        dtype=(fields.text("weight_data_types") or "").lower() or None,
    )
    mistakes.stop()
    form = MatrixForm(
        input_edges=(input_tokens,),
        output_edges=(output_tokens,),
        request_rates_rps=((rate_rps * (tensor_parallel or 1) / (gpus or 1),),),
        target=target,
    )
    warning = (
        f"MLPerf holds its limits at the 99th percentile, so {scenario} rates are below what the mean would allow; "
        f"they are of its data set alone (mean output {output_tokens} tokens), for requests no larger"
    )
    return imported(request, stated, form, details={"row": compact(row)}, warnings=(warning, *other_gpu(request, gpu)))


def _chosen(rows: list[Mapping[str, Any]], entry: str | None) -> int:
    """The only row that has every part of `entry` as one of its keys' values. Raises InputError with what there is."""
    parts = [] if entry is None else entry.split("/")
    values = [{str(row.get(key)) for key in _KEYS} for row in rows]
    found = [index for index, said in enumerate(values) if said.issuperset(parts)]
    if len(found) == 1:
        return found[0]
    there = [f"{rows[i].get('ID')}/{rows[i].get('Model')}/{rows[i].get('Scenario')}" for i in found or range(len(rows))]
    shown = ", ".join(there[:_SHOWN]) + (" …" if len(there) > _SHOWN else "")
    what = "no row" if not found else f"{len(found)} rows"
    message = f"want ID/MODEL/SCENARIO of one row; {what} fit {quote(entry)}: {shown}"
    raise InputError([Mistake(source="--entry", message=message)])


def _rate(fields: Fields) -> tuple[float, int | None]:
    """Requests/s of the whole system, and the mean output of its data set, tokens, where the row says it."""
    result, unit = fields.positive("Performance_Result"), fields.text("Performance_Units", required=True)
    said = _TOKENS.search(fields.text("Accuracy") or "")
    tokens = float(said["tokens"]) if said else None
    if unit == "Tokens/s" and not tokens:
        fields.mistake("Accuracy", "does not say TOKENS_PER_SAMPLE, without which tokens/s are no rate of requests")
    elif unit not in ("Tokens/s", "Queries/s", None):
        fields.mistake("Performance_Units", f"want Tokens/s or Queries/s, found {quote(unit)}")
    per_request = (tokens or 1.0) if unit == "Tokens/s" else 1.0
    return (result or 0.0) / per_request, None if tokens is None else math.floor(tokens)


def _edge(option: str, edges: tuple[int, ...] | None, mean: int | None, mistakes: Mistakes) -> int:
    """The largest request, tokens, to which the rate applies: the data set's mean, never more."""
    if edges is None and mean is not None:
        return max(1, mean)
    if edges is None or len(edges) != 1:
        mistakes.add(option, "want one number: the mean tokens of the data set, which the row does not say")
        return 1
    if mean is not None and edges[0] > mean:
        mistakes.add(option, f"want at most {mean}, the mean of the data set: larger requests get no such rate")
    return edges[0]
