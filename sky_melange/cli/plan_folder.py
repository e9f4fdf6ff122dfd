"""Writes a plan folder: the whole folder is replaced, or nothing is."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import glob
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from sky_melange.domain.fleet import FLEET_FILE
from sky_melange.domain.launch_files import KEPT_FILES, RECORD_FILE
from sky_melange.errors import CheckFailedError, InputError
from sky_melange.plan_file import read_document
from sky_melange.render import output_files
from sky_melange.render.plan_json import FILE_NAME
from sky_melange.untrusted import mistake

_OLD = ".{}-old-"
_UNFINISHED = tuple(f".{name}-" for name in KEPT_FILES)
"""What `up` was writing when it was killed."""

_LOCK = f".{RECORD_FILE}-lock"
"""Held by whoever changes what runs, or the folder. A command that was killed leaves it, as one of `_UNFINISHED`."""

_PLAN_WAIT_S = 5.0

_HERE_FD = -100
_EXCHANGE = 2


def recover(folder: Path) -> None:
    """Puts back a plan folder that an interrupted `plan` had moved aside, with the record of what runs in it."""
    if folder.exists() or folder.is_symlink():
        return
    moved = [path for path in folder.parent.glob(f"{_OLD.format(glob.escape(folder.name))}*") if path.is_dir()]
    for aside in sorted(moved, key=lambda path: path.stat().st_mtime, reverse=True):
        if (aside / folder.name).is_dir():
            (aside / folder.name).rename(folder)
            aside.rmdir()
            return


@contextlib.contextmanager
def held(folder: Path, *, is_needed: bool = True, wait_s: float = 0.0) -> Iterator[None]:
    """Keeps other commands from launching from a plan folder, scaling it, ending it or replacing it meanwhile.

    Raises CheckFailedError while another command is at work, for longer than `wait_s`. What was held by a command that
    was killed is free. Does nothing for a folder without a plan.
    """
    recover(folder)
    if not is_needed or not ((folder / FILE_NAME).is_file() or (folder / FLEET_FILE).is_file()):
        yield
        return
    give_up_s = time.monotonic() + wait_s
    while (descriptor := _locked(folder / _LOCK)) is None:
        if time.monotonic() >= give_up_s:
            raise CheckFailedError(
                f"{folder}: another sky-melange command is at work here; run this again when it has ended"
            )
        time.sleep(0.05)
    try:
        yield
    finally:
        if _is_at(folder / _LOCK, descriptor):
            (folder / _LOCK).unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock until it is closed; None: somebody else has it. Raises InputError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        return None  # the folder is being replaced
    except OSError as error:
        raise mistake(path, f"cannot be written: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    if _is_at(path, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file still lies there: the folder may have been replaced, or its holder has removed the file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def check_replaceable(folder: Path) -> None:
    """Raises InputError when `folder` cannot be written, or holds anything that a plan did not write."""
    recover(folder)
    if folder.is_symlink():
        raise mistake(folder, "is a symbolic link, and the folder is replaced as a whole; give what it points to")
    if folder.exists() and not folder.is_dir():
        raise mistake(folder, "is not a folder; choose another --out")
    if folder.is_dir():
        foreign = sorted(_present_names(folder) - _planned_names(folder))
        if foreign:
            listed = ", ".join(foreign[:5]) + (" …" if len(foreign) > 5 else "")
            raise mistake(folder, f"holds files that no plan wrote ({listed}); move them or choose another --out")
    parent = _existing_parent(folder)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise mistake(folder, f"cannot be written: no permission in {parent}")


def write_plan_folder(folder: Path, plan: str, files: Mapping[str, str]) -> None:
    """Writes all files of the plan of this name beside the target, then swaps the folders.

    Raises InputError when the disk refuses, or another plan was launched from there; CheckFailedError while another
    command is at work there.
    """
    check_replaceable(folder)
    # Another `plan` takes a moment.
    with held(folder, wait_s=_PLAN_WAIT_S):
        _write(folder, plan, files)


def _write(folder: Path, plan: str, files: Mapping[str, str]) -> None:
    _check_record(folder, plan)
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
        raise mistake(folder, f"cannot be written: {error.strerror or error}; nothing was changed") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _swap(staging: Path, folder: Path) -> None:
    """Puts `staging` in the place of `folder`; on failure the old folder is back where it was.

    In one step where the system can; else an interruption between two steps leaves the old folder to `recover`.
    """
    if not folder.exists():
        staging.rename(folder)
        return
    if _exchange(staging, folder):
        return
    old = Path(tempfile.mkdtemp(prefix=_OLD.format(folder.name), dir=folder.parent))
    folder.rename(old / folder.name)
    try:
        staging.rename(folder)
    except OSError:
        (old / folder.name).rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step (Linux: renameat2 with RENAME_EXCHANGE); False where that cannot be done."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(_HERE_FD, os.fsencode(one), _HERE_FD, os.fsencode(other), _EXCHANGE) == 0


def _check_record(folder: Path, plan: str) -> None:
    """Raises InputError where another plan's launch is on record: nothing could take it down any more."""
    try:
        launched = read_document(folder / RECORD_FILE).get("plan", plan)
    except InputError:
        return
    if launched != plan:
        message = (
            f"{RECORD_FILE} says that a plan of another name was launched from here; take it down with `sky-melange "
            f"down {folder}` first, or choose another --out"
        )
        raise mistake(folder, message)


def _keep(folder: Path, staging: Path) -> None:
    """What `up` has started stays known when the plan is made again."""
    for name in KEPT_FILES:
        if (folder / name).is_file():
            shutil.copy2(folder / name, staging / name)


def _present_names(folder: Path) -> set[str]:
    """What lies in the folder, and in the folders that outputs write into; a link is never one of ours."""
    names: set[str] = set()
    own_folders = {name.partition("/")[0] for name in output_files() if "/" in name}
    for path in folder.iterdir():
        if path.name in own_folders and path.is_dir() and not path.is_symlink():
            names |= {f"{path.name}/{inner.name}{'/' if inner.is_dir() else ''}" for inner in path.iterdir()}
        elif not path.name.startswith(_UNFINISHED):
            names.add(f"{path.name} -> link" if path.is_symlink() else path.name)
    return names


def _planned_names(folder: Path) -> set[str]:
    """The files that an earlier plan wrote into the folder, by its own plan.json; empty when that is not ours."""
    try:
        document = read_document(folder / FILE_NAME)
        groups = {str(group["file"]) for group in document["groups"]}
        return {*output_files(), *groups, *KEPT_FILES}
    except (InputError, KeyError, TypeError):
        return set()


def _existing_parent(folder: Path) -> Path:
    parent = folder.absolute().parent
    while not parent.exists():
        parent = parent.parent
    return parent
