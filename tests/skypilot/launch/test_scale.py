"""`sky-melange scale`: which counts at which moment, what is asked of SkyPilot, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from fake_cloud import FakeCloud, stand_in
from plans_by_hours import COUNTS, OFFICE, by_hours, scaled, write_folder
from property_examples import mostly_slow

from sky_melange import pipeline
from sky_melange.cli import cli
from sky_melange.cli.plan_folder import held
from sky_melange.domain.hours import Period, Scaling, Schedule
from sky_melange.domain.scaling import scaling_of, wanted_at
from sky_melange.domain.workload import LaunchMode
from sky_melange.errors import CheckFailedError
from sky_melange.skypilot.launch.report import unit_statuses
from sky_melange.skypilot.launch.scale import bring_to, planned_scales
from sky_melange.skypilot.seed_catalogs import offer_of, seed_catalogs

Make = Callable[..., Any]
MEANS = ((5, 4), (3, 2), (1, 1))
GROUPS = ["chat-l4", "chat-l40s", "chat-h100"]
TUESDAY_3_00 = datetime.fromisoformat("2026-03-03T03:00+01:00")
TUESDAY_9_00 = datetime.fromisoformat("2026-03-03T09:00+01:00")


def a_schedule(
    period_of_hour: tuple[int, ...] = OFFICE, *, zone: str = "Europe/Berlin", startup_minutes: float = 12
) -> Schedule:
    periods = tuple(
        Period(rate_rps=rate, hours=1, instances=counts, cost_usd_per_hour=1.0)
        for rate, counts in zip((9.0, 4.0, 1.0), COUNTS, strict=True)
    )
    return Schedule(
        time_zone=zone,
        period_of_hour=period_of_hour,
        periods=periods,
        startup_minutes=startup_minutes,
        starts=1,
        usd_per_hour=1.0,
        fixed_usd_per_hour=2.0,
    )


@pytest.mark.parametrize(
    ("moment", "every_minutes", "hour", "serving", "running"),
    [
        ("2026-03-03T03:00+01:00", 0, "Tuesday 03:00", COUNTS[2], COUNTS[2]),
        ("2026-03-03T02:00Z", 0, "Tuesday 03:00", COUNTS[2], COUNTS[2]),
        ("2026-03-03T07:47+01:00", 0, "Tuesday 07:00", COUNTS[1], COUNTS[1]),
        ("2026-03-03T07:48+01:00", 0, "Tuesday 07:00", COUNTS[1], COUNTS[0]),
        ("2026-03-03T07:43+01:00", 5, "Tuesday 07:00", COUNTS[1], COUNTS[1]),
        ("2026-03-03T07:43:01+01:00", 5, "Tuesday 07:00", COUNTS[1], COUNTS[0]),
        ("2026-03-03T07:00+01:00", 60, "Tuesday 07:00", COUNTS[1], COUNTS[0]),
        ("2026-03-03T17:59:59+01:00", 5, "Tuesday 17:00", COUNTS[0], COUNTS[0]),
        ("2026-03-03T18:00+01:00", 5, "Tuesday 18:00", COUNTS[1], COUNTS[1]),
        ("2026-03-07T09:00+01:00", 5, "Saturday 09:00", COUNTS[1], COUNTS[1]),
        ("2026-03-08T23:50+01:00", 5, "Sunday 23:00", COUNTS[1], COUNTS[1]),
        # Clocks jump from 02:00 to 03:00 on 29 March 2026, and from 03:00 back to 02:00 on 25 October.
        ("2026-03-29T00:59:59Z", 0, "Sunday 01:00", COUNTS[2], COUNTS[2]),
        ("2026-03-29T01:00Z", 0, "Sunday 03:00", COUNTS[2], COUNTS[2]),
        ("2026-10-25T00:30Z", 0, "Sunday 02:00", COUNTS[2], COUNTS[2]),
        ("2026-10-25T01:30Z", 0, "Sunday 02:00", COUNTS[2], COUNTS[2]),
    ],
)
def test_the_hour_of_a_moment(
    moment: str, every_minutes: float, hour: str, serving: tuple[int, ...], running: tuple[int, ...]
) -> None:
    found = wanted_at(a_schedule(), datetime.fromisoformat(moment), every_minutes=every_minutes)
    assert (found.hour, found.serving, found.running) == (hour, serving, running)


ZONES = ("Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "UTC")


@pytest.mark.parametrize("zone", mostly_slow(ZONES, "Australia/Lord_Howe"))
@pytest.mark.parametrize("startup_minutes", [0.0, 12.0, 95.0, 240.0])
def test_no_hour_begins_before_its_instances_were_started_in_time(zone: str, startup_minutes: float) -> None:
    """Of a schedule that differs in every hour, looked at every 5 minutes, over the days when clocks change there."""
    hours = tuple((7 * hour) % 3 for hour in range(24))
    schedule = a_schedule(hours, zone=zone, startup_minutes=startup_minutes)
    for month, day in ((4, 4), (10, 3)):
        asked: list[tuple[datetime, tuple[int, ...]]] = []
        moment = datetime(2026, month, day, 0, 2, tzinfo=UTC)
        for _ in range(2 * 24 * 12):
            wanted = wanted_at(schedule, moment, every_minutes=5)
            asked.append((moment, wanted.running))
            since = [counts for at, counts in asked if moment - timedelta(minutes=startup_minutes) <= at]
            if (moment - asked[0][0]) > timedelta(minutes=startup_minutes):
                for each in since:
                    assert all(has >= need for has, need in zip(each, wanted.serving, strict=True)), (zone, moment)
            moment += timedelta(minutes=5)


def test_how_a_plan_is_scaled(any_plan: Make, any_workload: Make) -> None:
    plan, workload = by_hours(any_plan()), any_workload()
    assert scaling_of(any_plan(), scaled(workload, Scaling.SCHEDULE)) is Scaling.FIXED, "it has no hours"
    assert scaling_of(plan, workload) is Scaling.SCHEDULE
    assert scaling_of(by_hours(any_plan(), usd_per_hour=9.7, fixed_usd_per_hour=9.7), workload) is Scaling.FIXED, (
        "it saves nothing"
    )
    assert scaling_of(plan, any_workload(mode=LaunchMode.CLUSTER)) is Scaling.FIXED
    for scaling in Scaling:
        assert scaling_of(plan, scaled(workload, scaling)) is scaling


def test_schedule_json_has_every_hour_and_only_where_the_clock_decides(
    any_plan: Make, any_workload: Make, tmp_path: Path
) -> None:
    plan, workload = by_hours(any_plan()), any_workload()
    text = (write_folder(tmp_path / "a", plan, workload) / "schedule.json").read_text(encoding="utf-8")
    found = json.loads(text)
    assert found["services"] == GROUPS
    assert [tuple(hour["instances"]) for hour in found["hours"]] == [COUNTS[period] for period in OFFICE]
    assert [found["hours"][index]["hour"] for index in (0, 25, 167)] == [
        "Monday 00:00", "Tuesday 01:00", "Sunday 23:00",
    ]  # fmt: skip
    assert (found["time_zone"], found["startup_minutes"]) == ("Europe/Berlin", 12.0)
    assert (write_folder(tmp_path / "b", plan, workload) / "schedule.json").read_text(encoding="utf-8") == text
    for scaling in (Scaling.FIXED, Scaling.AUTOSCALE):
        other = write_folder(tmp_path / scaling.value, plan, scaled(workload, scaling))
        assert not (other / "schedule.json").exists()
    assert not (write_folder(tmp_path / "c", any_plan(), workload) / "schedule.json").exists()


class CountingCloud(FakeCloud):
    """Has as many replicas as it was asked for."""

    def finish(self, ticket: str) -> None:
        verb, name = self._open[ticket]
        super().finish(ticket)
        if verb in ("up", "update"):
            service: Mapping[str, Any] = yaml.safe_load(self.tasks[name].text)["service"]
            found = service.get("replicas")
            self.replicas[name] = service["replica_policy"]["min_replicas"] if found is None else found

    def answers(self, address: str) -> bool:
        """The router has a server."""
        return super().answers(address) and any(self.replicas.values())


@pytest.fixture
def launched(bench: Any, any_plan: Make, any_workload: Make) -> CountingCloud:
    cloud = CountingCloud()
    bench.up(by_hours(any_plan()), any_workload(), cloud)
    cloud.events.clear()
    return cloud


def scale(bench: Any, cloud: FakeCloud, plan: Any, workload: Any, moment: datetime) -> Any:
    launch = bench.launch(plan, workload)
    wanted = wanted_at(plan.schedule, moment, every_minutes=5)
    return bring_to(launch, cloud, planned_scales(launch, cloud, wanted))


def test_up_starts_the_busiest_hour_and_scale_follows_the_clock(
    bench: Any, any_plan: Make, any_workload: Make, launched: CountingCloud
) -> None:
    plan, workload = by_hours(any_plan()), any_workload()
    assert [launched.replicas[name] for name in GROUPS] == [*COUNTS[0]]
    outside = {name: outside_service(launched.tasks[name].text) for name in GROUPS}
    done = scale(bench, launched, plan, workload, TUESDAY_3_00)
    assert [launched.replicas[name] for name in GROUPS] == [*COUNTS[2]]
    assert [each.problem for each in done] == [None] * 3
    assert launched.verbs() == [("update", name) for name in GROUPS], "the router stays"
    assert {name: outside_service(launched.tasks[name].text) for name in GROUPS} == outside
    assert dict(launched.tasks["chat-l4"].secrets) == {"HF_TOKEN": "hf_secret"}
    launched.events.clear()
    record = (bench.folder / "launch.json").stat().st_mtime_ns
    assert {each.action for each in scale(bench, launched, plan, workload, TUESDAY_3_00)} == {"keep"}
    assert launched.events == []
    assert (bench.folder / "launch.json").stat().st_mtime_ns == record
    # `up` leaves what it finds alone, and waits for no more than that.
    bench.up(plan, workload, launched)
    assert launched.verbs() == []
    assert [launched.replicas[name] for name in GROUPS] == [*COUNTS[2]]


def test_nothing_runs_in_an_hour_without_requests_and_up_does_not_wait_for_it(
    bench: Any, any_plan: Make, any_workload: Make, launched: CountingCloud
) -> None:
    plan, workload = by_hours(any_plan(), counts=(*COUNTS[:2], (0, 0, 0))), any_workload()
    done = scale(bench, launched, plan, workload, TUESDAY_3_00)
    assert [launched.replicas[name] for name in GROUPS] == [0, 0, 0]
    assert [each.problem for each in done] == [None] * 3
    assert {each.action for each in scale(bench, launched, plan, workload, TUESDAY_3_00)} == {"keep"}
    bench.up(plan, workload, launched)
    assert [launched.replicas[name] for name in GROUPS] == [0, 0, 0]
    scale(bench, launched, plan, workload, TUESDAY_3_00 + timedelta(hours=2, minutes=50))
    assert [launched.replicas[name] for name in GROUPS] == [*COUNTS[1]], "started before the hour that needs them"


def outside_service(text: str) -> Any:
    return {key: value for key, value in yaml.safe_load(text).items() if key != "service"}


REUSED = """
import json, os, sys
answer = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
from pathlib import Path
from sky_melange.skypilot.launch.cloud import Task
from sky_melange.skypilot.launch.sdk import SkyPilot
sky, found = SkyPilot(), []
for text in json.load(sys.stdin):
    config = sky._task(Task(text=text, folder=Path("."), secrets={"HF_TOKEN": "x"})).to_yaml_config()
    # What SkyServe leaves out when it compares: `SkyPilotReplicaManager.update_version`.
    left_out = {key: config.pop(key, None) for key in ("service", "pool", "_user_specified_yaml")}
    found.append([config, left_out["service"]["replica_policy"]["min_replicas"]])
