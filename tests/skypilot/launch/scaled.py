"""`sky-melange scale` over a clocked SkyServe, to be killed: `scaled.py CLOUD_FILE`.

Reads one JSON line at a time, `[KILL_AT, ARGUMENTS]`, forks a process that runs the command, and prints how it ended.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

from clocked_cloud import ClockedCloud
from killed import run

from sky_melange.cli import cli, scale


def main(cloud: Path) -> None:
    # Imports everything once: a process for each run would do so again.
    with contextlib.redirect_stdout(io.StringIO()):
        cli.main(["scale", "plan", "--dry-run"], standalone_mode=False)
    for line in sys.stdin:
        kill_at, arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            fake = ClockedCloud(cloud, kill_at=kill_at)
            scale.connect = lambda *_, fake=fake: fake  # type: ignore[attr-defined]
            run(arguments, cloud.parent / "last.log")
        _, ended = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(ended)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
