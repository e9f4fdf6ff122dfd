"""A worker process: jobs in on stdin, answers out on what stdout was, one at a time.

    python -m sky_melange.skypilot.plugin.worker

A frame is two lengths (4 bytes each, big-endian), a small JSON object and bytes: of a job what is to be done and the
body of the request, of an answer how it went and the text. The process ends when its input ends, that is when the
server is gone, whatever it is doing then.
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
from typing import Any, BinaryIO, Final, TypeAlias

from sky_melange.errors import SkyMelangeError
from sky_melange.skypilot.plugin.answers import answer_of_body, answer_of_error, bug_answer

LENGTHS: Final = struct.Struct(">II")
Frame: TypeAlias = tuple[dict[str, Any], bytes]
_NICENESS: Final = 10


def main() -> None:
    """Runs until the input ends."""
    # What a library prints must not reach the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.nice(_NICENESS)
    jobs: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, jobs), daemon=True).start()
    while True:
        write_frame(answers, *_answer(*jobs.get()))


def _read(stream: BinaryIO, jobs: queue.SimpleQueue[Frame]) -> None:
    while (job := read_frame(stream)) is not None:
        jobs.put(job)
    os._exit(0)


def _answer(head: Mapping[str, Any], body: bytes) -> Frame:
    from pydantic import ValidationError

    from sky_melange.skypilot.plugin.jobs import run_job

    try:
        return {}, run_job(head, body).encode()
    except ValidationError as error:
        return answer_of_body(error), b""
    except SkyMelangeError as error:
        return answer_of_error(error), b""
    except RecursionError:
        return bug_answer("is nested too deeply", status=422, code=2), b""
    except Exception as error:  # noqa: BLE001 - a bug is reported, and the next job is done all the same
        traceback.print_exc()
        return bug_answer(f"a bug in sky-melange: {type(error).__name__}; the server's log has the traceback"), b""


def read_frame(stream: BinaryIO) -> Frame | None:
    """The next frame; None at the end of the input."""
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    of_head, of_body = LENGTHS.unpack(lengths)
    content = stream.read(of_head + of_body)
    if len(content) < of_head + of_body:
        return None
    return json.loads(content[:of_head]), content[of_head:]


def write_frame(stream: BinaryIO, head: Mapping[str, Any], body: bytes) -> None:
    """One frame, sent at once."""
    for part in frame_of(head, body):
        stream.write(part)
    stream.flush()


def frame_of(head: Mapping[str, Any], body: bytes) -> tuple[bytes, bytes]:
    """The bytes of a frame; the second part is the body itself, uncopied."""
    text = json.dumps(head).encode()
    return LENGTHS.pack(len(text), len(body)) + text, body


if __name__ == "__main__":
    main()
