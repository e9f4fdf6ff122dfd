"""The pure parts: when to stop, how long the rest takes, what goes into the profile, the stream, the statistics."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_journals import SHAPE, SPEC, SPREAD, level

from sky_melange.domain.workload import Slo
from sky_melange.errors import Mistake
from sky_melange.profiles.measure import EndKind, LevelResult, NothingMeasuredError, Shape, ShapeEnd, to_profile
from sky_melange.profiles.measure.client import MalformedStreamError, TokenStream
from sky_melange.profiles.measure.journal import Progress, duration, seconds_left
from sky_melange.profiles.measure.load import percentile, spread, standard_error
from sky_melange.profiles.measure.results import LevelFailure, ServerFacts
from sky_melange.profiles.measure.run import next_step, prompt
from sky_melange.profiles.measure.spec import base_url


def at(concurrency: int, *, ttft_s: float = 0.1, tpot_s: float = 0.02, shape: Shape = SHAPE) -> LevelResult:
    ttft, tpot = (dataclasses.replace(SPREAD, mean=value) for value in (ttft_s, tpot_s))
    return dataclasses.replace(level(concurrency), shape=shape, ttft_s=ttft, tpot_s=tpot)


class Findings:
    """Stands for a journal."""

    started_on = "2026-05-01"

    def __init__(self, levels: Sequence[LevelResult] = (), ends: Sequence[ShapeEnd] = ()) -> None:
        self.ends = {end.shape: end for end in ends}
        self.server = ServerFacts(engine_version="1", kv_cache_tokens=None)
        self._levels = levels

    def levels(self, shape: Shape) -> tuple[LevelResult, ...]:
        return tuple(found for found in self._levels if found.shape == shape)


@pytest.mark.parametrize(
    ("slo", "latencies", "reason"),
    [
        (Slo(tpot_s=0.04), {"tpot_s": 0.041}, "TPOT is 41.0 ms at concurrency 1, over the target of 40 ms"),
        (Slo(ttft_s=0.05), {}, "TTFT is 100.0 ms"),
        (Slo(ntpot_s=0.03), {"tpot_s": 0.02}, "NTPOT is 40.0 ms"),
    ],
)
def test_any_target_stops(slo: Slo, latencies: dict[str, float], reason: str) -> None:
    step = next_step(dataclasses.replace(SPEC, slo=slo), SHAPE, [at(1, **latencies)])
    assert isinstance(step, ShapeEnd)
    assert step.kind is EndKind.SLO
    assert reason in step.reason


def test_steps_go_up_the_list_and_end_with_it() -> None:
    assert next_step(SPEC, SHAPE, []) == 1
    assert next_step(SPEC, SHAPE, [at(1)]) == 2
    step = next_step(SPEC, SHAPE, [at(1), at(2)])
    assert isinstance(step, ShapeEnd)
    assert step.kind is EndKind.CONCURRENCY


def test_throughput_must_stand_still_twice() -> None:
    spec = dataclasses.replace(SPEC, slo=None, concurrencies=(1, 2, 4, 8))
    rising, flat = at(1), at(2, ttft_s=0.2, tpot_s=0.04)
    assert next_step(spec, SHAPE, [rising, flat]) == 4
    assert next_step(spec, SHAPE, [rising, flat, at(4, ttft_s=0.3, tpot_s=0.06)]) == 8
    step = next_step(spec, SHAPE, [rising, flat, at(4, ttft_s=0.4, tpot_s=0.08)])
    assert isinstance(step, ShapeEnd)
    assert step.kind is EndKind.THROUGHPUT
    assert step.reason.endswith("at concurrency 1")


def test_time_left_before_and_after_the_first_shape() -> None:
    other = Shape(input_tokens=20, output_tokens=8)
    spec = dataclasses.replace(SPEC, shapes=(SHAPE, other))
    assert seconds_left(spec, Findings()) == (0.0, True)
    assert seconds_left(spec, Findings([at(1)])) == (2.0 + 8.0, True), "2 s a level, two levels, twice the tokens"
    end = ShapeEnd(shape=SHAPE, kind=EndKind.SLO, reason="")
    assert seconds_left(spec, Findings([at(1)], [end])) == (4.0, False)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "about 0 s"), (89, "about 89 s"), (120, "about 2 min"), (7500, "about 2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_lines() -> None:
    lines: list[str] = []
    progress = Progress(SPEC, Findings([at(1)]), lines.append)
    progress.level(at(1))
    progress.failure(SHAPE, 2, LevelFailure(reason="why"))
    figures = "6.25 req/s, TTFT 100.0 ms, TPOT 20.00 ms, 1 of 15 failed"
    assert lines[0].startswith(f"[1/1] 20 in × 4 out, 1 at once: {figures}")
    assert lines[0].endswith("left")
    assert lines[1] == "[1/1] 20 in × 4 out, 2 at once: no figures: why"


def test_a_gap_in_the_grid_never_means_not_measured_yet() -> None:
    shapes = tuple(Shape(input_tokens=i, output_tokens=o) for i in (20, 40) for o in (4, 8))
    spec = dataclasses.replace(SPEC, shapes=shapes)
    levels = [at(1, shape=shape) for shape in shapes[:3]]
    ends = [ShapeEnd(shape=shape, kind=EndKind.CONCURRENCY, reason="") for shape in shapes[:3]]
    measured = to_profile(spec, Findings(levels, ends))  # type: ignore[arg-type]
    assert measured.shapes_in_profile == 2
    assert {o for _, o in measured.profile.form.latencies} == {4, 8}  # type: ignore[union-attr]
    failed = [*ends[:2], dataclasses.replace(ends[2]), ShapeEnd(shape=shapes[3], kind=EndKind.FAILED, reason="x")]
    assert to_profile(spec, Findings(levels, failed)).shapes_in_profile == 2  # type: ignore[arg-type]
    refused = [*ends, ShapeEnd(shape=shapes[3], kind=EndKind.REFUSED, reason="too long")]
    assert to_profile(spec, Findings(levels, refused)).shapes_in_profile == 4  # type: ignore[arg-type]
    with pytest.raises(NothingMeasuredError):
        to_profile(spec, Findings(levels))  # type: ignore[arg-type]


def test_slow_client_and_odd_prompts_are_said() -> None:
    late = dataclasses.replace(at(1), client_lag_s=0.004, input_tokens=23.0, errors={})
    end = ShapeEnd(shape=SHAPE, kind=EndKind.CONCURRENCY, reason="")
    measured = to_profile(SPEC, Findings([late], [end]))  # type: ignore[arg-type]
    assert any("may measure the client" in warning for warning in measured.warnings)
    assert any("asked to be 20 tokens are 23" in warning for warning in measured.warnings)
    assert list(measured.profile.form.latencies) == [(23, 4)]  # type: ignore[union-attr]


@given(st.lists(st.integers(1, 40), min_size=0, max_size=12))
def test_stream_reads_the_same_however_it_is_cut(cuts: list[int]) -> None:
    events = [b'{"choices":[{"text":"a"}]}'] * 7 + [b'{"choices":[],"usage":{"prompt_tokens":3}}', b"[DONE]"]
    data = b": comment\n\n" + b"".join(b"data: " + event + b"\r\n\r\n" for event in events)
    stream, position, now_s = TokenStream(max_events=50), 0, 0.0
    for cut in [*cuts, len(data)]:
        stream.feed(data[position : position + cut], now_s)
        position, now_s = position + cut, now_s + 1.0
    last_token_s, usage, error = stream.finish()
    assert stream.done
    assert stream.first_token_s is not None
    assert last_token_s is not None
    assert stream.first_token_s <= last_token_s
    assert (usage, error) == ({"prompt_tokens": 3}, None)


@given(st.binary(max_size=300))
def test_stream_of_anything_is_refused_or_read(data: bytes) -> None:
    stream = TokenStream(max_events=10)
    with contextlib.suppress(MalformedStreamError):
        stream.feed(data, 1.0)
        stream.feed(b"\ndata: " + data + b"\n", 2.0)
        stream.finish()


def test_role_event_of_a_chat_is_no_token() -> None:
    stream = TokenStream(max_events=10)
    stream.feed(b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n', 1.0)
    assert stream.first_token_s is None
    stream.feed(b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n', 2.0)
    assert stream.first_token_s == 2.0


def test_statistics_against_their_definitions() -> None:
    values = [float(value) for value in range(1, 101)]
    found = spread(values)
    assert (found.mean, found.p50, found.p99) == (50.5, 50.5, pytest.approx(99.01))
    assert percentile([3.0], 0.99) == 3.0
    assert standard_error(values[:11]) is None
    assert standard_error([2.0] * 12) == 0.0


def test_standard_error_covers_the_truth_about_as_often_as_it_should() -> None:
    """Independent values: the mean lies within two standard errors in 90 of 100 samples (t, 5 degrees of freedom)."""
    random = Random(1)  # noqa: S311
    inside = 0
    for _ in range(400):
        values = [random.gauss(10.0, 2.0) for _ in range(60)]
        error = standard_error(values)
        assert error is not None
        inside += abs(math.fsum(values) / 60 - 10.0) <= 2 * error
    assert 0.84 <= inside / 400 <= 0.95


def test_prompts_have_their_length_and_do_not_repeat() -> None:
    random = Random(0)  # noqa: S311
    texts = [prompt(50, random) for _ in range(100)]
    assert {len(text.split()) for text in texts} == {50}
    assert len({" ".join(text.split()[:8]) for text in texts}) == 100, "no shared beginnings"


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://h:1/", "http://h:1"),
        ("https://h/v1", "https://h"),
        ("https://h/team/v1/completions", "https://h/team"),
        ("http://[::1]:8000/v1/chat/completions", "http://[::1]:8000"),
    ],
)
def test_addresses(url: str, base: str) -> None:
    assert base_url(url) == base


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8000", "ftp://h", "http://", "http://u:secret@h", "http://h:99999", "http://h?x=1", "http://[::1", ""],
)
def test_bad_addresses(url: str) -> None:
    found = base_url(url)
    assert isinstance(found, Mistake)
    assert "secret" not in str(found)
