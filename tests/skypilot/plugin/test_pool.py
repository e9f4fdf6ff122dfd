"""Worker processes: what takes too long or dies is replaced, what is too much is sent away."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Coroutine, Mapping
from typing import Any

import psutil
import pytest

from sky_melange.skypilot.plugin.service import BusyError, WorkerPool
from sky_melange.skypilot.plugin.worker import Frame, frame_of

MODULE = "sky_melange.skypilot.plugin.worker"
PRICES = {"kind": "prices", "offline": True, "cloud": "aws"}


def make_pool(**changes: Any) -> WorkerPool:
    return WorkerPool(**{"workers": 1, "max_waiting": 3, "max_waiting_per_user": 2, "max_seconds": 120, **changes})


def _workers() -> list[psutil.Process]:
    """Of this process; other tests have children of their own here."""
    return [child for child in psutil.Process().children() if MODULE in child.cmdline()]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def ask(pool: WorkerPool, user: str | None = None, head: Mapping[str, Any] = PRICES) -> Frame:
    with pool.place(user):
        return await pool.run(head)


def test_a_job_that_takes_too_long_is_ended_and_the_next_one_is_done() -> None:
    async def work() -> None:
        pool = make_pool(max_seconds=0.05)
        slow, text = await ask(pool)
        assert (slow["status"], slow["code"], text) == (422, 7, b"")
        assert "longer than the 0.05 s" in slow["detail"][0]["message"]
        pool.max_seconds = 120
        answer, text = await ask(pool)
        assert answer == {}
        assert json.loads(text)["offers"]
        await pool.aclose()

    run(work())


def test_a_worker_that_dies_is_replaced() -> None:
    async def work() -> None:
        pool = make_pool()
        job = asyncio.ensure_future(ask(pool))
        while not (workers := _workers()):
            await asyncio.sleep(0.01)
        for worker in workers:
            worker.kill()
        answer, _ = await job
        assert (answer["status"], answer["code"]) == (500, 1)
        assert (await ask(pool))[0] == {}
        await pool.aclose()

    run(work())


def test_what_no_job_foresaw_is_an_answer_without_its_text(capfd: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        pool = make_pool()
        answer, _ = await ask(pool, head={"kind": "no such kind", "secret": "hunter2"})
        assert (answer["status"], answer["code"]) == (500, 1)
        assert "no such kind" not in json.dumps(answer)
        assert (await ask(pool))[0] == {}
        await pool.aclose()

    run(work())
    assert "hunter2" not in capfd.readouterr().err


def test_too_much_is_sent_away_at_once_and_places_come_free() -> None:
    async def work() -> None:
        pool = make_pool()
        waiting = [asyncio.ensure_future(ask(pool, user)) for user in ("ada", "ada", "bob")]
        await asyncio.sleep(0)
        with pytest.raises(BusyError) as full:
            await ask(pool, "cy")
        assert not full.value.is_own
        waiting.pop().cancel()
        await asyncio.sleep(0)
        with pytest.raises(BusyError) as own:
            await ask(pool, "ada")
        assert own.value.is_own
        assert all(answer == {} for answer, _ in await asyncio.gather(*waiting))
        assert (await ask(pool, "ada"))[0] == {}
        await pool.aclose()

    run(work())


def test_a_worker_ends_when_nobody_is_there_to_answer() -> None:
    """The server may be killed: its workers' input ends then, even while they work."""
    command = [sys.executable, "-m", MODULE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        worker.stdin.writelines(frame_of(PRICES, b""))
        worker.stdin.close()
        assert worker.wait(timeout=120) == 0
