"""Reads a file of negotiated prices and reserved capacity: CSV with a header, or YAML with a list of mappings."""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from sky_melange.domain.machine import InRegion
from sky_melange.domain.price_record import PriceKind
from sky_melange.errors import InputError, Mistake
from sky_melange.untrusted import invisible_fault, read_text, yaml_rows

LIMIT_BYTES: Final = 4 << 20
COLUMNS: Final = (
    "cloud",
    "region",
    "instance_type",
    "accelerator",
    "spot",
    "purchase",
    "price_usd_per_hour",
    "reserved_instances",
    "accelerators",
    "vcpus",
    "memory_gib",
    "as_of",
    "note",
)
REQUIRED: Final = ("cloud", "instance_type", "price_usd_per_hour")
MOST_USD_PER_HOUR: Final = 1e6
MOST_INSTANCES: Final = 100_000
MACHINE: Final = ("region", "accelerator", "accelerators", "vcpus", "memory_gib")
"""What describes a machine that no catalog has; all of them, or none."""
_NAMES: Final = ("cloud", "region", "instance_type", "accelerator")
"""The cloud first: the others are names of its own."""
_EXAMPLE: Final = "{cloud: aws, instance_type: g6.xlarge, price_usd_per_hour: 0.62}"
_OTHER_NAMES: Final = {
    "provider": "cloud",
    "instance": "instance_type",
    "machine": "instance_type",
    "price": "price_usd_per_hour",
    "usd_per_hour": "price_usd_per_hour",
    "gpu": "accelerator",
    "gpus": "accelerators",
    "memory": "memory_gib",
    "date": "as_of",
    "term": "purchase",
    "reserved": "reserved_instances",
}
_MOST_ACCELERATORS: Final = 64
_MOST_OF_A_MACHINE: Final = 1e6
_NUMBER: Final = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)
_SHOWN: Final = 40

