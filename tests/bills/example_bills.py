"""Twelve bills and the plans that they are of; `python tests/bills/example_bills.py` writes tests/data/bills.

Columns, types and values are those of the FOCUS specification and OpenCost's API; names of columns that begin with
`x_` and the spelling of units, tags and instance types are those of each provider's export. No row is of a real
account.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / "check")]
from check_cases import WORKLOAD, group, offer, plan_of, text  # noqa: E402

from sky_melange.domain.bill import Cause  # noqa: E402
from sky_melange.domain.plan import Commitments, Cost, GroupCommitment, Plan, Scenario  # noqa: E402
from sky_melange.domain.price_record import PriceKind  # noqa: E402

FOLDER = Path(__file__).parents[1] / "data" / "bills"
SHOWN = Path(__file__).parents[2] / "examples" / "bills"
START = datetime(2026, 7, 6, tzinfo=UTC)
USER = "1a2b3c4d"

H100 = offer("H100", 98.32, instance_type="p5.48xlarge", accelerators_per_instance=8)
SPOT = offer("L4", 0.3, use_spot=True)
AZURE = offer("H100", 6.98, cloud="azure", region="eastus2", instance_type="Standard_NC40ads_H100_v5")
GCP = offer("L4", 0.85, cloud="gcp", region="us-central1", instance_type="g2-standard-8")
TERM = GroupCommitment(
    kind=PriceKind.COMMIT_3Y, instances=3, price_usd_per_hour=43.16, as_of="2026-07-01", source="a list"
)


def with_overhead(plan: Plan) -> Plan:
    return replace(plan, cost=Cost.of(plan.groups, plan.overhead))


def committed_plan() -> Plan:
    plan = with_overhead(
        plan_of(group(H100, 3, name="chat-h100-x8", replicas_per_instance=8, committed=replace(TERM, instances=3)))
    )
    total = plan.cost.total_usd_per_hour
    planned = Scenario(
        name="as planned", traffic_factor=1.0, spot_factors=(), usd_per_hour=total, never_usd_per_hour=None
    )
    return replace(plan, commitments=Commitments(scenarios=(planned,), least_traffic_factor=None))


WORKLOADS = {
    "committed": replace(
        WORKLOAD, candidates=replace(WORKLOAD.candidates, purchase=(PriceKind.ON_DEMAND, PriceKind.COMMIT_3Y))
    )
}

PLANS: Mapping[str, Plan] = {
    "aws": with_overhead(
        plan_of(
            group(H100, 2, name="chat-h100-x8", replicas_per_instance=8),
            group(SPOT, 3, name="chat-l4-spot"),
        )
    ),
    "committed": committed_plan(),
    "azure": with_overhead(plan_of(group(AZURE, 2, name="chat-h100"))),
    "gcp": with_overhead(plan_of(group(GCP, 2, name="chat-l4"))),
}
"""Each is of the workload `chat`; its controller is a c6i.xlarge on AWS at 0.17 USD per hour."""

AWS_COLUMNS = """
    BilledCost BillingAccountId BillingCurrency ChargeCategory ChargeClass ChargeDescription ChargePeriodEnd
    ChargePeriodStart CommitmentDiscountId CommitmentDiscountStatus ConsumedQuantity ConsumedUnit EffectiveCost
    ListCost
    PricingCategory PricingQuantity PricingUnit ProviderName RegionId ResourceId ResourceType
    ServiceCategory ServiceName
    ServiceSubcategory SkuMeter SkuPriceDetails Tags
