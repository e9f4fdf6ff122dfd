"""Budgets that cannot be read, ledgers that cannot be used, prices that cannot be had."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from guard_child import SkyChild
from tasks import cluster, service

ROOM = {"users": {"*": {"usd_per_hour": 1000}}}


def test_no_budgets_file_lets_nothing_pass(sky: SkyChild) -> None:
    sky.budgets.unlink(missing_ok=True)
    answer = sky.ask(service())
    assert not answer["passed"]
    assert "budgets.yaml: there is no such file" in answer["message"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"version: 1\nusers: {'*': {usd_per_hour: 10", "is not valid YAML"),
        (b"\x00\x01\x02", "control character"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x: " + b"y" * (2 << 20), "is larger than 1 MiB"),
        (b"version: 1\nusers: &a {'*': {usd_per_hour: 10}}\nworkspaces: *a\n", "aliases"),
        (b"version: 1\nusers: {'*': !!python/object/apply:os.system ['true']}\n", "tags"),
        (b"[" * 5000, "nest"),
        (b"version: 1\n", "has no budget"),
        (b"version: 1\nusers: {'*': {usd_per_hour: .nan}}\n", "must be a finite number"),
        (b"version: 1\nusers: {'*': {usd_per_month: -1}}\n", "must be at least 0"),
    ],
)
def test_a_spoiled_budgets_file_lets_nothing_pass_whatever_it_allows(
    sky: SkyChild, content: bytes, complaint: str
) -> None:
    sky.budgets.write_bytes(content)
    answer = sky.ask(service())
    assert not answer["passed"]
    assert complaint in answer["message"]
    assert "budgets.yaml" in answer["message"]


def test_every_mistake_is_told_at_once(sky: SkyChild) -> None:
    sky.budgets.write_text("version: 1\nmod: warn\nusers:\n  alice: {usd_per_hour: -1}\n", encoding="utf-8")
    message = sky.ask(service())["message"]
    assert "budgets.yaml:2: mod: unknown key; did you mean 'mode'?" in message
    assert "budgets.yaml:4: users.alice.usd_per_hour: must be at least 0" in message


@pytest.mark.parametrize("when_unknown", ["reject", "allow"])
def test_a_half_written_ledger_is_no_empty_one(sky: SkyChild, when_unknown: str) -> None:
    sky.write_budgets(**ROOM, when_unknown=when_unknown)
    assert sky.ask(service())["passed"]
    content = sky.ledger.read_bytes()
    sky.ledger.write_bytes(b"\x00" * 100 + content[100 : len(content) // 2])
    answer = sky.ask(service())
    assert answer["passed"] is (when_unknown == "allow")
    told = answer["said"] if answer["passed"] else answer["message"]
    assert "the ledger" in told
    assert "move it away" in told


def test_a_row_that_no_guard_wrote(sky: SkyChild) -> None:
    sky.write_budgets(**ROOM)
    assert sky.ask(service())["passed"]
    with sqlite3.connect(sky.ledger) as connection:
        connection.execute("UPDATE sky_melange_reservations SET usd_per_hour = 'cheap'")
    connection.close()
    answer = sky.ask(service("other"))
    assert not answer["passed"]
    assert "is damaged" in answer["message"]


def test_a_ledger_whose_folder_cannot_be_made(sky: SkyChild, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    sky.write_budgets(**ROOM, ledger=f"sqlite:///{tmp_path}/file/ledger.db")
    answer = sky.ask(service())
    assert not answer["passed"]
    assert "the ledger" in answer["message"]


@pytest.mark.parametrize(
    "address", ["nonsense", "postgresql://user:secret@127.0.0.1:9/db", "mysql+nothing://u:secret@h/x"]
)
def test_a_ledger_address_that_leads_nowhere_keeps_its_password(sky: SkyChild, address: str) -> None:
    sky.write_budgets(**ROOM, ledger=address)
    answer = sky.ask(service())
    assert not answer["passed"]
    assert "ledger" in answer["message"]
    assert "secret" not in answer["message"]


def test_a_hostile_name_does_not_spoil_the_ledger(sky: SkyChild) -> None:
    sky.write_budgets(**ROOM)
    name = "x'); DROP TABLE sky_melange_reservations; --\n\x1b[2J" + "y" * 5000
    sky.call("request", request_id="hostile", status="RUNNING", service_name=name)
    assert sky.ask(service(), request_id="hostile")["passed"]
    sky.write_budgets(users={"*": {"usd_per_hour": 0}})
    sky.call("request", request_id="hostile-2", status="RUNNING", service_name=name)
    message = sky.ask(service(), request_id="hostile-2")["message"]
    assert "\x1b[2J" not in message
    assert len(message) < 1000


def test_catalogs_that_cannot_be_had(sky: SkyChild) -> None:
    """Lambda is enabled and has no catalog, and there is no network to fetch it."""
    sky.call("clouds", names=["aws", "gcp", "lambda"])
    task = cluster(infra="lambda", accelerators="A100:1")
    sky.write_budgets(**ROOM)
    answer = sky.ask(task, request="launch")
    assert not answer["passed"]
    assert "cannot be weighed" in answer["message"]
    sky.write_budgets(**ROOM, when_unknown="allow")
    assert sky.ask(task, request="launch")["passed"]


def test_what_runs_without_a_price_counts_only_where_it_matters(sky: SkyChild) -> None:
    """A machine whose price left the catalogs: the rest of its owner's budget is unknown, that of others is not."""
    sky.call("unpriced_cluster", name="odd", user="bob")
    sky.write_budgets(**ROOM)
    assert sky.ask(cluster(), request="launch", user="alice")["passed"]
    answer = sky.ask(cluster("second"), request="launch", user="bob")
    assert not answer["passed"]
    assert "cluster odd runs: no price of" in answer["message"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_budgets_that_may_not_be_read(sky: SkyChild) -> None:
    sky.write_budgets(**ROOM)
    sky.budgets.chmod(0)
    assert "may not be read" in sky.ask(service())["message"]


def test_what_is_unknown_holds_up_nobody_without_an_enforced_budget(sky: SkyChild) -> None:
    task = cluster(infra="gcp", accelerators="V100:1")
    sky.write_budgets(users={"bob": {"usd_per_hour": 1}, "carl": {"usd_per_hour": 1, "mode": "warn"}})
    assert not sky.ask(task, request="launch", user="bob")["passed"]
    free, warned = (sky.ask(task, request="launch", user=user) for user in ("alice", "carl"))
    assert free["passed"]
    assert free["said"] == ""
    assert warned["passed"]
    assert "cannot be weighed" in warned["said"]
