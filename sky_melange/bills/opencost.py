"""OpenCost's answer to `/allocation`, and its CSV export -> charges. It states no currency; the default is USD."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from sky_melange.bills.focus import named_by_tags
from sky_melange.bills.rows import Faults, Row, to_decimal, to_seconds
from sky_melange.domain.bill import Charge
from sky_melange.errors import InputError, Mistake
from sky_melange.untrusted import mistake, parse_json, read_text

_LIMIT_BYTES: Final = 512 * 1024 * 1024
_REQUIRED: Final = ("Date", "Namespace", "Pod", "TotalCost")
_POD: Final = re.compile(r"(.+)-(head|worker[0-9]*)")
"""How SkyPilot names the pods of a cluster."""

_CLUSTER: Final = re.compile(r".+-[0-9a-f]{8}")
"""How SkyPilot names clusters on a cloud: their name, and the hash of the user."""

_DAY_S: Final = 86_400


def is_opencost(header: Sequence[str]) -> bool:
    """Whether these are columns of OpenCost's CSV export."""
    return "TotalCost" in header and ("Pod" in header or "ControllerKind" in header)


def csv_charges(path: Path, header: Sequence[str], rows: Iterator[Row]) -> Iterator[Charge]:
    """A row is a container's cost of a day; how long it ran is not in it."""
    missing = [name for name in _REQUIRED if name not in header]
    if missing:
        message = f"lacks columns of OpenCost's CSV export: {', '.join(missing)}"
        raise InputError([Mistake(source=str(path), message=message, line=1)])
    faults = Faults(str(path))
    labels = [(name.removeprefix("Label_"), at) for at, name in enumerate(header) if name.startswith("Label_")]
    date, namespace, pod, total = (header.index(name) for name in _REQUIRED)
    for line, cells in rows:
        start = to_seconds(cells[date])
        cost = to_decimal(cells[total].strip())
        if start is None:
            faults.add(line, "Date", f"want a date such as 2026-07-01, found {cells[date][:40]!r}")
        if cost is None:
            faults.add(line, "TotalCost", f"want a finite number, found {cells[total][:40]!r}")
        if start is None or cost is None:
            continue
        named = named_by_tags({name: cells[at] for name, at in labels})
        yield _charge(
            (start, start + _DAY_S), cost, named, pod=cells[pod], what=f"namespace {cells[namespace] or 'unknown'}"
        )
    faults.check()


def json_charges(path: Path) -> Iterator[Charge]:
    """Every allocation of every step."""
    document = parse_json(read_text(path, limit_bytes=_LIMIT_BYTES), str(path), is_finite=True)
    steps = document.get("data") if isinstance(document, dict) else document
    if isinstance(steps, dict):
        steps = [steps]
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps if step is not None):
        message = 'is not an answer to OpenCost\'s /allocation: want {"code": 200, "data": [{NAME: {…}, …}, …]}'
        raise mistake(path, message)
    faults = Faults(str(path))
    for number, step in enumerate(steps):
        for name, allocation in (step or {}).items():
            charge = _allocation(f"data[{number}].{name[:60]}", name, allocation, faults)
            if charge is not None:
                yield charge
    faults.check()


def _allocation(key: str, name: str, allocation: object, faults: Faults) -> Charge | None:
    if not isinstance(allocation, dict):
        faults.add(1, key, "want an object")
        return None
    before = len(faults.found)
    found: dict[str, Decimal] = {}
    for field in ("totalCost", "gpuHours", "minutes"):
        value = allocation.get(field)
        number = to_decimal(repr(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None
        if number is None and not (value is None and field != "totalCost"):
            faults.add(1, f"{key}.{field}", f"want a finite number, found {str(value)[:40]!r}")
        found[field] = number or Decimal(0)
    moments = []
    window = allocation.get("window")
    for field in ("start", "end"):
        text = allocation.get(field) or (window.get(field) if isinstance(window, dict) else None)
        moment = to_seconds(text) if isinstance(text, str) else None
        if moment is None:
            faults.add(1, f"{key}.{field}", f"want a time such as 2026-07-01T00:00:00Z, found {str(text)[:40]!r}")
        moments.append(moment or 0)
    if len(faults.found) > before:
        return None
    given = allocation.get("properties")
    properties: Mapping[str, Any] = given if isinstance(given, dict) else {}
    labels = properties.get("labels")
    named = named_by_tags(labels if isinstance(labels, dict) else {})
    pod = str(properties.get("pod") or name.rsplit("/", maxsplit=1)[-1])
    if not named[0] and _CLUSTER.fullmatch(name):
        # Aggregated by the label.
        named = (name, *named[1:])
    gpu_hours = Fraction(found["gpuHours"]) or None
    charge = _charge(
        (moments[0], max(moments)),
        found["totalCost"],
        named,
        pod=pod,
        what=f"namespace {properties.get('namespace') or name}",
    )
    return charge._replace(
        hours=None if gpu_hours else Fraction(found["minutes"]) / 60,
        gpu_hours=gpu_hours,
        is_machine=not name.startswith("__"),
    )


def _charge(period: tuple[int, int], cost: Decimal, named: tuple[str, str, str], *, pod: str, what: str) -> Charge:
    cluster, workload, group = named
    by_pod = _POD.fullmatch(pod)
    return Charge(
        start_s=period[0],
        end_s=period[1],
        cost=cost,
        hours=None,
        gpu_hours=None,
        is_machine=True,
        category="Usage",
        is_correction=False,
        commitment="",
        pricing="",
        cloud="kubernetes",
        region="",
        machine="",
        resource=pod,
        cluster=cluster or (by_pod[1] if by_pod and _CLUSTER.fullmatch(by_pod[1]) else ""),
        planned=(workload, group),
        account="",
        what=what,
    )
