"""The end-to-end example: plan, router, three stubs, replayed traffic, and the load beside the plan's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from haproxy_process import needs_haproxy

ROW = re.compile(r"^(chat-\S+)\s+(\d+)\s+([\d.]+)%\s+([\d.]+)%\s+([\d.]+)%\s+([\d.]+)%$", re.MULTILINE)

pytestmark = [needs_haproxy, pytest.mark.server]


def _replay(repository: Path, *arguments: str) -> list[tuple[str, ...]]:
    done = subprocess.run(
        [sys.executable, "examples/router/replay.py", *arguments],
        cwd=repository,
        env={"PATH": "/usr/sbin:/usr/bin:/bin", "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "requests, 0 without an answer" in done.stdout
    return ROW.findall(done.stdout)


def test_the_load_on_each_group_is_what_was_planned(repository: Path) -> None:
    rows = _replay(repository)
    assert len(rows) == 3
    for name, _, requests, planned_requests, load, planned_load in rows:
        assert float(requests) == pytest.approx(float(planned_requests), abs=1.0), name
        assert float(load) == pytest.approx(float(planned_load), abs=2.0), name


def test_the_azure_trace_loads_the_groups_as_planned(repository: Path) -> None:
    trace = repository.parent / "shared" / "data" / "traces" / "azure-llm-2023-conv.csv.gz"
    if not trace.exists():
        pytest.skip("the trace is not at hand")
    for name, *_, load, planned_load in _replay(repository, "--trace", str(trace)):
        assert float(load) == pytest.approx(float(planned_load), abs=2.0), name
