"""The command line over a fake SkyPilot on disk, to be killed: `killed.py STATE WORKLOAD`.

Reads one JSON line at a time, `[SECONDS, ARGUMENTS]`, forks a process that runs the command, kills it after that time
unless it is null, and prints how it ended.
What runs is one file a unit in the folder STATE; it outlives whoever started it. WORKLOAD is planned before anything
is killed, so that the commands have imported and read what does not change, and are killed at their own work.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from fake_cloud import FakeCloud

from sky_melange.cli import cli, down, launch_folder, plan, status, up

STEP_S = 0.002


class OnDisk(MutableMapping[str, str]):
    """Kind by name; a name is a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, kind: str) -> None:
        (self._folder / f".{name}").write_text(kind, encoding="utf-8")
        (self._folder / f".{name}").replace(self._folder / name)
        time.sleep(STEP_S)

    def __delitem__(self, name: str) -> None:
        time.sleep(STEP_S)
        try:
            (self._folder / name).unlink()
        except FileNotFoundError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return (path.name for path in self._folder.iterdir() if not path.name.startswith("."))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class DiskCloud(FakeCloud):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.running = OnDisk(folder)  # type: ignore[assignment]


def main(folder: Path, workload: str) -> None:
    for module in (launch_folder, up, down, status):
        module.connect = lambda *_: DiskCloud(folder)  # type: ignore[attr-defined]
    assert plan is not None
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cli.main(["plan", workload, "--offline", "--no-files"], standalone_mode=False)
    for line in sys.stdin:
        seconds, arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            run(arguments, folder.parent / "last.log")
        if seconds is not None:
            time.sleep(seconds)
            # Its id is its own until it is waited for.
            os.kill(child, signal.SIGKILL)
        _, ended = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(ended)}\n")
        sys.stdout.flush()


def run(arguments: list[str], log: Path) -> None:
    with log.open("w", encoding="utf-8") as said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = 1
        try:
            cli.main(arguments, standalone_mode=True)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        finally:
            said.flush()
            os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
