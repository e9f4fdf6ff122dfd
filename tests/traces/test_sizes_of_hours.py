"""`from-trace --sizes-by-hour`: which hours of a log have sizes of their own, and the workload that comes of it."""
# ruff: noqa: S311 - repeatable numbers

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sky_melange import pipeline
from sky_melange.cli import cli
from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.hours import DAY, WEEK
from sky_melange.traces.hour_sizes import MOST_SETS, sizes_by_hour
from sky_melange.traces.request_log import RequestLog

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
GRID = TokenGrid(input_edges=(100, 1000, 10_000), output_edges=(50, 500))
Sizes = Callable[[int], tuple[int, int]]


def log_of(sizes: Sizes, *, hours: int = DAY, each: int = 600, zone: str = "UTC", seed: int = 7) -> RequestLog:
    """So many requests an hour, of sizes by the hour of the day on the clocks of a zone, a tenth more or less."""
    draw = random.Random(seed)
    rows = []
    for hour in range(hours):
        for _ in range(each):
            second = MONDAY.timestamp() + 3600 * (hour + draw.random())
            mean = sizes(datetime.fromtimestamp(second, tz=ZoneInfo(zone)).hour)
            rows.append((second, *(max(1, round(size * draw.uniform(0.9, 1.1))) for size in mean)))
    rows.sort()
    times, inputs, outputs = zip(*rows, strict=True)
    return RequestLog(source="log", inputs=np.array(inputs), outputs=np.array(outputs), times_s=np.array(times))


def night(hour: int) -> tuple[int, int]:
    return (2000, 60) if hour < 6 else (500, 60)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_hours_with_larger_requests_are_a_set_of_their_own(zone: str) -> None:
    log = log_of(night, zone=zone)
    day, dark = sizes_by_hour(log, GRID, DAY, zone)
    assert (day.hours, dark.hours) == (tuple(range(6, 24)), tuple(range(6)))
    assert dark.mean_input_tokens == pytest.approx(2000, rel=0.02)
    assert dark.name == f"{dark.mean_input_tokens:.0f}-in-{dark.mean_output_tokens:.0f}-out"
    assert max(day.worst, dark.worst) < 1.05
    # Counted again, one request after the other.
    found: Counter[tuple[bool, int, int]] = Counter()
    assert log.times_s is not None
    for second, i, o in zip(log.times_s.tolist(), log.inputs.tolist(), log.outputs.tolist(), strict=True):
        is_dark = datetime.fromtimestamp(second, tz=ZoneInfo(zone)).hour < 6
        place = [sum(edge < size for edge in edges) for size, edges in ((i, GRID.input_edges), (o, GRID.output_edges))]
        found[is_dark, place[0], place[1]] += 1
    for is_dark, each in ((False, day), (True, dark)):
        assert each.requests == tuple(tuple(found[is_dark, i, j] for j in range(2)) for i in range(3))


def test_sizes_that_are_alike_are_one_set() -> None:
    (only,) = sizes_by_hour(log_of(lambda _: (500, 60)), GRID, DAY, "UTC")
    assert only.hours == tuple(range(DAY))
    assert sum(map(sum, only.requests)) == 600 * DAY


def test_there_are_no_more_sets_than_a_plan_can_use_and_what_they_leave_out_is_known() -> None:
    sets = sizes_by_hour(log_of(lambda hour: (100 + 350 * hour, 60)), GRID, DAY, "UTC")
    assert len(sets) == MOST_SETS
    assert sorted(hour for each in sets for hour in each.hours) == list(range(DAY))
    assert max(each.worst for each in sets) > 1.1


