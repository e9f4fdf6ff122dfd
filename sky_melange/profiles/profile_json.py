"""Reads one profile file (JSON, schema version 1)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from sky_melange.domain.profile import (
    LatencyModelForm,
    MatrixForm,
    MeasuredRanges,
    PointsForm,
    Profile,
    ProfileError,
    ProfileKey,
    ProfileKind,
    ProfileProvenance,
    StatedTarget,
    TpotLaw,
    TtftLaw,
)
from sky_melange.errors import InputError, Mistake
from sky_melange.untrusted import decoded, invisible_fault, mistake, parse_json, read_bytes

_COLUMNS: Final = ("input_tokens", "output_tokens", "concurrency", "request_rate_rps", "ttft_s", "tpot_s")

_MAX_BYTES: Final = 16 * 1024**2


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
        **_written_form(profile),
        "provenance": _written_provenance(profile.provenance, details or {}),
    }
    return _lines(content, "") + "\n"


def _no_truth_value(value: object) -> object:
    """`true` equals 1 in Python, so that a literal takes it."""
    if isinstance(value, bool):
        raise ValueError("Input should be a number, not true or false")
    return value


_Name = Annotated[str, Field(min_length=1)]
_Version = Annotated[Literal[1], BeforeValidator(_no_truth_value)]
_Count = Annotated[int, Field(ge=1, le=10**15, strict=True)]
_Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Fraction = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Coefficient = Annotated[float, Field(ge=0, lt=1e6, allow_inf_nan=False)]

_Tokens = Annotated[int, Field(ge=1, strict=True)]

_Edges = Annotated[tuple[_Tokens, ...], Field(min_length=1, max_length=1000)]
_Table = tuple[tuple[_Seconds | None, ...], ...]

_Columns = tuple[
    Literal["input_tokens"],
    Literal["output_tokens"],
    Literal["concurrency"],
    Literal["request_rate_rps"],
    Literal["ttft_s"],
    Literal["tpot_s"],
]


class _Record(BaseModel):
    # Strict: "0.2" and true are no seconds.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Points(_Record):
    columns: _Columns
    rows: Annotated[tuple[tuple[_Count, _Count, _Count, _Rate, _Seconds, _Seconds], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _no_row_twice(self) -> _Points:
        seen: set[tuple[int, int, int]] = set()
        for number, row in enumerate(self.rows):
            if row[:3] in seen:
                raise ValueError(f"rows[{number}] repeats the sizes and concurrency {row[:3]}")
            seen.add(row[:3])
        return self


class _TpotLaw(_Record):
    fixed_s: _Coefficient
    sequence_s: _Coefficient
    sequence_exponent: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    context_s: _Coefficient
    prefill_s: _Coefficient

    @model_validator(mode="after")
    def _takes_time(self) -> _TpotLaw:
        if self.fixed_s + self.sequence_s + self.context_s + self.prefill_s == 0:
            raise ValueError("every coefficient is 0: a token takes no time")
        return self


class _TtftLaw(_Record):
    fixed_s: _Coefficient
    prompt_s: _Coefficient
    queue_s: _Coefficient
    sequence_s: _Coefficient

    @model_validator(mode="after")
    def _takes_time(self) -> _TtftLaw:
        if self.fixed_s + self.prompt_s + self.queue_s + self.sequence_s == 0:
            raise ValueError("every coefficient is 0: the first token takes no time")
        return self


class _Ranges(_Record):
    input_tokens: tuple[_Count, _Count]
    output_tokens: tuple[_Count, _Count]
    concurrency: tuple[_Count, _Count]
    request_tokens: _Count
    context_tokens: _Count

    @model_validator(mode="after")
    def _low_first(self) -> _Ranges:
        for name in ("input_tokens", "output_tokens", "concurrency"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is [{low}, {high}]; write the lower end first")
        return self


class _LatencyModel(_Record):
    tpot: _TpotLaw
    ttft: _TtftLaw
    ranges: _Ranges
    max_running: _Count | None
    output_share_held: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def _around_one(found: tuple[float, float]) -> tuple[float, float]:
    if not 0 < found[0] <= 1 <= found[1]:
        raise ValueError("want [low, high] as multiples of the predicted figure, 0 < low <= 1 <= high")
    return found


_End = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
_Interval = Annotated[tuple[_End, _End], AfterValidator(_around_one)]


class _Error(_Record):
    statistic: str
    tpot_fraction: _Fraction | None
    ttft_fraction: _Fraction | None
    request_rate_fraction: _Fraction | None
    runs: Annotated[int, Field(ge=0)]
    basis: str
    tpot_interval: _Interval | None = None
    request_rate_interval: _Interval | None = None


class _Provenance(_Record):
    kind: ProfileKind
    source: str
    database: str | None = None
    fetched_at: str
    error: _Error | None
    notes: tuple[str, ...] = ()


class _ProfileFile(_Record):
    schema_version: _Version
    model: _Name
    accelerator: _Name
    tensor_parallel: _Count
    dtype: _Name
    engine: _Name
    engine_version: str
    engine_args: dict[str, str | int | float]
    layout: str = ""
    kv_cache_tokens: _Count | None
    provenance: _Provenance


class _PointsFile(_ProfileFile):
    form: Literal["points"]
    points: _Points


class _LatencyModelFile(_ProfileFile):
    form: Literal["latency_model"]
    latency_model: _LatencyModel


class _Target(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    tpot_s: _Seconds | None = None
    ttft_s: _Seconds | None = None
    ntpot_s: _Seconds | None = None
    e2e_s: _Seconds | None = None
    percentile: Literal[50, 90, 99] | None = None

    @model_validator(mode="after")
    def _states_one(self) -> _Target:
        if self.tpot_s is None and self.ttft_s is None and self.ntpot_s is None and self.e2e_s is None:
            raise ValueError("no target is stated; rates without one mean nothing")
        return self


class _Matrix(BaseModel):
    """Rates in requests/s, [input bucket][output bucket]; null where a bucket cannot be served."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    target: _Target
    input_edges: _Edges
    output_edges: _Edges
    request_rates_rps: _Table
    request_latencies_s: _Table | None = None

    @model_validator(mode="after")
    def _fits(self) -> _Matrix:
        for name, edges in (("input_edges", self.input_edges), ("output_edges", self.output_edges)):
            if any(after <= before for before, after in pairwise(edges)):
                raise ValueError(f"{name} must rise strictly")
        shape = (len(self.input_edges), len(self.output_edges))
        tables = (("request_rates_rps", self.request_rates_rps), ("request_latencies_s", self.request_latencies_s))
        for name, table in tables:
            if table is not None and (len(table) != shape[0] or any(len(row) != shape[1] for row in table)):
                raise ValueError(f"{name} must have {shape[0]} rows of {shape[1]}, as the edges say")
        return self

    def form(self) -> MatrixForm:
        """In domain terms."""
        return MatrixForm(
            input_edges=self.input_edges,
            output_edges=self.output_edges,
            request_rates_rps=self.request_rates_rps,
            target=StatedTarget(**self.target.model_dump()),
            request_latencies_s=self.request_latencies_s,
        )


