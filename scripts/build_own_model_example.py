"""Makes examples/own-model/requests.csv.gz: the log of a gateway, as LiteLLM writes it.

python scripts/build_own_model_example.py

Requests are those of the first half hour of the Azure LLM inference trace 2023, conversation (CC-BY-4.0,
https://github.com/Azure/AzurePublicDataset), which is embedded as a preset; model and dates are invented.
"""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = ROOT / "catalogs" / "presets" / "azure-conversation-2023.requests.csv.gz"
TARGET: Final = ROOT / "examples" / "own-model" / "requests.csv.gz"
START: Final = datetime(2026, 11, 16, 9, 0, tzinfo=UTC)
LAST_MS: Final = 30 * 60 * 1000


def log() -> bytes:
    """The file; the same bytes each time."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["request_id", "model", "startTime", "prompt_tokens", "completion_tokens", "status"])
    with gzip.open(SOURCE, "rt", encoding="utf-8") as source:
        for number, row in enumerate(csv.DictReader(source)):
            if int(row["ms"]) < LAST_MS:
                time = START + timedelta(milliseconds=int(row["ms"]))
                when = time.isoformat(timespec="milliseconds")
                rows.writerow([number, "support-12b", when, row["input"], row["output"], "success"])
    return gzip.compress(text.getvalue().encode(), mtime=0)


if __name__ == "__main__":
    TARGET.write_bytes(log())
