"""What is said when nothing can be planned: the whole text, so that a change of wording is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sky_melange import pipeline
from sky_melange.domain.workload import CandidateFilter, Model, RoutingPolicy, Slo, Workload
from sky_melange.errors import InfeasibleError, MissingDataError, SkyMelangeError


@pytest.fixture
def refusal(make_offer: Any, cpu_offer: Any, make_profile: Any, make_book: Any) -> Callable[..., str]:
    """The message for a workload on one L4 and one H100 offer; `profile` changes the L4's."""

    def plan(workload: Workload, error: type[SkyMelangeError] = InfeasibleError, **profile: Any) -> str:
        book = make_book(make_offer("L4", 0.7), make_offer("H100", 3.0), cpu_offer())
        profiles = [make_profile("L4", **profile), make_profile("H100", **{"speed": 4.0, **profile})]
        with pytest.raises(error) as caught:
            pipeline.make_plan(workload, book, profiles, workload_digest="0")
        return str(caught.value)

    return plan


_ADVICE = "Loosen slo, allow more accelerators under candidates, or take the largest sizes out of the histogram"


def test_targets_too_tight(make_workload: Any, refusal: Callable[..., str]) -> None:
    workload = make_workload(((3.0, 0.0), (0.0, 1.0)), slo=Slo(tpot_s=0.004))
    assert refusal(workload).splitlines() == [
        "no candidate can serve part of the traffic within the targets:",
        "  bucket ≤100 in × ≤100 out (75.0% of requests)",
        "    H100 (tensor parallel 1): slo: TPOT is 5.0 ms at concurrency 1, over the target of 4 ms",
        "    L4 (tensor parallel 1): slo: TPOT is 20.0 ms at concurrency 1, over the target of 4 ms",
        "  bucket ≤1000 in × ≤500 out (25.0% of requests)",
        "    H100 (tensor parallel 1): slo: TPOT is 5.0 ms at concurrency 1, over the target of 4 ms",
        "    L4 (tensor parallel 1): slo: TPOT is 20.0 ms at concurrency 1, over the target of 4 ms",
        f"{_ADVICE}.",
    ]


def test_too_little_memory(make_workload: Any, refusal: Callable[..., str]) -> None:
    workload = make_workload(((3.0, 1.0), (0.0, 0.0)), routing=RoutingPolicy.INPUT_AWARE)
    reason = "memory: its KV cache holds 1500 tokens, less than model.max_model_len 2000: it would not start"
    assert refusal(workload, kv_cache_tokens=1500).splitlines() == [
        "no candidate can serve part of the traffic within the targets:",
        "  requests of ≤100 input tokens, any output (100.0% of requests)",
        f"    H100 (tensor parallel 1): {reason}",
        f"    L4 (tensor parallel 1): {reason}",
        f"{_ADVICE}; routing: size_aware asks least of each group.",
    ]


def test_sizes_outside_the_profiles(make_workload: Any, refusal: Callable[..., str]) -> None:
    workload = make_workload(((3.0, 0.0), (0.0, 1.0)), routing=RoutingPolicy.BLIND)
    reason = "outside_profile: 1000 input tokens, but the profile covers 100…500"
    assert refusal(workload, shapes=((100, 100), (500, 500), (100, 500), (500, 100))).splitlines() == [
        "no candidate can serve part of the traffic within the targets:",
        "  all requests (blind routing sends every size to every group) (100.0% of requests)",
        f"    H100 (tensor parallel 1): {reason}",
        f"    L4 (tensor parallel 1): {reason}",
        f"{_ADVICE}; routing: size_aware asks least of each group.",
    ]


def test_requests_longer_than_the_context(make_workload: Any, refusal: Callable[..., str]) -> None:
    model = Model(id="example/model-8b", dtype="bfloat16", max_model_len=1200)
    message = refusal(make_workload(model=model))
    assert "  bucket ≤1000 in × ≤500 out (12.5% of requests)" in message
    assert "    L4 (tensor parallel 1): context_limit: 1000 + 500 tokens exceed model.max_model_len 1200" in message


def test_caps_too_low(make_workload: Any, refusal: Callable[..., str]) -> None:
    workload = make_workload(limits={"max_accelerators": {"L4": 1, "H100": 1}, "max_groups": 1})
    assert refusal(workload).splitlines() == [
        "every bucket can be served, but not all of them within the limits together.",
        "  limits: constraints.max_accelerators.H100 = 1, constraints.max_accelerators.L4 = 1, "
        "constraints.max_groups = 1",
        "  traffic: 8 req/s at max_utilization 0.9",
        "Raise one of the limits, or allow more accelerators or clouds under candidates.",
    ]


@pytest.mark.xfail(strict=True, reason="infeasible.explain_limits does not name constraints.min_replicas")
def test_caps_too_low_for_the_replicas_asked_for(make_workload: Any, refusal: Callable[..., str]) -> None:
    limits = {"max_accelerators": {"L4": 1, "H100": 1}, "min_replicas": 3}
    assert "constraints.min_replicas = 3" in refusal(make_workload(((0.1, 0.0), (0.0, 0.0)), limits=limits))


def test_more_than_five_buckets_are_counted_not_listed(make_workload: Any, refusal: Callable[..., str]) -> None:
    edges = (100, 200, 300, 400)
    workload = make_workload([[1.0] * 2] * 4, input_edges=edges, slo=Slo(tpot_s=0.001))
    lines = refusal(workload).splitlines()
    assert sum(line.startswith("  bucket") for line in lines) == 5
    assert "  … and 3 more" in lines


def test_no_offer_at_all(make_workload: Any, refusal: Callable[..., str]) -> None:
    workload = make_workload(candidates=CandidateFilter(clouds=("gcp",)))
    assert refusal(workload, MissingDataError).splitlines() == [
        "no priced offer can run this workload:",
        "      2 offers: not among candidates.clouds (such as aws/us-east-1/h100.x1)",
        "      1 offers: has no accelerator (such as aws/us-east-1/cpu.4)",
    ]


def test_no_profile_lists_what_there_is(make_workload: Any, make_book: Any) -> None:
    workload = make_workload(candidates=CandidateFilter(accelerators=("L4", "T4")))
    with pytest.raises(MissingDataError) as caught:
        pipeline.make_plan(workload, make_book(), [], workload_digest="0")
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "there is no throughput profile of example/model-8b (bfloat16) on any of L4, T4; there are profiles of"
    )
    assert "  meta-llama/Llama-3.1-8B-Instruct (bfloat16)" in lines[1:]


def test_exit_codes() -> None:
    assert InfeasibleError.exit_code == 4
    assert MissingDataError.exit_code == 5
