"""A few worker processes for what takes long: bounded in number, in what waits for them, and in time.

The server's event loop only ever waits. A worker that takes too long or dies is replaced; the next job is none the
wiser.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sky_melange.skypilot.plugin.answers import bug_answer
from sky_melange.skypilot.plugin.worker import LENGTH, frame_of

_MODULE: Final = "sky_melange.skypilot.plugin.worker"
_JOBS_PER_WORKER: Final = 200
"""Then a fresh process: memory that a library loses is bounded."""


class BusyError(Exception):
    """There is too much waiting already. `is_own`: all of it the asking user's."""

    def __init__(self, *, is_own: bool) -> None:
        super().__init__("too many requests of this user are waiting" if is_own else "too many requests are waiting")
        self.is_own = is_own


@dataclass(slots=True)
class _Worker:
    process: asyncio.subprocess.Process
    jobs_done: int = 0

    async def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise ConnectionError("the worker has no pipes")
        stdin.write(frame_of(job))
        await stdin.drain()
        (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
        body = await stdout.readexactly(length)
        self.jobs_done += 1
        answer: dict[str, Any] = json.loads(body)
        return answer

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


@dataclass(slots=True, kw_only=True)
class WorkerPool:
    """`run` is called from one event loop."""

    workers: int
    max_waiting: int
    max_waiting_per_user: int
    max_seconds: float
    _slots: asyncio.Semaphore = field(init=False)
    _idle: list[_Worker] = field(init=False, default_factory=list)
    _ended: list[_Worker] = field(init=False, default_factory=list)
    _of_users: Counter[str | None] = field(init=False, default_factory=Counter)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.workers)

    async def run(self, job: Mapping[str, Any], *, user: str | None) -> dict[str, Any]:
        """The worker's answer: `text`, or `status`, `code` and `detail`. Raises BusyError at once when it is full."""
        if self._of_users.total() >= self.max_waiting:
            raise BusyError(is_own=False)
        if self._of_users[user] >= self.max_waiting_per_user:
            raise BusyError(is_own=True)
        self._of_users[user] += 1
        try:
            async with self._slots:
                return await self._run(job)
        finally:
            self._of_users[user] -= 1
            self._of_users += Counter()  # without users that have nothing here

    async def _run(self, job: Mapping[str, Any]) -> dict[str, Any]:
        worker = self._idle.pop() if self._idle else await _start()
        keep = False
        try:
            answer = await asyncio.wait_for(worker.ask(job), self.max_seconds)
            keep = worker.jobs_done < _JOBS_PER_WORKER
            return answer
        except TimeoutError:
            return bug_answer(f"takes longer than the {self.max_seconds:g} s that it may take here", status=422, code=7)
        except (asyncio.IncompleteReadError, ConnectionError):
            return bug_answer("the work ended without an answer; the server's log may say why")
        finally:
            if keep:
                self._idle.append(worker)
            else:
                self._end(worker)

    def _end(self, worker: _Worker) -> None:
        """Not waited for: the event loop reaps it."""
        worker.end()
        self._ended = [ended for ended in self._ended if ended.process.returncode is None]
        self._ended.append(worker)

    async def aclose(self) -> None:
        """Ends all workers, and waits until they are gone."""
        self.close()
        await asyncio.gather(*(worker.process.wait() for worker in self._ended))
        self._ended.clear()

    def close(self) -> None:
        """Ends the idle workers; one at work ends when its input does, with the server."""
        for worker in self._idle:
            self._end(worker)
        self._idle.clear()


async def _start() -> _Worker:
    return _Worker(
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", _MODULE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
    )
