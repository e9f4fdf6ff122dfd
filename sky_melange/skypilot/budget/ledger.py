"""Launches that were let in and cannot be seen in SkyPilot's state yet. SQLite in one file, or PostgreSQL.

Whoever decides holds the ledger's only write lock from reading it to writing to it, so that two launches which race for
the last of a budget are decided one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, RowMapping
from sqlalchemy.pool import NullPool

from sky_melange.domain.spending import Kind, Owner, Spending
from sky_melange.errors import SkyMelangeError

LOCK_TIMEOUT_S: Final = 20.0
_ADVISORY_LOCK: Final = 0x736B796D_6C676472
"""Any number that nobody else in the same PostgreSQL database uses."""

_METADATA: Final = sqlalchemy.MetaData()
_RESERVATIONS: Final = sqlalchemy.Table(
    "sky_melange_reservations",
    _METADATA,
    sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True, autoincrement=True),
    sqlalchemy.Column("kind", sqlalchemy.String(16), nullable=False),
    sqlalchemy.Column("name", sqlalchemy.Text, nullable=False),
    sqlalchemy.Column("user_id", sqlalchemy.Text, nullable=False),
    sqlalchemy.Column("user_name", sqlalchemy.Text),
    sqlalchemy.Column("workspace", sqlalchemy.Text, nullable=False),
    sqlalchemy.Column("usd_per_hour", sqlalchemy.Float, nullable=False),
    sqlalchemy.Column("request_id", sqlalchemy.Text, nullable=False),
    sqlalchemy.Column("made_at_unix_s", sqlalchemy.Float, nullable=False),
)


class LedgerError(SkyMelangeError):
    """The ledger cannot be read or written: locked for too long, damaged, no such server."""


_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """One launch that was let in, by the request that asked for it. `id` None: not written yet."""

    spending: Spending
    request_id: str
    made_at_unix_s: float
    id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What a decision changes in the ledger."""

    add: Reservation | None = None
    drop_ids: tuple[int, ...] = ()


class Ledger:
    """Connects when used and holds no connection in between: it is used from forked workers and threads."""

    def __init__(self, url: sqlalchemy.URL, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self._url = url
        self._lock_timeout_s = lock_timeout_s

    @classmethod
    def at(cls, path: Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> Ledger:
        """A ledger in a SQLite file."""
        return cls(sqlalchemy.URL.create("sqlite", database=str(path)), lock_timeout_s=lock_timeout_s)

    @classmethod
    def parse(cls, url: str) -> Ledger:
        """A ledger by its SQLAlchemy URL. Raises LedgerError for what is none, without repeating it: passwords."""
        try:
            return cls(sqlalchemy.make_url(url))
        except (sqlalchemy.exc.ArgumentError, ValueError):
            raise LedgerError("the ledger's address is no database URL such as postgresql://host/name") from None

    def __str__(self) -> str:
        return self._url.database or "" if self._is_sqlite else self._url.render_as_string(hide_password=True)

    def read(self) -> tuple[Reservation, ...]:
        """Every reservation, the oldest first. Raises LedgerError."""
        with self._locked() as connection:
            return _read(connection)

    def decide(self, decision: Callable[[Sequence[Reservation]], tuple[Decided, _Result]]) -> _Result:
        """Shows every reservation to `decision` and writes down what it says, with nobody in between.

        Raises LedgerError, and what `decision` raises: then nothing is written.
        """
        with self._locked() as connection:
            decided, result = decision(_read(connection))
            if decided.drop_ids:
                connection.execute(_RESERVATIONS.delete().where(_RESERVATIONS.c.id.in_(decided.drop_ids)))
            if decided.add is not None:
                connection.execute(_RESERVATIONS.insert().values(**_row_of(decided.add)))
            return result

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @contextmanager
    def _locked(self) -> Iterator[Connection]:
        try:
            engine = self._engine()
            try:
                with engine.begin() as connection:
                    if not self._is_sqlite:
                        connection.execute(
                            sqlalchemy.text(f"SET LOCAL lock_timeout = {self._lock_timeout_s * 1000:.0f}")
                        )
                        connection.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
                    _METADATA.create_all(connection)
                    yield connection
            finally:
                engine.dispose()
        except (sqlalchemy.exc.SQLAlchemyError, OSError, ImportError) as error:
            raise self._error(error) from error

    def _engine(self) -> Engine:
        if not self._is_sqlite:
            return sqlalchemy.create_engine(self._url, poolclass=NullPool)
        if self._url.database:
            Path(self._url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        engine = sqlalchemy.create_engine(
            self._url, poolclass=NullPool, connect_args={"timeout": self._lock_timeout_s, "check_same_thread": False}
        )
        event.listen(engine, "connect", _leave_transactions_to_us)
        event.listen(engine, "begin", _begin_immediate)
        return engine

    def _error(self, error: Exception) -> LedgerError:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0][:200]
        if "locked" in reason or "lock timeout" in reason:
            return LedgerError(f"the ledger {self} was held by somebody else for {self._lock_timeout_s:g} s")
        hint = "; move it away and an empty one is made" if self._is_sqlite else ""
        return LedgerError(f"the ledger {self} cannot be used: {reason}{hint}")


def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
    # The sqlite3 module would begin a transaction of its own, and too late: with the first write.
    connection.isolation_level = None


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _read(connection: Connection) -> tuple[Reservation, ...]:
    rows = connection.execute(_RESERVATIONS.select().order_by(_RESERVATIONS.c.id)).mappings()
    return tuple(_reservation(row) for row in rows)


def _reservation(row: RowMapping) -> Reservation:
    """Raises LedgerError for what no guard ever wrote: SQLite keeps any value in any column."""
    numbers = (row["usd_per_hour"], row["made_at_unix_s"])
    texts = (row["name"], row["user_id"], row["workspace"], row["request_id"])
    fits = all(isinstance(number, float) and math.isfinite(number) and number >= 0 for number in numbers)
    if not fits or row["kind"] not in set(Kind) or not all(isinstance(text, str) for text in texts):
        raise LedgerError(f"reservation {row['id']} in the ledger's table {_RESERVATIONS.name} is damaged; delete it")
    return Reservation(
        id=row["id"],
        spending=Spending(
            kind=Kind(row["kind"]),
            name=row["name"],
            owner=Owner(user_id=row["user_id"], user_name=row["user_name"], workspace=row["workspace"]),
            usd_per_hour=row["usd_per_hour"],
        ),
        request_id=row["request_id"],
        made_at_unix_s=row["made_at_unix_s"],
    )


def _row_of(reservation: Reservation) -> dict[str, Any]:
    spending = reservation.spending
    return {
        "kind": spending.kind.value,
        "name": spending.name,
        "user_id": spending.owner.user_id,
        "user_name": spending.owner.user_name,
        "workspace": spending.owner.workspace,
        "usd_per_hour": spending.usd_per_hour,
        "request_id": reservation.request_id,
        "made_at_unix_s": reservation.made_at_unix_s,
    }
