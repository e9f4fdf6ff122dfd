"""Which offers become candidates, in which layouts, and why the others do not."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from sky_melange.domain.machine import CloudFeatures
from sky_melange.domain.profile import Capacity, Skipped, SkipReason
from sky_melange.domain.workload import CandidateFilter, RoutingPolicy, SpotUse
from sky_melange.optimizer import ProfileCapacities, context_limited
from sky_melange.optimizer.candidates import CandidateSet, build_candidates
from sky_melange.optimizer.model import build_problem
from sky_melange.optimizer.problem import routing_classes

CAPACITY = Capacity(request_rate_rps=2.0, concurrency=8.0, ttft_s=0.1, tpot_s=0.02)
CLOUDS = {
    name: CloudFeatures(cloud=name, open_ports=ports, multi_node=True, spot=spot, host_controllers=True)
    for name, ports, spot in (("aws", True, True), ("gcp", True, True), ("vast", True, False), ("shut", False, True))
}


@pytest.fixture
def build(make_workload: Any, make_profile: Any) -> Any:
    """Candidates of offers on profiles {accelerator: tensor-parallel sizes}."""

    def make(
        *offers: Any, profiles: dict[str, tuple[int, ...]] | None = None, wanted: CandidateFilter | None = None
    ) -> CandidateSet:
        known = profiles or {"L4": (1,), "H100": (1, 2)}
        entries = [
            ProfileCapacities(profile=make_profile(name, tensor_parallel=size), capacities=(CAPACITY,) * 4)
            for name, sizes in known.items()
            for size in sizes
        ]
        return build_candidates(make_workload(candidates=wanted or CandidateFilter()), offers, entries, CLOUDS)

    return make


def test_an_8_gpu_instance_holds_8_replicas_at_tp_1_and_4_at_tp_2(build: Any, make_offer: Any) -> None:
    found = build(make_offer("H100", 24.0, accelerators_per_instance=8), profiles={"H100": (1, 2, 3, 8, 16)})
    layouts = [(c.profile.key.tensor_parallel, c.replicas_per_instance) for c in found.candidates]
    assert layouts == [(1, 8), (2, 4), (8, 1)]
    assert found.rejected == ()


def test_more_replicas_on_an_instance_mean_less_load_each(build: Any, make_offer: Any, make_workload: Any) -> None:
    found = build(make_offer("H100", 24.0, accelerators_per_instance=8)).candidates
    workload = make_workload(((4.0, 2.0), (0.0, 0.0)))
    buckets = workload.traffic.buckets()
    problem = build_problem(workload, buckets, routing_classes(workload.routing, buckets), found)
    assert problem.loads == ((4.0 / 2.0 / 8, 4.0 / 2.0 / 4), (2.0 / 2.0 / 8, 2.0 / 2.0 / 4))
    assert problem.replicas == (8, 4)
    assert problem.prices == (24.0, 24.0)


@pytest.mark.parametrize(
    ("offer", "wanted", "reason"),
    [
        ({"accelerators_per_instance": 0, "accelerator": ""}, {}, "has no accelerator"),
        ({"cloud": "gcp"}, {"clouds": ("aws",)}, "not among candidates.clouds"),
        ({"region": "us-west-2"}, {"regions": {"aws": ("us-east-1",)}}, "not among candidates.regions.aws"),
        ({}, {"accelerators": ("H100",)}, "not among candidates.accelerators"),
        ({"use_spot": True}, {}, "spot, and candidates.spot is never"),
        ({}, {"spot": SpotUse.ONLY}, "on-demand, and candidates.spot is only"),
        ({"cloud": "moon"}, {}, "SkyPilot cannot launch on this cloud"),
        ({"cloud": "shut"}, {}, "SkyPilot cannot open a port on this cloud"),
        (
            {"cloud": "vast", "use_spot": True},
            {"spot": SpotUse.ALLOW},
            "SkyPilot cannot launch spot machines on this cloud",
        ),
        ({"accelerator": "T4"}, {}, "no profile of example/model-8b (bfloat16) on T4"),
        (
            {"accelerators_per_instance": 3, "accelerator": "A100"},
            {},
            "3 × A100 holds no whole replica of a profiled tensor-parallel size (2, 4)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refused_offer(
    build: Any, make_offer: Any, offer: dict[str, Any], wanted: dict[str, Any], reason: str
) -> None:
    refused = make_offer(offer.pop("accelerator", "L4"), 1.0, **offer)
    found = build(refused, profiles={"L4": (1,), "A100": (2, 4)}, wanted=CandidateFilter(**wanted))
    assert found.candidates == ()
    assert [(entry.reason, entry.offers, entry.example) for entry in found.rejected] == [(reason, 1, refused.name)]


@pytest.mark.parametrize(
    ("offer", "wanted"),
    [
        ({"use_spot": True}, {"spot": SpotUse.ALLOW}),
        ({"use_spot": True}, {"spot": SpotUse.ONLY}),
        ({}, {"spot": SpotUse.ALLOW}),
        ({"cloud": "vast"}, {"spot": SpotUse.ALLOW}),
        ({"cloud": "gcp", "region": "anywhere"}, {"regions": {"aws": ("us-east-1",)}}),
        ({}, {"clouds": ("aws",), "regions": {"aws": ("us-east-1",)}, "accelerators": ("L4",)}),
    ],
)
def test_an_accepted_offer(build: Any, make_offer: Any, offer: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = build(make_offer("L4", 1.0, **offer), wanted=CandidateFilter(**wanted))
    assert len(found.candidates) == 1
    assert found.rejected == ()


def test_refusals_are_counted_by_reason(build: Any, make_offer: Any) -> None:
    offers = [make_offer("L4", 1.0, region=f"r{n}", use_spot=True) for n in (3, 1, 2)]
    (rejected,) = build(*offers).rejected
    assert (rejected.offers, rejected.example) == (3, "aws/r1/l4.x1:spot")


def test_the_order_of_offers_and_profiles_does_not_matter(build: Any, make_offer: Any) -> None:
    offers = [
        make_offer(name, price, region=region, accelerators_per_instance=count)
        for name, price in (("L4", 0.5), ("H100", 3.0))
        for region in ("a", "b")
        for count in (1, 2, 8)
    ]
    first = build(*offers)
    random.Random(7).shuffle(offers)  # noqa: S311 - a fixed order
    assert build(*offers, profiles={"H100": (2, 1), "L4": (1,)}) == first


class TestContextLimit:
    def test_a_cache_smaller_than_the_context_serves_nothing(self, make_profile: Any, make_workload: Any) -> None:
        buckets = make_workload().traffic.buckets()
        profile = make_profile("L4", kv_cache_tokens=1999)
        for skipped in context_limited(profile, (CAPACITY,) * 4, buckets, 2000):
            assert isinstance(skipped, Skipped)
            assert skipped.reason is SkipReason.MEMORY
            assert "holds 1999 tokens, less than model.max_model_len 2000" in skipped.detail

    @pytest.mark.parametrize("held", [2000, 10**6, None])
    def test_a_cache_of_just_the_context_is_enough(self, make_profile: Any, make_workload: Any, held: int) -> None:
        buckets = make_workload().traffic.buckets()
        profile = make_profile("L4", kv_cache_tokens=held)
        assert context_limited(profile, (CAPACITY,) * 4, buckets, 2000) == (CAPACITY,) * 4

    def test_requests_longer_than_the_context_are_not_served(self, make_profile: Any, make_workload: Any) -> None:
        buckets = make_workload().traffic.buckets()
        capacities = context_limited(make_profile("L4"), (CAPACITY,) * 4, buckets, 1100)
        # 100+100, 100+500, 1000+100 fit into 1100 tokens; 1000+500 does not.
        assert capacities[:3] == (CAPACITY,) * 3
        assert capacities[3] == Skipped(
            reason=SkipReason.CONTEXT_LIMIT, detail="1000 + 500 tokens exceed model.max_model_len 1100"
        )


@pytest.mark.parametrize(
    ("policy", "classes"),
    [
        (RoutingPolicy.SIZE_AWARE, ((0,), (1,), (2,), (3,))),
        (RoutingPolicy.INPUT_AWARE, ((0, 1), (2, 3))),
        (RoutingPolicy.BLIND, ((0, 1, 2, 3),)),
    ],
)
def test_buckets_that_a_policy_cannot_tell_apart(make_workload: Any, policy: RoutingPolicy, classes: object) -> None:
    assert routing_classes(policy, make_workload().traffic.buckets()) == classes


def test_a_class_with_one_bucket_that_cannot_be_served_is_not_served(
    make_workload: Any, make_offer: Any, build: Any
) -> None:
    workload = make_workload(routing=RoutingPolicy.INPUT_AWARE)
    buckets = workload.traffic.buckets()
    assert len(buckets) == 4
    skipped = Skipped(reason=SkipReason.SLO, detail="slow")
    (candidate,) = build(make_offer("L4", 1.0)).candidates
    candidate = replace(candidate, capacities=(CAPACITY, skipped, CAPACITY, CAPACITY))
    problem = build_problem(workload, buckets, routing_classes(workload.routing, buckets), [candidate])
    assert problem.loads == ((None,), (1.0 / 2.0 + 1.0 / 2.0,))
