"""A FOCUS export -> charges. Columns and values: FinOps Open Cost and Usage Specification, 1.0 to 1.3.

And OpenCost's answer to `/allocation` or its CSV export, which state no currency; the default is USD.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from sky_melange.bills.rows import BillOptions, Faults, Row, to_decimal, to_seconds
from sky_melange.domain.bill import Charge
from sky_melange.errors import InputError, Mistake
from sky_melange.untrusted import mistake, parse_json, read_text

_LIMIT_BYTES: Final = 512 * 1024 * 1024

_REQUIRED_OF_OPENCOST: Final = ("Date", "Namespace", "Pod", "TotalCost")

_POD: Final = re.compile(r"(.+)-(head|worker[0-9]*)")
"""How SkyPilot names the pods of a cluster."""

_CLUSTER: Final = re.compile(r".+-[0-9a-f]{8}")
"""How SkyPilot names clusters on a cloud: their name, and the hash of the user."""

_DAY_S: Final = 86_400

WORKLOAD_TAG: Final = "sky-melange-workload"
GROUP_TAG: Final = "sky-melange-group"
_CLUSTER_TAGS: Final = ("skypilot-cluster-name", "skypilot-cluster", "ray-cluster-name")
"""What SkyPilot sets on the machines of a cluster, the present name first."""

_CATEGORIES: Final = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
_PROVIDERS: Final = (
    ("amazon", "aws"),
    ("aws", "aws"),
    ("microsoft", "azure"),
    ("azure", "azure"),
    ("google", "gcp"),
    ("digitalocean", "do"),
    ("oracle", "oci"),
)
_REQUIRED: Final = ("BillingAccountId", "BillingCurrency", "ChargeCategory", "ChargePeriodEnd", "ChargePeriodStart")
_NAMES_MACHINE: Final = ("SkuPriceDetails", "SkuMeter", "x_UsageType", "x_SkuDetails", "ChargeDescription", "Tags")
"""Where the instance type is: SkuPriceDetails from 1.1 on, AWS's x_UsageType and Azure's x_SkuDetails before."""

_HOURS: Final[Mapping[str, tuple[int, int]]] = {
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "h", "instance-hours", "instance hours", "vm hours"), (1, 1)),
    **dict.fromkeys(("second", "seconds", "sec", "s"), (1, 3600)),
    **dict.fromkeys(("minute", "minutes", "min"), (1, 60)),
    **dict.fromkeys(("day", "days"), (24, 1)),
}
_UNIT: Final = re.compile(r"([0-9]{1,6})?\s*([a-z -]+)")
_NO_MACHINE: Final = re.compile(
    r"volume|disk|storage|snapshot|ip ?address|elastic ip|nat ?gateway|load ?balanc|vpn|network"
)
_PART: Final = re.compile(r"\b(gpu|instance core|instance ram|core running|ram running)\b")
"""Google bills cores, memory and GPUs of a machine in rows of their own."""

_COMPUTE: Final = ("", "Compute", "AI and Machine Learning")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Where each column is; -1: not there."""

    index: Mapping[str, int]
    cost: str

    def cell(self, cells: Sequence[str], name: str) -> str:
        """Without the blanks around it; `null` of some exporters is empty."""
        at = self.index.get(name, -1)
        text = cells[at].strip() if at >= 0 else ""
        return "" if text in ("NULL", "null") else text


def is_focus(header: Sequence[str]) -> bool:
    """Whether these may be columns of FOCUS: one that every version has, and no other format of bills."""
    return any(name in header for name in ("ChargePeriodStart", "BilledCost", "EffectiveCost", "ChargeCategory"))


def focus_charges(path: Path, header: Sequence[str], rows: Iterator[Row], options: BillOptions) -> Iterator[Charge]:
    """Every row. Raises InputError: columns that are missing, all at once; mistakes in rows; another currency."""
    columns = _columns(path, header, options.cost_column)
    faults = Faults(str(path))
    cell = columns.cell
    in_usd = options.cost_column.lower().endswith("inusd")
    for line, cells in rows:
        currency = cell(cells, "BillingCurrency")
        if currency != "USD" and not in_usd:
            faults.add(line, "BillingCurrency", _currency_fault(currency, header))
            continue
        account = cell(cells, "BillingAccountId")
        if options.accounts and account not in options.accounts:
            continue
        charge = _charge(columns, line, cells, faults)
        if charge is not None:
            yield charge._replace(account=account)
    faults.check()


