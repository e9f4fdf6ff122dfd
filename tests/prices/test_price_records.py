"""Commitments with their break-even, and prices over time from the embedded weeks and the refreshes seen here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from live import NOON, extract_folder, run, site, use_site
from server import CatalogServer

from sky_melange.domain.offer import Offer
from sky_melange.domain.price_record import PriceChange, PriceKind
from sky_melange.prices.records import load_commitments, price_points

Make = Callable[..., Offer]


def test_commitments_are_cheaper_than_on_demand_and_longer_ones_cheaper_still() -> None:
    found = {(c.cloud, c.region, c.instance_type, c.kind): c for c in load_commitments()}
    assert {c.cloud for c in found.values()} == {"aws", "gcp"}
    for (cloud, region, name, kind), item in found.items():
        assert 0.2 < item.break_even_fraction < 1, item
        shorter = found.get((cloud, region, name, PriceKind.COMMIT_1Y))
        if kind is PriceKind.COMMIT_3Y and shorter is not None:
            assert item.price_usd_per_hour < shorter.price_usd_per_hour


def test_commitments_command_agrees_in_every_format() -> None:
    asked = ("prices", "--commitments", "-a", "H100", "--cloud", "gcp", "--region", "us-central1")
    records = json.loads(run(*asked, "--format", "json").stdout)["commitments"]
    one = next(r for r in records if (r["instance_type"], r["kind"]) == ("a3-highgpu-8g", "commit_3y"))
    assert one["price_usd_per_hour"] == pytest.approx(38.864381)
    assert one["break_even_fraction"] == pytest.approx(38.864381 / 88.49)
    rows = list(csv.DictReader(io.StringIO(run(*asked, "--format", "csv").stdout)))
    assert [row["instance_type"] for row in rows] == [record["instance_type"] for record in records]
    table = run(*asked)
    assert table.exit_code == 0
    assert table.stdout.count("44%") == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plot"], "give --history and --accelerator"),
        (["--plot", "--history"], "give --history and --accelerator"),
        (["--history", "--commitments"], "choose one"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], words: str) -> None:
    result = run("prices", *options)
    assert result.exit_code == 2
    assert words in result.stderr


def test_points_go_back_through_the_changes(make_offer: Make) -> None:
    """Two regions; the cheaper one came down from 3 to 1, and was new before that."""

    def change(before: float | None, after: float, previous: str, seen: str) -> PriceChange:
        return PriceChange(
            cloud="lambda",
            region="us-east-1",
            instance_type="g6.xlarge",
            accelerator="L4",
            accelerators_per_instance=1,
            use_spot=False,
            before_usd_per_hour=before,
            after_usd_per_hour=after,
            previous_at=previous,
            seen_at=seen,
        )

    offers = [
        make_offer(cloud="lambda", price_usd_per_hour=1.0),
        make_offer(cloud="lambda", region="us-west-1", price_usd_per_hour=4.0),
    ]
    changes = [change(3.0, 1.0, "2026-05-02", "2026-05-03"), change(None, 3.0, "2026-05-01", "2026-05-02")]
    points = [p for p in price_points("L4", offers, changes, "2026-06-01") if p.cloud == "lambda"]
    assert [(p.date, p.usd_per_accelerator_hour) for p in points] == [
        ("2026-05-01", 4.0),
        ("2026-05-02", 3.0),
        ("2026-05-02", 3.0),
        ("2026-05-03", 1.0),
        ("2026-05-20", 1.0),
    ]


def test_plot_shows_the_embedded_weeks_and_a_rise_seen_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with CatalogServer(extract_folder(tmp_path / "older", older=["lambda"])) as server:
        place = site(tmp_path / "cache", server.url)
        use_site(monkeypatch, place, NOON)
        run("prices", "--cloud", "lambda")
        server.serve(extract_folder(tmp_path / "newer"))
        use_site(monkeypatch, place, NOON + timedelta(days=7))
        drawn = run("prices", "--history", "--plot", "-a", "A10")
        assert drawn.exit_code == 0, drawn.stderr
        (line,) = [line for line in drawn.stdout.splitlines() if line.startswith("lambda on_demand")]
        assert "0.8600" in line
        assert "1.2900" in line
        assert "▁" in line
        assert "█" in line
        h100 = run("prices", "--history", "--plot", "-a", "H100", "--format", "json")
    spot = [p for p in json.loads(h100.stdout)["points"] if (p["cloud"], p["kind"]) == ("gcp", "spot")]
    assert spot[0] == {
        "cloud": "gcp",
        "kind": "spot",
        "date": "2025-07-03",
        "usd_per_accelerator_hour": 2.039428,
    }
