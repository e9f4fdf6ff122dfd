"""Servers that refuse, stall, die, lie, or come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from measuring import Measure
from stub_server import Behaviour, Law, serving

# Seconds are measured: nothing may run beside it.
pytestmark = pytest.mark.server

QUICK = Law(ttft_base_ms=1.0, ttft_each_ms=0.1, tpot_base_ms=0.5, tpot_each_ms=0.1)
GRID = ("--grid", "20,40x4,8", "--concurrency", "1,2")
NO_SERVER = "http://127.0.0.1:9"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
TOKEN = b'data: {"choices": [{"text": "a"}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 17, "completion_tokens": %d}}\n\n'


def test_server_that_dies_leaves_a_partial_profile_and_a_run_that_resumes(measure: Measure) -> None:
    behaviour = Behaviour(law=QUICK, die_after=70)
    with serving(behaviour) as server:
        port = server.port
        first = measure(server.url, *GRID)
    assert first.exit_code == 5, first.stderr
    assert "stopped answering" in first.stderr
    partial = [tuple(row[:2]) for row in first.content["points"]["rows"]]
    assert 0 < len(set(partial)) < 4
    assert any(note.startswith("PARTIAL") for note in first.profile.provenance.notes)
    before = first.content["points"]["rows"]
    with serving(Behaviour(law=QUICK)) as server:
        assert server.port != port, "the address may be another"
        second = measure(server.url, *GRID)
        sent = server.requests
    assert second.exit_code == 0, second.stderr
    assert "going on from" in second.stderr
    rows = second.content["points"]["rows"]
    assert len(rows) == 8
    assert [row for row in rows if tuple(row[:2]) in partial][: len(before)] == before, "not measured again"
    with serving(Behaviour(law=QUICK)) as server:
        whole = measure(server.url, *GRID, out=second.out.with_name("whole.json"))
        assert sent < server.requests
    assert [row[:3] for row in whole.content["points"]["rows"]] == [row[:3] for row in rows]


def test_finished_measurement_is_written_again_without_the_server(measure: Measure) -> None:
    with serving(Behaviour(law=QUICK)) as server:
        first = measure(server.url, *GRID)
    text = first.out.read_bytes()
    again = measure(NO_SERVER, *GRID)
    assert (again.exit_code, again.out.read_bytes()) == (0, text)


def test_server_that_stalls(measure: Measure) -> None:
    with serving(Behaviour(law=QUICK, stall_after=100)) as server:
        begun = time.monotonic()
        found = measure(server.url, *GRID, "--stall-timeout-s", "0.4")
        assert time.monotonic() - begun < 15
    assert found.exit_code == 5, found.stderr
    assert "sent nothing for too long" in found.stderr
    assert found.content["points"]["rows"]


def test_shape_that_fails_too_often_is_left_out_and_the_rest_measured(measure: Measure) -> None:
    with serving(Behaviour(law=QUICK, fail_every=3)) as server:
        found = measure(server.url, "--grid", "20x4", "--concurrency", "2")
    assert found.exit_code == 5, found.stderr
    assert "requests failed" in found.stderr
    assert not found.out.exists()


def test_overloaded_server_ends_the_shape_not_the_run(measure: Measure) -> None:
    """It answers alone, and refuses two at once."""
    behaviour = Behaviour(law=QUICK)
    with serving(behaviour) as server:
        busy = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy"
        behaviour.reply = lambda: busy if server.in_flight >= 1 else None
        found = measure(server.url, "--grid", "20x4", "--concurrency", "1,4")
    assert found.exit_code == 0, found.stderr
    assert [row[2] for row in found.content["points"]["rows"]] == [1]
    assert any("HTTP 429" in note for note in found.profile.provenance.notes)


def test_sizes_that_the_server_refuses_are_named_and_left_out(measure: Measure) -> None:
    with serving(Behaviour(law=QUICK, max_model_len=45)) as server:
        found = measure(server.url, "--grid", "20,40,80x4,8", "--concurrency", "1")
    assert found.exit_code == 0, found.stderr
    assert [tuple(row[:2]) for row in found.content["points"]["rows"]] == [(20, 4), (20, 8), (40, 4)]
    notes = [note for note in found.profile.provenance.notes if "refuses" in note]
    assert len(notes) == 3
    assert all("maximum context length is 45" in note for note in notes)


@pytest.mark.parametrize(
    ("behaviour", "options", "code", "says"),
    [
        (Behaviour(usage=False), (), 2, "sends no token counts"),
        (Behaviour(honour_length=False), (), 2, "2 tokens came instead of 4"),
        (Behaviour(version=None), (), 2, "--engine-version: is needed"),
        (Behaviour(), ("--model", "other"), 2, "the server has: stub-model"),
        (Behaviour(fail_every=1), (), 5, "HTTP 500: sometimes"),
        (Behaviour(prompt_overhead=50), ("--api", "chat"), 2, "no prompt of 20 tokens can be made"),
        (Behaviour(reply=lambda: b""), (), 5, "connection"),
        (Behaviour(reply=lambda: b"no http at all\r\n\r\n"), (), 5, "connection"),
        (Behaviour(reply=lambda: STREAM + b"data: {]\n\n"), (), 5, "no JSON"),
        (Behaviour(reply=lambda: STREAM + b"data: [1]\n\n"), (), 5, "no JSON object"),
        (Behaviour(reply=lambda: STREAM + b"data: [DONE]\n\n"), (), 5, "holds no token"),
        (Behaviour(reply=lambda: STREAM + TOKEN * 4 + USAGE % 4), (), 5, "before [DONE]"),
        (Behaviour(reply=lambda: STREAM + TOKEN * 5000), (), 5, "more than 116 events"),
        (Behaviour(reply=lambda: STREAM + b"data: " + b"x" * 2_000_000), (), 5, "longer than 1048576"),
        (Behaviour(reply=lambda: STREAM + b'data: {"error": {"message": "CUDA\\u001b[31m"}}\n\n'), (), 5, "CUDA"),
        (
            Behaviour(reply=lambda: b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n"),
            (),
            2,
            "HTTP 302",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_server_that_cannot_be_measured(
    measure: Measure, behaviour: Behaviour, options: tuple[str, ...], code: int, says: str
) -> None:
    with serving(behaviour) as server:
        found = measure(server.url, "--grid", "20x4", "--concurrency", "1", *options)
    assert found.exit_code == code, found.stderr
    assert says in found.stderr
    assert "\x1b" not in found.stderr
    assert not list(found.out.parent.iterdir()), "nothing was measured, so nothing stays in the way of the next try"


def test_buffered_stream_is_no_measurement(measure: Measure) -> None:
    """A proxy that holds the answer back makes every TPOT 0."""
    whole = STREAM + TOKEN * 4 + USAGE % 4 + b"data: [DONE]\n\n"
    with serving(Behaviour(reply=lambda: whole)) as server:
        found = measure(server.url, "--grid", "17x4", "--concurrency", "1")
    assert found.exit_code == 5
    assert "something buffers the stream" in found.stderr
    assert not found.out.exists()


def test_letters_as_tokens(measure: Measure) -> None:
    """Five tokens a word, and a limit that the first guess would break."""
    with serving(Behaviour(law=QUICK, tokens_per_word=5, max_model_len=230)) as server:
        found = measure(server.url, "--grid", "100,200x4", "--concurrency", "1")
    assert found.exit_code == 0, found.stderr
    assert [row[0] for row in found.content["points"]["rows"]] == [101, 201]


def test_no_server(measure: Measure) -> None:
    found = measure(NO_SERVER, *GRID)
    assert found.exit_code == 5
    assert "nothing was measured" in found.stderr


def test_slow_server_ends_a_level_in_time(measure: Measure) -> None:
    with serving(Behaviour(law=Law(ttft_base_ms=300, tpot_base_ms=1))) as server:
        found = measure(server.url, "--grid", "20x4", "--concurrency", "1", "--level-limit-s", "1")
    assert found.exit_code == 5, found.stderr
    assert "requests finished in 1 s" in found.stderr


def test_key_comes_from_the_environment_and_stays_there(measure: Measure) -> None:
    key = "secret-of-the-user-1234"
    with serving(Behaviour(law=QUICK, api_key=key)) as server:
        refused = measure(server.url, *GRID, "--api-key-env", "STUB_KEY", STUB_KEY="wrong-but-also-secret")
        found = measure(server.url, *GRID, "--api-key-env", "STUB_KEY", STUB_KEY=key)
    assert refused.exit_code == 2
    assert "HTTP 401" in refused.stderr
    assert "wrong-but-also-secret" not in refused.stderr
    assert found.exit_code == 0, found.stderr
    for path in found.out.parent.iterdir():
        assert key not in path.read_text()


def test_key_is_never_sent_unasked(measure: Measure) -> None:
    with serving(Behaviour(law=QUICK, api_key="k")) as server:
        found = measure(server.url, *GRID, OPENAI_API_KEY="k")
    assert found.exit_code == 2
    assert "HTTP 401: bad key None" in found.stderr


def test_other_version_does_not_join_an_old_journal(measure: Measure) -> None:
    with serving(Behaviour(law=QUICK, die_after=70)) as server:
        measure(server.url, *GRID)
    with serving(Behaviour(law=QUICK, version="10.0")) as server:
        found = measure(server.url, *GRID)
    assert found.exit_code == 2
    assert "runs 10.0 now, and 9.9.9 when the journal was begun" in found.stderr


def test_interrupt_keeps_what_there_is(tmp_path: Path, measure: Measure) -> None:
    out = tmp_path / "profile.json"
    law = Law(ttft_base_ms=1, tpot_base_ms=3)
    grid = ("--grid", "20,40x4,8", "--concurrency", "1,2,4,8")
    with serving(Behaviour(law=law)) as server:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sky_melange", "profiles", "measure", *grid),
                *("--endpoint", server.url, "--model", "stub-model", "--accelerator", "L4", "--out", str(out)),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        journal = tmp_path / "profile.json.journal"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and '"type": "end"' not in (journal.read_text() if journal.exists() else ""):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=10)
        assert process.returncode == 130, stderr
        assert "Traceback" not in stderr
        assert json.loads(out.read_text())["points"]["rows"]
        found = measure(server.url, *grid)
    assert found.exit_code == 0
    assert len(found.content["points"]["rows"]) == 16
