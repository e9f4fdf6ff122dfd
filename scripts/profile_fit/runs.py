"""Reads the public table of measured serving runs into runs by layout, and says what it leaves out."""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from profile_fit.serving_runs import Run

SYSTEMS: Final = {
    "h100_sxm": "H100",
    "h200_sxm": "H200",
    "b200_sxm": "B200",
    "b300_sxm": "B300",
    "gb200": "GB200",
    "gb300": "GB300",
}
NOT_OFFERED: Final = ("GB200", "GB300")
"""Accelerators that no cloud of SkyPilot's catalogs offers: fitted and checked, but not bundled."""

_NAMES: Final = {
    "meta-llama/Llama-3.1-70B": "meta-llama/Llama-3.1-70B-Instruct",
    "zhipuai/GLM-5": "zai-org/GLM-5",
}
_DENSE: Final = ("Llama", "Qwen3-32B")
_DTYPES: Final = {"fp8": "fp8", "fp4": "fp4", "int4": "int4", "bf16": "bfloat16"}
_MULTIPLIED: Final = ("db-dump/", "source_file=2026-04-06.csv")
"""Sources in which the columns of parallel sizes are products: TP 8 with 8 experts groups reads `tp_size` 64.

The source of 2026-03-25 lists the same runs (same date, shape, latency) as TP 8, EP 8; the ids say `tp8_ep8`.
"""
_LARGEST_NODE: Final = 8
_SAME_DAY_FRACTION: Final = 0.05


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Layout:
    """What one fitted profile is of.

    `sharing`: "" (tensor parallel), "ep" (experts over the GPUs), "dp" (attention data-parallel), "dp-ep" (both).
    """

    model: str
    accelerator: str
    engine: str
    dtype: str
    gpus: int
    sharing: str

    @property
    def label(self) -> str:
        """For tables: `vllm tp8 ep`."""
        return " ".join(part for part in (self.engine, f"tp{self.gpus}", self.sharing) if part)


@dataclass(slots=True)
class Table:
    """The newest run of every configuration by layout; dates; rows left out, counted by reason."""

    runs: dict[Layout, list[Run]] = field(default_factory=dict)
    dates: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    conflicts: list[tuple[Layout, str, str, float, float]] = field(default_factory=list)
    rows: int = 0


def read_table(paths: Iterable[Path]) -> Table:
    """Aggregated-mode runs of single machines, the newest of each (layout, sizes, concurrency)."""
    table = Table()
    newest: dict[tuple[Layout, int, int, int], tuple[str, Run]] = {}
    for path in paths:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                table.rows += 1
                _take(row, newest, table)
    grouped: dict[Layout, list[Run]] = defaultdict(list)
    for (layout, *_), (date, run) in newest.items():
        grouped[layout].append(run)
        table.dates[run.name] = date
    for layout in sorted(grouped):
        table.runs[layout] = sorted(
            grouped[layout], key=lambda run: (run.input_tokens, run.output_tokens, run.concurrency, run.name)
        )
    return table


def _take(row: Mapping[str, str], newest: dict[tuple[Layout, int, int, int], tuple[str, Run]], table: Table) -> None:
    """Puts one row where it belongs: among the runs, in place of an older one, or among those left out."""
    if row["mode"] != "agg":
        table.left_out["disaggregated prefill and decode: not one engine"] += 1
        return
    layout = _layout(row)
    if _dense(row) and _ranks(row) > 1:
        table.left_out["several engines behind one address: not one engine"] += 1
        return
    if layout.gpus > _LARGEST_NODE:
        table.left_out[f"more than {_LARGEST_NODE} GPUs: not one machine"] += 1
        return
    date = _between(row["silicon_data_source"], "measured=")[:10]
    run = _run(row, date)
    key = (layout, run.input_tokens, run.output_tokens, run.concurrency)
    if key not in newest:
        newest[key] = (date, run)
        return
    table.left_out["repeats a configuration: the newest is kept"] += 1
    old_date, old = newest[key]
    # Same day, same configuration, another latency: a setting differs that no column tells, such as speculative
    # decoding. The slower is kept: whoever launches without that setting must not be promised the faster.
    if date == old_date and abs(run.tpot_s / old.tpot_s - 1) > _SAME_DAY_FRACTION:
        table.conflicts.append((layout, run.name, date, run.tpot_s, old.tpot_s))
    if date > old_date or (date == old_date and (run.tpot_s, run.name) > (old.tpot_s, old.name)):
        newest[key] = (date, run)


def _layout(row: Mapping[str, str]) -> Layout:
    tensor, attention = _number(row["tp_size"]), max(1, _number(row["attention_dp_size"]))
    expert_tensor, experts = max(1, _number(row["moe_tp_size"])), max(1, _number(row["moe_ep_size"]))
    gpus = tensor * max(1, _number(row["pp_size"])) * attention
    if row["silicon_data_source"].startswith(_MULTIPLIED):
        if expert_tensor > 1 and experts > 1:
            gpus = expert_tensor
        elif attention > 1 and tensor > 1:
            gpus = attention
    name = row["model_path"]
    parts = ("dp" if max(attention, _ranks(row)) > 1 else "", "ep" if experts > 1 else "")
    sharing = "" if _dense(row) else "-".join(part for part in parts if part)
    return Layout(
        # The dump names DeepSeek-R1 by its architecture, V3; ids and the other sources say R1.
        model="deepseek-ai/DeepSeek-R1" if row["id"].startswith("dsr1_") else _NAMES.get(name, name),
        accelerator=SYSTEMS[row["system"]],
        engine=row["backend"],
        dtype=_DTYPES.get(row["precision"]) or _own_dtype(name),
        gpus=gpus,
        sharing=sharing,
    )


def _dense(row: Mapping[str, str]) -> bool:
    return any(part in row["model_path"] for part in _DENSE)


def _ranks(row: Mapping[str, str]) -> int:
    """How many times the batch of the ranks that the table names the concurrency is: 1 in all but 25 rows.

    In those of models with experts it is the number of GPUs: attention is data-parallel (an option of TensorRT-LLM
    that keeps the tensor-parallel size). Dense models have no such option: there it is the number of engines.
    """
    concurrency, batch = _concurrency(row), _number(row["batch_size"])
    named = batch * max(1, _number(row["attention_dp_size"]))
    return 1 if concurrency is None or named == 0 else max(1, concurrency // named)


def _concurrency(row: Mapping[str, str]) -> int | None:
    found = re.search(r"silicon_concurrency=(\d+)", row["silicon_data_source"])
    return int(found.group(1)) if found else None


def _own_dtype(model: str) -> str:
    """Precision of a checkpoint whose row names none."""
    return "fp8" if model.upper().endswith("FP8") else "fp4" if "FP4" in model.upper() else "bfloat16"


def _run(row: Mapping[str, str], date: str) -> Run:
    per_rank = _number(row["batch_size"]) * max(1, _number(row["attention_dp_size"]))
    return Run(
        name=row["id"],
        setup=row["backend_version"] or (f"unknown version of {date[:7]}" if date else "unknown version"),
        input_tokens=_number(row["isl"]),
        output_tokens=_number(row["osl"]),
        concurrency=_concurrency(row) or per_rank,
        ttft_s=float(row["silicon_ttft_ms"]) / 1000,
        tpot_s=float(row["silicon_tpot_ms"]) / 1000,
    )


def _between(text: str, label: str) -> str:
    return text.partition(label)[2].partition(";")[0]


def _number(text: str) -> int:
    return int(float(text)) if text else 0
