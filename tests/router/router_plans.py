"""Plans made by hand for the front door: three groups, a grid of 3 × 2 buckets, uneven shares."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from sky_melange.domain.buckets import TokenGrid, Traffic
from sky_melange.domain.offer import PriceProvenance
from sky_melange.domain.plan import Cost, InputDigests, Overhead, Plan, ReplicaGroup, Route
from sky_melange.domain.profile import ProfileKind, ProfileProvenance
from sky_melange.domain.router import RouterSettings
from sky_melange.domain.workload import Launch, LaunchMode, Model, RoutingPolicy, Slo, Workload

SMALL, MIDDLE, LARGE = "chat-l4", "chat-l40s", "chat-h100"
GROUPS = (SMALL, MIDDLE, LARGE)
INPUT_EDGES = (100, 1000, 4000)
OUTPUT_EDGES = (100, 1000)

PRICE = PriceProvenance(source="test catalog", detail="row", fetched_at="2026-06-01")
PROFILE = ProfileProvenance(kind=ProfileKind.ESTIMATED, source="test", fetched_at="2026-05-01", error=None)

INPUT_AWARE_SHARES: Mapping[int, Mapping[str, float]] = {
    100: {SMALL: 0.655, MIDDLE: 0.345},
    1000: {SMALL: 0.07, MIDDLE: 0.83, LARGE: 0.1},
    4000: {LARGE: 1.0},
}
CAN_SERVE: Mapping[int, Sequence[str]] = {100: GROUPS, 1000: GROUPS, 4000: (MIDDLE, LARGE)}


def group(name: str, **changes: Any) -> ReplicaGroup:
    fields: dict[str, Any] = {
        "name": name,
        "cloud": "aws",
        "region": "us-east-1",
        "zone": None,
        "instance_type": "g6.xlarge",
        "accelerator": "L4",
        "catalog_accelerator": "L4",
        "accelerators_per_instance": 1,
        "use_spot": False,
        "instances": 2,
        "replicas_per_instance": 1,
        "tensor_parallel": 1,
        "price_usd_per_hour": 0.8,
        "price": PRICE,
        "utilization": 0.5,
        "max_concurrency": 256,
        "engine_version": "0.33.0",
        "engine_args": (),
        "profile": PROFILE,
        "file": f"{name}.sky.yaml",
    }
    return ReplicaGroup(**(fields | changes))


def routes(shares: Mapping[tuple[int, int], Mapping[str, float]]) -> tuple[Route, ...]:
    """All buckets at the same rate."""
    return tuple(
        Route(
            input_tokens=i,
            output_tokens=o,
            rate_rps=1.0,
            shares=tuple(sorted(given.items())),
            can_serve=tuple(sorted(CAN_SERVE.get(i, GROUPS))),
        )
        for (i, o), given in sorted(shares.items())
    )


def input_aware_routes() -> tuple[Route, ...]:
    return routes({(i, o): shares for i, shares in INPUT_AWARE_SHARES.items() for o in OUTPUT_EDGES})


def size_aware_routes() -> tuple[Route, ...]:
    return routes(
        {
            (100, 100): {SMALL: 1.0},
            (100, 1000): {SMALL: 0.2, MIDDLE: 0.8},
            (1000, 100): {MIDDLE: 0.45, LARGE: 0.55},
            (1000, 1000): {LARGE: 1.0},
            (4000, 100): {MIDDLE: 0.123, LARGE: 0.877},
        }
    )


def blind_routes() -> tuple[Route, ...]:
    shares = {SMALL: 0.11, MIDDLE: 0.29, LARGE: 0.6}
    return routes({(i, o): shares for i in INPUT_EDGES for o in OUTPUT_EDGES})


def plan(policy: RoutingPolicy = RoutingPolicy.INPUT_AWARE, **changes: Any) -> Plan:
    groups = changes.pop("groups", tuple(group(name) for name in GROUPS))
    made = {
        RoutingPolicy.INPUT_AWARE: input_aware_routes,
        RoutingPolicy.SIZE_AWARE: size_aware_routes,
        RoutingPolicy.BLIND: blind_routes,
    }
    cost = sum(each.cost_usd_per_hour for each in groups)
    router = Overhead(
        purpose="router",
        cloud="aws",
        region="us-east-1",
        instance_type="m6i.large",
        price_usd_per_hour=0.1,
        price=PRICE,
    )
    fields: dict[str, Any] = {
        "name": "chat",
        "status": "optimal",
        "mip_gap": 0.0,
        "cost": Cost(
            replicas_usd_per_hour=cost,
            overhead_usd_per_hour=0.1,
            total_usd_per_hour=cost + 0.1,
            worst_case_usd_per_hour=cost + 0.1,
        ),
        "groups": groups,
        "overhead": (router,),
        "policy": policy,
        "routing": made[policy](),
        "alternatives": (),
        "assumptions": (),
        "warnings": (),
        "inputs": InputDigests(workload="a" * 64, prices="b" * 64, profiles="c" * 64),
    }
    return Plan(**(fields | changes))


def workload(
    policy: RoutingPolicy = RoutingPolicy.INPUT_AWARE, *, mode: LaunchMode = LaunchMode.SERVE, **changes: Any
) -> Workload:
    rates = tuple((1.0,) * len(OUTPUT_EDGES) for _ in INPUT_EDGES)
    fields: dict[str, Any] = {
        "name": "chat",
        "model": Model(id="example/model-8b", dtype="bfloat16", max_model_len=5000),
        "slo": Slo(tpot_s=0.05),
        "traffic": Traffic(
            grid=TokenGrid(input_edges=INPUT_EDGES, output_edges=OUTPUT_EDGES), rates_rps=rates, origin="a test"
        ),
        "routing": policy,
        "launch": Launch(mode=mode, secrets=("HF_TOKEN",)),
        "router": RouterSettings(),
    }
    return Workload(**(fields | changes))


def drawn_buckets(made: Plan, count: int, *, seed: int = 8) -> list[Route]:
    """Requests of the plan's traffic, by their rates."""
    rates = [route.rate_rps for route in made.routing]
    return random.Random(seed).choices(made.routing, weights=rates, k=count)  # noqa: S311 - no secret
