"""What a launch asks of SkyPilot. Tests implement it with a fake; `sdk.py` with SkyPilot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sky_melange.errors import CheckFailedError


class LaunchError(CheckFailedError):
    """SkyPilot refused or failed; what was started stays, and `up` resumes from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A launch file with what is filled in at launch. Paths in it are relative to `folder`."""

    text: str
    folder: Path
    envs: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """A SkyServe service. `status` in SkyPilot's words; `endpoint` (host:port) None until it has one.

    `asked_replicas`: how many its controller wants to run by now; None: it does not answer.
    """

    status: str
    ready_replicas: int
    endpoint: str | None
    has_failed: bool
    asked_replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """A cluster. `hosts` are the addresses of its nodes, first the head."""

    status: str
    is_up: bool
    hosts: tuple[str, ...]


class Cloud(Protocol):
    """SkyPilot. Every method raises LaunchError when SkyPilot refuses, with its message.

    `begin_…` return at once with a ticket for `finish`, which waits.
    """

    def services(self, names: Sequence[str]) -> Mapping[str, ServiceState]:
        """Those of the services that exist."""

    def clusters(self, names: Sequence[str]) -> Mapping[str, ClusterState]:
        """Those of the clusters that exist."""

    def begin_service(self, name: str, task: Task) -> str:
        """Start a service."""

    def begin_service_update(self, name: str, task: Task) -> str:
        """Replace a service's replicas by those of another task, the new before the old."""

    def begin_cluster(self, name: str, task: Task) -> str:
        """Start a cluster, or run a task on it when it exists."""

    def begin_service_down(self, name: str) -> str:
        """Take a service down."""

    def begin_cluster_down(self, name: str) -> str:
        """Take a cluster down."""

    def finish(self, ticket: str) -> None:
        """Wait until that is done."""

    def endpoint(self, cluster: str, port: int) -> str:
        """Where a port of a cluster is reached, host:port."""

    def answers(self, address: str) -> bool:
        """Whether `http://address/health` says 200."""
