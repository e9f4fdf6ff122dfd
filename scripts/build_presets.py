"""Counts the public traces that ship as presets, and writes catalogs/presets/<name>.json; of those with times also
the requests themselves, <name>.requests.csv.gz, which simulations replay.

    python scripts/build_presets.py TRACES_FOLDER

The folder holds the trace files under the names below; see catalogs/presets/README.md for where they come from. Takes
seconds, needs no network, and gives the same bytes every time.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sky_melange.domain.trace import TraceOptions, TraceSummary
from sky_melange.traces import read_requests, scan_files
from sky_melange.traces.aggregates.servegen import summarize
from sky_melange.traces.presets import requests_text, to_document

TARGET: Final = Path(__file__).resolve().parent.parent / "catalogs" / "presets"

_AZURE: Final = {
    "licence": "CC-BY-4.0",
    "attribution": "Microsoft Azure, Azure LLM inference trace 2023 (Patel et al., Splitwise, ISCA 2024)",
    "date": "2023-11-16",
}

PRESETS: Final = {
    "azure-code-2023": (
        "azure-llm-2023-code.csv.gz",
        "Azure LLM inference trace 2023, code",
        {
            **_AZURE,
            "url": "https://github.com/Azure/AzurePublicDataset/blob/b469a11/data/AzureLLMInferenceTrace_code.csv",
        },
    ),
    "azure-conversation-2023": (
        "azure-llm-2023-conv.csv.gz",
        "Azure LLM inference trace 2023, conversation",
        {
            **_AZURE,
            "url": "https://github.com/Azure/AzurePublicDataset/blob/b469a11/data/AzureLLMInferenceTrace_conv.csv",
        },
    ),
    "mooncake-conversation": (
        "mooncake-conversation.jsonl.gz",
        "Mooncake conversation trace (FAST 2025)",
        {
            "licence": "Apache-2.0",
            "attribution": "Mooncake authors (Qin et al., Mooncake, FAST 2025)",
            "date": "2025-02-21",
            "url": "https://github.com/kvcache-ai/Mooncake/blob/3b5a59413/FAST25-release/traces/conversation_trace.jsonl",
        },
    ),
    "arxiv-summarization": (
        "vidur-arxiv-summarization.csv.gz",
        "arXiv summarization lengths (vidur)",
        {
            "licence": "MIT",
            "attribution": "Microsoft, vidur (Agrawal et al., MLSys 2024)",
            "date": "2024-11-19",
            "url": "https://github.com/microsoft/vidur/blob/7d47513/data/processed_traces/"
            "arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv",
        },
    ),
}


SERVEGEN: Final = {
    "servegen-deepseek-r1": (
        "deepseek-r1",
        "ServeGen, DeepSeek-R1 in production: one day",
        {
            "licence": "Apache-2.0",
            "attribution": "Alibaba, ServeGen (Xiang et al., NSDI 2026)",
            "date": "2025-06-09",
            "url": "https://github.com/alibaba/ServeGen/tree/f891d11/data/reason/deepseek-r1",
        },
    ),
}
"""Preset -> pool. Made of rates and distributions, so there are no requests to replay."""

SERVEGEN_BUCKETS: Final = "auto:100"


def main() -> None:
    """Writes every preset."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, (file, title, provenance) in PRESETS.items():
        summary = scan_files([file], TraceOptions(), folder=folder)
        write(name, replace(summary, source=title), {"file": file, **provenance})
        if summary.rate is not None:
            log = read_requests([file], TraceOptions(), folder=folder)
            (TARGET / f"{name}.requests.csv.gz").write_bytes(requests_text(log))
    for name, (pool, title, provenance) in SERVEGEN.items():
        summary = summarize(clients_of(folder / "servegen", pool), TraceOptions(buckets=SERVEGEN_BUCKETS))
        file = f"servegen/{pool}-token-distributions.jsonl.gz"
        write(name, replace(summary, source=title), {"file": file, **provenance})


def write(name: str, summary: TraceSummary, provenance: dict[str, str]) -> None:
    """One key a line: a change shows in a diff, and tables stay on one line."""
    document = to_document(summary, provenance)
    text = json.dumps(document, indent=None, ensure_ascii=False, allow_nan=False)
    body = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in document.items())
    assert json.loads(f"{{{body}}}") == json.loads(text)
    (TARGET / f"{name}.json").write_text(f"{{\n{body}\n}}\n", encoding="utf-8")
    print(f"{name}: {summary.requests} requests")


def clients_of(folder: Path, pool: str) -> dict[str, str]:
    """The files of ServeGen's clients, made again of the tables that hold all of them."""
    lines: dict[str, list[str]] = defaultdict(list)
    with gzip.open(folder / "client-rate-per-600s.csv.gz", "rt", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["pool"] == pool:
                values = (row[key] for key in ("start_s", "rate_rps", "cv", "pattern", "param_1", "param_2"))
                lines[row["client"]].append(",".join(values) + "\n")
    documents = {f"chunk-{client}-trace.csv": "".join(rows) for client, rows in lines.items()}
    with gzip.open(folder / f"{pool}-token-distributions.jsonl.gz", "rt", encoding="utf-8") as stream:
        for line in stream:
            client = json.loads(line)
            documents[f"chunk-{client['client']}-dataset.json"] = json.dumps(client["windows"])
    return documents


if __name__ == "__main__":
    main()
