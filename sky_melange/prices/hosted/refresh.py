"""All catalogs at once, within a time limit that holds whatever the network does."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from sky_melange.prices.hosted.fetch import Fetched, Fetcher
from sky_melange.prices.hosted.limits import FetchLimits
from sky_melange.prices.hosted.reach import Reach
from sky_melange.prices.hosted.retries import UnreachableError, fetch_anywhere

THREADS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one catalog: `fetched`, or the `problem`. `missing`: the servers answered, and have none."""

    cloud: str
    fetched: Fetched | None = None
    problem: str = ""
    missing: bool = False


def refresh(
    fetcher: Fetcher, clouds: Sequence[str], bases: Sequence[str], on_progress: Callable[[int, int], None] | None = None
) -> dict[str, Outcome]:
    """The outcome for each cloud. Takes at most `limits.contact_s` without a connection, else `limits.total_s`.

    The threads are daemons: a name server that never answers must not keep the process from ending.
    """
    limits = fetcher.limits
    reach, stopped = Reach(bases), threading.Event()
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
    for cloud in clouds:
        todo.put(cloud)
    noticing = replace(fetcher, noticed=reach.connected)
    for _ in range(min(THREADS, len(clouds))):
        threading.Thread(target=_work, args=(noticing, todo, bases, reach, done, stopped), daemon=True).start()
    found: dict[str, Outcome] = {}
    for outcome in _until(done, len(clouds), reach, limits):
        found[outcome.cloud] = outcome
        if on_progress is not None:
            on_progress(len(found), len(clouds))
    stopped.set()
    first = next((outcome.problem for outcome in found.values()), "")
    late = f"not finished after {limits.total_s:g} s" if reach.any_contact else first or "no server could be reached"
    return {cloud: found.get(cloud) or Outcome(cloud=cloud, problem=late) for cloud in clouds}


def _until(
    done: queue.SimpleQueue[Outcome | BaseException], count: int, reach: Reach, limits: FetchLimits
) -> Iterator[Outcome]:
    """Outcomes as they come, until all are there, time is up or nobody is left to ask.

    An error that nobody foresaw is raised here.
    """
    start = time.monotonic()
    received = 0
    while received < count and not (received and reach.all_dead):
        limit_s = limits.total_s if reach.any_contact else limits.contact_s
        left_s = start + limit_s - time.monotonic()
        if left_s <= 0:
            return
        try:
            outcome = done.get(timeout=left_s)
        except queue.Empty:
            continue
        if isinstance(outcome, BaseException):
            raise outcome
        received += 1
        yield outcome


def _work(
    fetcher: Fetcher,
    todo: queue.SimpleQueue[str],
    bases: Sequence[str],
    reach: Reach,
    done: queue.SimpleQueue[Outcome | BaseException],
    stopped: threading.Event,
) -> None:
    while not stopped.is_set():
        try:
            cloud = todo.get_nowait()
        except queue.Empty:
            return
        try:
            done.put(Outcome(cloud=cloud, fetched=fetch_anywhere(fetcher, cloud, bases, reach, stopped)))
        except UnreachableError as error:
            done.put(Outcome(cloud=cloud, problem=str(error), missing=error.missing))
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits, and raised there
            done.put(error)