json.dump(found, answer); answer.close()
"""


@pytest.mark.slow
def test_skyserve_finds_no_difference_for_which_it_would_replace_replicas(
    bench: Any, any_plan: Make, any_workload: Make, launched: CountingCloud, tmp_path: Path
) -> None:
    """By SkyPilot's own reading of the file that was launched and of the one that is asked for."""
    before = launched.tasks["chat-l4"].text
    plan = by_hours(any_plan())
    scale(bench, launched, plan, any_workload(), TUESDAY_3_00)
    for path, csv in seed_catalogs([offer_of(group) for group in plan.groups], None).items():
        target = tmp_path / ".sky" / "catalogs" / "v8" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(csv, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", REUSED], input=json.dumps([before, launched.tasks["chat-l4"].text]), text=True,
        capture_output=True, check=False, env={**os.environ, "HOME": str(tmp_path), "SKY_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (old, five), (new, one) = json.loads(done.stdout)
    assert (five, one) == (5, 1)
    assert old == new
    # SkyServe replaces every replica of a task with mounts.
    assert new["file_mounts"] == {}


def test_increases_are_asked_for_before_decreases(
    bench: Any, any_plan: Make, any_workload: Make, launched: CountingCloud
) -> None:
    counts = ((5, 4, 3), (2, 6, 1))
    plan = by_hours(any_plan(), counts=counts, period_of_hour=(1,) * 12 + (0,) * 12)
    bench.up(plan, any_workload(), launched)
    launched.events.clear()
    scale(bench, launched, plan, any_workload(), TUESDAY_3_00)
    assert launched.verbs() == [("update", name) for name in ("chat-l40s", "chat-l4", "chat-h100")]


def test_spot_keeps_its_stand_ins(bench: Any, any_plan: Make, any_workload: Make) -> None:
    plan = by_hours(any_plan())
    plan = replace(plan, groups=tuple(replace(group, use_spot=True) for group in plan.groups))
    cloud = CountingCloud()
    bench.up(plan, any_workload(), cloud)
    scale(bench, cloud, plan, any_workload(), TUESDAY_3_00)
    policy = yaml.safe_load(cloud.tasks["chat-l4"].text)["service"]["replica_policy"]
    assert policy == {"min_replicas": 1, "max_replicas": 1, "dynamic_ondemand_fallback": True}


def test_what_cannot_be_scaled_is_named_and_the_rest_is_scaled(
    bench: Any, any_plan: Make, any_workload: Make, launched: CountingCloud
) -> None:
    plan, workload = by_hours(any_plan()), any_workload()
    del launched.running["chat-l4"]
    launched.failed.add("chat-l40s")
    done = scale(bench, launched, plan, workload, TUESDAY_3_00)
    assert [each.problem is None for each in done] == [False, False, True]
    assert "does not run: run `sky-melange up" in done[0].problem
    assert "has failed (FAILED)" in done[1].problem
    assert launched.verbs() == [("update", "chat-h100")]
    launched.failed.clear()
    changed = replace(plan, groups=(replace(plan.groups[0], max_concurrency=7), *plan.groups[1:]))
    done = scale(bench, launched, changed, workload, TUESDAY_3_00)
    assert "the plan changed since it was launched" in done[0].problem
    assert launched.replicas["chat-l40s"] == 1


def test_status_says_what_the_schedule_says(
    bench: Any, any_plan: Make, any_workload: Make, launched: CountingCloud
) -> None:
    plan, workload = by_hours(any_plan()), any_workload()
    scale(bench, launched, plan, workload, TUESDAY_3_00)

    def found(moment: datetime) -> dict[str, Any]:
        return {each.name: each for each in unit_statuses(bench.launch(plan, workload), launched, moment)}

    at_night = found(TUESDAY_3_00)
    assert at_night["chat-l4"].hour == "1 of 5, as the schedule says for Tuesday 03:00"
    assert all(each.is_ready and each.is_as_planned for each in at_night.values())
    by_day = found(TUESDAY_9_00)
    assert by_day["chat-l4"].line().endswith("(1 of 5, the schedule says 5 for Tuesday 09:00: run `sky-melange scale`)")
    assert [by_day[name].is_ready for name in GROUPS] == [False] * 3
    assert by_day["chat-router"].is_ready
    # An hour ahead of the busy ones either is right.
    assert found(TUESDAY_9_00 - timedelta(hours=1, minutes=30))["chat-l4"].hour.startswith(
        "1 of 5, the schedule says 3"
    )
    scale(bench, launched, plan, workload, TUESDAY_9_00)
    assert found(TUESDAY_9_00 - timedelta(hours=1, minutes=30))["chat-l4"].is_as_planned


@pytest.fixture(scope="module")
def planned(repository: Path) -> Any:
    return pipeline.plan_file(repository / "examples" / "means" / "workload.yaml")


@pytest.fixture
def folder(planned: Any, tmp_path: Path) -> Path:
    return write_folder(
        tmp_path / "plan", by_hours(planned.plan, counts=MEANS), scaled(planned.workload, Scaling.SCHEDULE)
    )


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> CountingCloud:
    from sky_melange.cli import up

    fake = CountingCloud()
    stand_in(monkeypatch, fake)
    # The plan was priced without hours.
    monkeypatch.setattr(up, "_check", lambda *_, **__: None)
    return fake


def run(*arguments: Any) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


def test_the_command_from_up_to_status(folder: Path, cloud: CountingCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    up = run("up", folder, "--yes", "--offline")
    assert up.exit_code == 0, up.stderr
    assert f"Run `sky-melange scale {folder}` every few minutes" in up.stderr
    monkeypatch.delenv("VLLM_API_KEY")
    missing = run("scale", folder, "--at", "2026-03-03T03:00")
    assert missing.exit_code == 2
    assert "VLLM_API_KEY" in missing.stderr
    monkeypatch.setenv("VLLM_API_KEY", "key_x")
    done = run("scale", folder, "--at", "2026-03-03T03:00")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [
        "Tuesday 03:00 (Europe/Berlin, 2026-03-03T03:00+01:00)",
        "update  chat-b200  5 -> 1, 5 ready",
        "update  chat-h100  4 -> 1, 4 ready",
    ]
    again = run("scale", folder, "--at", "2026-03-03T04:00", "--format", "json")
    assert json.loads(again.stdout) == {
        "at": "2026-03-03T04:00:00+01:00",
        "hour": "Tuesday 04:00",
        "dry_run": False,
        "services": [
            {
                "name": name,
                "action": "keep",
                "before": 1,
                "wanted": 1,
                "wanted_now": 1,
                "ready": 1,
                "problem": None,
            }
            for name in ("chat-b200", "chat-h100")
        ],
    }
    cloud.replicas["chat-b200"] = 0
    behind = run("scale", folder, "--at", "2026-03-03T04:00")
    assert behind.exit_code == 3
    assert "0 of the 1 instances of this hour are ready" in behind.stdout
    assert behind.stderr == "Error: not as the schedule wants it: chat-b200\n"
    assert run("down", folder, "--yes").exit_code == 0
    nothing = run("scale", folder, "--at", "2026-03-03T04:00")
    assert nothing.exit_code == 3
    assert "it was not started from here" in nothing.stdout


def test_a_dry_run_asks_skypilot_nothing(folder: Path, cloud: CountingCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    from sky_melange.cli import scale as module

    assert run("up", folder, "--yes", "--offline").exit_code == 0
    monkeypatch.setattr(module, "connect", None)
    monkeypatch.delenv("HF_TOKEN")
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = run("scale", folder, "--dry-run", "--at", "2026-03-03T03:00")
    assert done.exit_code == 0, done.stderr
    assert "update  chat-b200  5 -> 1" in done.stdout
    assert {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_without_a_time_it_is_now(folder: Path) -> None:
    never_started = run("scale", folder, "--dry-run", "--format", "json")
    assert never_started.exit_code == 3
    assert "not as the schedule wants it: chat-b200, chat-h100" in never_started.stderr
    found = json.loads(never_started.stdout)
    assert f"it was not started from here: run `sky-melange up {folder}`" in found["services"][0]["problem"]
    assert abs(datetime.fromisoformat(found["at"]) - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("soon", "'soon' is not a time: write 2026-03-02T08:30"),
        ("", "'' is not a time"),
        ("0001-01-01T00:00", "is not a time"),
        ("9999-12-31T23:59+00:00", "is not a time"),
        ("2026-03-29T02:30", "2026-03-29T02:30 does not come in Europe/Berlin"),
        ("2026-10-25T02:30", "2026-10-25T02:30 comes twice in Europe/Berlin"),
    ],
)
def test_a_time_that_is_none_or_two(text: str, message: str, folder: Path) -> None:
    done = run("scale", folder, "--dry-run", "--at", text)
    assert done.exit_code == 2
    assert message in done.stderr
    assert run("scale", folder, "--dry-run", "--at", "2026-10-25T02:30+01:00").stderr.startswith("Error: not as")


def test_a_plan_that_no_clock_scales_is_refused(planned: Any, tmp_path: Path) -> None:
    plan, workload = by_hours(planned.plan, counts=MEANS), scaled(planned.workload, None)
    clusters = replace(workload, launch=replace(workload.launch, mode=LaunchMode.CLUSTER))
    cases = {
        "every hour": (planned.plan, planned.workload),
        "is fixed": (plan, scaled(workload, Scaling.FIXED)),
        "SkyServe itself": (plan, scaled(workload, Scaling.AUTOSCALE)),
        "nodes SkyPilot cannot change": (plan, clusters),
        "but traffic.hours is in 'Europe/Berlin'": (
            by_hours(planned.plan, counts=MEANS, time_zone="Europe/Nowhere"),
            workload,
        ),
        "hours.time_zone: is not a time zone": (
            by_hours(planned.plan, counts=MEANS, time_zone="../../etc/passwd"),
            scaled(planned.workload, None, time_zone="../../etc/passwd"),
        ),
    }
    for number, (message, (each, its_workload)) in enumerate(cases.items()):
        done = run("scale", write_folder(tmp_path / str(number), each, its_workload), "--dry-run")
        assert done.exit_code == 2, message
        assert message in done.stderr


def test_a_schedule_below_the_floor_is_refused(planned: Any, tmp_path: Path) -> None:
    constraints = replace(planned.workload.constraints, min_replicas=3)
    workload = replace(scaled(planned.workload, Scaling.SCHEDULE), constraints=constraints)
    done = run("scale", write_folder(tmp_path / "plan", by_hours(planned.plan, counts=MEANS), workload), "--dry-run")
    assert done.exit_code == 2
    assert "schedule: has 2 replicas at Monday 01:00, and constraints.min_replicas is 3: plan again" in done.stderr


@pytest.mark.parametrize(
    ("status", "target", "asked"),
    [("READY", 3, 3), ("READY", 0, None), ("READY", None, None), ("NO_REPLICA", 0, 0), ("NO_REPLICA", 2, 2)],
)
def test_what_skyserve_is_asked_for_is_its_controller_s_word(
    status: str, target: int | None, asked: int | None
) -> None:
    """SkyPilot says 0 for an answer that it cannot read, and nothing where there is none."""
    from sky_melange.skypilot.launch import sdk

    record = {"status": status, "replica_info": [{"status": "READY"}, {"status": "STARTING"}], "endpoint": None}
    found = sdk._service({**record, "target_num_replicas": target})
    assert (found.asked_replicas, found.ready_replicas) == (asked, 1)


def test_one_command_at_a_time(folder: Path, cloud: CountingCloud, repository: Path) -> None:
    assert run("up", folder, "--yes", "--offline").exit_code == 0
    cloud.events.clear()
    with held(folder):
        commands = (
            ("scale", folder, "--at", "2026-03-03T03:00"),
            ("up", folder, "--yes", "--offline"),
            ("down", folder, "--yes"),
            ("plan", repository / "examples" / "means" / "workload.yaml", "--out", folder, "--offline"),
        )
        for command in commands:
            done = run(*command)
            assert done.exit_code == 3, command
            assert "another sky-melange command is at work here" in done.stderr
        assert run("scale", folder, "--at", "2026-03-03T03:00", "--dry-run").exit_code == 0
    assert cloud.events == []
    assert run("scale", folder, "--at", "2026-03-03T03:00").exit_code == 0
    assert [path.name for path in folder.glob(".launch*")] == []
    with pytest.raises(CheckFailedError), held(folder), held(folder):
        raise AssertionError
