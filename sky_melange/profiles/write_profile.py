"""Profile -> JSON text of schema version 1: the inverse of `profile_json.read_profile`, always the same bytes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sky_melange.domain.profile import (
    LatencyModelForm,
    MatrixForm,
    PointsForm,
    Profile,
    ProfileError,
    ProfileProvenance,
)

_COLUMNS: Final = ("input_tokens", "output_tokens", "concurrency", "request_rate_rps", "ttft_s", "tpot_s")


def profile_text(profile: Profile, *, details: Mapping[str, object] | None = None) -> str:
    """The file of a profile, one row a line. `details`: what a source also says, kept under `provenance.details`.

    The column `request_rate_rps` is concurrency ÷ (TTFT + TPOT·(O−1)), Little's law at a steady concurrency, as in the
    bundled files; what a run counted itself belongs into the details.
    """
    key = profile.key
    content: dict[str, Any] = {
        "schema_version": 1,
        "model": key.model,
        "accelerator": key.accelerator,
        "tensor_parallel": key.tensor_parallel,
        "dtype": key.dtype,
        "engine": key.engine,
        "engine_version": profile.engine_version,
        "engine_args": dict(sorted(profile.engine_args.items())),
        **({"layout": key.layout} if key.layout else {}),
        **_form(profile),
        "provenance": _provenance(profile.provenance, details or {}),
    }
    return _lines(content, "") + "\n"


def _form(profile: Profile) -> dict[str, Any]:
    kv_cache_tokens = profile.kv_cache_tokens
    if isinstance(profile.form, LatencyModelForm):
        model = dataclasses.asdict(profile.form)
        return {"form": "latency_model", "kv_cache_tokens": kv_cache_tokens, "latency_model": model}
    if isinstance(profile.form, MatrixForm):
        return {"form": "matrix", "kv_cache_tokens": kv_cache_tokens, "matrix": _matrix(profile.form)}
    return {"form": "points", "kv_cache_tokens": kv_cache_tokens, "points": _points(profile.form)}


def _points(form: PointsForm) -> dict[str, Any]:
    rows = [
        (i, o, concurrency, _six_digits(concurrency / (ttft_s + tpot_s * (o - 1))), ttft_s, tpot_s)
        for (i, o), curve in sorted(form.latencies.items())
        for concurrency, ttft_s, tpot_s in curve
    ]
    return {"columns": list(_COLUMNS), "rows": rows}


def _matrix(form: MatrixForm) -> dict[str, Any]:
    content: dict[str, Any] = {
        "target": {name: value for name, value in dataclasses.asdict(form.target).items() if value is not None},
        "input_edges": list(form.input_edges),
        "output_edges": list(form.output_edges),
        "request_rates_rps": form.request_rates_rps,
    }
    known = form.request_latencies_s is not None
    return content | ({"request_latencies_s": form.request_latencies_s} if known else {})


def _provenance(provenance: ProfileProvenance, details: Mapping[str, object]) -> dict[str, Any]:
    content: dict[str, Any] = {
        "kind": provenance.kind.value,
        "source": provenance.source,
        "fetched_at": provenance.fetched_at,
        "error": None if provenance.error is None else _error(provenance.error),
        "notes": list(provenance.notes),
    }
    return content | ({"details": dict(details)} if details else {})


def _error(error: ProfileError) -> dict[str, Any]:
    """Ends of intervals only where they were found one by one."""
    fields = dataclasses.asdict(error)
    return {name: value for name, value in fields.items() if value is not None or not name.endswith("_interval")}


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")


def _lines(value: Any, indent: str) -> str:
    """Indented JSON in which a list of plain values is one line, so that a row of figures is one."""
    inner = indent + "  "
    if isinstance(value, Mapping) and value:
        items = (f"{json.dumps(str(name), ensure_ascii=False)}: {_lines(item, inner)}" for name, item in value.items())
        return _block("{", items, "}", indent)
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        return _block("[", (_lines(item, inner) for item in value), "]", indent)
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _block(opening: str, items: Iterable[str], closing: str, indent: str) -> str:
    inner = indent + "  "
    return f"{opening}\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}{closing}"
