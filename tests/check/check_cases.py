"""One situation a check, in which that check fails and no other does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sky_melange.check.checks import lock
from sky_melange.check.diff import Side, compare
from sky_melange.check.report import Asked, Files, Limits, Today, check_plan, files_of
from sky_melange.domain.buckets import TokenGrid, Traffic
from sky_melange.domain.check import CheckReport
from sky_melange.domain.offer import Offer, PriceBook, PriceProvenance, Quarantined
from sky_melange.domain.plan import Cost, InputDigests, Overhead, Plan, ReplicaGroup, Route
from sky_melange.domain.profile import PointsForm, Profile, ProfileKey, ProfileKind, ProfileProvenance
from sky_melange.domain.router import RouterKind, RouterSettings
from sky_melange.domain.spending import Policy
from sky_melange.domain.workload import CandidateFilter, Model, RoutingPolicy, Slo, SpotUse, Workload
from sky_melange.plan_file import PlanDocument
from sky_melange.render.plan_json import text

NOW = datetime(2026, 6, 2, 12, tzinfo=UTC)
MODEL = "example/model-8b"
PRICE = PriceProvenance(source="test catalog", detail="row", fetched_at="2026-06-01")
PROFILE = ProfileProvenance(kind=ProfileKind.ESTIMATED, source="test profile", fetched_at="2026-05-01", error=None)
ENGINE_ARGS = (("gpu-memory-utilization", "0.9"),)
TRAFFIC = Traffic(
    grid=TokenGrid(input_edges=(100, 1000), output_edges=(100, 500)),
    rates_rps=((4.0, 2.0), (1.0, 1.0)),
    origin="a test",
)
WORKLOAD = Workload(
    name="chat",
    model=Model(id=MODEL, dtype="bfloat16", max_model_len=2000),
    slo=Slo(tpot_s=0.05),
    traffic=TRAFFIC,
    routing=RoutingPolicy.INPUT_AWARE,
    router=RouterSettings(kind=RouterKind.NONE),
)


def offer(accelerator: str, price_usd_per_hour: float, **changes: Any) -> Offer:
    fields: dict[str, Any] = {
        "cloud": "aws",
        "region": "us-east-1",
        "zone": None,
        "instance_type": "g6.xlarge",
        "accelerator": accelerator,
        "catalog_accelerator": accelerator,
        "accelerators_per_instance": 1,
        "vcpus": 8.0,
        "memory_gib": 32.0,
        "price_usd_per_hour": price_usd_per_hour,
        "use_spot": False,
        "provenance": PRICE,
    }
    return Offer(**(fields | changes))


L4 = offer("L4", 0.8048)
H100 = offer("H100", 2.99, cloud="lambda", region="us-west-1", instance_type="gpu_1x_h100_pcie")
CPU = offer("", 0.17, instance_type="c6i.xlarge", accelerators_per_instance=0, memory_gib=8.0)


def book(*offers: Offer, quarantined: tuple[Quarantined, ...] = ()) -> PriceBook:
    return PriceBook(
        offers=tuple(sorted(offers, key=lambda entry: entry.sort_key)), quarantined=quarantined, skipped=()
    )


def profile(accelerator: str, speed: float) -> Profile:
    """A replica sustains 8 ÷ (0.1 + 0.02·(O − 1)) · speed requests/s."""
    curve = tuple((n, 0.1 / speed, 0.02 / speed) for n in (1, 8))
    shapes = ((100, 100), (100, 500), (1000, 100), (1000, 500))
    return Profile(
        key=ProfileKey(model=MODEL, accelerator=accelerator, tensor_parallel=1, dtype="bfloat16", engine="vllm"),
        engine_version="0.33.0",
        engine_args=dict(ENGINE_ARGS),
        kv_cache_tokens=100_000,
        form=PointsForm(latencies=dict.fromkeys(shapes, curve)),
        provenance=PROFILE,
    )


PROFILES = (profile("H100", 4.0), profile("L4", 1.0))


def group(of: Offer, instances: int, **changes: Any) -> ReplicaGroup:
    name = changes.pop("name", f"chat-{of.accelerator.lower()}")
    fields: dict[str, Any] = {
        "name": name,
        "cloud": of.cloud,
        "region": of.region,
        "zone": of.zone,
        "instance_type": of.instance_type,
        "accelerator": of.accelerator,
        "catalog_accelerator": of.catalog_accelerator,
        "accelerators_per_instance": of.accelerators_per_instance,
        "use_spot": of.use_spot,
        "instances": instances,
        "replicas_per_instance": 1,
        "tensor_parallel": 1,
        "price_usd_per_hour": of.price_usd_per_hour,
        "price": of.provenance,
        "utilization": 0.5,
        "max_concurrency": 8,
        "engine_version": "0.33.0",
        "engine_args": ENGINE_ARGS,
        "profile": PROFILE,
        "file": f"{name}.sky.yaml",
    }
    return ReplicaGroup(**(fields | changes))


def plan_of(*groups: ReplicaGroup, extra_worst_case: float = 0.0, **changes: Any) -> Plan:
    """Input ≤100 goes to the first group, the rest to the last."""
    replicas = sum(each.cost_usd_per_hour for each in groups)
    machine = Overhead(
        purpose="SkyServe controller",
        cloud=CPU.cloud,
        region=CPU.region,
        instance_type=CPU.instance_type,
        price_usd_per_hour=CPU.price_usd_per_hour,
        price=PRICE,
    )
    total = replicas + CPU.price_usd_per_hour
    fields: dict[str, Any] = {
        "name": "chat",
        "status": "optimal",
        "mip_gap": 0.0,
        "cost": Cost(
            replicas_usd_per_hour=replicas,
            overhead_usd_per_hour=CPU.price_usd_per_hour,
            total_usd_per_hour=total,
            worst_case_usd_per_hour=total + extra_worst_case,
        ),
        "groups": groups,
        "overhead": (machine,),
        "policy": RoutingPolicy.INPUT_AWARE,
        "routing": tuple(
            Route(
                input_tokens=bucket.input_tokens,
                output_tokens=bucket.output_tokens,
                rate_rps=bucket.rate_rps,
                shares=((groups[0 if bucket.input_index == 0 else -1].name, 1.0),),
            )
            for bucket in TRAFFIC.buckets()
        ),
        "alternatives": (),
        "assumptions": ("Traffic: 8 req/s.",),
        "warnings": (),
        "inputs": InputDigests(workload="a" * 64, prices="b" * 64, profiles="c" * 64),
    }
    return Plan(**(fields | changes))


PLAN = plan_of(group(L4, 4), group(H100, 1))
"""Costs 4 × 0.8048 + 2.99 + 0.17 = 6.3792 USD per hour."""

BOOK = book(L4, H100, CPU)


ASKED = Asked(limits=Limits(usd_per_hour=7.0, usd_per_month=6000.0, max_age_hours=48.0))


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is checked, and against what."""

    plan: Plan = PLAN
    workload: Workload = WORKLOAD
    book: PriceBook = BOOK
    asked: Asked = ASKED
    edits: Mapping[str, str | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    base: Side | None = None

    def document(self) -> PlanDocument:
        return PlanDocument(path=Path("plan/plan.json"), plan=self.plan, workload=self.workload)

    def report(self) -> CheckReport:
        report = self._report()
        if self.base is None:
            return report
        new = Side(plan=self.plan, workload=self.workload)
        return replace(report, change=compare(self.base, new))

    def _report(self) -> CheckReport:
        document = self.document()
        expected = files_of(document)
        files = Files(expected=expected, found={**expected, **self.edits})
        today = Today(book=self.book, profiles=PROFILES, now=NOW)
        return check_plan(document, files, today, self.asked, self.warnings)

    def write(self, folder: Path) -> Path:
        """As `plan` writes it."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files_of(self.document()).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
        (folder / "plan.json").write_text(text(self.plan, self.workload), encoding="utf-8")
        return folder / "plan.json"


def under(policy: Policy, **changes: Any) -> Situation:
    return Situation(asked=replace(ASKED, policy=policy, lock=lock(())), **changes)


def limited(**limits: Any) -> Asked:
    return Asked(limits=replace(ASKED.limits, **limits))


def _edited() -> Mapping[str, str | None]:
    name, text_of = next(iter(files_of(Situation().document()).items()))
    return {name: text_of.replace("replicas: 4", "replicas: 6")}


SPOT = replace(L4, use_spot=True, price_usd_per_hour=0.3)
SPOT_PLAN = plan_of(group(SPOT, 4, name="chat-l4-spot"), group(H100, 1))
FALLING_BACK = plan_of(
    group(SPOT, 4, name="chat-l4-spot", on_demand_price_usd_per_hour=1.5), group(H100, 1), extra_worst_case=6.0
)
CHEAP_STAND_IN = plan_of(
    group(SPOT, 4, name="chat-l4-spot", on_demand_price_usd_per_hour=0.5), group(H100, 1), extra_worst_case=2.0
)
BUSY = replace(WORKLOAD, traffic=replace(TRAFFIC, rates_rps=((5.0, 2.0), (1.0, 1.0))))

ON_SPOT = replace(WORKLOAD, candidates=CandidateFilter(spot=SpotUse.ALLOW))

FAILING: Mapping[str, Callable[[], Situation]] = {
    "lock": lambda: Situation(
        asked=replace(ASKED, lock=lock(("traffic.request_rate: 8 req/s when planned, 80 req/s in workload.yaml",)))
    ),
    "prices-known": lambda: Situation(
        book=book(H100, CPU, quarantined=(Quarantined(offer=L4, rule="too-cheap", reason="a tenth of every other"),))
    ),
    "prices-fresh": lambda: Situation(asked=limited(max_age_hours=24.0)),
    "budget-total": lambda: Situation(book=book(L4, replace(H100, price_usd_per_hour=4.29), CPU)),
    "budget-worst-case": lambda: Situation(
        plan=FALLING_BACK,
        workload=ON_SPOT,
        book=book(SPOT, H100, CPU, replace(L4, price_usd_per_hour=1.6)),
        asked=limited(usd_per_month=None),
    ),
    "budget-overhead": lambda: Situation(book=book(L4, H100)),
    "budget-monthly": lambda: Situation(asked=limited(usd_per_month=4000.0)),
    "budget-monthly-worst-case": lambda: Situation(
        plan=FALLING_BACK,
        workload=ON_SPOT,
        book=book(SPOT, H100, CPU, replace(L4, price_usd_per_hour=1.6)),
        asked=limited(usd_per_hour=None, usd_per_month=7000.0),
    ),
    "serves": lambda: Situation(asked=replace(ASKED, workload=BUSY)),
    "files": lambda: Situation(edits=_edited()),
    "drift": lambda: Situation(
        book=book(L4, H100, CPU, replace(L4, region="us-east-2", price_usd_per_hour=0.4)),
        asked=limited(max_drift_fraction=0.05),
    ),
    "policy-usd-per-million-tokens": lambda: under(Policy(max_usd_per_million_tokens=0.1)),
    "policy-usd-per-million-input-tokens": lambda: under(Policy(max_usd_per_million_input_tokens=0.1)),
    "policy-usd-per-million-output-tokens": lambda: under(Policy(max_usd_per_million_output_tokens=0.1)),
    "policy-clouds": lambda: under(Policy(banned_clouds=("lambda",))),
    "policy-regions": lambda: under(Policy(banned_regions={"lambda": ("us-west-1",), "gcp": ("us-east-1",)})),
    "policy-accelerators": lambda: under(Policy(allowed_accelerators=("H100", "H200"))),
    "policy-spot": lambda: under(
        Policy(max_spot_fraction=0.5), plan=CHEAP_STAND_IN, workload=ON_SPOT, book=book(SPOT, H100, CPU)
    ),
    "policy-profile-kind": lambda: under(Policy(min_profile_kind=ProfileKind.FITTED)),
}
"""Check name -> a situation in which it alone fails."""

STRICT_BUT_KEPT = Policy(
    max_usd_per_million_tokens=10.0,
    max_usd_per_million_input_tokens=10.0,
    max_usd_per_million_output_tokens=10.0,
    banned_clouds=("vast",),
    banned_regions={"aws": ("us-west-2",)},
    allowed_accelerators=("L4", "H100"),
    max_spot_fraction=0.0,
    min_profile_kind=ProfileKind.ESTIMATED,
)

BEFORE = Side(
    plan=plan_of(group(replace(L4, price_usd_per_hour=0.7), 2), group(offer("A10G", 1.006), 1)),
    workload=replace(WORKLOAD, traffic=replace(TRAFFIC, rates_rps=((2.0, 1.0), (0.5, 0.5))), slo=Slo(tpot_s=0.06)),
)

PASSING: Mapping[str, Callable[[], Situation]] = {
    "changed": lambda: Situation(base=BEFORE),
    "unchanged": lambda: Situation(base=Side(plan=PLAN, workload=WORKLOAD)),
    "pass": lambda: under(STRICT_BUT_KEPT, warnings=("OLD PRICES of lambda are used.",)),
    "nothing-asked": lambda: Situation(asked=Asked()),
}
