"""A file of a plan folder that anyone may have written -> JSON values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sky_melange.errors import InputError, Mistake
from sky_melange.untrusted import read_bytes

MAX_BYTES: Final = 32 * 1024 * 1024
"""A plan over 100 x 100 buckets has about 3 MiB."""

_MAX_REPEATED: Final = 20
_ADVICE: Final = "`sky-melange plan WORKLOAD --out FOLDER` writes FOLDER/plan.json"


def read_document(
    path: Path, *, what: str = "plan", advice: str = _ADVICE, allow_pipe: bool = False
) -> Mapping[str, Any]:
    """The top-level object of a file; for messages, `what` it should be and what to do where it cannot be read.

    Raises InputError: missing, a pipe or device (unless `allow_pipe`), too long, not UTF-8, truncated or otherwise no
    JSON, NaN, repeated keys, no object.
    """
    source = str(path)
    repeated: list[Mistake] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found and len(repeated) < _MAX_REPEATED:
                message = "is repeated in one object; keep one of them"
                repeated.append(Mistake(source=source, key=repr(key[:60]), message=message))
            found[key] = value
        return found

    try:
        document = json.loads(
            _text(path, advice=advice, allow_pipe=allow_pipe),
            object_pairs_hook=unique,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        message = f"is not JSON: {error.msg}, column {error.colno}; is the file truncated?"
        raise InputError([Mistake(source=source, message=message, line=error.lineno)]) from None
    except RecursionError:
        raise InputError([Mistake(source=source, message=f"is no {what}: nested too deeply")]) from None
    except ValueError as error:
        raise InputError([Mistake(source=source, message=f"is no {what}: {error}")]) from None
    if repeated:
        raise InputError(repeated)
    if not isinstance(document, dict):
        raise InputError([Mistake(source=source, message=f"is no {what}: the top level must be an object")])
    return document


def _text(path: Path, *, advice: str, allow_pipe: bool) -> str:
    try:
        content = read_bytes(path, limit_bytes=MAX_BYTES, allow_pipe=allow_pipe)
    except InputError as error:
        found = [replace(mistake, message=f"{mistake.message}; {advice}") for mistake in error.mistakes]
        raise InputError(found) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"is not UTF-8 text (byte 0x{content[error.start]:02x})"
        raise InputError([Mistake(source=str(path), message=message, line=line)]) from None


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is no figure; every figure is finite")
