"""What the routes share: the settings, the worker processes, the store; and how work is handed to them.

A few worker processes for what takes long: bounded in number, in what waits for them, and in time.

The server's event loop only ever waits. A worker that takes too long or dies is replaced; the next job is none the
wiser.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fastapi.responses import JSONResponse, Response

from sky_melange.errors import InputError, Mistake
from sky_melange.skypilot.plugin.answers import RefusedError, bug_answer, problem
from sky_melange.skypilot.plugin.store import FullError, PlanStore, Reader, StoreError, engine_of, skypilot_engine
from sky_melange.skypilot.plugin.worker import LENGTHS, Frame, frame_of

if TYPE_CHECKING:
    from fastapi import Request


_ADMIN: Final = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """SkyPilot's user; both are None where it does not ask who it is."""

    id: str | None
    name: str | None


_BYTES_PER_MIB: Final = 1024 * 1024
_MOST: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits and places. `database_url` None: where SkyPilot's server keeps its own state."""

    offline: bool = False
    workers: int = 2
    max_waiting: int = 100
    max_waiting_per_user: int = 50
    max_seconds: int = 60
    max_body_mib: int = 4
    max_plans_per_user: int = 200
    database_url: str | None = None

    @property
    def max_body_bytes(self) -> int:
        """The most that is read of a request's body."""
        return self.max_body_mib * _BYTES_PER_MIB


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

    async def ask(self, head: Mapping[str, Any], body: bytes) -> Frame:
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise ConnectionError("the worker has no pipes")
        stdin.writelines(frame_of(head, body))
        await stdin.drain()
        of_head, of_body = LENGTHS.unpack(await stdout.readexactly(LENGTHS.size))
        answer: dict[str, Any] = json.loads(await stdout.readexactly(of_head))
        self.jobs_done += 1
        return answer, await stdout.readexactly(of_body)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


@dataclass(slots=True, kw_only=True)
class WorkerPool:
    """`place` and `run` are called from one event loop."""

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

    @contextlib.contextmanager
    def place(self, user: str | None) -> Iterator[None]:
        """A place among those that wait or run; it is taken before the request's body is. Raises BusyError at once."""
        if self._of_users.total() >= self.max_waiting:
            raise BusyError(is_own=False)
        if self._of_users[user] >= self.max_waiting_per_user:
            raise BusyError(is_own=True)
        self._of_users[user] += 1
        try:
            yield
        finally:
            self._of_users[user] -= 1
            self._of_users += Counter()  # without users that have nothing here

    async def run(self, head: Mapping[str, Any], body: bytes = b"") -> Frame:
        """The worker's answer: text with an empty object, or an object of `status`, `code` and `detail`.

        For who has a place. Large bodies and texts are neither read nor copied on the event loop.
        """
        async with self._slots:
            return await self._run(head, body)

    async def _run(self, head: Mapping[str, Any], body: bytes) -> Frame:
        worker = self._idle.pop() if self._idle else await _start()
        keep = False
        try:
            answer = await asyncio.wait_for(worker.ask(head, body), self.max_seconds)
            keep = worker.jobs_done < _JOBS_PER_WORKER
            return answer
        except TimeoutError:
            message = f"takes longer than the {self.max_seconds:g} s that it may take here"
            return bug_answer(message, status=422, code=7), b""
        except (asyncio.IncompleteReadError, ConnectionError):
            return bug_answer("the work ended without an answer; the server's log may say why"), b""
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


_Value = TypeVar("_Value")
_STORE_THREADS: Final = 4
_STORE_WAIT_S: Final = 20.0
_RETRY_AFTER_S: Final = 5
_NO_STORE: Final = 500
"""Not 503, which SkyPilot's dashboard takes for an upgrade of the whole deployment."""
_JSON: Final = "application/json"


