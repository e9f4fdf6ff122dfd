"""What the routes share: the settings, the worker processes, the store; and how work is handed to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final, TypeVar

from fastapi.responses import JSONResponse, Response

from sky_melange.skypilot.plugin.answers import problem
from sky_melange.skypilot.plugin.body import RefusedError
from sky_melange.skypilot.plugin.pool import BusyError, WorkerPool
from sky_melange.skypilot.plugin.settings import Settings
from sky_melange.skypilot.plugin.store import FullError, PlanStore, StoreError, engine_of, skypilot_engine
from sky_melange.skypilot.plugin.users import User

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
