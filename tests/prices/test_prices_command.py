"""`sky-melange prices` on live prices: ages, history, formats, the progress bar."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from live import EXTRACTS, NOON, extract_folder, run, site, use_site
from server import CatalogServer, status

from sky_melange.domain.ages import age_hours, age_text, short_age

LATER = NOON + timedelta(hours=5)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CatalogServer]:
    """Lambda's older prices at noon, its newer ones since."""
    with CatalogServer(extract_folder(tmp_path / "catalogs")) as server:
        newer = (EXTRACTS / "lambda.csv").read_bytes()
        server.put("lambda", newer.replace(b"1.29", b"0.86"))
        place = site(tmp_path / "cache", server.url)
        use_site(monkeypatch, place, NOON)
        assert run("prices").exit_code == 0
        server.put("lambda", newer)
        use_site(monkeypatch, place, LATER)
        yield server


def test_each_price_has_a_date_and_an_age(server: CatalogServer) -> None:
    server.fail("lambda", status(500))
    document = json.loads(run("prices", "--format", "json").stdout)
    ages = {offer["cloud"]: offer["age_hours"] for offer in document["offers"]}
    assert ages["lambda"] == 5.0
    assert {cloud for cloud, age in ages.items() if age == 0.0} == set(ages) - {"lambda"}
    (state,) = [state for state in document["sources"] if state["cloud"] == "lambda"]
    assert state["obtained"] == "cached"
    assert state["age_hours"] == 5.0
    assert "HTTP 500" in state["problem"]
    rows = list(csv.DictReader(io.StringIO(run("prices", "--cloud", "lambda", "--format", "csv").stdout)))
    assert {row["age_hours"] for row in rows} == {"5.000"}
    table = run("prices", "--cloud", "lambda").stdout
    assert "5 h" in table
    assert max(map(len, table.splitlines())) <= 100


def test_history_in_every_format(server: CatalogServer) -> None:
    table = run("prices", "--history")
    assert table.exit_code == 0, table.stderr
    (line,) = [line for line in table.stdout.splitlines() if "gpu_1x_a10" in line]
    assert line.split()[0] == "2026-06-01"
    assert "0.8600" in line
    assert "1.2900" in line
    assert max(map(len, table.stdout.splitlines())) <= 100
    changes = json.loads(run("prices", "--history", "--format", "json", "--offline").stdout)["changes"]
    assert {change["cloud"] for change in changes} == {"lambda"}
    assert {(c["before_usd_per_hour"], c["after_usd_per_hour"]) for c in changes} == {(0.86, 1.29)}
    assert {(c["previous_at"], c["seen_at"]) for c in changes} == {("2026-06-01T12:00:00Z", "2026-06-01T17:00:00Z")}
    rows = list(csv.DictReader(io.StringIO(run("prices", "--history", "--format", "csv", "--offline").stdout)))
    assert len(rows) == len(changes)
    assert run("prices", "--history", "--cloud", "gcp", "--format", "json", "--offline").stdout.count("region") == 0


def test_history_of_nothing_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_site(monkeypatch, site(tmp_path / "none"), NOON)
    result = run("prices", "--history", "--offline", "--format", "json")
    assert json.loads(result.stdout) == {"changes": []}
    table = run("prices", "--history", "--offline")
    assert (table.stdout, table.stderr.splitlines()[-1]) == ("", "0 changes seen on this machine.")
    assert run("prices", "--history", "--quarantined").exit_code == 2


def test_quarantined_are_listed_with_reasons(server: CatalogServer) -> None:
    items = json.loads(run("prices", "--quarantined", "--format", "json").stdout)["quarantined"]
    rules = {item["name"]: item["rule"] for item in items}
    assert rules["runpod/CA/1x_L40S_SECURE:spot"] == "spot_above_on_demand"
    assert {item["rule"] for item in items if item["cloud"] == "mithril"} <= {"auction_reserve", "free_or_near_free"}
    assert all(item["reason"] for item in items)


def test_a_bar_on_a_terminal_and_nothing_elsewhere(
    server: CatalogServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sky_melange.cli import price_book
    from sky_melange.domain.workload import PricePolicy

    price_book.price_book(PricePolicy(), refresh=True, needed=("aws",))
    assert "Fetching" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    price_book.price_book(PricePolicy(), refresh=True, needed=("aws",))
    shown = capsys.readouterr()
    assert "Fetching prices" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("hours", "long", "short"),
    [
        (None, "unknown", "?"),
        (0.0, "0 minutes", "0 min"),
        (1 / 60, "1 minute", "1 min"),
        (1.0, "1 hour", "1 h"),
        (47.4, "47 hours", "47 h"),
        (72.0, "3 days", "3 d"),
    ],
)
def test_ages_in_words(hours: float | None, long: str, short: str) -> None:
    assert (age_text(hours), short_age(hours)) == (long, short)


def test_ages_of_dates_and_of_nonsense() -> None:
    assert age_hours("2026-06-01", NOON) == 12.0
    assert age_hours("2026-06-01T12:00:00Z", LATER) == 5.0
    assert age_hours("2026-06-02", NOON) == 0.0
    assert age_hours("2027-01-01", NOON) is None  # left by a clock that was wrong
    assert age_hours("", NOON) is None
    assert age_hours("last week", NOON) is None
