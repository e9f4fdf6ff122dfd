"""Writes a plan folder: the whole folder is replaced, or nothing is."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sky_melange.domain.launch_files import KEPT_FILES, PROJECT_CONFIG_FILE
from sky_melange.errors import InputError, Mistake
from sky_melange.render.plan_json import FILE_NAME
from sky_melange.render.router_names import ROUTER_FILES

_ROUTER_FOLDER = "router"


def check_replaceable(folder: Path) -> None:
    """Raises InputError when `folder` cannot be written, or holds anything that a plan did not write."""
    if folder.is_symlink():
        raise _mistake(folder, "is a symbolic link, and the folder is replaced as a whole; give what it points to")
    if folder.exists() and not folder.is_dir():
        raise _mistake(folder, "is not a folder; choose another --out")
    if folder.is_dir():
        foreign = sorted(_present_names(folder) - _planned_names(folder))
        if foreign:
            listed = ", ".join(foreign[:5]) + (" …" if len(foreign) > 5 else "")
            raise _mistake(folder, f"holds files that no plan wrote ({listed}); move them or choose another --out")
    parent = _existing_parent(folder)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise _mistake(folder, f"cannot be written: no permission in {parent}")


def write_plan_folder(folder: Path, files: Mapping[str, str]) -> None:
    """Writes all files beside the target, then swaps the folders. Raises InputError when the disk refuses."""
    check_replaceable(folder)
    staging: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        for name, text in files.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            with (staging / name).open("w", encoding="utf-8", newline="\n") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
        _keep(folder, staging)
        staging.chmod(0o755)
        _swap(staging, folder)
    except OSError as error:
        raise _mistake(folder, f"cannot be written: {error.strerror or error}; nothing was changed") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _swap(staging: Path, folder: Path) -> None:
    """Puts `staging` in the place of `folder`; on failure the old folder is back where it was."""
    if not folder.exists():
        staging.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    folder.rename(old / folder.name)
    try:
        staging.rename(folder)
    except OSError:
        (old / folder.name).rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _keep(folder: Path, staging: Path) -> None:
    """What `up` has started stays known when the plan is made again."""
    for name in KEPT_FILES:
        if (folder / name).is_file():
            shutil.copy2(folder / name, staging / name)


def _present_names(folder: Path) -> set[str]:
    """What lies in the folder, and in its folder of router files; a link is never one of ours."""
    names: set[str] = set()
    for path in folder.iterdir():
        if path.name == _ROUTER_FOLDER and path.is_dir() and not path.is_symlink():
            names |= {f"{path.name}/{inner.name}{'/' if inner.is_dir() else ''}" for inner in path.iterdir()}
        else:
            names.add(f"{path.name} -> link" if path.is_symlink() else path.name)
    return names


def _planned_names(folder: Path) -> set[str]:
    """The files that an earlier plan wrote into the folder, by its own plan.json; empty when that is not ours."""
    try:
        document = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        groups = {str(group["file"]) for group in document["groups"]}
        return {FILE_NAME, PROJECT_CONFIG_FILE, *groups, *ROUTER_FILES, *KEPT_FILES}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def _existing_parent(folder: Path) -> Path:
    parent = folder.absolute().parent
    while not parent.exists():
        parent = parent.parent
    return parent


def _mistake(folder: Path, message: str) -> InputError:
    return InputError([Mistake(source=str(folder), message=message)])
