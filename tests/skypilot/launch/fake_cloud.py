"""A SkyPilot of our own: remembers what it was asked, in order, and fails where it is told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from sky_melange.skypilot.launch.cloud import ClusterState, LaunchError, ServiceState, Task


def stand_in(monkeypatch: pytest.MonkeyPatch, fake: FakeCloud) -> None:
    """Every command that launches talks to `fake`, and has the secrets that plans ask for."""
    from sky_melange.cli import down, launch_folder, scale, status, up

    for module in (launch_folder, up, down, status, scale):
        monkeypatch.setattr(module, "connect", lambda *_: fake)
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("VLLM_API_KEY", "key_x")


class FakeCloud:
    """`refused` and `broken` are names that cannot be begun, or fail when finished; `slow` units are never ready.

    `events` are (verb, name) as they were asked for.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.running: dict[str, str] = {}
        self.tasks: dict[str, Task] = {}
        self.refused: set[str] = set()
        self.broken: set[str] = set()
        self.slow: set[str] = set()
        self.failed: set[str] = set()
        self.silent_times = 0
        self.endpoints: dict[str, str] = {}
        self.replicas: dict[str, int] = {}
        self.nodes: dict[str, int] = {}
        self._open: dict[str, tuple[str, str]] = {}

    def services(self, names: Sequence[str]) -> Mapping[str, ServiceState]:
        self._maybe_silent()
        assert names, "nobody asks about nothing"
        return {name: self._service(name) for name in names if self.running.get(name) == "service"}

    def clusters(self, names: Sequence[str]) -> Mapping[str, ClusterState]:
        self._maybe_silent()
        assert names, "nobody asks about nothing"
        return {
            name: ClusterState(
                status="INIT" if name in self.slow else "UP",
                is_up=name not in self.slow,
                hosts=tuple(f"10.0.0.{number}" for number in range(1, self.nodes.get(name, 1) + 1)),
            )
            for name in names
            if self.running.get(name) == "cluster"
        }

    def begin_service(self, name: str, task: Task) -> str:
        assert name not in self.running, "SkyPilot refuses a second service of the same name"
        return self._begin("up", name, "service", task)

    def begin_service_update(self, name: str, task: Task) -> str:
        assert self.running.get(name) == "service", "SkyPilot refuses to update what is not there"
        return self._begin("update", name, "service", task)

    def begin_cluster(self, name: str, task: Task) -> str:
        return self._begin("launch", name, "cluster", task)

    def begin_service_down(self, name: str) -> str:
        return self._begin("down", name, None, None)

    def begin_cluster_down(self, name: str) -> str:
        return self._begin("down", name, None, None)

    def finish(self, ticket: str) -> None:
        verb, name = self._open.pop(ticket)
        self.events.append((f"{verb} done", name))
        if name in self.broken:
            raise LaunchError(f"no capacity for {name}")
        if verb == "down":
            self.running.pop(name, None)

    def endpoint(self, cluster: str, port: int) -> str:
        return f"http://{self.endpoints.get(cluster, '10.9.9.9')}:{port}"

    def answers(self, address: str) -> bool:
        return not any(name in self.slow for name in self.running)

    def verbs(self) -> list[tuple[str, str]]:
        """What was begun, in order."""
        return [event for event in self.events if not event[0].endswith(" done")]

    def _begin(self, verb: str, name: str, kind: str | None, task: Task | None) -> str:
        if name in self.refused:
            raise LaunchError(f"{name} is refused")
        self.events.append((verb, name))
        if kind is not None and task is not None:
            self.running[name] = kind
            self.tasks[name] = task
        ticket = f"{len(self.events)}"
        self._open[ticket] = (verb, name)
        return ticket

    def _service(self, name: str) -> ServiceState:
        ready = 0 if name in self.slow else self.replicas.get(name, 2)
        return ServiceState(
            status="FAILED" if name in self.failed else "READY",
            ready_replicas=ready,
            endpoint=self.endpoints.get(name, f"http://10.1.1.{len(name)}:30001"),
            has_failed=name in self.failed,
        )

    def _maybe_silent(self) -> None:
        if self.silent_times > 0:
            self.silent_times -= 1
            raise LaunchError("the API server is busy")