class _MatrixFile(_ProfileFile):
    form: Literal["matrix"]
    matrix: _Matrix


_AnyFile = _PointsFile | _LatencyModelFile | _MatrixFile
_FILE: Final[TypeAdapter[_AnyFile]] = TypeAdapter(Annotated[_AnyFile, Field(discriminator="form")])
_FORMS: Final = ("points", "latency_model", "matrix")


def read_profile(path: Path, *, is_bundled: bool = False) -> Profile:
    """Reads a profile of any form; one that ships with the package is known to be JSON, and is not parsed twice.

    Raises InputError naming the file and every wrong field or row.
    """
    content = read_bytes(path, limit_bytes=_MAX_BYTES)
    if not is_bundled:
        parse_json(decoded(content, str(path)), str(path))
    try:
        record = _FILE.validate_json(content)
    except ValidationError as error:
        raise InputError(list(_mistakes(path, error))) from error
    fault = invisible_fault(record.model_dump_json())
    if fault:
        raise mistake(path, fault)
    return _profile(record)


def _mistakes(path: Path, error: ValidationError) -> Iterable[Mistake]:
    for item in error.errors(include_url=False, include_context=False):
        place, message = item["loc"], item["msg"]
        if item["type"] == "union_tag_not_found":
            place, message = ("form",), "Field required"
        elif item["type"] == "union_tag_invalid":
            place, message = ("form",), f"Input should be {' or '.join(repr(name) for name in _FORMS)}"
        elif place and place[0] in _FORMS:  # which of them it was read as, put before every place by pydantic
            place = place[1:]
        yield Mistake(source=str(path), key=".".join(str(part) for part in place), message=message)


def _profile(record: _AnyFile) -> Profile:
    return Profile(
        key=ProfileKey(
            model=record.model,
            accelerator=record.accelerator,
            tensor_parallel=record.tensor_parallel,
            dtype=record.dtype,
            engine=record.engine,
            layout=record.layout,
        ),
        engine_version=record.engine_version,
        engine_args={name: str(value) for name, value in record.engine_args.items()},
        kv_cache_tokens=record.kv_cache_tokens,
        form=_form(record),
        provenance=_provenance(record.provenance),
    )


def _form(record: _AnyFile) -> PointsForm | LatencyModelForm | MatrixForm:
    if isinstance(record, _PointsFile):
        return _points(record.points)
    if isinstance(record, _MatrixFile):
        return record.matrix.form()
    model = record.latency_model
    return LatencyModelForm(
        tpot=TpotLaw(**model.tpot.model_dump()),
        ttft=TtftLaw(**model.ttft.model_dump()),
        ranges=MeasuredRanges(**model.ranges.model_dump()),
        max_running=model.max_running,
        output_share_held=model.output_share_held,
    )


def _points(table: _Points) -> PointsForm:
    curves: dict[tuple[int, int], list[tuple[int, float, float]]] = {}
    for input_tokens, output_tokens, concurrency, _, ttft_s, tpot_s in sorted(table.rows):
        curves.setdefault((input_tokens, output_tokens), []).append((concurrency, ttft_s, tpot_s))
    return PointsForm(latencies={shape: tuple(curve) for shape, curve in curves.items()})


def _provenance(record: _Provenance) -> ProfileProvenance:
    error = record.error
    return ProfileProvenance(
        kind=record.kind,
        source=f"{record.source} ({record.database})" if record.database else record.source,
        fetched_at=record.fetched_at,
        error=None if error is None else ProfileError(**error.model_dump()),
        notes=record.notes,
    )


def _written_form(profile: Profile) -> dict[str, Any]:
    kv_cache_tokens = profile.kv_cache_tokens
    if isinstance(profile.form, LatencyModelForm):
        model = dataclasses.asdict(profile.form)
        return {"form": "latency_model", "kv_cache_tokens": kv_cache_tokens, "latency_model": model}
    if isinstance(profile.form, MatrixForm):
        return {"form": "matrix", "kv_cache_tokens": kv_cache_tokens, "matrix": _matrix(profile.form)}
    return {"form": "points", "kv_cache_tokens": kv_cache_tokens, "points": _written_points(profile.form)}


def _written_points(form: PointsForm) -> dict[str, Any]:
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


def _written_provenance(provenance: ProfileProvenance, details: Mapping[str, object]) -> dict[str, Any]:
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
