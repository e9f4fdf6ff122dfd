"""The bundled presets say where they come from, and are what their traces count to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sky_melange import pipeline
from sky_melange.domain.trace import TraceOptions
from sky_melange.errors import MissingDataError
from sky_melange.traces import preset_names, scan_files
from sky_melange.traces.presets import from_document, load_preset, to_document

NAMES = ("arxiv-summarization", "azure-code-2023", "azure-conversation-2023", "mooncake-conversation")
LICENCES = {"azure": "CC-BY-4.0", "mooncake": "Apache-2.0", "arxiv": "MIT"}


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


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_equals_a_new_count_of_its_trace(repository: Path, shared_traces: Path, name: str) -> None:
    document = json.loads((repository / "catalogs" / "presets" / f"{name}.json").read_text())
    preset = from_document(document)
    counted = scan_files([str(shared_traces / document["provenance"]["file"])], TraceOptions())
    assert replace(counted, source=preset.source) == preset


@pytest.mark.parametrize("name", NAMES)
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
