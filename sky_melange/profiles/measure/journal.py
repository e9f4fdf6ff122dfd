"""What has been measured so far, on disk: JSON lines, each synced before the next level starts.

Lines: `header` (what is measured), `server` (what it runs), `level` and `end`. A last line without its line feed was
being written when the power went, and is dropped. Two runs cannot write the same journal: the file is locked.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Protocol

from pydantic import TypeAdapter, ValidationError

from sky_melange.domain.units import s_to_ms
from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.measure.results import LevelFailure, LevelResult, ServerFacts, ShapeEnd
from sky_melange.profiles.measure.spec import MeasureSpec, Shape
from sky_melange.untrusted import json_or_none, own_json

_SECONDS_PER_MINUTE: Final = 60
_MINUTES_PER_HOUR: Final = 60


class Findings(Protocol):
    """What is known so far."""

    @property
    def ends(self) -> Mapping[Shape, ShapeEnd]:
        """Finished shapes."""

    def levels(self, shape: Shape) -> Sequence[LevelResult]:
        """Measured levels of a shape, by rising concurrency."""


class Progress:
    """Writes one line an event; `say` prints it."""

    def __init__(self, spec: MeasureSpec, findings: Findings, say: Callable[[str], None]) -> None:
        self._spec = spec
        self._findings = findings
        self._say = say

    def note(self, text: str) -> None:
        """Anything worth a line."""
        self._say(text)

    def level(self, level: LevelResult) -> None:
        """A level was measured."""
        errors = f", {level.error_count} of {level.error_count + level.completed} failed" if level.error_count else ""
        self._say(
            f"{self._place(level.shape)} {level.shape}, {level.concurrency} at once: "
            f"{level.request_rate_rps:.4g} req/s, TTFT {s_to_ms(level.ttft_s.mean):.1f} ms, "
            f"TPOT {s_to_ms(level.tpot_s.mean):.2f} ms{errors}{self._left()}"
        )

    def failure(self, shape: Shape, concurrency: int, failure: LevelFailure) -> None:
        """A level gave no figures."""
        self._say(f"{self._place(shape)} {shape}, {concurrency} at once: no figures: {failure.reason}")

    def end(self, end: ShapeEnd) -> None:
        """A shape is finished."""
        self._say(f"{self._place(end.shape)} {end.shape}: finished: {end.reason}")

    def _place(self, shape: Shape) -> str:
        return f"[{self._spec.shapes.index(shape) + 1}/{len(self._spec.shapes)}]"

    def _left(self) -> str:
        seconds, is_bound = seconds_left(self._spec, self._findings)
        return f"; {'up to ' if is_bound else ''}{duration(seconds)} left"


_VERSION: Final = 1
_BEGINNING: Final = b'{"type": "header", "version": 1, "started_on": '
_MAX_BYTES: Final = 256 * 1024**2
_Record = LevelResult | ShapeEnd | ServerFacts
_ADAPTERS: Final[dict[str, TypeAdapter[Any]]] = {
    "level": TypeAdapter(LevelResult),
    "end": TypeAdapter(ShapeEnd),
    "server": TypeAdapter(ServerFacts),
}


class Journal:
    """The findings of one measurement; a context manager that holds the file open and locked.

    Raises InputError when the file is of another measurement, is no journal, or is in use.
    """

    def __init__(self, path: Path, spec: MeasureSpec, *, started_on: str) -> None:
        self.path = path
        self.started_on = started_on
        self.server: ServerFacts | None = None
        self.ends: dict[Shape, ShapeEnd] = {}
        self._levels: dict[tuple[Shape, int], LevelResult] = {}
        self._header = header(spec)
        self._file: BinaryIO | None = None
        self._owned = False

    def __enter__(self) -> Journal:
        try:
            self._file = self.path.open("a+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.__exit__(None, None, None)
            raise self._mistake("is in use by another sky-melange profiles measure; wait for it") from None
        except OSError as error:
            raise self._mistake(f"cannot be written: {error.strerror or error}") from None
        try:
            self._load()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        if self._owned and not self.resumed:
            self.path.unlink(missing_ok=True)  # nothing was measured; the next try may be of something else
        self._file.close()
        self._file = None

    @property
    def resumed(self) -> bool:
        """Whether there is anything from an earlier run."""
        return bool(self._levels or self.ends)

    def levels(self, shape: Shape) -> tuple[LevelResult, ...]:
        """The levels of a shape, by rising concurrency."""
        found = (level for (of, _), level in self._levels.items() if of == shape)
        return tuple(sorted(found, key=lambda level: level.concurrency))

    def add(self, record: _Record) -> None:
        """Keeps a record, on disk before this returns."""
        name = {LevelResult: "level", ShapeEnd: "end", ServerFacts: "server"}[type(record)]
        self._append({"type": name, **asdict(record)})
        self._keep(record)

    def _keep(self, record: _Record) -> None:
        match record:
            case LevelResult():
                self._levels[record.shape, record.concurrency] = record
            case ShapeEnd():
                self.ends[record.shape] = record
            case ServerFacts():
                self.server = record

    def _append(self, content: Mapping[str, object]) -> None:
        if self._file is None:
            raise self._mistake("is not open")
        try:
            self._file.write(json.dumps(content, allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._mistake(f"cannot be written: {error.strerror or error}") from None

    def _load(self) -> None:
        file = self._file
        if file is None:
            return
        file.seek(0)
        content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise self._mistake(f"is larger than {_MAX_BYTES} bytes; is it a journal?")
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.split(b"\n")[:-1]
        if not lines:
            if not (_BEGINNING.startswith(content) or content.startswith(_BEGINNING)):
                raise self._mistake("is no journal of a measurement; choose another --out")
            self._begin(file)
            return
        self._check_header(self._parse(lines[0], 1))
        self._owned = True
        for number, line in enumerate(lines[1:], start=2):
            self._keep(self._record(line, number))
        file.truncate(len(whole))

    def _begin(self, file: BinaryIO) -> None:
        self._owned = True
        file.truncate(0)
        self._append({"type": "header", "version": _VERSION, "started_on": self.started_on, **self._header})

    def _check_header(self, found: Mapping[str, object]) -> None:
        if found.get("type") != "header" or found.get("version") != _VERSION:
            raise self._mistake("is no journal of a measurement; choose another --out", line=1)
        wanted = own_json(json.dumps(self._header))
        different = [name for name in wanted if found.get(name) != wanted[name]]
        if different:
            listed = ", ".join(f"{name} was {json.dumps(found.get(name))[:80]}" for name in different)
            message = f"is of another measurement ({listed}); choose another --out, or --restart to discard it"
            raise self._mistake(message, line=1)
        self.started_on = str(found.get("started_on"))

    def _record(self, line: bytes, number: int) -> _Record:
        content = self._parse(line, number)
        adapter = _ADAPTERS.get(str(content.pop("type", None)))
        if adapter is None:
            raise self._mistake("is no line of a journal", line=number)
        try:
            record: _Record = adapter.validate_python(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            raise self._mistake(f"{key}: {first['msg']}", line=number) from None
        return record

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        content = json_or_none(line)
        if not isinstance(content, dict):
            raise self._mistake("is no JSON object; is it a journal? --restart discards it", line=number)
        return content

    def _mistake(self, message: str, *, line: int | None = None) -> InputError:
        return InputError([Mistake(source=str(self.path), message=message, line=line)])


def header(spec: MeasureSpec) -> dict[str, Any]:
    """What must be equal for one run to go on where another stopped. The address is not in it: servers move."""
    return {
        "key": asdict(spec.key),
        "api": spec.api.value,
        "served_model": spec.served_model,
        "engine_version": spec.engine_version,
        "engine_args": dict(spec.engine_args),
        "kv_cache_tokens": spec.kv_cache_tokens,
        "shapes": [[shape.input_tokens, shape.output_tokens] for shape in spec.shapes],
        "concurrencies": list(spec.concurrencies),
        "slo": None if spec.slo is None else asdict(spec.slo),
        "effort": asdict(spec.effort),
    }


def seconds_left(spec: MeasureSpec, findings: Findings) -> tuple[float, bool]:
    """An estimate of the rest, s, and whether it supposes that nothing stops a shape early.

    A shape takes as long as the finished ones did per output token, since decoding is most of a request's latency.
    While none is finished, every concurrency of the list is taken to last as long as the latest one.
    """
    spent_s = {shape: sum(level.elapsed_s for level in findings.levels(shape)) for shape in spec.shapes}
    finished = [shape for shape in findings.ends if spent_s.get(shape)]
    if finished:
        per_token_s = sum(spent_s[shape] for shape in finished) / sum(shape.output_tokens for shape in finished)
    else:
        levels = [level for shape in spec.shapes for level in findings.levels(shape)]
        if not levels:
            return 0.0, True
        per_token_s = levels[-1].elapsed_s * len(spec.concurrencies) / levels[-1].shape.output_tokens
    open_shapes = [shape for shape in spec.shapes if shape not in findings.ends]
    left_s = sum(max(0.0, per_token_s * shape.output_tokens - spent_s[shape]) for shape in open_shapes)
    return left_s, not finished


def duration(seconds: float) -> str:
    """For people: `about 40 s`, `about 12 min`, `about 2 h 5 min`."""
    minutes = round(seconds / _SECONDS_PER_MINUTE)
    if minutes < 2:
        return f"about {round(seconds)} s"
    if minutes < 2 * _MINUTES_PER_HOUR:
        return f"about {minutes} min"
    return f"about {minutes // _MINUTES_PER_HOUR} h {minutes % _MINUTES_PER_HOUR} min"
