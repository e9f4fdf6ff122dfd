"""`up` and `down` against a fake SkyPilot: order, idempotence, change, partial failure, resumption."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from fake_cloud import FakeCloud

from sky_melange.domain.plan import Plan
from sky_melange.domain.router import RouterKind, RouterSettings
from sky_melange.domain.workload import LaunchMode
from sky_melange.errors import InputError
from sky_melange.skypilot.launch.cloud import LaunchError
from sky_melange.skypilot.launch.launch import remove
from sky_melange.skypilot.launch.record import read_record
from sky_melange.skypilot.launch.report import unit_statuses
from sky_melange.skypilot.launch.steps import steps_down
from sky_melange.skypilot.launch.up import planned_steps

Make = Callable[..., Any]
GROUPS = ["chat-l4", "chat-l40s", "chat-h100"]
ROUTER = "chat-router"


def down(bench: Any, cloud: FakeCloud) -> None:
    record = read_record(bench.folder, "chat")
    remove(record, cloud, steps_down(record.started), bench.said.append)


def changed(plan: Plan, name: str, **changes: Any) -> Plan:
    groups = tuple(replace(group, **changes) if group.name == name else group for group in plan.groups)
    return replace(plan, groups=groups)


def test_groups_come_first_then_the_router_with_their_addresses(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    addresses = bench.up(any_plan(), any_workload(), cloud)
    assert cloud.verbs() == [*(("up", name) for name in GROUPS), ("launch", ROUTER)]
    # The first service is waited for: it brings the controller that the others share.
    assert cloud.events.index(("up done", "chat-l4")) < cloud.events.index(("up", "chat-l40s"))
    assert cloud.events.index(("up", "chat-h100")) < cloud.events.index(("up done", "chat-l40s"))
    assert dict(cloud.tasks[ROUTER].envs) == {
        "CHAT_L4_ENDPOINT": "10.1.1.7:30001",
        "CHAT_L40S_ENDPOINT": "10.1.1.9:30001",
        "CHAT_H100_ENDPOINT": "10.1.1.9:30001",
    }
    assert addresses["ROUTER_ENDPOINT"] == "10.9.9.9:8080"
    written = (bench.folder / "endpoints.env").read_text()
    assert written.splitlines() == [f"{name}={value}" for name, value in addresses.items()]
    assert dict(cloud.tasks["chat-l4"].secrets) == {"HF_TOKEN": "hf_secret"}
    assert dict(cloud.tasks[ROUTER].secrets) == {}


def test_no_secret_is_written_anywhere(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    bench.up(any_plan(), any_workload(), cloud)
    written = "".join(path.read_text() for path in bench.folder.rglob("*") if path.is_file())
    assert "hf_secret" not in written + "".join(bench.said) + repr(cloud.tasks)


def test_a_second_time_nothing_happens(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    bench.up(any_plan(), any_workload(), cloud)
    before = list(cloud.events)
    record = (bench.folder / "launch.json").read_bytes()
    bench.up(any_plan(), any_workload(), cloud)
    assert cloud.events == before
    assert (bench.folder / "launch.json").read_bytes() == record


def test_only_the_group_that_differs_is_updated(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    bench.up(any_plan(), any_workload(), cloud)
    cloud.events.clear()
    bench.up(changed(any_plan(), "chat-l40s", instances=1), any_workload(), cloud)
    assert cloud.verbs()[0] == ("update", "chat-l40s")
    assert {name for _, name in cloud.verbs()} <= {"chat-l40s", ROUTER}


def test_a_change_of_weights_alone_touches_the_router_alone(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    bench.up(any_plan(), any_workload(), cloud)
    cloud.events.clear()
    plan = any_plan()
    routes = tuple(replace(route, shares=(("chat-h100", 1.0),)) for route in plan.routing)
    bench.up(replace(plan, routing=routes), any_workload(), cloud)
    assert cloud.verbs() == [("launch", ROUTER)]


def test_a_group_that_moves_to_another_address_moves_the_router(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    bench.up(any_plan(), any_workload(), cloud)
    cloud.events.clear()
    cloud.endpoints["chat-l4"] = "http://10.7.7.7:30009"
    bench.up(any_plan(), any_workload(), cloud)
    assert cloud.verbs() == [("launch", ROUTER)]
    assert cloud.tasks[ROUTER].envs["CHAT_L4_ENDPOINT"] == "10.7.7.7:30009"


def test_what_is_no_longer_planned_goes_last(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    bench.up(any_plan(), any_workload(), cloud)
    cloud.events.clear()
    plan = any_plan()
    kept = tuple(group for group in plan.groups if group.name != "chat-l4")
    new = replace(kept[0], name="chat-b200", file="chat-b200.sky.yaml")
    shares = (("chat-b200", 0.5), ("chat-h100", 0.5))
    routes = tuple(replace(route, shares=shares, can_serve=()) for route in plan.routing)
    bench.up(replace(plan, groups=(*kept, new), routing=routes), any_workload(), cloud)
    assert cloud.verbs() == [("up", "chat-b200"), ("launch", ROUTER), ("down", "chat-l4")]
    assert "chat-l4" not in cloud.running


def test_a_cluster_is_replaced_by_another_before_it_goes(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud, workload = FakeCloud(), any_workload(mode=LaunchMode.CLUSTER)
    cloud.nodes = dict.fromkeys(GROUPS, 2)
    bench.up(any_plan(), workload, cloud)
    assert cloud.tasks[ROUTER].envs["CHAT_L4_ENDPOINT_2"] == "10.0.0.2:8000"
    for version, instances in ((2, 3), (3, 1)):
        cloud.events.clear()
        cloud.nodes[f"chat-l4-v{version}"] = instances
        old = "chat-l4" if version == 2 else f"chat-l4-v{version - 1}"
        plan = changed(any_plan(), "chat-l4", instances=instances)
        bench.up(plan, workload, cloud)
        assert cloud.verbs() == [("launch", f"chat-l4-v{version}"), ("launch", ROUTER), ("down", old)]
        bench.up(plan, workload, cloud)
        assert len(cloud.verbs()) == 3


def test_a_group_that_fails_leaves_the_others_and_is_resumed(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    cloud.broken = {"chat-l40s"}
    with pytest.raises(LaunchError, match="no capacity for chat-l40s") as refusal:
        bench.up(any_plan(), any_workload(), cloud)
    assert "again" in str(refusal.value)
    assert cloud.verbs() == [("up", name) for name in GROUPS], "the others were asked for all the same"
    record = read_record(bench.folder, "chat")
    assert {name: entry.is_launched for name, entry in record.started.items()} == {
        "chat-l4": True,
        "chat-l40s": False,
        "chat-h100": True,
    }
    cloud.events.clear()
    cloud.broken = set()
    bench.up(any_plan(), any_workload(), cloud)
    assert cloud.verbs() == [("update", "chat-l40s"), ("launch", ROUTER)]


def test_a_group_that_is_refused_can_be_tried_again(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    cloud.refused = {"chat-h100"}
    with pytest.raises(LaunchError, match="chat-h100 is refused"):
        bench.up(any_plan(), any_workload(), cloud)
    cloud.events.clear()
    cloud.refused = set()
    bench.up(any_plan(), any_workload(), cloud)
    assert cloud.verbs() == [("up", "chat-h100"), ("launch", ROUTER)]


@pytest.mark.parametrize("moment", range(8))
def test_an_interruption_at_any_moment_is_resumed(moment: int, bench: Any, any_plan: Make, any_workload: Make) -> None:
    """Ctrl-C when SkyPilot is asked for the nth time: the record loses nothing, and `up` ends where it should."""

    class Interrupted(FakeCloud):
        calls = 0

        def _count(self) -> None:
            self.calls += 1
            if self.calls == moment + 1:
                raise KeyboardInterrupt

        def finish(self, ticket: str) -> None:
            self._count()
            super().finish(ticket)

        def _begin(self, *arguments: Any) -> str:
            ticket = super()._begin(*arguments)
            self._count()
            return ticket

    cloud = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        bench.up(any_plan(), any_workload(), cloud)
    assert set(cloud.running) <= set(read_record(bench.folder, "chat").started), "everything that runs is known"
    bench.up(any_plan(), any_workload(), cloud)
    assert set(cloud.running) == {*GROUPS, ROUTER}
    assert all(entry.is_launched for entry in read_record(bench.folder, "chat").started.values())
    down(bench, cloud)
    assert cloud.running == {}


def test_down_ends_the_router_first_and_only_what_was_started(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    cloud.running["someone-elses"] = "service"
    bench.up(any_plan(), any_workload(), cloud)
    cloud.events.clear()
    down(bench, cloud)
    assert cloud.verbs() == [("down", ROUTER), *(("down", name) for name in sorted(GROUPS))]
    assert cloud.events[1] == ("down done", ROUTER)
    assert cloud.running == {"someone-elses": "service"}
    assert not (bench.folder / "launch.json").exists()
    cloud.events.clear()
    down(bench, cloud)
    assert cloud.events == []


def test_a_down_that_fails_keeps_what_may_still_run(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    bench.up(any_plan(), any_workload(), cloud)
    cloud.broken = {"chat-h100"}
    with pytest.raises(LaunchError, match=r"may still run.*\n.*chat-h100"):
        down(bench, cloud)
    assert set(read_record(bench.folder, "chat").started) == {"chat-h100"}
    cloud.broken = set()
    down(bench, cloud)
    assert cloud.running == {}


def test_what_died_meanwhile_is_started_again_or_forgotten(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    bench.up(any_plan(), any_workload(), cloud)
    del cloud.running["chat-l4"]
    cloud.events.clear()
    bench.up(any_plan(), any_workload(), cloud)
    assert cloud.verbs() == [("up", "chat-l4")]
    cloud.running.clear()
    cloud.events.clear()
    down(bench, cloud)
    assert cloud.events == []
    assert not (bench.folder / "launch.json").exists()


def test_a_name_that_somebody_else_uses_is_not_touched(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    cloud.running["chat-l4"] = "service"
    with pytest.raises(InputError, match=r"already runs chat-l4.*--adopt"):
        bench.up(any_plan(), any_workload(), cloud)
    assert cloud.events == []
    bench.up(any_plan(), any_workload(), cloud, adopt=True)
    assert cloud.verbs()[0] == ("update", "chat-l4")


def test_not_ready_in_time_is_an_error_that_can_be_resumed(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    cloud.slow = {"chat-h100"}
    with pytest.raises(LaunchError, match="not ready within 10 minutes: chat-h100"):
        bench.up(any_plan(), any_workload(), cloud)
    assert bench.clock_s == pytest.approx(600.0)
    assert ROUTER not in cloud.running
    assert "chat-h100: READY, 0 of 2 ready" in bench.said
    cloud.slow = set()
    cloud.events.clear()
    bench.up(any_plan(), any_workload(), cloud)
    assert cloud.verbs() == [("launch", ROUTER)]


def test_one_replica_of_each_group_is_enough_in_the_end(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    cloud.replicas["chat-l4"] = 1
    bench.up(any_plan(), any_workload(), cloud)
    assert ROUTER in cloud.running
    assert any("still starting" in line for line in bench.said)


def test_a_failed_service_ends_the_wait_at_once(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    cloud.failed = {"chat-l40s"}
    with pytest.raises(LaunchError, match=r"chat-l40s has failed \(FAILED\).*sky serve logs"):
        bench.up(any_plan(), any_workload(), cloud)
    assert bench.clock_s == 0


def test_a_hiccup_of_the_api_server_does_not_end_the_wait(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    launch = bench.launch(any_plan(), any_workload())
    steps = planned_steps(launch, cloud)
    from sky_melange.skypilot.launch.up import bring_up

    cloud.silent_times = 3
    bring_up(launch, cloud, steps, bench.patience())
    cloud.silent_times = 100
    with pytest.raises(LaunchError, match="busy"):
        bench.up(changed(any_plan(), "chat-l4", instances=3), any_workload(), cloud)


@pytest.mark.parametrize("endpoint", ['x:1" backup\n  exec', "https://10.0.0.1:443", "10.0.0.1", "$(id):80", ""])
def test_an_endpoint_that_is_no_address_reaches_no_configuration(
    endpoint: str, bench: Any, any_plan: Make, any_workload: Make
) -> None:
    cloud = FakeCloud()
    cloud.endpoints["chat-l4"] = endpoint
    with pytest.raises(LaunchError, match="which the router cannot use"):
        bench.up(any_plan(), any_workload(), cloud)
    assert ROUTER not in cloud.running


def test_a_single_service_needs_no_router(bench: Any, any_plan: Make, any_workload: Make) -> None:
    plan = any_plan()
    routes = tuple(replace(route, shares=(("chat-h100", 1.0),), can_serve=()) for route in plan.routing)
    plan = replace(plan, groups=(plan.groups[2],), routing=routes)
    cloud = FakeCloud()
    addresses = bench.up(plan, any_workload(), cloud)
    assert cloud.verbs() == [("up", "chat-h100")]
    assert addresses == {"CHAT_H100_ENDPOINT": "10.1.1.9:30001"}


def test_a_plan_without_router_takes_the_old_one_down(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    bench.up(any_plan(), any_workload(), cloud)
    cloud.events.clear()
    bench.up(any_plan(), any_workload(router=RouterSettings(kind=RouterKind.NONE)), cloud)
    assert cloud.verbs() == [("down", ROUTER)]


def test_status_says_what_runs_and_whether_it_is_as_planned(bench: Any, any_plan: Make, any_workload: Make) -> None:
    cloud = FakeCloud()
    bench.up(any_plan(), any_workload(), cloud)
    del cloud.running["chat-l40s"]
    launch = bench.launch(changed(any_plan(), "chat-l4", instances=5), any_workload())
    found = {status.name: status for status in unit_statuses(launch, cloud, datetime.now(UTC))}
    assert set(found) == {*GROUPS, ROUTER}
    assert [found[name].is_ready for name in (*GROUPS, ROUTER)] == [True, False, True, True]
    assert [found[name].is_as_planned for name in GROUPS] == [False, True, True]
    assert found["chat-l40s"].status == "not running"
    assert "not as planned" in found["chat-l4"].line()
    assert json.loads(json.dumps(found["chat-h100"].as_json()))["addresses"] == ["http://10.1.1.9:30001"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "launch.json:1: is not valid JSON"),
        ("[]", "top level"),
        ('{"schema_version": 2, "plan": "chat", "started": []}', "schema_version"),
        ('{"schema_version": 1, "plan": "other", "started": []}', "another plan"),
        ('{"schema_version": 1, "plan": "chat", "started": [{"kind": "bomb"}]}', "lacks or has wrong"),
        ('{"schema_version": 1, "plan": "chat"}', "must be a list"),
        ("[" * 100_000, "nested too deeply"),
        ("\udcff", "launch.json:1: is not UTF-8"),
    ],
)
def test_a_broken_record_is_refused_before_anything_starts(
    text: str, message: str, bench: Any, any_plan: Make, any_workload: Make
) -> None:
    bench.folder.mkdir()
    (bench.folder / "launch.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=message):
        bench.up(any_plan(), any_workload(), FakeCloud())


def test_a_record_that_cannot_be_written_starts_nothing(
    bench: Any, any_plan: Make, any_workload: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    cloud = FakeCloud()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        bench.up(any_plan(), any_workload(), cloud)
    assert cloud.events == []
    assert list(bench.folder.glob(".launch.json*")) == []
