"""JSON text -> plain values. Repeated keys, which the standard library drops in silence, are mistakes."""

from __future__ import annotations

import json

from sky_melange.errors import Mistake
from sky_melange.untrusted import parse_integer
from sky_melange.workload_file.report import MAX_MISTAKES, input_error, quote


def parse_json(text: str, *, source: str) -> tuple[object, list[Mistake]]:
    """The value, and a mistake for each repeated key. NaN, Infinity and overflowing numbers come as non-finite floats.

    Raises:
        InputError: the text is no JSON, with the line.

    """
    repeated: dict[str, Mistake] = {}

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        mapping: dict[str, object] = {}
        for key, value in pairs:
            if key in mapping and len(repeated) <= MAX_MISTAKES:
                message = f"the key {quote(key)} is repeated in one object; keep one of them"
                repeated[key] = Mistake(source=source, message=message)
            mapping.setdefault(key, value)
        return mapping

    try:
        value: object = json.loads(text, object_pairs_hook=unique, parse_int=parse_integer)
    except json.JSONDecodeError as error:
        message = f"is not valid JSON: {error.msg} (column {error.colno})"
        raise input_error([Mistake(source=source, line=error.lineno, message=message)]) from None
    except RecursionError:
        raise input_error([Mistake(source=source, message="is not usable JSON: it is nested too deeply")]) from None
    return value, list(repeated.values())
