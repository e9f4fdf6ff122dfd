"""What several folders of tests share: hypothesis settings, and small made-up offers, profiles and workloads."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from kept_between_runs import keep_bytecode, with_compiled_simulator

from sky_melange.domain.buckets import TokenGrid, Traffic
from sky_melange.domain.offer import Offer, PriceBook, PriceProvenance
from sky_melange.domain.profile import (
    PointsForm,
    Profile,
    ProfileError,
    ProfileKey,
    ProfileKind,
    ProfileProvenance,
)
from sky_melange.domain.router import RouterSettings
from sky_melange.domain.workload import CandidateFilter, Constraints, Model, RoutingPolicy, Slo, SpotUse, Workload

# `pytest --hypothesis-profile ci` draws as many examples as a test names, otherwise a fifth (property_examples.py).
for _name, _examples in (("quick", 20), ("ci", 100)):
    settings.register_profile(
        _name,
        max_examples=_examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile("quick")

keep_bytecode()

# No test reaches the network by accident: without an address of its own a command finds nobody at this one, and nothing
# in this cache (the commands that tests start inherit both).
_CACHE = tempfile.mkdtemp(prefix="sky-melange-tests-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ["SKY_MELANGE_CATALOG_URL"] = "http://127.0.0.1:9"
os.environ["SKY_MELANGE_CACHE_DIR"] = _CACHE
# Models that the user of this machine has downloaded are no input of a test.
os.environ["HF_HUB_CACHE"] = str(Path(_CACHE) / "no-models")
# Nor are the clouds that SkyPilot has enabled here.
os.environ["SKY_MELANGE_SKYPILOT_HOME"] = str(Path(_CACHE) / "no-skypilot")

with_compiled_simulator(Path(_CACHE))

# Where the tests were started in the background, the shell had interrupts ignored, and the commands that tests start
# and interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MODEL = "example/model-8b"
OfferFactory = Callable[..., Offer]
ProfileFactory = Callable[..., Profile]
EXACT_SIZES = RouterSettings(size_error_fraction=0.0, size_bias_fraction=0.0)

WorkloadFactory = Callable[..., Workload]


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def make_offer() -> OfferFactory:
    """`make_offer("L4", 0.5)`: an on-demand offer; keywords replace fields of it."""

    def make(accelerator: str, price_usd_per_hour: float, **changes: Any) -> Offer:
        count = changes.get("accelerators_per_instance", 1)
        fields: dict[str, Any] = {
            "cloud": "aws",
            "region": "us-east-1",
            "zone": None,
            "instance_type": f"{accelerator.lower()}.x{count}",
            "accelerator": accelerator,
            "catalog_accelerator": accelerator,
            "accelerators_per_instance": 1,
            "vcpus": 8.0,
            "memory_gib": 32.0,
            "price_usd_per_hour": price_usd_per_hour,
            "use_spot": False,
            "provenance": PriceProvenance(source="test catalog", detail="row", fetched_at="2026-06-01"),
        }
        return Offer(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def cpu_offer(make_offer: OfferFactory) -> OfferFactory:
    """A machine without accelerators, for a controller."""

    def make(price_usd_per_hour: float = 0.1, **changes: Any) -> Offer:
        fields: dict[str, Any] = {
            "catalog_accelerator": "",
            "accelerators_per_instance": 0,
            "instance_type": "cpu.4",
            "vcpus": 4.0,
            "memory_gib": 8.0,
        }
        return make_offer("", price_usd_per_hour, **(fields | changes))

    return make


@pytest.fixture(scope="session")
def make_profile() -> ProfileFactory:
    """A profile whose replica holds TTFT and TPOT at those of concurrency 1 up to `max_concurrency`.

    `speed` divides both. Requests/s at concurrency N: N ÷ (ttft + tpot·(O−1)).
    """

    def make(
        accelerator: str,
        *,
        speed: float = 1.0,
        tensor_parallel: int = 1,
        max_concurrency: int = 8,
        shapes: Sequence[tuple[int, int]] = ((100, 100), (100, 500), (1000, 100), (1000, 500)),
        **changes: Any,
    ) -> Profile:
        curve = tuple((n, 0.1 / speed, 0.02 / speed) for n in (1, max_concurrency))
        fields: dict[str, Any] = {
            "key": ProfileKey(
                model=MODEL,
                accelerator=accelerator,
                tensor_parallel=tensor_parallel,
                dtype="bfloat16",
                engine="vllm",
            ),
            "engine_version": "0.33.0",
            "engine_args": {"gpu-memory-utilization": "0.9"},
            "kv_cache_tokens": 100_000,
            "form": PointsForm(latencies=dict.fromkeys(shapes, curve)),
            "provenance": ProfileProvenance(
                kind=ProfileKind.ESTIMATED,
                source="test profile",
                fetched_at="2026-05-01",
                error=ProfileError(
                    statistic="median error",
                    tpot_fraction=0.1,
                    ttft_fraction=0.2,
                    request_rate_fraction=0.12,
                    runs=3,
                    basis="three runs",
                ),
            ),
        }
        return Profile(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def make_workload() -> WorkloadFactory:
    """A workload over inputs 100, 1000 × outputs 100, 500, sizes known at the front door; any field may be given."""

    def make(
        rates_rps: Sequence[Sequence[float]] = ((4.0, 2.0), (1.0, 1.0)),
        *,
        input_edges: Sequence[int] = (100, 1000),
        output_edges: Sequence[int] = (100, 500),
        limits: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Workload:
        fields: dict[str, Any] = {
            "name": "chat",
            "model": Model(id=MODEL, dtype="bfloat16", max_model_len=2000),
            "slo": Slo(tpot_s=0.05),
            "traffic": Traffic(
                grid=TokenGrid(input_edges=tuple(input_edges), output_edges=tuple(output_edges)),
                rates_rps=tuple(tuple(row) for row in rates_rps),
                origin="a test",
            ),
            "candidates": CandidateFilter(spot=SpotUse.NEVER),
            "constraints": Constraints(**{"max_utilization": 0.9, "min_replicas": 1, **(limits or {})}),
            "routing": RoutingPolicy.SIZE_AWARE,
            "router": EXACT_SIZES,
        }
        return Workload(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def make_book() -> Callable[..., PriceBook]:
    def make(*offers: Offer, **changes: Any) -> PriceBook:
        ordered = tuple(sorted(offers, key=lambda offer: offer.sort_key))
        return PriceBook(**({"offers": ordered, "quarantined": (), "skipped": ()} | changes))

    return make


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that at the end of a run no process waits long for another."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are not named by what they are: gzip holds the second, and workers that differ in names run nothing."""
    return argname if isinstance(val, bytes) else None