def test_hours_with_few_requests_are_in_the_largest_set() -> None:
    log = log_of(night)
    assert log.times_s is not None
    of_hour = ((log.times_s - MONDAY.timestamp()) // 3600).astype(int)
    kept = (of_hour != 2) | (np.cumsum(of_hour == 2) <= 100)
    few = RequestLog(source="log", inputs=log.inputs[kept], outputs=log.outputs[kept], times_s=log.times_s[kept])
    day, dark = sizes_by_hour(few, GRID, DAY, "UTC")
    assert 2 in day.hours
    assert dark.hours == (0, 1, 3, 4, 5)
    assert (day.untold, dark.untold) == (1, 0)


@pytest.mark.parametrize(("few", "alone"), [((0, 1, 2, 3, 4, 5), ()), ((0, 1, 2), ()), ((2, 3), ()), ((5,), (5,))])
def test_hours_with_few_requests_are_known_together(few: tuple[int, ...], alone: tuple[int, ...]) -> None:
    log = log_of(night)
    assert log.times_s is not None
    of_hour = ((log.times_s - MONDAY.timestamp()) // 3600).astype(int)
    kept = np.ones(len(of_hour), dtype=bool)
    for hour in few:
        kept &= (of_hour != hour) | (np.cumsum(of_hour == hour) <= 400)
    log = RequestLog(source="log", inputs=log.inputs[kept], outputs=log.outputs[kept], times_s=log.times_s[kept])
    day, dark = sizes_by_hour(log, GRID, DAY, "UTC")
    assert dark.hours == tuple(hour for hour in range(6) if hour not in alone)
    assert day.untold == len(alone)


def test_requests_beyond_the_buckets_make_no_set() -> None:
    log = log_of(lambda _: (500, 60))
    inputs, outputs = log.inputs.copy(), log.outputs.copy()
    inputs[3000], outputs[3000] = 1_000_000, 1_000_000
    (only,) = sizes_by_hour(
        RequestLog(source="log", inputs=inputs, outputs=outputs, times_s=log.times_s), GRID, DAY, "UTC"
    )
    assert only.worst < 1.1
    assert sum(map(sum, only.requests)) == len(inputs) - 1


@pytest.mark.slow
def test_hours_of_a_week_are_told_apart_by_the_day() -> None:
    log = log_of(night, hours=WEEK, each=500)
    sets = sizes_by_hour(log, GRID, WEEK, "UTC")
    assert [len(each.hours) for each in sets] == [18 * 7, 6 * 7]
    assert all(hour % DAY < 6 for hour in sets[1].hours)


def written(log: RequestLog, path: Path) -> Path:
    assert log.times_s is not None
    rows = zip(log.times_s.tolist(), log.inputs.tolist(), log.outputs.tolist(), strict=True)
    lines = (f"{datetime.fromtimestamp(second, tz=UTC).isoformat()},{i},{o}" for second, i, o in rows)
    path.write_text("\n".join(("TIMESTAMP,ContextTokens,GeneratedTokens", *lines)) + "\n")
    return path


def run(*arguments: object) -> Result:
    return CliRunner(mix_stderr=False).invoke(
        cli, ["workload", "from-trace", *map(str, arguments)], catch_exceptions=False
    )


def test_the_workload_has_the_sizes_of_each_hour_in_place_of_the_warning(tmp_path: Path) -> None:
    log, path = written(log_of(night, each=610), tmp_path / "log.csv"), tmp_path / "workload.yaml"
    plain = run(log, "--hours", "day")
    assert "Plan them with sizes of their own: `sky-melange workload from-trace --sizes-by-hour`" in plain.stderr
    found = run(log, "--hours", "day", "--sizes-by-hour", "-o", path)
    assert found.exit_code == 0
    assert "sizes of their own" not in found.stderr
    traffic = pipeline.read(path).traffic
    assert traffic.hours is not None
    others, dark = traffic.hours.sizes
    assert (others.name, others.hours, dark.hours) == ("others", tuple(range(6, 24)), tuple(range(6)))
    first = path.read_bytes()
    run(log, "--hours", "day", "--sizes-by-hour", "-o", path, "--force")
    assert path.read_bytes() == first


def test_where_nothing_differs_nothing_is_written_of_sizes(tmp_path: Path) -> None:
    log = written(log_of(lambda _: (500, 60)), tmp_path / "log.csv")
    plain, asked = run(log, "--hours", "day"), run(log, "--hours", "day", "--sizes-by-hour")
    assert asked.stdout == plain.stdout
    assert "the requests of all hours are alike in size" in asked.stderr


@pytest.mark.parametrize("options", [(), ("--hours", "day", "--split-by", "model", "-o", "folder")])
def test_sizes_by_hour_are_of_one_model_with_hours(tmp_path: Path, options: tuple[str, ...]) -> None:
    log = written(log_of(night, each=2), tmp_path / "log.csv")
    result = CliRunner().invoke(cli, ["workload", "from-trace", str(log), "--sizes-by-hour", *options])
    assert result.exit_code == 2
    assert "--sizes-by-hour: needs --hours and the files of one model" in result.output
