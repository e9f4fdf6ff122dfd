"""The same ledger on PostgreSQL: one decision at a time, over connections of their own."""

from __future__ import annotations

import concurrent.futures
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from test_ledger import reservation, within

from sky_melange.skypilot.budget.ledger import Decided, Ledger, LedgerError

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from postgres_server import running_postgres

pytest.importorskip("psycopg2")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_postgres() as address:
        yield address.replace("postgres://", "postgresql+psycopg2://")


def test_of_many_at_once_as_many_pass_as_fit(address: str) -> None:
    ledger = Ledger.parse(address)
    assert ledger.read() == ()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        passed = list(pool.map(lambda number: ledger.decide(within(5.0, str(number))), range(40)))
    assert sum(passed) == 5
    entries = ledger.read()
    assert len(entries) == 5
    ledger.decide(lambda _: (Decided(drop_ids=tuple(entry.id or 0 for entry in entries)), None))
    assert ledger.read() == ()


def test_a_held_ledger_is_given_up_in_time(address: str) -> None:
    ledger = Ledger.parse(address)
    ledger.decide(lambda _: (Decided(add=reservation("a")), None))
    impatient = Ledger(sqlalchemy.make_url(address), lock_timeout_s=0.2)

    def ask_meanwhile(_: object) -> tuple[Decided, None]:
        with pytest.raises(LedgerError, match="held by somebody else"):
            impatient.read()
        return Decided(), None

    ledger.decide(ask_meanwhile)