class Service:
    """One in each server process. Nothing is opened before it is asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._pool = WorkerPool(
            workers=settings.workers,
            max_waiting=settings.max_waiting,
            max_waiting_per_user=settings.max_waiting_per_user,
            max_seconds=settings.max_seconds,
        )
        self._threads = ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="sky-melange")
        self._store: PlanStore | None = None
        self._store_lock = Lock()

    @contextmanager
    def place(self, user: User) -> Iterator[None]:
        """A place among the requests that wait or run. Raises RefusedError."""
        try:
            with self._pool.place(user.id):
                yield
        except BusyError as error:
            message = problem(str(error), help_text=f"send it again in {_RETRY_AFTER_S} s")
            raise RefusedError(429, 1, [message], retry_after_s=_RETRY_AFTER_S) from None

    async def work(self, kind: str, body: bytes = b"", **head: Any) -> bytes:
        """JSON text from a worker process, for who has a place. Raises RefusedError."""
        answer, text = await self._pool.run({"kind": kind, "offline": self.settings.offline, **head}, body)
        if answer:
            raise RefusedError(answer["status"], answer["code"], answer["detail"])
        return text

    async def with_store(self, action: Callable[[PlanStore], _Value]) -> _Value:
        """`action` on a thread of its own, so that a slow database keeps nobody else waiting. Raises RefusedError."""
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(
                loop.run_in_executor(self._threads, lambda: action(self._opened())), _STORE_WAIT_S
            )
        except FullError as error:
            raise RefusedError(409, 3, [problem(str(error))]) from None
        except StoreError as error:
            raise RefusedError(_NO_STORE, 1, [problem(str(error))], retry_after_s=_RETRY_AFTER_S) from None
        except TimeoutError:
            message = "the database of stored plans did not answer in time"
            raise RefusedError(_NO_STORE, 1, [problem(message)], retry_after_s=_RETRY_AFTER_S) from None

    def _opened(self) -> PlanStore:
        with self._store_lock:
            if self._store is None:
                url = self.settings.database_url
                self._store = PlanStore(skypilot_engine() if url is None else engine_of(url))
            return self._store

    def close(self) -> None:
        """Ends worker processes and threads."""
        self._pool.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def json_text(text: bytes | str, status: int = 200) -> Response:
    """JSON that is text already: the bytes as they are."""
    return Response(text, status_code=status, media_type=_JSON)


def json_value(value: object) -> Response:
    """A small value as JSON."""
    return json_text(json.dumps(value, ensure_ascii=False, allow_nan=False))


def refused(error: RefusedError) -> JSONResponse:
    """The documented form of a refusal."""
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return JSONResponse({"code": error.code, "detail": error.detail}, status_code=error.status, headers=headers)


def not_found() -> RefusedError:
    """The same whether there is no such plan or it is another's."""
    return RefusedError(404, 2, [problem("there is no such plan", help_text="GET plans lists those that you may see")])


def read_settings(parameters: dict[str, Any]) -> Settings:
    """Raises InputError with every unknown name and every value that is not of its kind."""
    known = {field.name: field for field in dataclasses.fields(Settings)}
    mistakes = [_mistake(name, value, known) for name, value in parameters.items()]
    if any(mistakes):
        source = "plugins.yaml: MelangePlugin"
        raise InputError(
            [
                Mistake(source=source, key=f"parameters.{name}", message=message)
                for name, message in zip(parameters, mistakes, strict=True)
                if message
            ]
        )
    return Settings(**parameters)


def user_of(request: Request) -> User:
    """Whom SkyPilot's authentication found. Middleware sets it on each request, to None where nobody is asked."""
    found: Any = getattr(request.state, "auth_user", None)
    return User(id=None, name=None) if found is None else User(id=str(found.id), name=found.name)


def reader_of(user: User) -> Reader:
    """What the user may see and delete: administrators all, others their own. Blocks: SkyPilot reads its policy.

    Without authentication everyone is an administrator, as in SkyPilot's own routes.
    """
    if user.id is None:
        return Reader(user_id=None, sees_all=True)
    from sky.users import permission

    roles: list[str] = permission.permission_service.get_user_roles(user.id)
    # As SkyPilot itself: admin beside another role is no admin.
    return Reader(user_id=user.id, sees_all=roles == [_ADMIN])


async def _start() -> _Worker:
    return _Worker(
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", _MODULE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
    )


def _mistake(name: str, value: object, known: dict[str, Any]) -> str:
    if name not in known:
        return f"is unknown; there are: {', '.join(known)}"
    default = known[name].default
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else f"want true or false, found {value!r}"
    if isinstance(default, int):
        fits = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST
        return "" if fits else f"want a whole number from 1 to {_MOST}, found {value!r}"
    return "" if value is None or isinstance(value, str) else f"want a text, found {type(value).__name__}"
