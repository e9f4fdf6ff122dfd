"""Profiles for people and programs: the list, one operating point, the grid of request rates."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from sky_melange.domain.profile import OperatingPoint, Profile, RateGrid, Skipped, interval_text
from sky_melange.domain.units import s_to_ms
from sky_melange.domain.workload import Slo
from sky_melange.render.text import WIDTH, new_table, to_text

SYMBOLS = {"memory": "memory", "slo": "–", "outside_profile": "range", "context_limit": "context"}


def title(profile: Profile) -> str:
    """`meta-llama/… on 2 × H100, fp8, vllm 0.24.0`."""
    key = profile.key
    layout = f" {profile.key.layout}" if profile.key.layout else ""
    engine = key.engine if profile.engine_version == "any" else f"{key.engine} {profile.engine_version}"
    return f"{key.model} on {key.tensor_parallel} × {key.accelerator}{layout}, {key.dtype}, {engine}"


def label(profile: Profile) -> str:
    """`2 × H100`, or `H100` for a replica on one."""
    key = profile.key
    return f"{key.tensor_parallel} × {key.accelerator}" if key.tensor_parallel > 1 else key.accelerator


def list_table(profiles: Iterable[Profile], *, color: bool) -> str:
    """One line a profile."""
    table = new_table()
    for name in ("Model", "GPUs", "Type", "Engine"):
        table.add_column(name, overflow="fold")
    table.add_column("Kind")
    for name in ("TPOT, 4 in 5", "Rate, 4 in 5", "Runs"):
        table.add_column(name, justify="right")
    for profile in profiles:
        key, error = profile.key, profile.provenance.error
        layout = f" {profile.key.layout}" if profile.key.layout else ""
        table.add_row(
            key.model.split("/")[-1],
            f"{key.tensor_parallel} × {key.accelerator}{layout}",
            key.dtype,
            key.engine,
            profile.provenance.kind.value,
            interval_text(None if error is None else error.tpot_within),
            interval_text(None if error is None else error.request_rate_within),
            "?" if error is None else str(error.runs),
        )
    return to_text(table, color=color)


def list_json(profiles: Iterable[Profile]) -> str:
    """The same with every field of key, kind and error."""
    return dump({"profiles": [head(profile) for profile in profiles]})


def point_json(profile: Profile, at: tuple[int, int, int], point: OperatingPoint) -> str:
    """`ttft_s`, `tpot_s`, `request_rate_rps`, `kind`, `error`, and what they are of."""
    return dump(
        {
            **head(profile),
            "input_tokens": at[0],
            "output_tokens": at[1],
            "concurrency": at[2],
            "running": point.running,
            "ttft_s": point.ttft_s,
            "tpot_s": point.tpot_s,
            "request_rate_rps": point.request_rate_rps,
            "extrapolated": point.extrapolated,
        }
    )


def point_text(profile: Profile, at: tuple[int, int, int], point: OperatingPoint) -> str:
    """The same in a few lines."""
    waiting = at[2] - point.running
    queue = f", {waiting:.1f} of them waiting for memory" if waiting > 0.05 else ""
    lines = [
        title(profile),
        origin(profile),
        f"{at[0]} input + {at[1]} output tokens, {at[2]} requests at once{queue}:",
        f"  time to first token    {s_to_ms(point.ttft_s):,.1f} ms",
        f"  time per output token  {s_to_ms(point.tpot_s):,.2f} ms",
        f"  request rate           {point.request_rate_rps:,.4g} requests/s",
    ]
    if point.extrapolated:
        lines.append("Extrapolated beyond what the profile covers.")
    return "\n".join(lines) + "\n"


def grid_table(profile: Profile, slo: Slo, grid: RateGrid, *, color: bool) -> str:
    """Largest request rates by size, requests/s, with a legend."""
    table = new_table(expand=False)
    table.add_column("Input \\ output", justify="right")
    for tokens in grid.output_tokens:
        table.add_column(str(tokens), justify="right")
    reasons: set[str] = set()
    for tokens, row in zip(grid.input_tokens, grid.cells, strict=True):
        cells = []
        for cell in row:
            if isinstance(cell, Skipped):
                reasons.add(cell.reason.value)
                cells.append(SYMBOLS[cell.reason.value])
            else:
                cells.append(f"{cell.request_rate_rps:.3g}")
        table.add_row(str(tokens), *cells)
    legend = {
        "memory": "memory: one request does not fit",
        "slo": "–: over the target even at the lowest concurrency",
        "outside_profile": "range: outside what the profile covers",
    }
    lines = [f"Requests/s of one replica within {targets(slo)}, by tokens."]
    lines += [text for name, text in legend.items() if name in reasons]
    top = f"{title(profile)}\n{origin(profile)}\n\n"
    return top + to_text(table, color=color) + "\n" + "\n".join(lines) + "\n"


def grid_json(profile: Profile, slo: Slo, grid: RateGrid) -> str:
    """Cells with rate, concurrency, TTFT and TPOT, or the reason why there is none."""
    cells: list[dict[str, Any]] = []
    for inputs, row in zip(grid.input_tokens, grid.cells, strict=True):
        for outputs, cell in zip(grid.output_tokens, row, strict=True):
            size = {"input_tokens": inputs, "output_tokens": outputs}
            if isinstance(cell, Skipped):
                cells.append({**size, "skipped": cell.reason.value, "detail": cell.detail})
            else:
                cells.append(
                    {
                        **size,
                        "request_rate_rps": cell.request_rate_rps,
                        "concurrency": cell.concurrency,
                        "ttft_s": cell.ttft_s,
                        "tpot_s": cell.tpot_s,
                    }
                )
    targets = {"tpot_s": slo.tpot_s, "ttft_s": slo.ttft_s, "ntpot_s": slo.ntpot_s}
    return dump({**head(profile), "slo": targets, "cells": cells})


def estimates_table(profiles: Sequence[Profile], *, color: bool) -> str:
    """One line an estimate: its errors, memory, and TPOT of a usual chat request; then what the errors rest on."""
    table = new_table(expand=False)
    table.add_column("GPUs")
    for name in ("TPOT, 4 in 5", "Rate, 4 in 5", "KV cache tokens", "TPOT at 1 request", "TPOT at 16", "TPOT at 64"):
        table.add_column(name, justify="right")
    for profile in profiles:
        rows = getattr(profile.form, "latencies", {}).get((1000, 250), ())
        by_concurrency = {point[0]: point[2] for point in rows}
        cells = [f"{s_to_ms(by_concurrency[n]):.1f} ms" if n in by_concurrency else "memory" for n in (1, 16, 64)]
        error = profile.provenance.error
        errors = (None, None) if error is None else (error.tpot_within, error.request_rate_within)
        table.add_row(label(profile), *map(interval_text, errors), f"{profile.kv_cache_tokens:,}", *cells)
    first = profiles[0]
    bases: dict[str, dict[str, None]] = {}
    for profile in profiles:
        bases.setdefault(origin(profile), {})[profile.key.accelerator] = None
    notes = [
        "TPOT for 1000 input and 250 output tokens.",
        *(textwrap.fill(f"{', '.join(names)}: {' '.join(text.split())}", WIDTH) for text, names in bases.items()),
    ]
    return f"{first.key.model}, {first.key.dtype}\n\n" + to_text(table, color=color) + "\n" + "\n".join(notes) + "\n"


def estimates_json(profiles: Sequence[Profile], refused: Sequence[str], written: Sequence[str]) -> str:
    """Keys, memory and error of the estimates, the layouts without one, and the files written."""
    found = [{**head(profile), "kv_cache_tokens": profile.kv_cache_tokens} for profile in profiles]
    return dump({"profiles": found, "not_estimated": list(refused), "files": list(written)})


def head(profile: Profile) -> dict[str, Any]:
    """What a profile is of, its kind, source and error."""
    key, provenance = profile.key, profile.provenance
    return {
        "model": key.model,
        "accelerator": key.accelerator,
        "tensor_parallel": key.tensor_parallel,
        "layout": profile.key.layout,
        "dtype": key.dtype,
        "engine": key.engine,
        "engine_version": profile.engine_version,
        "kind": provenance.kind.value,
        "source": provenance.source,
        "fetched_at": provenance.fetched_at,
        "error": None if provenance.error is None else dataclasses.asdict(provenance.error),
        "notes": list(provenance.notes),
    }


def origin(profile: Profile) -> str:
    """Kind and error in a sentence."""
    error = profile.provenance.error
    kind = profile.provenance.kind.value.capitalize()
    if error is None or error.tpot_fraction is None:
        return f"{kind}; its error is not known."
    rate = error.request_rate_within
    rates = "" if rate is None else f" and the request rate within {interval_text(rate)}"
    sentence = (
        f"{kind}; in 4 of 5 cases TPOT is within {interval_text(error.tpot_within)}{rates} of what is shown "
        f"({error.statistic}: {error.basis})."
    )
    return textwrap.fill(sentence, WIDTH)


def targets(slo: Slo) -> str:
    """`TPOT ≤ 40 ms, TTFT ≤ 2000 ms`."""
    stated = (("TPOT", slo.tpot_s), ("TTFT", slo.ttft_s), ("NTPOT", slo.ntpot_s))
    return ", ".join(f"{name} ≤ {s_to_ms(value):g} ms" for name, value in stated if value is not None)


def dump(document: dict[str, Any]) -> str:
    """JSON text, in the order of the keys."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