Spell = Callable[[str, str, str], str]
"""(column, text, cloud) -> the name that is meant, or the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedMachine:
    """A machine that no catalog has."""

    accelerators: int
    vcpus: float | None
    memory_gib: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Override(InRegion):
    """One line: a price (USD per hour an instance) in place of the listed one, in one region or ("") in all.

    With `reserved_instances` it stands beside the listed price instead: that many instances cost this much.
    `term`: the price is that of a commitment, which also stands beside the listed one; None: by the hour.
    `described`: the machine, where no catalog has it.
    `place` is file and line, `as_of` the ISO date of the agreement or "".
    """

    accelerator: str
    use_spot: bool
    price_usd_per_hour: float
    reserved_instances: int | None
    as_of: str
    note: str
    place: str
    line: int
    term: PriceKind | None = None
    described: DescribedMachine | None = None

    @property
    def label(self) -> str:
        """What the line is about."""
        return "/".join(part for part in (self.cloud, self.region, self.instance_type) if part)


def read_overrides(path: Path, *, spell: Spell | None = None, notes: list[str] | None = None) -> tuple[Override, ...]:
    """The lines of the file in order. Raises InputError with every mistake, each with its line.

    `spell` gives the name that a text means; `notes` gets what is not read as it is spelled.
    """
    text = _read(path)
    rows = _csv_rows(text, path) if path.suffix.lower() == ".csv" else _yaml_rows(text, path)
    mistakes: list[Mistake] = []
    found: dict[tuple[object, ...], Override] = {}
    for line, written in rows:
        row = _spelled(written, spell)
        if notes is not None:
            notes += (
                f"{path.name}:{line}: {name}: {text[:_SHOWN]!r} is read as {row[name]}"
                for name, text in written.items()
                if row[name] != text
            )
        override = _override(row, path, line, mistakes)
        if override is None:
            continue
        key = (
            override.cloud,
            override.region,
            override.instance_type,
            override.accelerator,
            override.use_spot,
            override.reserved_instances is None,
            override.term,
        )
        if key in found:
            _add(mistakes, path, line, f"repeats {found[key].place}: {override.label}; keep one of the two")
        found.setdefault(key, override)
    if mistakes:
        raise InputError(mistakes)
    return tuple(found.values())


def _spelled(written: Mapping[str, str], spell: Spell | None) -> dict[str, str]:
    row = dict(written)
    if "purchase" in row:
        purchase = row["purchase"].casefold().replace("-", "_")
        row["purchase"] = purchase if purchase in set(PriceKind) else row["purchase"]
    for name in _NAMES:
        if spell is not None and row.get(name):
            row[name] = spell(name, row[name], row["cloud"])
    return row


def _read(path: Path) -> str:
    if path.suffix.lower() not in (".csv", ".yaml", ".yml"):
        raise _error(path, "must be a .csv, .yaml or .yml file")
    text = read_text(path, limit_bytes=LIMIT_BYTES)
    fault = invisible_fault(text)
    if fault:
        raise _error(path, fault)
    return text


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_columns(header, path, 1)
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                raise _error(path, f"has {len(fields)} fields, the header {len(header)}", line=reader.line_num)
            yield reader.line_num, {name: field.strip() for name, field in zip(header, fields, strict=True)}
    except csv.Error as error:
        raise _error(path, f"is no CSV: {error}", line=reader.line_num) from None


def _yaml_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    for line, row in yaml_rows(text, str(path), _EXAMPLE):
        _check_columns(list(row), path, line)
        yield line, row


def _check_columns(names: list[str], path: Path, line: int) -> None:
    mistakes: list[Mistake] = []
    meant: set[str] = set()
    for name in names:
        if name in COLUMNS:
            continue
        near = _OTHER_NAMES.get(name.casefold()) or next(iter(difflib.get_close_matches(name, COLUMNS, n=1)), None)
        if any(mark in name for mark in ";\t|"):
            _add(mistakes, path, line, "columns are separated by commas")
            break
        meant.add(near or "")
        hint = f"did you mean {near!r}?" if near else f"valid: {', '.join(COLUMNS)}"
        _add(mistakes, path, line, f"unknown column {name[:_SHOWN]!r}; {hint}")
    else:
        for name in REQUIRED:
            if name not in names and name not in meant:
                _add(mistakes, path, line, f"{name} is missing")
        if len(set(names)) != len(names):
            _add(mistakes, path, line, "a column is named twice")
    if mistakes:
        raise InputError(mistakes)


def _override(row: Mapping[str, str], path: Path, line: int, mistakes: list[Mistake]) -> Override | None:
    before = len(mistakes)
    reserved = _count(row.get("reserved_instances", ""), "reserved_instances", MOST_INSTANCES, path, line, mistakes)
    price = _price(row["price_usd_per_hour"], path, line, mistakes)
    accelerators = _count(row.get("accelerators", ""), "accelerators", _MOST_ACCELERATORS, path, line, mistakes)
    vcpus, memory_gib = (_size(row.get(name, ""), name, path, line, mistakes) for name in ("vcpus", "memory_gib"))
    described = [name for name in ("accelerators", "vcpus", "memory_gib") if row.get(name)]
    lacking = [name for name in MACHINE if not row.get(name)]
    if described and lacking:
        _add(mistakes, path, line, f"describes a machine of its own, and lacks {', '.join(lacking)}")
    spot = row.get("spot", "").lower()
    as_of = row.get("as_of", "")
    if spot not in ("", "false", "no", "true", "yes"):
        _add(mistakes, path, line, f"spot must be true or false, found {spot[:_SHOWN]!r}")
    term = _term(row, path, line, mistakes)
    for name in ("cloud", "instance_type"):
        if not row[name]:
            _add(mistakes, path, line, f"{name} is empty")
    if price == 0 and reserved is None:
        _add(mistakes, path, line, "price_usd_per_hour is 0 without reserved_instances: say how many are paid for")
    if reserved is not None and not row.get("region"):
        _add(mistakes, path, line, "reserved_instances needs a region: capacity is paid for in one place")
    if as_of and not _is_date(as_of):
        _add(mistakes, path, line, f"as_of must be a date such as 2026-05-20, found {as_of[:_SHOWN]!r}")
    if len(mistakes) > before:
        return None
    return Override(
        cloud=row["cloud"],
        region=row.get("region", ""),
        instance_type=row["instance_type"],
        accelerator=row.get("accelerator", ""),
        use_spot=spot in ("true", "yes") or row.get("purchase") == PriceKind.SPOT,
        price_usd_per_hour=price,
        reserved_instances=reserved,
        as_of=as_of,
        note=" ".join(row.get("note", "").split())[:200],
        place=f"{path.name}:{line}",
        line=line,
        described=(
            None
            if accelerators is None
            else DescribedMachine(accelerators=accelerators, vcpus=vcpus, memory_gib=memory_gib)
        ),
        term=term,
    )


def _term(row: Mapping[str, str], path: Path, line: int, mistakes: list[Mistake]) -> PriceKind | None:
    """The term that the price is for; None: it is paid by the hour."""
    purchase, spot = row.get("purchase", ""), row.get("spot", "").lower()
    if not purchase:
        return None
    if purchase not in set(PriceKind):
        _add(mistakes, path, line, f"purchase must be one of {', '.join(PriceKind)}, found {purchase[:_SHOWN]!r}")
        return None
    if spot and (purchase == PriceKind.SPOT) != (spot in ("true", "yes")):
        _add(mistakes, path, line, f"purchase is {purchase}, spot is {spot[:_SHOWN]}: leave out spot")
    if not PriceKind(purchase).years:
        return None
    if row.get("reserved_instances"):
        _add(mistakes, path, line, f"reserved_instances are paid for already, {purchase} is the price of a new term")
    if any(row.get(name) for name in ("accelerators", "vcpus", "memory_gib")):
        _add(mistakes, path, line, f"describe the machine in a line of its own, without {purchase}")
    if _number(row["price_usd_per_hour"]) == 0:
        _add(mistakes, path, line, f"price_usd_per_hour is 0 for {purchase}: give what the term costs per hour")
    return PriceKind(purchase)


def _price(text: str, path: Path, line: int, mistakes: list[Mistake]) -> float:
    price = _number(text)
    if not 0 <= price <= MOST_USD_PER_HOUR:
        _add(
            mistakes,
            path,
            line,
            f"price_usd_per_hour must be an amount such as 2.49, found {text[:_SHOWN]!r}",
        )
    return price


def _number(text: str) -> float:
    """As workload.yaml reads numbers: neither `4_29` nor `010`; NaN for what is not one."""
    return float(text) if len(text) < 40 and _NUMBER.fullmatch(text) else math.nan


def _size(text: str, name: str, path: Path, line: int, mistakes: list[Mistake]) -> float | None:
    if not text:
        return None
    size = _number(text)
    if not 0 < size <= _MOST_OF_A_MACHINE:
        _add(mistakes, path, line, f"{name} must be a number such as 48, found {text[:_SHOWN]!r}")
    return size


def _count(text: str, name: str, most: int, path: Path, line: int, mistakes: list[Mistake]) -> int | None:
    if not text:
        return None
    if not (len(text) < 10 and re.fullmatch(r"[1-9][0-9]*", text, re.ASCII) and int(text) <= most):
        _add(mistakes, path, line, f"{name} must be a whole number from 1 to {most:,}, found {text[:_SHOWN]!r}")
        return 1
    return int(text)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _add(mistakes: list[Mistake], path: Path, line: int, message: str) -> None:
    mistakes.append(Mistake(source=str(path), line=line, message=message))


def _error(path: Path, message: str, *, line: int | None = None) -> InputError:
    return InputError([Mistake(source=str(path), line=line, message=message)])