def is_opencost(header: Sequence[str]) -> bool:
    """Whether these are columns of OpenCost's CSV export."""
    return "TotalCost" in header and ("Pod" in header or "ControllerKind" in header)


def csv_charges(path: Path, header: Sequence[str], rows: Iterator[Row]) -> Iterator[Charge]:
    """A row is a container's cost of a day; how long it ran is not in it."""
    missing = [name for name in _REQUIRED_OF_OPENCOST if name not in header]
    if missing:
        message = f"lacks columns of OpenCost's CSV export: {', '.join(missing)}"
        raise InputError([Mistake(source=str(path), message=message, line=1)])
    faults = Faults(str(path))
    labels = [(name.removeprefix("Label_"), at) for at, name in enumerate(header) if name.startswith("Label_")]
    date, namespace, pod, total = (header.index(name) for name in _REQUIRED_OF_OPENCOST)
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
        yield _opencost_charge(
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


def _columns(path: Path, header: Sequence[str], cost: str) -> _Columns:
    known = {name.lower(): number for number, name in enumerate(header)}
    wanted = {*_REQUIRED, cost}
    missing = [name for name in sorted(wanted) if name.lower() not in known]
    has_quantity = any(f"{kind}quantity" in known and f"{kind}unit" in known for kind in ("pricing", "consumed"))
    if not has_quantity:
        missing.append("PricingQuantity with PricingUnit, or ConsumedQuantity with ConsumedUnit")
    if not {"providername", "serviceprovidername"} & set(known):
        missing.append("ProviderName, or ServiceProviderName from FOCUS 1.3 on")
    if missing:
        message = f"lacks columns of FOCUS: {'; '.join(missing)}. Export all columns of FOCUS 1.0 or later"
        raise InputError([Mistake(source=str(path), message=message, line=1)])
    names = {*_REQUIRED, *_NAMES_MACHINE, cost, *_OPTIONAL}
    return _Columns(index={name: known.get(name.lower(), -1) for name in names}, cost=cost)


_OPTIONAL: Final = (
    "ChargeClass",
    "CommitmentDiscountStatus",
    "ConsumedQuantity",
    "ConsumedUnit",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "RegionId",
    "ResourceId",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
    "ServiceSubcategory",
)


def _currency_fault(currency: str, header: Sequence[str]) -> str:
    in_usd = next((name for name in header if name.lower().endswith("costinusd")), None)
    how = f"pass --cost-column {in_usd}" if in_usd else "export it in USD, or convert its cost columns"
    return f"is {currency[:20] or 'empty'!r}, and plans are in USD: {how}"


def _charge(columns: _Columns, line: int, cells: Sequence[str], faults: Faults) -> Charge | None:
    before = len(faults.found)

    def get(name: str) -> str:
        return columns.cell(cells, name)

    cost = to_decimal(get(columns.cost))
    if cost is None:
        faults.add(line, columns.cost, f"want a finite number such as 12.34, found {get(columns.cost)[:40]!r}")
    moments = []
    for name in ("ChargePeriodStart", "ChargePeriodEnd"):
        moment = _seconds(get(name))
        if moment is None:
            faults.add(line, name, f"want a time such as 2026-07-01T00:00:00Z, found {get(name)[:40]!r}")
        moments.append(moment or 0)
    category = get("ChargeCategory")
    if category not in _CATEGORIES:
        faults.add(line, "ChargeCategory", f"want one of {', '.join(_CATEGORIES)}, found {category[:40]!r}")
    if len(faults.found) == before and moments[1] < moments[0]:
        faults.add(line, "ChargePeriodEnd", "is before ChargePeriodStart")
    hours, is_time = _hours(get, line, faults)
    tags = _tags(get("Tags"))
    if tags is None:
        faults.add(line, "Tags", f"want a JSON object, found {get('Tags')[:40]!r}; is the file half-written?")
    if len(faults.found) > before or cost is None or tags is None:
        return None
    cloud = _cloud(get("ServiceProviderName") or get("ProviderName"))
    machine = _machine_text(tuple(get(name) for name in _NAMES_MACHINE))
    subcategory = get("ServiceSubcategory")
    part = _PART.search(f"{get('ChargeDescription')} {get('SkuMeter')}".lower()) if cloud == "gcp" else None
    is_gpu = part is not None and part[1] == "gpu"
    if part and not is_time:
        # Memory, by its size: it runs as long as the cores and GPUs of the machine, whose hours count.
        hours, is_time = Fraction(0), True
    is_machine = (
        is_time
        and category == "Usage"
        and get("ServiceCategory") in _COMPUTE
        and subcategory in ("", "Virtual Machines", "Containers", "Other (Compute)")
        and not _is_no_machine(f"{get('ResourceType')} {get('SkuMeter')} {get('x_UsageType')}")
    )
    return Charge(
        start_s=moments[0],
        end_s=moments[1],
        cost=cost,
        hours=None if is_gpu else hours,
        gpu_hours=hours if is_gpu else None,
        is_machine=is_machine,
        category=category,
        is_correction=get("ChargeClass") == "Correction",
        commitment=get("CommitmentDiscountStatus"),
        pricing=get("PricingCategory"),
        cloud=cloud,
        region=get("RegionId").lower(),
        machine=machine,
        resource=get("ResourceId"),
        cluster=tags[0],
        planned=(tags[1], tags[2]),
        account="",
        what=get("ServiceName") or category,
    )


def _hours(get: Any, line: int, faults: Faults) -> tuple[Fraction | None, bool]:
    """The hours of a row, and whether it is of time at all: units are those of the price, else of the consumption."""
    for kind in ("Pricing", "Consumed"):
        unit, text = get(f"{kind}Unit"), get(f"{kind}Quantity")
        scale = _scale(unit)
        if scale is None:
            continue
        if not text:
            return None, True
        quantity = to_decimal(text)
        if quantity is None:
            faults.add(line, f"{kind}Quantity", f"want a finite number, found {text[:40]!r}")
            return None, True
        return Fraction(quantity) * scale[0] / scale[1], True
    return None, False


@lru_cache(maxsize=256)
def _scale(unit: str) -> tuple[int, int] | None:
    """Hours in one of a unit, as a quotient: `Hours`, `Hrs`, `1 Hour`, Azure's `100 Hours`, `seconds`."""
    found = _UNIT.fullmatch(unit.strip().lower())
    if found is None or found[2].strip() not in _HOURS:
        return None
    times, parts = _HOURS[found[2].strip()]
    return times * int(found[1] or 1), parts


_seconds = lru_cache(maxsize=4096)(to_seconds)


@lru_cache(maxsize=256)
def _cloud(provider: str) -> str:
    lower = provider.lower()
    return next((cloud for word, cloud in _PROVIDERS if word in lower), lower.split(" ")[0])


@lru_cache(maxsize=4096)
def _machine_text(texts: tuple[str, ...]) -> str:
    return " ".join(texts).lower()


@lru_cache(maxsize=4096)
def _is_no_machine(text: str) -> bool:
    return _NO_MACHINE.search(text.lower()) is not None


@lru_cache(maxsize=4096)
def _tags(text: str) -> tuple[str, str, str] | None:
    """SkyPilot's cluster, and workload and group; None: not JSON. AWS puts `user:` before keys of tags.

    Azure's older exports have no braces, BigQuery has a list of `{key, value}`.
    """
    if not text:
        return "", "", ""
    try:
        value = parse_json(text if text[0] in "{[" else f"{{{text}}}", "Tags")
    except InputError:
        return None
    if isinstance(value, list):
        value = {str(each.get("key")): each.get("value") for each in value if isinstance(each, dict)}
    return named_by_tags(value) if isinstance(value, dict) else None


def named_by_tags(tags: Mapping[str, object]) -> tuple[str, str, str]:
    """SkyPilot's cluster, and the workload and group of a plan; "" where tags do not say."""
    plain = {re.split("[:/]", key.lower())[-1].replace("_", "-"): str(value) for key, value in tags.items() if value}
    cluster = next((plain[name] for name in _CLUSTER_TAGS if name in plain), "")
    return cluster, plain.get(WORKLOAD_TAG, ""), plain.get(GROUP_TAG, "")


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
    charge = _opencost_charge(
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


def _opencost_charge(
    period: tuple[int, int], cost: Decimal, named: tuple[str, str, str], *, pod: str, what: str
) -> Charge:
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
