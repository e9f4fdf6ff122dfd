"""Reads one profile file (JSON, schema version 1)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sky_melange.domain.profile import PointsForm, Profile, ProfileError, ProfileKey, ProfileKind, ProfileProvenance
from sky_melange.errors import InputError, Mistake

_MAX_BYTES: Final = 16 * 1024**2

_Count = Annotated[int, Field(ge=1, strict=True)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Fraction = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Columns = tuple[
    Literal["input_tokens"],
    Literal["output_tokens"],
    Literal["concurrency"],
    Literal["request_rate_rps"],
    Literal["ttft_s"],
    Literal["tpot_s"],
]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Points(_Record):
    columns: _Columns
    rows: Annotated[tuple[tuple[_Count, _Count, _Count, float, _Seconds, _Seconds], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _no_row_twice(self) -> _Points:
        seen: set[tuple[int, int, int]] = set()
        for number, row in enumerate(self.rows):
            if row[:3] in seen:
                raise ValueError(f"rows[{number}] repeats the sizes and concurrency {row[:3]}")
            seen.add(row[:3])
        return self


class _Error(_Record):
    statistic: str
    tpot_fraction: _Fraction | None
    ttft_fraction: _Fraction | None
    request_rate_fraction: _Fraction | None
    runs: Annotated[int, Field(ge=0)]
    basis: str


class _Provenance(_Record):
    kind: ProfileKind
    source: str
    database: str | None = None
    fetched_at: str
    error: _Error | None
    notes: tuple[str, ...] = ()


class _ProfileFile(_Record):
    schema_version: Literal[1]
    model: str
    accelerator: str
    tensor_parallel: _Count
    dtype: str
    engine: str
    engine_version: str
    engine_args: dict[str, str | int | float]
    form: Literal["points"]
    kv_cache_tokens: _Count | None
    points: _Points
    provenance: _Provenance


def read_profile(path: Path) -> Profile:
    """Reads a profile of form `points`. Raises InputError naming the file and every wrong field or row."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(
                [Mistake(source=str(path), message=f"is larger than {_MAX_BYTES} bytes; is it a profile?")]
            )
        record = _ProfileFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError([Mistake(source=str(path), message=f"cannot be read: {error.strerror}")]) from error
    except ValidationError as error:
        raise InputError(list(_mistakes(path, error))) from error
    return _profile(record)


def _mistakes(path: Path, error: ValidationError) -> Iterable[Mistake]:
    for item in error.errors(include_url=False, include_context=False):
        key = ".".join(str(part) for part in item["loc"])
        yield Mistake(source=str(path), key=key, message=item["msg"])


def _profile(record: _ProfileFile) -> Profile:
    return Profile(
        key=ProfileKey(
            model=record.model,
            accelerator=record.accelerator,
            tensor_parallel=record.tensor_parallel,
            dtype=record.dtype,
            engine=record.engine,
        ),
        engine_version=record.engine_version,
        engine_args={name: str(value) for name, value in record.engine_args.items()},
        kv_cache_tokens=record.kv_cache_tokens,
        form=_points(record.points),
        provenance=_provenance(record.provenance),
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
