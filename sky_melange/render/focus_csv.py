"""Plans as projected charges in the columns of FOCUS 1.2, the FinOps Open Cost and Usage Specification.

What only an invoice knows is empty: BilledCost, accounts, invoices, billing periods, SKUs. Without a period the rows
are of one hour in the mean, without its date.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from sky_melange.domain.plan import Plan
from sky_melange.domain.planned_bill import InstanceHours, PlannedLine, Purchase, planned_lines
from sky_melange.domain.unit_costs import TokenBasis, token_rates
from sky_melange.domain.workload import Workload

TAG_PREFIX: Final = "sky-melange-"
"""Tags `sky-melange-workload`, `sky-melange-group` and `sky-melange-model`; `check --billed` knows them again."""

COLUMNS: Final = (
    "AvailabilityZone",
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "CommitmentDiscountCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountQuantity",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
    "CommitmentDiscountUnit",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingCurrency",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuPriceDetails",
    "SkuPriceId",
    "Tags",
    "x_Accelerator",
    "x_AcceleratorCount",
    "x_InstanceType",
    "x_MillionTokens",
    "x_TokenBasis",
    "x_UsdPerMillionTokens",
)
"""All mandatory columns, those that apply to machines, and our own, which FOCUS wants to begin with `x_`."""

_PROVIDERS: Final[Mapping[str, tuple[str, str]]] = {
    "aws": ("AWS", "Amazon Elastic Compute Cloud"),
    "azure": ("Microsoft", "Virtual Machines"),
    "gcp": ("Google Cloud", "Compute Engine"),
}
_PRICING: Final = {
    Purchase.ON_DEMAND: "Standard",
    Purchase.SPOT: "Dynamic",
    Purchase.COMMITTED: "Committed",
}
_HOUR_S: Final = 3600
_DIGITS: Final = 12


def render(plans: Sequence[tuple[Plan, Workload]], period: tuple[int, int] | None = None) -> str:
    """The CSV text; `period` in seconds since 1970."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for plan, workload in plans:
        lines = planned_lines(plan, workload)
        tokens = _million_tokens(plan, workload, lines, period)
        for line in lines:
            for row in _rows(line, tokens, workload, period):
                writer.writerow([_cell(row.get(column)) for column in COLUMNS])
    return stream.getvalue()


def _million_tokens(
    plan: Plan, workload: Workload, lines: Sequence[PlannedLine], period: tuple[int, int] | None
) -> dict[str, Fraction]:
    """Millions of tokens of each group in the period, for an hour of one of its instances."""
    traffic = workload.traffic
    means = {}
    for bucket in traffic.buckets():
        known = None if traffic.mean_tokens is None else traffic.mean_tokens[bucket.input_index][bucket.output_index]
        edges = (bucket.input_tokens, bucket.output_tokens)
        means[edges] = sum(edges if known is None else known)
    part = 1.0 if traffic.hours is None else traffic.hours.mean_rps / traffic.hours.peak_rps
    seconds = _HOUR_S if period is None else period[1] - period[0]
    found: dict[str, Fraction] = {}
    for group in plan.groups:
        per_second = math.fsum(
            route.rate_rps * dict(route.shares).get(group.name, 0.0) * means[route.input_tokens, route.output_tokens]
            for route in plan.routing
            if (route.input_tokens, route.output_tokens) in means
        )
        hours = sum((_between(line.used, period) for line in lines if line.group == group.name), Fraction(0))
        if per_second and hours:
            found[group.name] = Fraction(repr(per_second * part)) * seconds / 1_000_000 / hours
    return found


def _between(hours: InstanceHours, period: tuple[int, int] | None) -> Fraction:
    """In the period; without one in an hour, in the mean of the cycle."""
    if period is None:
        return sum(hours.counts, Fraction(0)) / len(hours.counts)
    return hours.between(*period)


def _rows(
    line: PlannedLine, tokens: Mapping[str, Fraction], workload: Workload, period: tuple[int, int] | None
) -> Iterator[dict[str, object]]:
    """One row; of committed instances one of what is used and one of what is not."""
    paid, used = (_between(hours, period) for hours in (line.hours, line.used))
    if line.purchase is not Purchase.COMMITTED:
        yield _row(line, paid, "", period) | _tokens(line, paid, tokens, workload)
        return
    yield _row(line, used, "Used", period) | _tokens(line, used, tokens, workload)
    if paid > used:
        yield _row(line, paid - used, "Unused", period)


