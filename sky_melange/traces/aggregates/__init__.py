"""Counts that someone else made: files that hold no single requests. One file each, and the dict AGGREGATES."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sky_melange.domain.trace import TraceOptions, TraceSummary
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.aggregates import openai_usage, prometheus, servegen
from sky_melange.traces.files import compression_of, is_remote, open_text
from sky_melange.untrusted import one_line

Documents = Mapping[str, str]
"""File name -> its text."""

AGGREGATES: Final[Mapping[str, tuple[re.Pattern[str], Callable[[Documents, TraceOptions], TraceSummary]]]] = {
    prometheus.NAME: (prometheus.SIGN, prometheus.summarize),
    openai_usage.NAME: (openai_usage.SIGN, openai_usage.summarize),
    servegen.NAME: (servegen.SIGN, servegen.summarize),
}
"""What the beginning of such a file looks like, and how it is read."""

_HEAD_BYTES: Final = 1 << 18
_MAX_BYTES: Final = 256 << 20


def summarize_aggregates(paths: Sequence[str], options: TraceOptions) -> TraceSummary | None:
    """The summary, where these files are aggregates; None where they are logs of requests.

    Raises InputError when they are partly one, partly the other, or cannot be read.
    """
    kinds = {path: _kind(path) for path in paths}
    found = {kind for kind in kinds.values() if kind is not None}
    if not found:
        return None
    if len(found) > 1 or None in kinds.values():
        others = ", ".join(one_line(path) for path, kind in kinds.items() if kind is None) or "the rest"
        message = f"holds {sorted(found)[0]}, and {others} something else; read them apart"
        raise InputError([Mistake(source=one_line(next(path for path in kinds if kinds[path])), message=message)])
    given = [name for name in ("columns", "time_unit", "model_column") if getattr(options, name) is not None]
    if given:
        message = f"has nothing to do with {', '.join(sorted(found))}, which have no columns to choose"
        raise InputError([Mistake(source=given[0], message=message)])
    (kind,) = found
    names = Counter(Path(path).name for path in paths)
    documents = {
        Path(path).name if names[Path(path).name] == 1 else one_line(path): _text(path, _MAX_BYTES) for path in paths
    }
    return AGGREGATES[kind][1](documents, options)


def _kind(path: str) -> str | None:
    if is_remote(path):
        return None
    head = _text(path, _HEAD_BYTES, is_whole=False)
    return next((name for name, (sign, _) in AGGREGATES.items() if sign.search(head)), None)


def _text(path: str, most: int, *, is_whole: bool = True) -> str:
    try:
        with open_text(path, compression_of(path)) as stream:
            text = stream.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        if not is_whole:
            # Those who read logs say what is wrong.
            return ""
        raise InputError([Mistake(source=one_line(path), message=f"cannot be read: {one_line(str(error))}")]) from error
    if is_whole and len(text) > most:
        raise InputError(
            [Mistake(source=one_line(path), message=f"is larger than {most >> 20} MiB; take a part of it")]
        )
    return text.decode("utf-8", "replace")
