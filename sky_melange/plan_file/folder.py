"""The files beside a plan.json, which anyone may have edited."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from sky_melange.errors import InputError, Mistake

LAUNCH_FILE_PATTERN: Final = "*.sky.yaml"
_MAX_BYTES: Final = 4 * 1024 * 1024


def read_files_beside(plan_file: Path, names: Collection[str]) -> dict[str, str | None]:
    """The text by name of `names` beside or below a plan.json (None: missing), and of other launch files there.

    Line ends are read as `\\n`, since version control may rewrite them. Bytes that are no UTF-8 come as U+FFFD, so that
    such a file differs. Raises InputError for a link (its target may be no file of the plan) or a file over 1 MiB.
    """
    folder = plan_file.parent
    mistakes: list[Mistake] = []
    found: dict[str, str | None] = {}
    present = {path.name for path in folder.glob(LAUNCH_FILE_PATTERN)} if plan_file.is_file() else set()
    for name in sorted({*names, *present}):
        try:
            found[name] = _text(folder / name)
        except InputError as error:
            mistakes.extend(error.mistakes)
    if mistakes:
        raise InputError(mistakes)
    return found


def _text(path: Path) -> str | None:
    message = ""
    try:
        if path.is_symlink() or path.parent.is_symlink():
            message = "is a link; a plan's files are plain files in its folder"
        elif not path.exists():
            return None
        elif not path.is_file():
            message = "is not a regular file"
        else:
            with path.open("rb") as stream:
                content = stream.read(_MAX_BYTES + 1)
            if len(content) <= _MAX_BYTES:
                return content.decode("utf-8", errors="replace").replace("\r\n", "\n")
            message = f"is larger than {_MAX_BYTES // 1024**2} MiB: no launch file is"
    except OSError as error:
        message = f"cannot be read ({error.strerror or error})"
    raise InputError([Mistake(source=str(path), message=message)])