def _row(line: PlannedLine, hours: Fraction, commitment: str, period: tuple[int, int] | None) -> dict[str, object]:
    provider, service = _PROVIDERS.get(line.cloud, (line.cloud, line.cloud))
    start, end = (None, None) if period is None else (moment(period[0]), moment(period[1]))
    # Nobody can say what a list price of hours would be in which nothing runs.
    listed = None if commitment == "Unused" else line.list_price
    # Without a negotiated price the contracted one is the list price, and neither has the discount of a commitment.
    contracted = line.price if listed is None and not commitment else listed
    machine = f"{line.accelerators_per_instance} × {line.accelerator}" if line.accelerator else "no GPU"
    tags = {"workload": line.workload, "group": line.name, "model": line.model}
    row: dict[str, object] = {
        "AvailabilityZone": line.zone,
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargeDescription": (
            f"Planned: {line.name} of {line.workload}; {line.instance_type or 'machine'} ({machine}) "
            f"{line.purchase.value}{f' and {commitment.lower()}' if commitment else ''}"
        ),
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": end,
        "ChargePeriodStart": start,
        "ConsumedQuantity": None if commitment == "Unused" else hours,
        "ConsumedUnit": None if commitment == "Unused" else "Hours",
        "ContractedCost": None if contracted is None else contracted * hours,
        "ContractedUnitPrice": contracted,
        "EffectiveCost": None if line.price is None else line.price * hours,
        "InvoiceIssuerName": provider,
        "ListCost": None if listed is None else listed * hours,
        "ListUnitPrice": listed,
        "PricingCategory": _PRICING[line.purchase],
        "PricingCurrency": "USD",
        "PricingQuantity": hours,
        "PricingUnit": "Hours",
        "ProviderName": provider,
        "PublisherName": provider,
        "RegionId": line.region,
        "ResourceName": line.name,
        "ResourceType": "Virtual machine",
        "ServiceCategory": "Compute",
        "ServiceName": service,
        "ServiceSubcategory": "Virtual Machines",
        "Tags": json.dumps({f"{TAG_PREFIX}{key}": value for key, value in tags.items()}, ensure_ascii=False),
        "x_Accelerator": line.accelerator,
        "x_AcceleratorCount": line.accelerators_per_instance if line.accelerator else None,
        "x_InstanceType": line.instance_type,
    }
    if commitment:
        row |= {
            "CommitmentDiscountCategory": "Usage",
            "CommitmentDiscountId": f"planned/{line.workload}/{line.name}/{line.term}",
            "CommitmentDiscountQuantity": hours,
            "CommitmentDiscountStatus": commitment,
            "CommitmentDiscountType": line.term,
            "CommitmentDiscountUnit": "Hours",
        }
    return row


def _tokens(
    line: PlannedLine, hours: Fraction, tokens: Mapping[str, Fraction], workload: Workload
) -> dict[str, object]:
    """The planned tokens of a group, by the part of its hours that a row is of."""
    if line.group not in tokens:
        return {}
    millions = tokens[line.group] * hours
    cost = None if line.price is None else line.price * hours
    basis = token_rates(workload.traffic).basis
    return {
        "x_MillionTokens": millions,
        "x_TokenBasis": "upper bound" if basis is TokenBasis.UPPER else "mean",
        "x_UsdPerMillionTokens": cost / millions if cost is not None and millions else None,
    }


def _cell(value: object) -> str:
    """Text of a cell. One that a spreadsheet would take for a formula begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, Fraction):
        return decimal_text(value)
    return quoted(str(value))


def quoted(text: str) -> str:
    """Text on one line that no spreadsheet computes."""
    plain = "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))
    return f"'{plain}" if plain[:1] in ("=", "+", "-", "@") else plain


def decimal_text(value: Fraction) -> str:
    """Exact where twelve digits after the point are enough, else rounded to them."""
    text = f"{round(value * 10**_DIGITS)}"
    sign, digits = ("-", text[1:]) if text[0] == "-" else ("", text)
    digits = digits.rjust(_DIGITS + 1, "0")
    return f"{sign}{digits[:-_DIGITS]}.{digits[-_DIGITS:]}".rstrip("0").rstrip(".")


def moment(seconds: int) -> str:
    """In UTC, as FOCUS writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
