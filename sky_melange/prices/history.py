"""What prices did between refreshes: one JSON object a line in the cache folder."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sky_melange.domain.price_record import PriceChange
from sky_melange.prices.source import CatalogOffers, dearest
from sky_melange.untrusted import json_or_none

_LIMIT_BYTES: Final = 8 << 20
"""Beyond this the older half is forgotten."""

_CHANGED_FRACTION: Final = 1e-6
"""Smaller differences are ways of writing a number."""


def changes_between(
    before: CatalogOffers, after: CatalogOffers, *, previous_at: str, seen_at: str
) -> tuple[PriceChange, ...]:
    """Every GPU machine whose price differs, by region; of zones at different prices the dearest counts."""
    old, new = dearest(before.offers), dearest(after.offers)
    changes = []
    for key in sorted({*old, *new}):
        was, now = old.get(key), new.get(key)
        if was is not None and now is not None and abs(now / was - 1 if was else now) <= _CHANGED_FRACTION:
            continue
        region, instance_type, accelerator, count, use_spot = key
        changes.append(
            PriceChange(
                cloud=after.cloud,
                region=region,
                instance_type=instance_type,
                accelerator=accelerator,
                accelerators_per_instance=count,
                use_spot=use_spot,
                before_usd_per_hour=was,
                after_usd_per_hour=now,
                previous_at=previous_at,
                seen_at=seen_at,
            )
        )
    return tuple(changes)


class PriceHistory:
    """The changes that refreshes on this machine have seen."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "history-1.jsonl"

    def add(self, changes: Sequence[PriceChange]) -> None:
        """Appends changes in one write, so that runs at the same time do not mix lines. Raises OSError."""
        if not changes:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = "".join(json.dumps(dataclasses.asdict(change)) + "\n" for change in changes)
        # A newline first closes a line that a killed run may have left half-written.
        with self._path.open("ab", buffering=0) as file:
            file.write(("\n" + text).encode())
        if self._path.stat().st_size > _LIMIT_BYTES:
            self._forget_older_half()

    def read(self) -> tuple[PriceChange, ...]:
        """All changes, newest first, each once; lines that are none are passed over. Empty when there is no file."""
        try:
            content = self._path.read_bytes()
        except OSError:
            return ()
        found = {change: None for line in content.splitlines() if (change := _parse(line)) is not None}
        unique: dict[PriceChange, PriceChange] = {}
        for change in found:
            # Two runs at once see the same change a moment apart.
            unique.setdefault(dataclasses.replace(change, seen_at=""), change)
        return tuple(sorted(unique.values(), key=lambda c: (c.seen_at, c.cloud), reverse=True))

    def _forget_older_half(self) -> None:
        lines = self._path.read_bytes().splitlines(keepends=True)
        handle, temporary = tempfile.mkstemp(prefix=".new-", dir=self._path.parent)
        with os.fdopen(handle, "wb") as file:
            file.writelines(lines[len(lines) // 2 :])
        Path(temporary).replace(self._path)


_FIELDS: Final[Mapping[str, tuple[type, ...]]] = {
    "cloud": (str,),
    "region": (str,),
    "instance_type": (str,),
    "accelerator": (str,),
    "accelerators_per_instance": (int,),
    "use_spot": (bool,),
    "before_usd_per_hour": (float, int, type(None)),
    "after_usd_per_hour": (float, int, type(None)),
    "previous_at": (str,),
    "seen_at": (str,),
}


def _parse(line: bytes) -> PriceChange | None:
    """The change in a line, None when it holds none: a half-written line, or another program's."""
    record = json_or_none(line)
    if not isinstance(record, dict) or set(record) != set(_FIELDS):
        return None
    if not all(isinstance(record[name], kinds) for name, kinds in _FIELDS.items()):
        return None
    return PriceChange(**record)
