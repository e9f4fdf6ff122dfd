"""Stored plans, through SQLAlchemy: one table, on SQLite or PostgreSQL alike.

Where SkyPilot's server has a database of its own (a file `~/.sky/<name>.db`, or PostgreSQL by its connection setting),
so has this. Everything here blocks: it is called off the event loop.
"""

from __future__ import annotations

import importlib.util
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy
from sqlalchemy import Column, Engine, Index, Integer, MetaData, String, Table, Text, event, func, select
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from sky_melange.errors import SkyMelangeError

DATABASE_NAME: Final = "sky_melange"
SCHEMA_VERSION: Final = 1
_BUSY_TIMEOUT_MS: Final = 10_000
_ATTEMPTS: Final = 50
_PAUSE_S: Final = 0.05

_METADATA: Final = MetaData()
_SCHEMA: Final = Table(
    "melange_schema",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)
_PLANS: Final = Table(
    "melange_plans",
    _METADATA,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("owner_id", String(200)),
    Column("owner_name", Text),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
    Column("summary", Text, nullable=False),
    Column("shown", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Index("melange_plans_owner", "owner_id"),
)


class StoreError(SkyMelangeError):
    """The database cannot be used; the message says why, without its address."""


class FullError(SkyMelangeError):
    """An owner has as many plans as one may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlan:
    """One row. Times are ISO 8601 in UTC. `summary`, `shown` and `plan` are JSON text; `owner_id` None: nobody's own.

    Lists leave `shown` and `plan` out; they are "" there.
    """

    id: str
    name: str
    owner_id: str | None
    owner_name: str | None
    created_at: str
    updated_at: str
    summary: str
    shown: str = ""
    plan: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who asks. `sees_all`: an administrator, or anybody where SkyPilot does not ask who it is."""

    user_id: str | None
    sees_all: bool


class PlanStore:
    """Creates its tables when it is made; raises StoreError when a newer release did."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with _as_store_error():
            _prepare(engine)

    def create(
        self, *, name: str, owner_id: str | None, owner_name: str | None, now: str, limit: int, **texts: str
    ) -> StoredPlan:
        """Stores a plan; `texts` are summary, shown and plan. Raises FullError when the owner has `limit` already."""
        plan = StoredPlan(
            id=uuid.uuid4().hex,
            name=name,
            owner_id=owner_id,
            owner_name=owner_name,
            created_at=now,
            updated_at=now,
            **texts,
        )
        values = {column.name: getattr(plan, column.name) for column in _PLANS.columns}
        with _as_store_error(), self._engine.begin() as connection:
            # Counted after the insert: SQLite lets one writer in at a time. On PostgreSQL those who take the last place
            # at the same moment all get it, which does no harm.
            connection.execute(_PLANS.insert().values(**values))
            owned = select(func.count()).select_from(_PLANS).where(_PLANS.c.owner_id.is_not_distinct_from(owner_id))
            if connection.execute(owned).scalar_one() > limit:
                raise FullError(f"there are {limit} stored plans already, the most that one user may have; delete some")
        return plan

    def list(self, reader: Reader) -> list[StoredPlan]:
        """What the reader may see, newest first."""
        columns = [column for column in _PLANS.columns if column.name not in {"plan", "shown"}]
        query = select(*columns).order_by(_PLANS.c.created_at.desc(), _PLANS.c.id)
        with _as_store_error(), self._engine.connect() as connection:
            return [_stored(row) for row in connection.execute(query.where(_visible(reader)))]

    def get(self, plan_id: str, reader: Reader) -> StoredPlan | None:
        """The plan; None where there is none that the reader may see."""
        query = select(_PLANS).where(_PLANS.c.id == plan_id, _visible(reader))
        with _as_store_error(), self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else _stored(row)

    def delete(self, plan_id: str, reader: Reader) -> bool:
        """Whether there was one that the reader may see; it is gone."""
        command = _PLANS.delete().where(_PLANS.c.id == plan_id, _visible(reader))
        with _as_store_error(), self._engine.begin() as connection:
            return bool(connection.execute(command).rowcount)


def engine_of(url: str) -> Engine:
    """An engine for an address: sqlite:///file, postgresql://…. Raises StoreError for one that cannot be used."""
    try:
        address = sqlalchemy.make_url(url)
        if address.drivername in {"postgres", "postgresql"}:
            # The driver that SkyPilot installs; SQLAlchemy 2.1 would look for another one.
            has_own = importlib.util.find_spec("psycopg2") is not None
            address = address.set(drivername="postgresql+psycopg2" if has_own else "postgresql")
        return sqlalchemy.create_engine(address, pool_pre_ping=True)
    except (SQLAlchemyError, ImportError) as error:
        raise StoreError(f"database_url cannot be used: {type(error).__name__}") from None


def skypilot_engine() -> Engine:
    """The engine that SkyPilot's server would use for a database of this name."""
    from sky.utils.db import db_utils

    engine: Engine = db_utils.get_engine(DATABASE_NAME)
    return engine


def _prepare(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        _own_file(engine)
    # Several server processes may do so at once: who comes second is refused somewhere, and then finds it done.
    for attempt in range(_ATTEMPTS):
        try:
            _create(engine)
            break
        except (IntegrityError, OperationalError, ProgrammingError):
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(_PAUSE_S)
    found = _version(engine)
    if found != SCHEMA_VERSION:
        raise StoreError(
            f"the database of stored plans has schema version {found}, this release reads {SCHEMA_VERSION}; "
            "install the release of sky-melange that wrote it"
        )


def _own_file(engine: Engine) -> None:
    """Only the server's user reads it, from its first byte; its log files inherit that."""
    if engine.url.database not in {None, "", ":memory:"}:
        path = Path(str(engine.url.database))
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        cursor.close()


def _create(engine: Engine) -> None:
    """Tables and version where they are not there yet. The file keeps its mode: readers do not block writers."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    _METADATA.create_all(engine)
    with engine.begin() as connection:
        if connection.execute(select(_SCHEMA.c.version)).first() is None:
            connection.execute(_SCHEMA.insert().values(id=1, version=SCHEMA_VERSION))


def _version(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(_SCHEMA.c.version)).scalar_one())


def _visible(reader: Reader) -> sqlalchemy.ColumnElement[bool]:
    if reader.sees_all:
        return sqlalchemy.true()
    # A user without an id owns nothing; NULL equals nothing in SQL either.
    return _PLANS.c.owner_id == reader.user_id if reader.user_id is not None else sqlalchemy.false()


def _stored(row: sqlalchemy.Row[Any]) -> StoredPlan:
    return StoredPlan(**row._mapping)


@contextmanager
def _as_store_error() -> Iterator[None]:
    """Database errors hold addresses, statements and values: those stay in the log of whoever handles the cause."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise StoreError(f"the database of stored plans cannot be used: {type(error).__name__}") from error
