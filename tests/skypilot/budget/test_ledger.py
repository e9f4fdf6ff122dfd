"""The ledger by itself: one decision at a time, nothing half done."""

from __future__ import annotations

import concurrent.futures
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sky_melange.domain.spending import Kind, Owner, Spending
from sky_melange.skypilot.budget.ledger import Decided, Ledger, LedgerError, Reservation


def reservation(name: str, usd_per_hour: float = 1.0) -> Reservation:
    owner = Owner(user_id="u1", user_name="alice", workspace="default")
    spending = Spending(kind=Kind.SERVICE, name=name, owner=owner, usd_per_hour=usd_per_hour)
    return Reservation(spending=spending, request_id=f"request-{name}", made_at_unix_s=1.0)


def within(limit: float, name: str) -> Callable[[Sequence[Reservation]], tuple[Decided, bool]]:
    def decide(reserved: Sequence[Reservation]) -> tuple[Decided, bool]:
        fits = sum(entry.spending.usd_per_hour for entry in reserved) + 1.0 <= limit
        return Decided(add=reservation(name) if fits else None), fits

    return decide


def test_what_is_written_is_read(tmp_path: Path) -> None:
    ledger = Ledger.at(tmp_path / "new" / "ledger.db")
    assert ledger.read() == ()
    ledger.decide(lambda _: (Decided(add=reservation("a", 2.5)), None))
    (entry,) = ledger.read()
    assert entry.spending == reservation("a", 2.5).spending
    assert entry.id is not None
    ledger.decide(lambda _: (Decided(drop_ids=(entry.id or 0,)), None))
    assert ledger.read() == ()


def test_of_many_at_once_as_many_pass_as_fit(tmp_path: Path) -> None:
    ledger = Ledger.at(tmp_path / "ledger.db")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        passed = list(pool.map(lambda number: ledger.decide(within(5.0, str(number))), range(40)))
    assert sum(passed) == 5
    assert len(ledger.read()) == 5


def test_a_decision_that_fails_writes_nothing(tmp_path: Path) -> None:
    ledger = Ledger.at(tmp_path / "ledger.db")
    ledger.decide(lambda _: (Decided(add=reservation("a")), None))

    def fail(reserved: Sequence[Reservation]) -> tuple[Decided, None]:
        raise KeyError(len(reserved))

    with pytest.raises(KeyError):
        ledger.decide(fail)
    assert len(ledger.read()) == 1


def test_a_ledger_that_somebody_holds_is_waited_for_and_then_given_up(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger.at(path).read()
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match=r"held by somebody else for 0\.2 s"):
        Ledger.at(path, lock_timeout_s=0.2).read()
    release = threading.Timer(0.3, lambda: holder.execute("ROLLBACK"))
    release.start()
    assert Ledger.at(path, lock_timeout_s=30.0).read() == ()
    release.join()
    holder.close()
