"""The store on SQLite and on a PostgreSQL that the tests start: the same tests."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy
from postgres_server import running_postgres

from sky_melange.skypilot.plugin.store import FullError, PlanStore, Reader, StoredPlan, StoreError, engine_of

ALL = Reader(user_id=None, sees_all=True)
ADA = Reader(user_id="ada", sees_all=False)
EVE = Reader(user_id="eve", sees_all=False)
NOBODY = Reader(user_id=None, sees_all=False)
Url = str


@pytest.fixture(scope="module")
def postgres() -> Iterator[Url]:
    with running_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.engines)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Url:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'folder' / 'plans.db'}"
    address: Url = request.getfixturevalue("postgres")
    engine = engine_of(address)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE IF EXISTS melange_plans, melange_schema"))
    engine.dispose()
    return address


@pytest.fixture
def opened(url: Url) -> Iterator[Callable[[], PlanStore]]:
    """Opens the database anew, as another process would."""
    engines = []

    def open_store() -> PlanStore:
        engines.append(engine_of(url))
        return PlanStore(engines[-1])

    yield open_store
    for engine in engines:
        engine.dispose()


def add(
    store: PlanStore, owner: str | None, name: str = "chat", *, now: str = "2026-01-01", **texts: str
) -> StoredPlan:
    fields = {"summary": "{}", "shown": "{}", "plan": "{}", **texts}
    return store.create(name=name, owner_id=owner, owner_name=owner, now=now, limit=3, **fields)


def test_what_is_stored_is_there_when_opened_again(opened: Callable[[], PlanStore]) -> None:
    plan = '{"name": "Größe ✓ 模型 🙂 \\u0000", "x": 1e-300}' + " " * 3_000_000
    stored = add(opened(), "ada", "it's; DROP TABLE melange_plans --", plan=plan)
    again = opened().get(stored.id, ADA)
    assert again == stored
    assert again is not None
    assert again.plan == plan


def test_readers_see_their_own_and_administrators_all(opened: Callable[[], PlanStore]) -> None:
    store = opened()
    of_ada, of_eve, of_nobody = (add(store, owner) for owner in ("ada", "eve", None))
    seen = {reader.user_id: {plan.id for plan in store.list(reader)} for reader in (ADA, EVE)}
    assert seen == {"ada": {of_ada.id}, "eve": {of_eve.id}}
    assert store.list(NOBODY) == []
    assert {plan.id for plan in store.list(ALL)} == {of_ada.id, of_eve.id, of_nobody.id}
    assert store.get(of_ada.id, EVE) is None
    assert store.get(of_nobody.id, ADA) is None
    assert store.get(of_nobody.id, NOBODY) is None
    assert store.get(of_ada.id, ALL) == of_ada


def test_who_does_not_see_a_plan_does_not_delete_it(opened: Callable[[], PlanStore]) -> None:
    store = opened()
    plan = add(store, "ada")
    assert not store.delete(plan.id, EVE)
    assert not store.delete(plan.id, NOBODY)
    assert not store.delete("0" * 32, ADA)
    assert store.delete(plan.id, ADA)
    assert not store.delete(plan.id, ADA)
    assert store.get(plan.id, ALL) is None


def test_lists_are_newest_first_and_hold_no_plan(opened: Callable[[], PlanStore]) -> None:
    store = opened()
    for day in ("2026-01-02", "2026-01-03", "2026-01-01"):
        add(store, "ada", day, now=day, plan="long", shown="long")
    listed = store.list(ADA)
    assert [plan.name for plan in listed] == ["2026-01-03", "2026-01-02", "2026-01-01"]
    assert {(plan.plan, plan.shown) for plan in listed} == {("", "")}


@pytest.mark.parametrize("owner", ["ada", None])
def test_an_owner_has_at_most_the_limit(opened: Callable[[], PlanStore], owner: str | None) -> None:
    store = opened()
    for _ in range(3):
        add(store, owner)
    with pytest.raises(FullError, match="there are 3 stored plans already"):
        add(store, owner)
    assert len(store.list(ALL)) == 3
    add(store, "eve")


def test_several_processes_create_and_write_at_once(opened: Callable[[], PlanStore]) -> None:
    def work(number: int) -> str:
        return add(opened(), f"user {number}").id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(work, range(24)))
    assert {plan.id for plan in opened().list(ALL)} == set(ids)


def test_a_newer_releases_database_is_left_alone(opened: Callable[[], PlanStore], url: Url) -> None:
    plan = add(opened(), "ada")
    engine = engine_of(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE melange_schema SET version = 2"))
    with pytest.raises(StoreError, match="schema version 2, this release reads 1"):
        opened()
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE melange_schema SET version = 1"))
    engine.dispose()
    assert opened().get(plan.id, ADA) == plan


def test_a_database_that_goes_away_is_said_without_its_address(opened: Callable[[], PlanStore], url: Url) -> None:
    store = opened()
    engine = engine_of(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE melange_plans"))
    engine.dispose()
    with pytest.raises(StoreError) as caught:
        store.list(ALL)
    assert str(caught.value) in {
        "the database of stored plans cannot be used: OperationalError",
        "the database of stored plans cannot be used: ProgrammingError",
    }


def test_a_sqlite_file_is_the_servers_own(tmp_path: Path) -> None:
    path = tmp_path / "plans.db"
    engine = engine_of(f"sqlite:///{path}")
    store = PlanStore(engine)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("PRAGMA journal_mode")).scalar_one() == "wal"
        add(store, "ada")
        modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    engine.dispose()
    assert modes == {0o600}


@pytest.mark.parametrize("content", [b"no database at all, but a text that is long enough to be looked at" * 50, None])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "plans.db"
    path.mkdir() if content is None else path.write_bytes(content)
    engine = engine_of(f"sqlite:///{path}")
    with pytest.raises(StoreError, match="cannot be used"):
        PlanStore(engine)
    engine.dispose()
    if content is not None:
        assert path.read_bytes() == content


@pytest.mark.parametrize("address", ["nonsense", "mysql://u:secret@h/d", "postgresql+nope://u:secret@h/d", ""])
def test_an_address_that_cannot_be_used_is_not_shown(address: str) -> None:
    with pytest.raises(StoreError) as caught:
        engine_of(address)
    assert "secret" not in str(caught.value)
