"""Worker processes: what takes too long or dies is replaced, what is too much is sent away."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Coroutine
from typing import Any

import psutil
import pytest

from sky_melange.skypilot.plugin.pool import BusyError, WorkerPool
from sky_melange.skypilot.plugin.worker import frame_of

MODULE = "sky_melange.skypilot.plugin.worker"
PRICES = {"kind": "prices", "offline": True, "cloud": "aws"}


def make_pool(**changes: Any) -> WorkerPool:
    return WorkerPool(**{"workers": 1, "max_waiting": 3, "max_waiting_per_user": 2, "max_seconds": 120, **changes})


def _workers() -> list[psutil.Process]:
    """Of this process; other tests have children of their own here."""
    return [child for child in psutil.Process().children() if MODULE in child.cmdline()]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_a_job_that_takes_too_long_is_ended_and_the_next_one_is_done() -> None:
    async def work() -> None:
        pool = make_pool(max_seconds=0.05)
        slow = await pool.run(PRICES, user=None)
        assert (slow["status"], slow["code"]) == (422, 7)
        assert "longer than the 0.05 s" in slow["detail"][0]["message"]
        pool.max_seconds = 120
        assert json.loads((await pool.run(PRICES, user=None))["text"])["offers"]
        await pool.aclose()

    run(work())


def test_a_worker_that_dies_is_replaced() -> None:
    async def work() -> None:
        pool = make_pool()
        job = asyncio.ensure_future(pool.run(PRICES, user=None))
        while not (workers := _workers()):
            await asyncio.sleep(0.01)
        for worker in workers:
            worker.kill()
        answer = await job
        assert (answer["status"], answer["code"]) == (500, 1)
        assert "text" in await pool.run(PRICES, user=None)
        await pool.aclose()

    run(work())


def test_what_no_job_foresaw_is_an_answer_without_its_text(capfd: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        pool = make_pool()
        answer = await pool.run({"kind": "no such kind", "secret": "hunter2"}, user=None)
        assert (answer["status"], answer["code"]) == (500, 1)
        assert "no such kind" not in json.dumps(answer)
        assert "text" in await pool.run(PRICES, user=None)
        await pool.aclose()

    run(work())
    assert "hunter2" not in capfd.readouterr().err


def test_too_much_is_sent_away_at_once_and_places_come_free() -> None:
    async def work() -> None:
        pool = make_pool()
        waiting = [asyncio.ensure_future(pool.run(PRICES, user=user)) for user in ("ada", "ada", "bob")]
        await asyncio.sleep(0)
        with pytest.raises(BusyError) as full:
            await pool.run(PRICES, user="cy")
        assert not full.value.is_own
        waiting.pop().cancel()
        await asyncio.sleep(0)
        with pytest.raises(BusyError) as own:
            await pool.run(PRICES, user="ada")
        assert own.value.is_own
        assert all("text" in answer for answer in await asyncio.gather(*waiting))
        assert "text" in await pool.run(PRICES, user="ada")
        await pool.aclose()

    run(work())


def test_a_worker_ends_when_nobody_is_there_to_answer() -> None:
    """The server may be killed: its workers' input ends then, even while they work."""
    command = [sys.executable, "-m", MODULE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        worker.stdin.write(frame_of(PRICES))
        worker.stdin.close()
        assert worker.wait(timeout=120) == 0