""".split()  # noqa: SIM905 - shorter
AWS_1_0_COLUMNS = [
    *(name for name in AWS_COLUMNS if name not in ("ServiceSubcategory", "SkuMeter", "SkuPriceDetails")),
    "x_UsageType",
]
AZURE_COLUMNS = [*AWS_1_0_COLUMNS[:-1], "x_EffectiveCostInUsd", "x_SkuDetails"]
Row = dict[str, str]


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def days(count: int = 2) -> list[tuple[datetime, datetime]]:
    return [(START + timedelta(days=day), START + timedelta(days=day + 1)) for day in range(count)]


def usage(cost: Decimal | str, span: tuple[datetime, datetime], hours: Decimal | str = "24", **changes: str) -> Row:
    row = {
        "BilledCost": str(cost),
        "EffectiveCost": str(cost),
        "ListCost": str(cost),
        "BillingAccountId": "111122223333",
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": stamp(span[0]),
        "ChargePeriodEnd": stamp(span[1]),
        "ConsumedQuantity": str(hours),
        "ConsumedUnit": "Hrs",
        "PricingCategory": "Standard",
        "PricingQuantity": str(hours),
        "PricingUnit": "Hrs",
        "ProviderName": "AWS",
        "RegionId": "us-east-1",
        "ResourceType": "Instance",
        "ServiceCategory": "Compute",
        "ServiceName": "Amazon Elastic Compute Cloud",
        "ServiceSubcategory": "Virtual Machines",
    }
    return row | changes


def machine(cluster: str, instance_type: str, number: int = 1, *, spot: bool = False) -> dict[str, str]:
    """What names a machine of AWS."""
    meter = f"{'SpotUsage' if spot else 'BoxUsage'}:{instance_type}"
    return {
        "ResourceId": f"i-{cluster}-{number}",
        "SkuMeter": meter,
        "x_UsageType": meter,
        "SkuPriceDetails": json.dumps({"InstanceType": instance_type}),
        "Tags": json.dumps({"user:skypilot-cluster-name": f"{cluster}-{USER}"}) if cluster else "",
        "PricingCategory": "Dynamic" if spot else "Standard",
    }


def h100s(spans: Iterable[tuple[datetime, datetime]], count: int = 2, price: str = "98.32") -> list[Row]:
    cost = Decimal(price) * 24
    return [
        usage(cost, span, **machine(f"chat-h100-x8-{number}", "p5.48xlarge"))
        for span in spans
        for number in range(1, count + 1)
    ]


def spots(spans: Iterable[tuple[datetime, datetime]], prices: Sequence[str] = ("0.3",)) -> list[Row]:
    return [
        usage(Decimal(prices[day % len(prices)]) * 24, span, **machine(f"chat-l4-spot-{n}", "g6.xlarge", spot=True))
        for day, span in enumerate(spans)
        for n in (1, 2, 3)
    ]


def controllers(spans: Iterable[tuple[datetime, datetime]]) -> list[Row]:
    name = "sky-serve-controller-5e6f7a8b"
    return [usage("4.08", span, **machine(name, "c6i.xlarge")) for span in spans]


def as_planned() -> list[Row]:
    return [*h100s(days()), *spots(days()), *controllers(days())]


def committed(spans: Iterable[tuple[datetime, datetime]], *, used: int, billed: str) -> list[Row]:
    """Machines that a commitment covers: what each costs is paid by the commitment, and amortised here."""
    cost = Decimal("43.16") * 24
    found = []
    for span in spans:
        for number in (1, 2, 3):
            row = usage(cost, span, **machine(f"chat-h100-x8-{number}", "p5.48xlarge"))
            row |= {
                "BilledCost": billed,
                "CommitmentDiscountId": "arn:aws:savingsplans::111122223333:savingsplan/0",
                "CommitmentDiscountStatus": "Used" if number <= used else "Unused",
                "PricingCategory": "Committed",
                "ListCost": str(Decimal("98.32") * 24),
            }
            if number > used:
                row |= {"ResourceId": "", "Tags": ""}
            found.append(row)
    return found


def left_running() -> list[Row]:
    late = days(4)[2:]
    old = usage("19.32", days()[0], **machine("old-demo-1", "g6.xlarge"))
    return [*as_planned(), *h100s(late, count=1), old]


def credited() -> list[Row]:
    span = days()[0]
    own = machine("chat-h100-x8-1", "p5.48xlarge")
    refund = usage("-98.32", span, "-1", **own) | {"ChargeClass": "Correction"}
    disk = usage("3.21", span, "40", **own) | {
        "PricingUnit": "GB-Mo",
        "ConsumedUnit": "GB-Mo",
        "SkuMeter": "VolumeUsage",
    }
    credit = usage("-1000", span, "") | {"ChargeCategory": "Credit", "ServiceName": "=HYPERLINK(1)", "PricingUnit": ""}
    tax = usage("12.34", span, "") | {"ChargeCategory": "Tax", "ServiceName": "VAT", "PricingUnit": ""}
    return [*as_planned(), refund, disk, *({**row, "ConsumedUnit": ""} for row in (credit, tax))]


def amortised() -> list[Row]:
    upfront = usage("2268489.6", days()[0], "1") | {
        "EffectiveCost": "0",
        "ChargeCategory": "Purchase",
        "CommitmentDiscountId": "arn:aws:savingsplans::111122223333:savingsplan/0",
        "PricingUnit": "Purchase",
        "ConsumedUnit": "",
        "ServiceName": "Savings Plans for AWS Compute usage",
    }
    return [*committed(days(), used=2, billed="0"), upfront, *controllers(days())]


def azures(price: str, currency: str = "USD", rate: str = "1") -> list[Row]:
    """Azure: `1 Hour`, the size in x_SkuDetails, tags as they are, a column in USD next to the billing currency."""
    found = []
    for span in days():
        for number in (1, 2):
            usd = Decimal(price) * 24
            cost = (usd * Decimal(rate)).quantize(Decimal("0.0001"))
            row = usage(cost, span) | {
                "BillingCurrency": currency,
                "BillingAccountId": "/providers/Microsoft.Billing/billingAccounts/1",
                "PricingUnit": "1 Hour",
                "ConsumedUnit": "Hours",
                "ProviderName": "Microsoft",
                "RegionId": "eastus2",
                "ResourceId": f"/subscriptions/0/virtualmachines/chat-h100-{number}-{USER}-head",
                "ResourceType": "Virtual machine",
                "ServiceName": "Virtual Machines",
                "Tags": json.dumps({"ray-cluster-name": f"chat-h100-{number}-{USER}"}),
                "x_EffectiveCostInUsd": str(usd),
                "x_SkuDetails": json.dumps({"ServiceType": "Standard_NC40ads_H100_v5"}),
            }
            found.append(row)
    return found


def daylight_saving() -> list[Row]:
    """Google, on the day when Berlin's clocks go back: 25 hours with offsets; cores, memory and GPU apart.

    One machine has rows by the hour, the other by the day, which overlap them.
    """
    begin = datetime(2026, 10, 24, 22, tzinfo=UTC)
    found = []

    def parts(number: int, span: tuple[str, str], hours: int) -> list[Row]:
        shared = {
            "BillingAccountId": "0A0A0A-1B1B1B-2C2C2C",
            "ChargePeriodStart": span[0],
            "ChargePeriodEnd": span[1],
            "ProviderName": "Google Cloud",
            "RegionId": "us-central1",
            "ResourceId": f"//compute.googleapis.com/projects/p/instances/chat-l4-{number}",
            "ServiceName": "Compute Engine",
            "Tags": json.dumps([{"key": "skypilot-cluster-name", "value": f"chat-l4-{number}-{USER}"}]),
            "ConsumedUnit": "seconds",
        }
        rows = (
            ("G2 Instance Core running in Iowa", "0.24", "hour", 8 * hours),
            ("G2 Instance Ram running in Iowa", "0.11", "gibibyte hour", 32 * hours),
            ("Nvidia L4 GPU running in Iowa", "0.50", "hour", hours),
        )
        unused = (begin, begin)
        return [
            usage(Decimal(cost) * hours, unused, str(quantity))
            | shared
            | {"ChargeDescription": what, "PricingUnit": unit, "ConsumedUnit": "" if "byte" in unit else "seconds"}
            for what, cost, unit, quantity in rows
        ]

    for hour in range(25):
        edges = []
        for moment in (begin + timedelta(hours=hour), begin + timedelta(hours=hour + 1)):
            offset = 2 if moment < datetime(2026, 10, 25, 1, tzinfo=UTC) else 1
            edges.append((moment + timedelta(hours=offset)).strftime(f"%Y-%m-%dT%H:%M:%S+0{offset}:00"))
        found += parts(1, (edges[0], edges[1]), 1)
    return [*found, *parts(2, ("2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"), 25)]


def opencost() -> dict[str, Any]:
    """Pods by the day, with the labels as Prometheus spells them, what is idle, and a namespace of others."""
    steps: list[dict[str, Any]] = []
    for start, end in days():
        window = {"start": stamp(start), "end": stamp(end)}

        def pod(name: str, cost: float, gpu_hours: float, window: dict[str, str] = window) -> dict[str, Any]:
            properties: dict[str, Any] = {"cluster": "cluster-one"}
            if name.endswith(USER):
                labels = {"skypilot_cluster_name": name, "parent": "skypilot"}
                properties |= {"namespace": "serving", "pod": f"{name}-head", "labels": labels}
            return {
                "name": f"cluster-one/{name}",
                "properties": properties,
                "window": window,
                **window,
                "minutes": 1440.0,
                "gpuHours": gpu_hours,
                "gpuCost": cost / 2,
                "cpuCost": cost / 2,
                "totalCost": cost,
            }

        names = [f"chat-h100-x8-{n}-{USER}" for n in (1, 2)]
        step = {f"cluster-one/{name}-head": pod(name, 2359.68, 192.0) for name in names}
        step["__idle__"] = pod("__idle__", 11.11, 0.0)
        step["kube-system"] = pod("kube-system", 1.25, 0.0)
        steps.append(step)
    return {"code": 200, "data": steps}


@dataclass(frozen=True, kw_only=True)
class Example:
    """A bill, its plan, and what the comparison finds; `options` of the command."""

    plan: str
    rows: Callable[[], list[Row]] | None
    columns: Sequence[str] = tuple(AWS_COLUMNS)
    planned: str
    causes: Mapping[Cause, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    suffix: str = ".csv"


EXAMPLES: Mapping[str, Example] = {
    "on-demand": Example(plan="aws", rows=as_planned, planned="9490.08"),
    "spot": Example(
        plan="aws",
        rows=lambda: [*h100s(days()), *spots(days(), ("0.25", "0.45")), *controllers(days())],
        columns=AWS_1_0_COLUMNS,
        planned="9490.08",
        causes={Cause.PRICE: "7.20"},
    ),
    "committed": Example(
        plan="committed",
        rows=lambda: [*committed(days(), used=3, billed=str(Decimal("43.16") * 24)), *controllers(days())],
        planned="6223.20",
    ),
    "wrong-count": Example(
        plan="aws",
        rows=lambda: [*h100s(days(), count=3), *spots(days()), *controllers(days())],
        planned="9490.08",
        causes={Cause.COUNT: "4719.36"},
    ),
    "dearer-price": Example(
        plan="azure",
        rows=lambda: azures("7.50"),
        columns=AZURE_COLUMNS,
        planned="678.24",
        causes={Cause.PRICE: "49.92", Cause.HOURS: "-8.16"},
    ),
    "left-running": Example(
        plan="aws",
        rows=left_running,
        planned="9490.08",
        causes={Cause.HOURS: "4719.36", Cause.UNPLANNED: "19.32"},
        options=("--from", "2026-07-06", "--until", "2026-07-08"),
    ),
    "missing-group": Example(
        plan="aws",
        rows=lambda: [*h100s(days()), *controllers(days())],
        planned="9490.08",
        causes={Cause.HOURS: "-43.20"},
    ),
    "credits": Example(
        plan="aws",
        rows=credited,
        planned="9490.08",
        causes={Cause.CREDITS: "-1085.98", Cause.EXTRAS: "3.21"},
    ),
    "amortised": Example(plan="committed", rows=amortised, planned="6223.20"),
    "euro": Example(
        plan="azure",
        rows=lambda: azures("6.98", "EUR", "0.92"),
        columns=AZURE_COLUMNS,
        planned="678.24",
        causes={Cause.HOURS: "-8.16"},
        options=("--cost-column", "x_EffectiveCostInUsd"),
    ),
    "daylight-saving": Example(plan="gcp", rows=daylight_saving, planned="46.75", causes={Cause.HOURS: "-4.25"}),
    "opencost": Example(
        plan="aws",
        rows=None,
        planned="9490.08",
        causes={Cause.HOURS: "-51.36", Cause.UNPLANNED: "24.72"},
        suffix=".json",
    ),
}


def csv_text(rows: Iterable[Row], columns: Sequence[str]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def files() -> dict[str, str]:
    """Every file of the folder but its README."""
    found = {f"plan-{name}.json": text(plan, WORKLOADS.get(name, WORKLOAD)) for name, plan in PLANS.items()}
    for name, example in EXAMPLES.items():
        content = (
            json.dumps(opencost(), indent=1) + "\n"
            if example.rows is None
            else csv_text(example.rows(), example.columns)
        )
        found[f"{name}{example.suffix}"] = content
    return found


def shown() -> dict[str, str]:
    """What docs/bills.md shows: several differences at once."""
    old = usage("19.32", days()[0], **machine("old-demo-1", "g6.xlarge"))
    rows = [*h100s(days(), count=3), *spots(days(), ("0.25", "0.45")), *controllers(days()), old]
    return {"plan.json": files()["plan-aws.json"], "bill.csv": csv_text(rows, AWS_COLUMNS)}


if __name__ == "__main__":
    for name, content in shown().items():
        (SHOWN / name).write_text(content, encoding="utf-8")
    for name, content in files().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
