"""The latency model: physical, monotone, refused outside its ranges, and queueing where memory is full."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_melange.domain.profile import (
    Capacity,
    LatencyModelForm,
    MeasuredRanges,
    Profile,
    Skipped,
    SkipReason,
    TpotLaw,
    TtftLaw,
)
from sky_melange.domain.workload import Slo
from sky_melange.errors import InputError
from sky_melange.profiles import bundled, latency_model
from sky_melange.profiles.capacity import covers, max_capacity
from sky_melange.profiles.lookup import operating_point
from sky_melange.profiles.profile_json import profile_text, read_profile

MakeProfile = Callable[..., Profile]
RANGES = MeasuredRanges(
    input_tokens=(100, 8000),
    output_tokens=(100, 1000),
    concurrency=(1, 64),
    request_tokens=8100,
    context_tokens=100_000,
)
FORM = LatencyModelForm(
    tpot=TpotLaw(fixed_s=0.01, sequence_s=0.0005, sequence_exponent=0.7, context_s=1e-8, prefill_s=2e-5),
    ttft=TtftLaw(fixed_s=0.02, prompt_s=5e-5, queue_s=1e-6, sequence_s=1e-4),
    ranges=RANGES,
    max_running=None,
    output_share_held=0.5,
)
COEFFICIENT = st.floats(0, 1e-3)
FORMS = st.builds(
    lambda a, b, p, c, d, w, x, y, z: dataclasses.replace(
        FORM,
        tpot=TpotLaw(fixed_s=a + 1e-4, sequence_s=b, sequence_exponent=p, context_s=c * 1e-4, prefill_s=d),
        ttft=TtftLaw(fixed_s=w + 1e-3, prompt_s=x, queue_s=y, sequence_s=z),
    ),
    *(COEFFICIENT, COEFFICIENT, st.floats(0.3, 1), COEFFICIENT, COEFFICIENT),
    *(COEFFICIENT, COEFFICIENT, COEFFICIENT, COEFFICIENT),
)


@pytest.fixture(scope="session")
def fitted(make_profile: MakeProfile) -> Profile:
    return make_profile("H100", form=FORM, kv_cache_tokens=100_000)


def test_tpot_is_the_formula_of_the_docstring() -> None:
    expected = 0.01 + 0.0005 * 16**0.7 + 1e-8 * 16 * (1000 + 250) + 2e-5 * 16 * 1000 / 500
    assert latency_model.tpot_s(FORM.tpot, 16, 1000, 500) == pytest.approx(expected)
    assert latency_model.ttft_s(FORM.ttft, 16, 1000) == pytest.approx(0.02 + 0.05 + 0.016 + 0.0016)


@given(FORMS, st.integers(1, 500), st.integers(1, 500), st.integers(1, 9000), st.integers(1, 9000))
def test_latencies_never_fall_with_more_requests_or_longer_prompts(
    form: LatencyModelForm, n: int, more: int, i: int, longer: int
) -> None:
    for law_n, law_i in ((n + more, i), (n, i + longer)):
        assert latency_model.tpot_s(form.tpot, law_n, law_i, 300) >= latency_model.tpot_s(form.tpot, n, i, 300)
        assert latency_model.ttft_s(form.ttft, law_n, law_i) >= latency_model.ttft_s(form.ttft, n, i)


@given(FORMS, st.integers(100, 7000), st.integers(100, 1000), st.sampled_from([0.005, 0.02, 0.04, 0.5]))
def test_longer_requests_are_never_served_faster(
    make_profile: MakeProfile, form: LatencyModelForm, i: int, o: int, tpot_s: float
) -> None:
    profile = make_profile("H100", form=form, kv_cache_tokens=50_000)
    slo = Slo(tpot_s=tpot_s)
    base = max_capacity(profile, i, o, slo)
    longer = max_capacity(profile, i + 100, o, slo)
    if isinstance(longer, Capacity):
        assert isinstance(base, Capacity)
        assert longer.request_rate_rps <= base.request_rate_rps * (1 + 1e-9)


@given(FORMS, st.integers(100, 7000), st.integers(100, 1000), st.floats(0.001, 0.2))
def test_a_looser_target_never_lowers_the_rate(
    make_profile: MakeProfile, form: LatencyModelForm, i: int, o: int, tpot_s: float
) -> None:
    profile = make_profile("H100", form=form, kv_cache_tokens=50_000)
    tight, loose = (max_capacity(profile, i, o, Slo(tpot_s=limit)) for limit in (tpot_s, tpot_s * 1.5))
    if isinstance(tight, Capacity):
        assert isinstance(loose, Capacity)
        assert loose.request_rate_rps >= tight.request_rate_rps * (1 - 1e-9)


def test_the_capacity_meets_the_target_and_is_within_half_a_percent_of_the_exact_one(fitted: Profile) -> None:
    found = max_capacity(fitted, 1000, 500, Slo(tpot_s=0.012))
    assert isinstance(found, Capacity)
    low, high = 1.0, 64.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if latency_model.tpot_s(FORM.tpot, middle, 1000, 500) <= 0.012 else (low, middle)
    exact = low / (latency_model.ttft_s(FORM.ttft, low, 1000) + 0.012 * 499)
    assert found.request_rate_rps == pytest.approx(exact, rel=0.005)
    assert found.tpot_s == pytest.approx(0.012)


def test_the_curve_ends_where_memory_and_measurements_do(fitted: Profile) -> None:
    points = latency_model.curve(FORM, 100_000, 1000, 500)
    assert not isinstance(points, Skipped)
    assert (points[0][0], points[-1][0]) == (1.0, 64.0)
    assert [p[0] for p in points] == sorted(p[0] for p in points)
    held = latency_model.curve(FORM, 10_000, 1000, 500)
    assert not isinstance(held, Skipped)
    assert held[-1][0] == pytest.approx(10_000 / 1250)
    assert latency_model.curve(FORM, 500, 1000, 500) == ()
    skipped = max_capacity(dataclasses.replace(fitted, kv_cache_tokens=500), 1000, 500, Slo(tpot_s=0.04))
    assert isinstance(skipped, Skipped)
    assert skipped.reason is SkipReason.MEMORY


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((50, 500), "50 input tokens, but the profile covers 100…8000"),
        ((9000, 100), "9000 input tokens, but the profile covers 100…8000"),
        ((1000, 50), "50 output tokens, but the profile covers 100…1000"),
        ((8000, 1000), "9000 input + output tokens, but the profile covers at most 8100"),
    ],
)
def test_outside_the_ranges_it_refuses_with_the_range(fitted: Profile, size: tuple[int, int], words: str) -> None:
    found = max_capacity(fitted, *size, Slo(tpot_s=0.04))
    assert isinstance(found, Skipped)
    assert (found.reason, found.detail) == (SkipReason.OUTSIDE_PROFILE, words)
    assert covers(fitted, *size) == words
    assert isinstance(max_capacity(fitted, *size, Slo(tpot_s=0.04), extrapolate=True), Capacity)


def test_the_target_that_no_concurrency_meets_names_the_lowest(fitted: Profile) -> None:
    found = max_capacity(fitted, 1000, 500, Slo(tpot_s=0.001))
    assert isinstance(found, Skipped)
    assert "at concurrency 1" in found.detail


def test_requests_beyond_memory_wait_by_littles_law(fitted: Profile) -> None:
    running, ttft_s, tpot_s = latency_model.at(FORM, 12_500, 1000, 500, 40)
    assert running == pytest.approx(10.0)
    assert tpot_s == pytest.approx(latency_model.tpot_s(FORM.tpot, 10, 1000, 500))
    rate = running / (latency_model.ttft_s(FORM.ttft, 10, 1000) + tpot_s * 499)
    assert 40 / (ttft_s + tpot_s * 499) == pytest.approx(rate)


def test_more_running_than_the_engine_takes_wait_too() -> None:
    form = dataclasses.replace(FORM, max_running=4)
    running, _, tpot_s = latency_model.at(form, None, 1000, 500, 40)
    assert running == 4
    assert tpot_s == pytest.approx(latency_model.tpot_s(FORM.tpot, 4, 1000, 500))


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ((1000, 500, 65), "concurrency 65, but the profile covers 1…64"),
        ((4000, 1000, 40), "at this size the profile covers at most 22"),
    ],
)
def test_a_concurrency_beyond_the_measured_is_refused(
    make_profile: MakeProfile, at: tuple[int, int, int], words: str
) -> None:
    profile = make_profile("H100", form=FORM, kv_cache_tokens=None)
    found = operating_point(profile, *at)
    assert isinstance(found, Skipped)
    assert words in found.detail
    answer = operating_point(profile, *at, extrapolate=True)
    assert not isinstance(answer, Skipped)
    assert answer.extrapolated


def test_a_file_round_trips(fitted: Profile, tmp_path: Path) -> None:
    path = tmp_path / "fitted.json"
    path.write_text(profile_text(fitted))
    assert read_profile(path) == fitted


BROKEN: list[tuple[tuple[str, ...], Any, str]] = [
    (("tpot", "fixed_s"), -1e-9, "latency_model.tpot.fixed_s"),
    (("tpot", "fixed_s"), float("nan"), "latency_model.tpot.fixed_s"),
    (("tpot", "context_s"), float("inf"), "latency_model.tpot.context_s"),
    (("tpot", "sequence_exponent"), 0, "latency_model.tpot.sequence_exponent"),
    (("tpot", "sequence_exponent"), 1.01, "latency_model.tpot.sequence_exponent"),
    (
        ("tpot",),
        dict.fromkeys(("fixed_s", "sequence_s", "context_s", "prefill_s"), 0.0) | {"sequence_exponent": 1},
        "latency_model.tpot",
    ),
    (("ttft",), dict.fromkeys(("fixed_s", "prompt_s", "queue_s", "sequence_s"), 0.0), "latency_model.ttft"),
    (("ttft", "queue_s"), None, "latency_model.ttft.queue_s"),
    (("ranges", "input_tokens"), [8000, 100], "latency_model.ranges"),
    (("ranges", "input_tokens"), [0, 100], "latency_model.ranges.input_tokens.0"),
    (("ranges", "concurrency"), [1], "latency_model.ranges.concurrency"),
    (("ranges", "context_tokens"), 1.5, "latency_model.ranges.context_tokens"),
    (("max_running",), 0, "latency_model.max_running"),
    (("output_share_held",), 1.5, "latency_model.output_share_held"),
    (("ranges",), None, "latency_model.ranges"),
]


@pytest.mark.parametrize(("place", "value", "key"), BROKEN, ids=range(len(BROKEN)))
def test_a_wrong_value_names_its_key(
    fitted: Profile, tmp_path: Path, place: tuple[str, ...], value: Any, key: str
) -> None:
    document = json.loads(profile_text(fitted))
    inner = document["latency_model"]
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        read_profile(path)
    assert [m.key for m in caught.value.mistakes] == [key] or caught.value.mistakes[0].key.startswith(key)


def test_the_form_and_its_key_must_agree(fitted: Profile, tmp_path: Path) -> None:
    document = json.loads(profile_text(fitted)) | {"form": "points"}
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="points: Field required"):
        read_profile(path)


FITTED = [entry for entry in bundled.entries() if entry.file.endswith("-fitted.json")]


def test_every_fitted_file_is_listed_and_no_other_is_there(repository: Path) -> None:
    folder = repository / "catalogs" / "profiles"
    assert {entry.file for entry in FITTED} == {
        str(path.relative_to(folder)) for path in folder.glob("*/*-fitted.json")
    }
    assert len(FITTED) >= 130


@pytest.mark.parametrize("entry", FITTED, ids=[entry.file for entry in FITTED])
def test_a_bundled_fit_is_within_its_promise(entry: bundled.Entry) -> None:
    profile = bundled.read(entry)
    error = profile.provenance.error
    assert profile.key == entry.key
    assert profile.provenance.kind == "fitted"
    assert error is not None
    assert error.tpot_fraction is not None
    assert error.tpot_fraction <= 0.15
    assert error.runs >= 2
    assert ("largest" if error.runs < 4 else "median") in error.statistic
    assert any("SemiAnalysis InferenceX" in note for note in profile.provenance.notes)
    form = profile.form
    assert isinstance(form, LatencyModelForm)
    low, high = form.ranges.input_tokens[0], form.ranges.output_tokens[0]
    point = operating_point(profile, low, high, form.ranges.concurrency[0])
    assert not isinstance(point, Skipped)
    assert 0.0005 < point.tpot_s < 0.5


@given(form=FORMS, inputs=st.integers(1, 100_000), outputs=st.integers(1, 1000))
def test_a_request_alone_waits_for_no_prompt_and_two_for_both(
    form: LatencyModelForm, inputs: int, outputs: int
) -> None:
    law, free = form.tpot, dataclasses.replace(form.tpot, prefill_s=0.0)
    for running, prompts in ((1.0, 0.0), (1.5, 1.0), (2.0, 2.0), (64.0, 64.0)):
        rest = latency_model.tpot_s(free, running, inputs, outputs)
        found = latency_model.tpot_s(law, running, inputs, outputs)
        assert found == pytest.approx(rest + law.prefill_s * prompts * inputs / outputs)
