"""Counts the public traces that ship as presets, and writes catalogs/presets/<name>.json; of those with times also
the requests themselves, <name>.requests.csv.gz, which simulations replay.

    python scripts/build_presets.py TRACES_FOLDER

The folder holds the trace files under the names below; see catalogs/presets/README.md for where they come from. Takes
seconds, needs no network, and gives the same bytes every time.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sky_melange.domain.trace import TraceOptions
from sky_melange.traces import read_requests, scan_files
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


def main() -> None:
    """Writes every preset."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, (file, title, provenance) in PRESETS.items():
        summary = scan_files([file], TraceOptions(), folder=Path(sys.argv[1]))
        document = to_document(replace(summary, source=title), {"file": file, **provenance})
        text = json.dumps(document, indent=None, ensure_ascii=False, allow_nan=False)
        # One key a line: a change shows in a diff, and tables stay on one line.
        body = ",\n".join(
            f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in document.items()
        )
        assert json.loads(f"{{{body}}}") == json.loads(text)
        (TARGET / f"{name}.json").write_text(f"{{\n{body}\n}}\n", encoding="utf-8")
        if summary.rate is not None:
            log = read_requests([file], TraceOptions(), folder=Path(sys.argv[1]))
            (TARGET / f"{name}.requests.csv.gz").write_bytes(requests_text(log))
        print(f"{name}: {summary.requests} requests")


if __name__ == "__main__":
    main()
