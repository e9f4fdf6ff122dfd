"""The bundled presets say where they come from, and are what their traces count to."""

from __future__ import annotations

import ast
import csv
import gzip
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from property_examples import mostly_slow

from sky_melange import pipeline
from sky_melange.domain.trace import TraceOptions
from sky_melange.errors import MissingDataError
from sky_melange.traces import preset_names, scan_files
from sky_melange.traces.presets import from_document, load_preset, to_document

COUNTED = ("arxiv-summarization", "azure-code-2023", "azure-conversation-2023", "mooncake-conversation")
NAMES = (*COUNTED, "servegen-deepseek-r1")
LICENCES = {"azure": "CC-BY-4.0", "mooncake": "Apache-2.0", "arxiv": "MIT", "servegen": "Apache-2.0"}


def test_the_presets_are_those_of_the_documentation() -> None:
    assert preset_names() == NAMES
    with pytest.raises(
        MissingDataError, match="there is no preset 'azure'; there are: arxiv-summarization, azure-code"
    ):
        load_preset("azure")


@pytest.mark.parametrize("name", NAMES)
def test_provenance_and_licence(repository: Path, name: str) -> None:
    document = json.loads((repository / "catalogs" / "presets" / f"{name}.json").read_text())
    provenance = document["provenance"]
    assert provenance["licence"] == LICENCES[name.split("-", 1)[0]]
    assert provenance["url"].startswith("https://github.com/")
    assert provenance["attribution"]
    readme = (repository / "catalogs" / "presets" / "README.md").read_text()
    assert name in readme
    assert json.loads(json.dumps(to_document(from_document(document), provenance))) == document


@pytest.mark.parametrize("name", COUNTED)
def test_a_preset_equals_a_new_count_of_its_trace(repository: Path, shared_traces: Path, name: str) -> None:
    document = json.loads((repository / "catalogs" / "presets" / f"{name}.json").read_text())
    preset = from_document(document)
    counted = scan_files([str(shared_traces / document["provenance"]["file"])], TraceOptions())
    assert replace(counted, source=preset.source) == preset


@pytest.mark.slow
def test_the_preset_of_distributions_equals_a_count_of_its_own(shared_traces: Path) -> None:
    """Marginals and rate by another road: dictionaries of exact fractions, clients in another order."""
    preset = load_preset("servegen-deepseek-r1")
    rates: dict[tuple[str, int], float] = {}
    with gzip.open(shared_traces / "servegen" / "client-rate-per-600s.csv.gz", "rt") as stream:
        for row in csv.DictReader(stream):
            if row["pool"] == "deepseek-r1":
                rates[row["client"], int(row["start_s"])] = float(row["rate_rps"])
    marginals: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    edges = (preset.grid.input_edges, preset.grid.output_edges)
    with gzip.open(shared_traces / "servegen" / "deepseek-r1-token-distributions.jsonl.gz", "rt") as stream:
        for line in stream:
            client = json.loads(line)
            for start, sizes in client["windows"].items():
                requests = sum(
                    rate * 600
                    for (name, at), rate in rates.items()
                    if name == client["client"] and int(start) <= at < int(start) + 21_600
                )
                for axis, key in enumerate(("input_tokens", "output_tokens")):
                    law = ast.literal_eval(sizes[key])
                    for size, part in law.items():
                        marginals[axis][bisect_left(edges[axis], size)] += requests * part / sum(law.values())
    for axis, key in enumerate(("input_index", "output_index")):
        counted: Counter[int] = Counter()
        for cell in preset.cells:
            counted[getattr(cell, key)] += cell.requests
        for index, requests in marginals[axis].items():
            assert counted[index] == pytest.approx(requests, rel=1e-4, abs=len(edges[1 - axis]))
    assert preset.rate is not None
    assert preset.rate.mean_rps == pytest.approx(sum(rates.values()) / 144, rel=1e-4)
    busiest = max(sum(rate for (_, at), rate in rates.items() if at == start) for start in range(0, 86_400, 600))
    assert preset.rate.peak_rps == pytest.approx(busiest, rel=2e-3)


@pytest.mark.parametrize("name", mostly_slow(NAMES, NAMES[0]))
@pytest.mark.parametrize("bucket_size", ["upper", "mean"])
def test_every_preset_can_be_planned(log: Callable[..., Path], name: str, bucket_size: str) -> None:
    path = log(
        "workload.yaml",
        "version: 1\nname: chat\nmodel: {id: meta-llama/Llama-3.1-8B-Instruct, dtype: bfloat16}\n"
        "slo: {attainment: mean, tpot_ms: 60, ttft_ms: 6000}\ncandidates: {clouds: [aws, gcp, lambda]}\n"
        f"traffic: {{preset: {name}, request_rate: 6, bucket_size: {bucket_size}}}\n",
    )
    planned = pipeline.plan_file(path)
    assert planned.workload.traffic.request_rate_rps == pytest.approx(6)
    assert planned.plan.groups
