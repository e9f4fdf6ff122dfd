"""All catalogs at once, within a time limit that holds whatever the network does."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sky_melange.prices.hosted.bases import shown
from sky_melange.prices.hosted.fetch import Fetched, Fetcher
from sky_melange.prices.hosted.session import FetchError, probe

_Result = TypeVar("_Result")


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
    """The outcome for each cloud. Takes at most `limits.contact_s` without a connection, else `limits.total_s`."""
    limits = fetcher.limits
    start = time.monotonic()
    unreachable = dict.fromkeys(bases, f"no connection within {limits.contact_s:g} s")
    for base, problem in _at_once(lambda base: probe(base, limits), bases, start + limits.contact_s):
        unreachable[base] = problem
        if base == bases[0] and not problem:
            # The others are there for what this one does not have, and need not be waited for.
            unreachable = {base: problem for base, problem in unreachable.items() if base == bases[0] or not problem}
            break
    dead = {base: problem for base, problem in unreachable.items() if problem}
    if len(dead) == len(set(bases)):
        problem = "; ".join(f"{shown(base)}: {dead[base]}" for base in bases)
        return {cloud: Outcome(cloud=cloud, problem=problem) for cloud in clouds}
    found: dict[str, Outcome] = {}
    stopped = threading.Event()
    work = _at_once(lambda cloud: _fetch(fetcher, cloud, bases, dead, stopped), clouds, start + limits.total_s)
    for cloud, outcome in work:
        found[cloud] = outcome
        if on_progress is not None:
            on_progress(len(found), len(clouds))
    stopped.set()
    late = f"not finished after {limits.total_s:g} s"
    return {cloud: found.get(cloud) or Outcome(cloud=cloud, problem=late) for cloud in clouds}


def _fetch(
    fetcher: Fetcher, cloud: str, bases: Sequence[str], dead: dict[str, str], stopped: threading.Event
) -> Outcome:
    """The catalog from the first base that gives it."""
    # Texts, not errors: an error that is kept keeps the frames that it came through, with their catalogs.
    problems: list[str] = []
    missing = True
    for base in bases:
        if stopped.is_set():
            break
        try:
            if base in dead:
                raise FetchError(dead[base])
            return Outcome(cloud=cloud, fetched=fetcher.fetch(cloud, base))
        except FetchError as error:
            problems.append(f"{shown(base)}: {error}")
            missing = missing and error.missing
    return Outcome(cloud=cloud, problem="; ".join(problems), missing=missing)


def _at_once(task: Callable[[str], _Result], names: Sequence[str], end: float) -> Iterator[tuple[str, _Result]]:
    """Results as they come, each in a thread of its own, until all are there or time is up.

    The threads are daemons: a name server that never answers must not keep the process from ending. An error that
    nobody foresaw is raised here.
    """
    done: queue.SimpleQueue[tuple[str, _Result | None, BaseException | None]] = queue.SimpleQueue()

    def work(name: str) -> None:
        try:
            done.put((name, task(name), None))
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            done.put((name, None, error))

    for name in dict.fromkeys(names):
        threading.Thread(target=work, args=(name,), daemon=True).start()
    for _ in dict.fromkeys(names):
        try:
            name, result, error = done.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            return
        if error is not None:
            raise error
        yield name, result  # type: ignore[misc] # a task that raised nothing has a result
