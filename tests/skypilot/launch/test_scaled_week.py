"""`scale` every hour of two weeks in which clocks change; and runs that are killed, refused or find no machines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import clocked_cloud
import pytest
import yaml
from plans_by_hours import OFFICE, by_hours, note_services, scaled, write_folder

from sky_melange import pipeline
from sky_melange.domain.hours import Scaling

COUNTS = ((5, 4), (3, 2), (1, 1))
"""Instances of the two groups in busy, middle and quiet hours."""

BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2026, 3, 23, tzinfo=BERLIN)
AUTUMN = datetime(2026, 10, 19, tzinfo=BERLIN)
"""Mondays of the weeks in which clocks change."""

HOUR = timedelta(hours=1)


@dataclass
class Week:
    """A launched plan with hours, and the process that runs commands on it."""

    process: subprocess.Popen[str]
    folder: Path
    names: tuple[str, ...]

    @property
    def cloud(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "cloud.json").read_text(encoding="utf-8"))
        return found

    @property
    def log(self) -> str:
        return (self.folder / "last.log").read_text(encoding="utf-8")

    @property
    def asked(self) -> tuple[int, ...]:
        return tuple(self.cloud["services"][name]["asked"] for name in self.names)

    @property
    def ready(self) -> tuple[int, ...]:
        state = self.cloud
        services = (state["services"][name]["ready"] for name in self.names)
        return tuple(sum(1 for each in ready if each is not None and each <= state["now"]) for ready in services)

    def set(self, **changes: Any) -> None:
        state = self.cloud | changes
        clocked_cloud.fill(state)
        clocked_cloud.write(self.folder / "cloud.json", state)

    def scale(self, moment: datetime, *options: str, kill_at: int | None = None) -> int:
        self.set(now=moment.astimezone(UTC).isoformat())
        return self.run("scale", "plan", "--at", moment.astimezone(UTC).isoformat(), *options, kill_at=kill_at)

    def run(self, *arguments: str, kill_at: int | None = None) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([kill_at, arguments]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture
def week(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Week]:
    """Launched with the instances of the busiest hour, on Monday at 00:00."""
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("VLLM_API_KEY", "key_x")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path))
    planned = pipeline.plan_file(repository / "examples" / "means" / "workload.yaml")
    plan, workload = by_hours(planned.plan, counts=COUNTS), scaled(planned.workload, Scaling.SCHEDULE)
    folder = write_folder(tmp_path / "plan", plan, workload)
    note_services(folder, plan, workload)
    state: dict[str, Any] = {"now": SPRING.astimezone(UTC).isoformat(), "services": {}, "refused": [], "full": []}
    for group in plan.groups:
        clocked_cloud.update(state, group.name, yaml.safe_load((folder / group.file).read_text(encoding="utf-8")))
        state["services"][group.name]["ready"] = [state["now"]] * group.instances
    clocked_cloud.write(tmp_path / "cloud.json", state)
    command = [sys.executable, str(Path(__file__).with_name("scaled.py")), str(tmp_path / "cloud.json")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", cwd=tmp_path
    ) as process:
        yield Week(process, tmp_path, tuple(group.name for group in plan.groups))
        assert process.stdin is not None
        process.stdin.close()


def wanted(moment: datetime) -> tuple[int, ...]:
    """What the hour that the clocks of Berlin show at a moment needs, read off the tables by hand."""
    local = moment.astimezone(BERLIN)
    return COUNTS[OFFICE[local.weekday() * 24 + local.hour]]


def hours_of(monday: datetime) -> Iterator[datetime]:
    """As many as really pass: 167 or 169."""
    moment = monday.astimezone(UTC)
    while moment < (monday + timedelta(days=7)).astimezone(UTC):
        yield moment
        moment += HOUR


@pytest.mark.parametrize(("monday", "hours"), [(SPRING, 167), (AUTUMN, 169)])
def test_every_hour_of_a_week_begins_with_its_instances(week: Week, monday: datetime, hours: int) -> None:
    moments = list(hours_of(monday))
    assert len(moments) == hours
    changes = 0
    for moment in moments:
        before = week.asked
        assert week.scale(moment, "--every-minutes", "60") == 0, week.log
        assert all(ready >= need for ready, need in zip(week.ready, wanted(moment), strict=True)), moment
        most = tuple(max(pair) for pair in zip(wanted(moment), wanted(moment + HOUR), strict=True))
        assert week.asked == most, moment
        changes += week.asked != before
    assert changes > 20
    assert week.ready == week.asked, "no replica was started anew"


def test_a_run_that_is_killed_is_made_up_for_by_the_next(week: Week) -> None:
    """At each call of a run that changes both services, before and after SkyServe has taken the update."""
    night, morning = SPRING + timedelta(hours=2), SPRING + timedelta(hours=5, minutes=50)
    calls = 0
    while True:
        calls += 1
        assert week.scale(night) == 0, week.log
        code = week.scale(morning, kill_at=calls)
        if code == 0:
            break
        assert code == -signal.SIGKILL, week.log
        assert week.scale(morning) == 0, week.log
        assert week.asked == COUNTS[1], f"killed at call {calls}"
        assert [entry["instances"] for entry in started(week)] == [*COUNTS[1]]
        assert all(entry["is_launched"] for entry in started(week))
    assert calls == 1 + 2 + 2 * 2 + 1


def started(week: Week) -> list[dict[str, Any]]:
    found = json.loads((week.folder / "plan" / "launch.json").read_text(encoding="utf-8"))["started"]
    return [entry for entry in found if entry["kind"] == "service"]


def test_an_update_that_is_refused_is_reported_and_repaired(week: Week) -> None:
    night, morning = SPRING + timedelta(hours=2), SPRING + timedelta(hours=5, minutes=50)
    assert week.scale(night) == 0
    week.set(refused=[week.names[1]])
    assert week.scale(morning) == 3
    assert f"{week.names[1]} is refused" in week.log
    assert f"not as the schedule wants it: {week.names[1]}" in week.log
    assert week.asked == (COUNTS[1][0], COUNTS[2][1]), "the others are scaled all the same"
    week.set(refused=[])
    assert week.scale(morning + timedelta(minutes=5)) == 0, week.log
    assert week.asked == COUNTS[1]


def test_a_cloud_without_machines_is_reported_until_it_has_some(week: Week) -> None:
    morning = SPRING + timedelta(hours=6)
    assert week.scale(SPRING + timedelta(hours=2)) == 0
    week.set(full=[week.names[0]])
    assert week.scale(morning - timedelta(minutes=15)) == 0, "asked for a moment ago"
    assert week.scale(morning) == 3
    assert "1 of the 3 instances of this hour are ready" in week.log
    week.set(full=[])
    assert week.scale(morning + timedelta(minutes=5)) == 3, "they take their time to start"
    assert week.scale(morning + timedelta(minutes=20)) == 0, week.log


def test_no_update_restarts_a_replica(week: Week) -> None:
    """SkyServe keeps running replicas only where nothing outside `service:` changes."""
    outside = [week.cloud["services"][name]["outside"] for name in week.names]
    first = [week.cloud["services"][name]["ready"][0] for name in week.names]
    for hours in (2, 10, 26, 34):
        assert week.scale(SPRING + timedelta(hours=hours)) == 0
    assert [week.cloud["services"][name]["outside"] for name in week.names] == outside
    assert [week.cloud["services"][name]["ready"][0] for name in week.names] == first
