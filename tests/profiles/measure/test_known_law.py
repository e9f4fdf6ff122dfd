"""Against a server whose latencies follow a known law: is its maximum request rate found again?"""

from __future__ import annotations

from statistics import fmean

import pytest
from measuring import Measure
from stub_server import Behaviour, Law, serving

from sky_melange.domain.profile import Capacity, ProfileKind
from sky_melange.domain.units import ms_to_s
from sky_melange.domain.workload import Slo
from sky_melange.profiles.capacity import max_capacity

# Seconds are measured: nothing may run beside it.
pytestmark = pytest.mark.server

LINEAR = Law()
SUBLINEAR = Law(tpot_base_ms=3.0, tpot_each_ms=1.6, power=0.7)
"""Between two concurrencies its TPOT is a curve, and the profile's a straight line."""

TOLERANCE = 0.05


def rate_at(measurement_profile, input_tokens: int, output_tokens: int, tpot_ms: float) -> float:
    found = max_capacity(measurement_profile, input_tokens, output_tokens, Slo(tpot_s=ms_to_s(tpot_ms)))
    assert isinstance(found, Capacity), found
    return found.request_rate_rps


@pytest.mark.parametrize(("law", "tpot_ms"), [(LINEAR, 10.5), (SUBLINEAR, 11.0)], ids=["linear", "sublinear"])
def test_maximum_request_rate_is_recovered(measure: Measure, law: Law, tpot_ms: float) -> None:
    with serving(Behaviour(law=law)) as server:
        found = measure(server.url, "--grid", "60x12", "--tpot-ms", str(tpot_ms))
    assert found.exit_code == 0, found.stderr
    truth = law.max_rate_rps(60, 12, ms_to_s(tpot_ms), most=512)
    assert rate_at(found.profile, 60, 12, tpot_ms) == pytest.approx(truth, rel=TOLERANCE)
    assert f"over the target of {tpot_ms:g} ms" in found.stderr


def test_one_request_in_twenty_may_fail(measure: Measure) -> None:
    with serving(Behaviour(law=LINEAR, fail_every=20)) as server:
        found = measure(server.url, "--grid", "60x12", "--tpot-ms", "10.5", "--min-requests", "24")
    assert found.exit_code == 0, found.stderr
    truth = LINEAR.max_rate_rps(60, 12, 0.0105, most=512)
    assert rate_at(found.profile, 60, 12, 10.5) == pytest.approx(truth, rel=TOLERANCE)
    errors = sum(sum(level["errors"].values()) for level in found.content["provenance"]["details"]["levels"])
    assert errors > 0
    assert any("requests failed" in note for note in found.profile.provenance.notes)


def test_throughput_stops_it_without_a_target(measure: Measure) -> None:
    """Latencies nearly proportional to the concurrency: the rate hardly rises."""
    law = Law(ttft_base_ms=0.2, ttft_each_ms=5.0, ttft_token_ms=0.0, tpot_base_ms=0.05, tpot_each_ms=4.0)
    with serving(Behaviour(law=law)) as server:
        found = measure(server.url, "--grid", "60x6", "--concurrency", "1,2,4,8,16,32,64")
    assert found.exit_code == 0, found.stderr
    assert "throughput stopped rising" in found.stderr
    measured = [row[2] for row in found.content["points"]["rows"]]
    assert measured[-1] < 64
    best = max(row[3] for row in found.content["points"]["rows"])
    truth = max(law.rate_rps(concurrency, 60, 6) for concurrency in range(1, 65))
    assert best == pytest.approx(truth, rel=TOLERANCE)


def test_chat_route_gives_the_same(measure: Measure) -> None:
    with serving(Behaviour(law=LINEAR, prompt_overhead=30)) as server:
        found = measure(server.url, "--api", "chat", "--grid", "60x12", "--concurrency", "4")
        assert server.bodies[-1]["messages"][0]["role"] == "user"
    (row,) = found.content["points"]["rows"]
    assert row[:3] == [60, 12, 4], "the chat template's 30 tokens belong to the prompt"
    assert row[4] == pytest.approx(LINEAR.ttft_s(4, 60), abs=0.004)
    assert row[5] == pytest.approx(LINEAR.tpot_s(4), rel=TOLERANCE)


def test_the_concurrency_is_held(measure: Measure) -> None:
    with serving(Behaviour(law=LINEAR)) as server:
        measure(server.url, "--grid", "20x5", "--concurrency", "6")
        assert server.peak == 6


def test_what_is_sent_and_recorded(measure: Measure) -> None:
    metrics = 'x 1\nvllm:cache_config_info{block_size="16",num_gpu_blocks="2000",other="a"} 1.0\n'
    with serving(Behaviour(law=LINEAR, metrics=metrics)) as server:
        found = measure(server.url, "--grid", "30,60x5,9", "--concurrency", "3", "--engine-arg", "--seed=1")
        steady = [body for body in server.bodies if body["max_tokens"] == 9]
    profile = found.profile
    assert sorted(profile.form.latencies) == [(30, 5), (30, 9), (60, 5), (60, 9)]  # type: ignore[union-attr]
    assert profile.provenance.kind is ProfileKind.MEASURED
    assert profile.provenance.error is not None
    assert profile.kv_cache_tokens == 32_000
    assert (profile.engine_version, profile.engine_args) == ("9.9.9", {"seed": "1"})
    assert all(body["ignore_eos"] and body["min_tokens"] == 9 and body["stream"] for body in steady)
    assert all(body["stream_options"] == {"include_usage": True} for body in steady)
    prompts = [body["prompt"] for body in steady]
    assert len(set(prompts)) == len(prompts), "a repeated prompt is answered from the engine's cache"
    counted = [level["counted_request_rate_rps"] for level in found.content["provenance"]["details"]["levels"]]
    stated = [row[3] for row in found.content["points"]["rows"]]
    assert fmean(counted) == pytest.approx(fmean(stated), rel=0.15), "a count over few requests, and Little's law"
