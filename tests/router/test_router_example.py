"""The end-to-end example: plan, router, three stubs, replayed traffic, and the load beside the plan's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
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
    """Prompts whose sizes the router misses by as much as the plan takes for granted."""
    rows = _replay(repository, "--within", "--noise", "0.15")
    assert len(rows) == 3
    for name, _, requests, planned_requests, load, planned_load in rows:
        assert float(requests) == pytest.approx(float(planned_requests), abs=1.5), name
        assert float(load) == pytest.approx(float(planned_load), abs=4.0), name


def test_the_azure_trace_overloads_no_group(repository: Path) -> None:
    trace = repository.parent / "shared" / "data" / "traces" / "azure-llm-2023-conv.csv.gz"
    if not trace.exists():
        pytest.skip("the trace is not at hand")
    for name, *_, load, _ in _replay(repository, "--trace", str(trace), "--noise", "0.15"):
        assert float(load) <= 90 * 1.05, name


@pytest.mark.parametrize("bytes_per_token", ["4.5", "3.3"])
def test_no_group_is_overloaded_by_prompts_of_other_bytes(bytes_per_token: str, repository: Path) -> None:
    """6,000 requests from within the buckets of the plan, 9 messages each, ±15 %: `max_utilization` is 0.9."""
    arguments = ("--within", "--bytes-per-token", bytes_per_token, "--noise", "0.15", "--turns", "9")
    rows = _replay(repository, "--requests", "6000", *arguments)
    assert len(rows) == 3
    for name, *_, load, _ in rows:
        assert float(load) <= 90 * 1.05, (name, load)


@pytest.mark.parametrize(("bytes_per_token", "turns"), [("4.0", "1"), ("4.5", "9"), ("3.3", "9"), ("3.3", "1")])
def test_fitted_to_its_log_the_router_divides_requests_as_planned(
    bytes_per_token: str, turns: str, tmp_path: Path, repository: Path
) -> None:
    """6,000 requests give the log; each is sent again with other bytes, ±15 %: every share is within a point."""
    prompts = ("--bytes-per-token", bytes_per_token, "--noise", "0.15", "--turns", turns)
    log, counted, fitted = tmp_path / "log.csv", tmp_path / "counted.yaml", tmp_path / "workload.yaml"
    _replay(repository, "--within", "--requests", "6000", *prompts, "--log", str(log))
    workload = yaml.safe_load((repository / "examples" / "router" / "workload.yaml").read_text())
    edges = [",".join(map(str, workload["traffic"]["histogram"][side])) for side in ("input_tokens", "output_tokens")]
    columns = "input=ContextTokens,output=GeneratedTokens,bytes=body_bytes"
    command = [sys.executable, "-m", "sky_melange", "workload", "from-trace", str(log), "--columns", columns]
    command += ["--request-rate", "40", "--buckets", f"{edges[0]}x{edges[1]}", "-o", str(counted)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True, timeout=120)
    of_log = yaml.safe_load(counted.read_text())
    workload["traffic"]["histogram"] = of_log["traffic"]["histogram"]
    workload["router"] = of_log["router"]
    fitted.write_text(yaml.safe_dump(workload))
    again = ("--trace", str(log), "--workload", str(fitted), "--seed", "2")
    rows = _replay(repository, *again, *prompts)
    assert len(rows) >= 2
    for name, _, requests, planned_requests, load, _ in rows:
        assert float(requests) == pytest.approx(float(planned_requests), abs=1.0), name
        assert float(load) <= 90 * 1.05, name
