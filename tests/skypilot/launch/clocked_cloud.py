"""A SkyServe with a clock: replicas take time to start, are drained when they go, and are lost when a task differs.

All of it is in one file, so that it outlives whoever asks. A call may be the last thing that a process does.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from sky_melange.skypilot.launch.cloud import ClusterState, LaunchError, ServiceState, Task

STARTUP_MINUTES = 11.0


class ClockedCloud:
    """`kill_at`: the call (the first is 1) before whose end the process is killed, as by `kill -9`.

    Of the file: `now`; `services` by name with the replicas `asked`, when each is `ready`, and what the task says
    outside `service:`; `refused`: services whose updates fail; `full`: those whose clouds have no machines.
    """

    def __init__(self, path: Path, *, kill_at: int | None = None) -> None:
        self._path = path
        self._kill_at = kill_at
        self._calls = 0
        self._open: dict[str, tuple[str, Task]] = {}

    def services(self, names: Sequence[str]) -> Mapping[str, ServiceState]:
        state = self._read()
        self._count()
        now = state["now"]
        return {
            name: ServiceState(
                status="READY",
                ready_replicas=sum(1 for ready in service["ready"] if ready is not None and ready <= now),
                endpoint=f"http://10.0.0.{len(name)}:30001",
                has_failed=False,
                asked_replicas=service["asked"],
            )
            for name, service in state["services"].items()
            if name in names
        }

    def clusters(self, names: Sequence[str]) -> Mapping[str, ClusterState]:
        return {name: ClusterState(status="UP", is_up=True, hosts=("10.0.1.1",)) for name in names}

    def begin_service_update(self, name: str, task: Task) -> str:
        if name in self._read()["refused"]:
            raise LaunchError(f"{name} is refused")
        self._count()
        self._open[name] = (name, task)
        return name

    def finish(self, ticket: str) -> None:
        self._count()
        state = self._read()
        name, task = self._open.pop(ticket)
        update(state, name, yaml.safe_load(task.text))
        write(self._path, state)
        self._count()

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        return found

    def _count(self) -> None:
        self._calls += 1
        if self._calls == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def update(state: dict[str, Any], name: str, config: dict[str, Any]) -> None:
    """SkyServe's: as many replicas as are asked for, those that are not ready going first."""
    asked = config.pop("service")["replicas"]
    service = state["services"].setdefault(name, {"asked": 0, "ready": [], "outside": config})
    if service["outside"] != config:
        # Not what SkyServe does at once, but what it comes to: every replica starts anew.
        service.update(outside=config, ready=[])
    service["asked"] = asked
    fill(state)


def fill(state: dict[str, Any]) -> None:
    """As SkyServe's autoscaler does every 20 seconds."""
    ready_at = (datetime.fromisoformat(state["now"]) + timedelta(minutes=STARTUP_MINUTES)).isoformat()
    for name, service in state["services"].items():
        ready = [each for each in service["ready"] if each is not None]
        ready = sorted(ready)[: service["asked"]]
        missing = service["asked"] - len(ready)
        service["ready"] = ready + [None if name in state["full"] else ready_at] * missing


def write(path: Path, state: dict[str, Any]) -> None:
    path.with_suffix(".new").write_text(json.dumps(state), encoding="utf-8")
    path.with_suffix(".new").replace(path)
