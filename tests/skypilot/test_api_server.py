"""The fixture itself: a server that comes up offline, runs requests with pretended clouds, and goes without a trace."""

from __future__ import annotations

from pathlib import Path

import psutil
from api_server import api_server, catalogs_of

OPTIMIZE = """
import sky
with sky.Dag() as dag:
    task = sky.Task(run="x")
    task.set_resources(sky.Resources(infra="gcp", accelerators="A100:1"))
sky.stream_and_get(sky.optimize(dag))
"""


def test_a_server_optimizes_over_pretended_clouds_and_is_gone_after(tmp_path: Path) -> None:
    with api_server(tmp_path, catalogs=catalogs_of(["A100"])) as server:
        assert server.process is not None
        family = psutil.Process(server.process.pid).children(recursive=True)
        done = server.run("-c", OPTIMIZE)
        assert done.returncode == 0, done.stderr
        assert "a2-highgpu-1g" in done.stdout, done.stdout
        server.restart()
        assert server.is_healthy()
    assert not server.is_healthy()
    assert not [process for process in family if process.is_running()]
