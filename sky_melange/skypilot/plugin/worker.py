"""A worker process: jobs in on stdin, answers out on what stdout was, one at a time.

    python -m sky_melange.skypilot.plugin.worker

A frame is its length (4 bytes, big-endian) and JSON. The process ends when its input ends, that is when the server is
gone, whatever it is doing then.
"""

from __future__ import annotations

import json
import os
import queue
import struct
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from sky_melange.errors import SkyMelangeError
from sky_melange.skypilot.plugin.answers import answer_of_error, bug_answer

LENGTH: Final = struct.Struct(">I")
_NICENESS: Final = 10


def main() -> None:
    """Runs until the input ends."""
    # What a library prints must not reach the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.nice(_NICENESS)
    jobs: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, jobs), daemon=True).start()
    while True:
        write_frame(answers, _answer(jobs.get()))


def _read(stream: BinaryIO, jobs: queue.SimpleQueue[Mapping[str, Any]]) -> None:
    while (job := read_frame(stream)) is not None:
        jobs.put(job)
    os._exit(0)


def _answer(job: Mapping[str, Any]) -> dict[str, Any]:
    from sky_melange.skypilot.plugin.jobs import run_job

    try:
        return {"text": run_job(job)}
    except SkyMelangeError as error:
        return answer_of_error(error)
    except RecursionError:
        return bug_answer("is nested too deeply", status=422, code=2)
    except Exception as error:  # noqa: BLE001 - a bug is reported, and the next job is done all the same
        traceback.print_exc()
        return bug_answer(f"a bug in sky-melange: {type(error).__name__}; the server's log has the traceback")


def read_frame(stream: BinaryIO) -> dict[str, Any] | None:
    """The next frame; None at the end of the input."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = stream.read(length)
    if len(body) < length:
        return None
    frame: dict[str, Any] = json.loads(body)
    return frame


def write_frame(stream: BinaryIO, document: Mapping[str, Any]) -> None:
    """One frame, sent at once."""
    stream.write(frame_of(document))
    stream.flush()


def frame_of(document: Mapping[str, Any]) -> bytes:
    """The bytes of a frame."""
    body = json.dumps(document).encode()
    return LENGTH.pack(len(body)) + body


if __name__ == "__main__":
    main()
