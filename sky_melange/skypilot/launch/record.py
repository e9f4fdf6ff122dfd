"""launch.json: what `up` has started, kept in the plan's folder. Written after every step, whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sky_melange.domain.launch_files import RECORD_FILE
from sky_melange.errors import InputError, Mistake
from sky_melange.plan_file import read_document
from sky_melange.skypilot.launch.units import Launchable, Unit, UnitKind
from sky_melange.untrusted import mistake

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Launchable):
    """A unit that was started. `is_launched` False: SkyPilot was asked, and did not yet say that it is done."""

    is_launched: bool

    @classmethod
    def of(cls, unit: Unit, *, is_launched: bool) -> Started:
        """A unit as it is started."""
        shared = {field.name: getattr(unit, field.name) for field in dataclasses.fields(Launchable)}
        return cls(**shared, is_launched=is_launched)


@dataclass(slots=True)
class Record:
    """What runs by our doing, by name. `save` writes it."""

    path: Path
    plan: str
    started: dict[str, Started]

    def note(self, *entries: Started) -> None:
        """Adds or replaces entries, and saves."""
        for entry in entries:
            self.started[entry.name] = entry
        self.save()

    def forget(self, names: Iterable[str]) -> None:
        """Removes entries, and saves; an empty record has no file."""
        for name in names:
            self.started.pop(name, None)
        self.save()

    def save(self) -> None:
        """Raises InputError when the disk refuses: nothing may be started that could not be found again."""
        try:
            if not self.started:
                self.path.unlink(missing_ok=True)
                return
            document = {
                "schema_version": SCHEMA_VERSION,
                "plan": self.plan,
                "started": [dataclasses.asdict(entry) for _, entry in sorted(self.started.items())],
            }
            write_whole(self.path, json.dumps(document, indent=2) + "\n")
        except OSError as error:
            raise mistake(self.path, f"cannot be written ({error.strerror or error})") from error


def read_record(folder: Path, plan: str) -> Record:
    """The record of a plan's folder; an empty one where there is none.

    Raises InputError, with every mistake, when it is broken or of another plan: what runs would be lost from sight.
    """
    path = folder / RECORD_FILE
    if not path.exists() and not path.is_symlink():
        return Record(path=path, plan=plan, started={})
    document = read_document(path, what="record of a launch", advice="see `sky status` and `sky serve status`")
    mistakes: list[Mistake] = []
    if document.get("schema_version") != SCHEMA_VERSION:
        mistakes.append(Mistake(source=str(path), key="schema_version", message=f"must be {SCHEMA_VERSION}"))
    if document.get("plan") != plan:
        message = f"is of another plan, this one is {plan!r}; take that one down from its own folder first"
        mistakes.append(Mistake(source=str(path), key="plan", message=message))
    entries = document.get("started")
    if not isinstance(entries, list):
        mistakes.append(Mistake(source=str(path), key="started", message="must be a list"))
        entries = []
    found = [_entry(entry, f"started[{index}]", path, mistakes) for index, entry in enumerate(entries)]
    if mistakes:
        raise InputError(mistakes)
    return Record(path=path, plan=plan, started={entry.name: entry for entry in found if entry is not None})


def write_whole(path: Path, text: str) -> None:
    """Replaces a file by one with this text; a reader sees the old or the new. Only the owner may read it."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _entry(entry: object, key: str, path: Path, mistakes: list[Mistake]) -> Started | None:
    types = {"kind": str, "base": str, "name": str, "group": str, "sha256": str, "instances": int, "is_launched": bool}
    fields = entry if isinstance(entry, dict) else {}
    wrong = [name for name, kind in types.items() if type(fields.get(name)) is not kind]
    if not wrong and fields["kind"] not in set(UnitKind):
        wrong.append("kind")
    if wrong:
        mistakes.append(Mistake(source=str(path), key=key, message=f"lacks or has wrong: {', '.join(wrong)}"))
        return None
    return Started(**{**{name: fields[name] for name in types}, "kind": UnitKind(fields["kind"])})
