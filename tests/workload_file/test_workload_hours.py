"""`traffic.hours` of workload.yaml, the keys that go with it, and the same in a plan.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sky_melange import pipeline
from sky_melange.check.diff import workload_changes
from sky_melange.domain.hours import DAY, USUAL_HEADROOM, USUAL_HEADROOM_BASIS, WEEK, Hours, Scaling
from sky_melange.domain.workload import Workload
from sky_melange.errors import InputError
from sky_melange.workload_file import read_workload
from sky_melange.workload_file.embedded import workload_mistakes
from sky_melange.workload_file.hours import SHAPES

MistakesIn = Callable[..., list[str]]
RATES = list(range(DAY))
OF_A_DAY = f"hours: {RATES}"
ASSUMED: dict[str, Any] = {"headroom_fraction": USUAL_HEADROOM, "headroom_basis": USUAL_HEADROOM_BASIS}


def with_hours(good: str, hours: str, *, rate: str = "", after: str = "") -> str:
    """The good workload with this line in `traffic`, and `rate` in place of its rate."""
    return good.replace("  request_rate: 32\n", f"{rate}  {hours}\n") + after


@pytest.fixture
def reading(tmp_path: Path, good: str) -> Callable[..., Workload]:
    def read(hours: str, **changes: str) -> Workload:
        path = tmp_path / "workload.yaml"
        path.write_text(with_hours(good, hours, **changes))
        return pipeline.read(path)

    return read


def test_the_reserve_is_assumed_or_stated_and_never_beyond_the_busiest_hour(
    reading: Callable[..., Workload], tmp_path: Path
) -> None:
    (tmp_path / "hours.csv").write_text("\n".join(map(str, RATES)))
    for stated, expected in (("", USUAL_HEADROOM), (", headroom_fraction: 0", 0.0), (", headroom_fraction: 1", 1.0)):
        for source in (f"rates: {RATES}", "file: hours.csv"):
            hours = reading(f"hours: {{{source}{stated}}}").traffic.hours
            assert hours is not None
            assert hours.headroom_fraction == expected
            assert hours.headroom_basis == (USUAL_HEADROOM_BASIS if not stated else "stated in the workload")
            planned = hours.planned_rps(Scaling.SCHEDULE)
            assert planned == tuple(min(23.0, rate * (1 + expected)) for rate in RATES)
            assert hours.planned_rps(None) == planned
            assert hours.planned_rps(Scaling.AUTOSCALE) == hours.rates_rps


@pytest.mark.parametrize("value", ["-0.1", "11", "much"])
def test_a_reserve_that_is_none_is_refused(reading: Callable[..., Workload], value: str) -> None:
    with pytest.raises(InputError, match="headroom_fraction"):
        reading(f"hours: {{rates: {RATES}, headroom_fraction: {value}}}")


def test_the_busiest_hour_is_the_rate(reading: Callable[..., Workload]) -> None:
    traffic = reading(OF_A_DAY).traffic
    assert traffic.hours == Hours(rates_rps=tuple(map(float, RATES)), origin="hours in workload.yaml", **ASSUMED)
    assert traffic.request_rate_rps == pytest.approx(23)
    assert reading(f"hours: {{rates: {RATES * 7}, time_zone: Asia/Kolkata}}").traffic.hours == Hours(
        rates_rps=tuple(map(float, RATES * 7)), time_zone="Asia/Kolkata", origin="hours in workload.yaml", **ASSUMED
    )


@pytest.mark.parametrize("keys", ["launch: {scaling: fixed}", "launch: {mode: cluster}"])
def test_only_what_follows_the_hours_may_stop(reading: Callable[..., Workload], keys: str) -> None:
    stops = "constraints: {min_replicas: 0}\n"
    assert reading(OF_A_DAY, after=stops).constraints.may_stop
    with pytest.raises(InputError, match=r"constraints\.min_replicas: 0 stops .*write .* or at least 1"):
        reading(OF_A_DAY, after=f"{stops}{keys}\n")


def test_hours_that_are_all_alike_say_nothing(reading: Callable[..., Workload]) -> None:
    assert reading(f"hours: {[32] * WEEK}") == reading("request_rate: 32")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_says_how_the_given_rate_varies_and_is_an_assumption(
    reading: Callable[..., Workload], shape: str
) -> None:
    traffic = reading(f"hours: {{shape: {shape}, time_zone: America/New_York}}", rate="  request_rate: 50\n").traffic
    assert traffic.hours is not None
    assert (max(traffic.hours.rates_rps), traffic.hours.time_zone) == (50.0, "America/New_York")
    assert [note for note in traffic.notes if "an assumption and not a measurement" in note]
    assert len(SHAPES[shape]) in (DAY, WEEK)
    assert max(SHAPES[shape]) == 100


def test_a_file_is_relative_to_the_workload(reading: Callable[..., Workload], tmp_path: Path) -> None:
    (tmp_path / "hours.csv").write_text("\n".join(map(str, RATES)))
    traffic = reading("hours: {file: hours.csv}").traffic
    assert traffic.hours == Hours(rates_rps=tuple(map(float, RATES)), origin="hours.csv", **ASSUMED)
    assert traffic.request_rate_rps == pytest.approx(23)


def test_a_trace_gives_its_sizes_with_hours_from_elsewhere(
    reading: Callable[..., Workload], tmp_path: Path, good: str
) -> None:
    (tmp_path / "log.csv").write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2026-06-01 00:00:00,90,9\n2026-06-01 00:09:00,9,9\n"
    )
    histogram = good[good.index("  histogram") :]
    path = tmp_path / "workload.yaml"
    path.write_text(good.replace(histogram, "  trace: log.csv\n").replace("request_rate: 32", OF_A_DAY))
    traffic = pipeline.read(path).traffic
    assert traffic.hours is not None
    assert traffic.request_rate_rps == pytest.approx(23)
    assert traffic.is_counted


def test_hours_counted_in_the_trace(reading: Callable[..., Workload], tmp_path: Path, good: str) -> None:
    rows = "".join(
        f"2026-06-01 {hour:02d}:{m:02d}:00,90,9\n" for hour in range(24) for m in range(0, 60, 10 - hour % 9)
    )
    (tmp_path / "log.csv").write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}")
    histogram = good[good.index("  histogram") :]
    path = tmp_path / "workload.yaml"

    def read(keys: str) -> Workload:
        path.write_text(good.replace(histogram, "  trace: log.csv\n").replace("  request_rate: 32\n", keys))
        return pipeline.read(path)

    plain = read("  hours: {counted: day}\n  rate_percentile: 100\n  window_s: 3000\n").traffic
    assert plain.hours is not None
    assert plain.request_rate_rps == pytest.approx(plain.hours.peak_rps)
    assert "p100 of its 3000 s windows within each hour of the day, over 1 day" in plain.hours.origin
    assert "within its busiest hour" in plain.origin
    scaled = read("  hours: {counted: day}\n  request_rate: 8\n  rate_percentile: 100\n  window_s: 3000\n").traffic
    assert scaled.hours is not None
    assert scaled.request_rate_rps == pytest.approx(8)
    factor = 8 / plain.hours.peak_rps
    assert scaled.hours.rates_rps == pytest.approx([rate * factor for rate in plain.hours.rates_rps])


def test_a_tenfold_rise_is_noted(reading: Callable[..., Workload]) -> None:
    rates = [0.5] * 9 + [12] * 15
    (note,) = reading(f"hours: {rates}").traffic.notes
    assert note == (
        "Hours: the rate grows at once from 0.5 to 12 requests/s at 09:00 (UTC): check that hour and the one before."
    )
    assert not reading(OF_A_DAY.replace("[0,", "[1,")).traffic.notes


def test_what_a_plan_holds_stands_in_for_a_missing_file(reading: Callable[..., Workload], tmp_path: Path) -> None:
    (tmp_path / "hours.csv").write_text(
        "time,rate\n"
        + "".join(
            f"2026-06-0{day}T{hour:02d}:00Z,{(hour + 1) * (20 if hour == 9 else 1)}\n"
            for day in (1, 2, 3)
            for hour in range(24)
            if (day, hour) != (2, 5)
        )
    )
    planned = reading("hours: {file: hours.csv}")
    assert len(planned.traffic.notes) == 2
    (tmp_path / "hours.csv").unlink()
    assert pipeline.read(tmp_path / "workload.yaml", planned=planned) == planned


def test_keys_of_the_launch(reading: Callable[..., Workload]) -> None:
    after = "launch: {scaling: schedule, startup_minutes: 12.5}\nconstraints: {max_changes_per_hour: 4}\n"
    workload = reading(OF_A_DAY, after=after)
    assert (workload.launch.scaling, workload.launch.startup_minutes) == (Scaling.SCHEDULE, 12.5)
    assert workload.constraints.max_changes_per_hour == 4


@pytest.mark.parametrize(
    ("hours", "rate", "after", "wanted"),
    [
        (
            f"hours: {[1] * 25}",
            "",
            "",
            ":7: traffic.hours: want 24 rates (a day) or 168 (a week from Monday 00:00), found 25",
        ),
        (
            f"hours: {[1] * 744}",
            "",
            "",
            "found 744; rates of other hours go into a file, with their dates (`hours: {file",
        ),
        (f"hours: {{rates: {[1] * 23}}}", "", "", ":7: traffic.hours.rates: want 24 rates (a day) or 168"),
        (f"hours: {[0] * 24}", "", "", ":7: traffic.hours: no hour has requests; one at least must"),
        (
            f"hours: {[1.0e-7, *RATES[1:]]}".replace("1e-07", "1.0e-07"),
            "",
            "",
            "traffic.hours[0]: must be 0, or at least 1e-06",
        ),
        (f"hours: {[-1, *RATES[1:]]}", "", "", ":7: traffic.hours[0]: must be at least 0, found the number -1"),
        (
            f"hours: [.nan, {str(RATES[1:])[1:]}",
            "",
            "",
            "traffic.hours[0]: must be a finite number, found the number .nan",
        ),
        (f"hours: [.inf, {str(RATES[1:])[1:]}", "", "", "traffic.hours[0]: must be a finite number"),
        (f"hours: [x, {str(RATES[1:])[1:]}", "", "", "traffic.hours[0]: want a number such as `2`, found the text 'x'"),
        (f"hours: [~, {str(RATES[1:])[1:]}", "", "", "traffic.hours[0]: there is no value here"),
        (
            "hours: 3",
            "",
            "",
            "want a list of 24 or 168 rates, or a mapping such as `{file: hours.csv}`, found the number 3",
        ),
        ("hours: {}", "", "", "traffic.hours: give exactly one of rates, file, shape, counted, for example"),
        (
            f"hours: {{rates: {RATES}, shape: office}}",
            "",
            "",
            "hours.shape: cannot be combined with rates; use exactly one",
        ),
        ("hours: {shape: office, cycle: day}", "", "", "hours.cycle: only valid together with file; remove it"),
        ("hours: {counted: day}", "", "", "hours.counted: only valid together with trace: a histogram has no times"),
        ("hours: {shape: offices}", "", "", "must be one of evening, office, worldwide, found the text 'offices'; did"),
        (
            "hours: {shap: office}",
            "",
            "",
            "traffic.hours.shap: unknown key; did you mean 'shape'?",
        ),
        ("hours: {shape: office}", "", "", "traffic: request_rate is missing"),
        (
            OF_A_DAY,
            "  request_rate: 23\n",
            "",
            ":7: traffic.request_rate: cannot be combined with hours, of which the busiest",
        ),
        (
            "hours: {file: x}",
            "  request_rate: 2\n",
            "",
            "request_rate: cannot be combined with hours.file, of which the",
        ),
        (
            f"hours: {{rates: {RATES}, time_zone: Berlin}}",
            "",
            "",
            "time_zone: is not a time zone; did you mean 'Europe/Berlin'?",
        ),
        (f"hours: {{rates: {RATES}, time_zone: ../UTC}}", "", "", "time_zone: is not a time zone; write an IANA name"),
        (
            f"hours: {{rates: {RATES}, time_zone: localtime}}",
            "",
            "",
            "time_zone: is not a time zone; write an IANA name",
        ),
        (f"hours: {{rates: {RATES}, time_zone: Europe}}", "", "", "time_zone: is not a time zone; write an IANA name"),
        (
            f"hours: {{rates: {RATES}, time_zone: '+02:00'}}",
            "",
            "",
            "time_zone: is not a time zone; write an IANA name",
        ),
        ("request_rate: 2", "", "launch: {scaling: schedule}\n", "launch.scaling: schedule needs traffic.hours"),
        (
            "request_rate: 2",
            "",
            "launch: {scaling: scheduled}\n",
            "must be one of fixed, schedule, autoscale, found the text",
        ),
        ("request_rate: 2", "", "launch: {startup_minutes: 241}\n", "launch.startup_minutes: must be at most 240"),
        (
            OF_A_DAY,
            "",
            "launch: {scaling: autoscale, mode: cluster}\n",
            "launch.scaling: only SkyServe scales by itself",
        ),
        (OF_A_DAY, "", "launch: {min_running_fraction: 0.5}\n", "only valid together with `scaling: autoscale`"),
        (
            OF_A_DAY,
            "",
            "launch: {scaling: autoscale, min_running_fraction: 1.5}\n",
            "launch.min_running_fraction: must be at most 1",
        ),
        (OF_A_DAY, "", "constraints: {max_changes_per_hour: 0}\n", "max_changes_per_hour: must be at least 1"),
        ("request_rate: 2", "", "constraints: {max_changes_per_hour: 3}\n", "only valid together with traffic.hours"),
        (
            OF_A_DAY,
            "",
            "objective: most_traffic\nbudget: {usd_per_hour: 9}\n",
            "traffic.hours: cannot be combined with `obj",
        ),
    ],
)
def test_mistakes_say_what_to_write(
    mistakes_in: MistakesIn, good: str, hours: str, rate: str, after: str, wanted: str
) -> None:
    found = mistakes_in(with_hours(good, hours, rate=rate, after=after))
    assert any(wanted in mistake for mistake in found), found


def test_mistakes_in_a_file_are_reported_at_its_key(tmp_path: Path, good: str) -> None:
    from sky_melange.errors import InputError

    (tmp_path / "hours.csv").write_text("\n".join(["0.0000001", *map(str, RATES[1:])]))
    path = tmp_path / "workload.yaml"
    for file, wanted in (
        ("none.csv", "there is no such file"),
        ("hours.csv", "its hour 0 must be 0, or at least 1e-06"),
    ):
        path.write_text(with_hours(good, f"hours: {{file: {file}}}"))
        with pytest.raises(InputError, match=rf"workload.yaml:7: traffic.hours.file: .*{file}: {wanted}"):
            pipeline.read(path)


def test_presets_have_no_hours(mistakes_in: MistakesIn, good: str) -> None:
    histogram = good[good.index("  histogram") :]
    text = good.replace(histogram, "  preset: azure-code-2023\n  hours: {counted: day}\n")
    (found,) = mistakes_in(text)
    assert "hours.counted: only valid together with trace: presets have no hours of a day; write `hours: {file" in found


def test_a_caller_that_reads_no_files_says_so(tmp_path: Path, good: str) -> None:
    path = tmp_path / "workload.yaml"
    path.write_text(with_hours(good, "hours: {file: hours.csv}"))
    with pytest.raises(ValueError, match="read_hours"):
        read_workload(path)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, []),
        ({"rates_rps": (23.0,) * 23}, ["traffic.hours.rates_rps: want 24 rates", "traffic.hours: must be null"]),
        (
            {"rates_rps": (0.0,) * 24},
            ["no hour has requests", "its busiest hour must have the rate of traffic.rates_rps, 23"],
        ),
        ({"rates_rps": (*range(23), 22.9)}, ["traffic.hours.rates_rps: its busiest hour must have the rate"]),
        (
            {"rates_rps": ()},
            ["traffic.hours.rates_rps: want 24 rates (a day) or 168 (a week from Monday 00:00), found 0"],
        ),
        ({"rates_rps": (1.0e-9, *range(1, 24))}, ["traffic.hours.rates_rps[0]: must be 0, or at least 1e-06"]),
        ({"time_zone": "Mars/Base"}, ["traffic.hours.time_zone: is not a time zone"]),
    ],
)
def test_hours_in_a_plan_follow_the_same_rules(
    reading: Callable[..., Workload], changes: dict[str, object], wanted: list[str]
) -> None:
    workload = reading(OF_A_DAY)
    assert workload.traffic.hours is not None
    hours = dataclasses.replace(workload.traffic.hours, **changes)  # type: ignore[arg-type]
    workload = dataclasses.replace(workload, traffic=dataclasses.replace(workload.traffic, hours=hours))
    found = [f"{key}: {message}" for key, message in workload_mistakes(workload)]
    for part in wanted:
        assert any(part in mistake for mistake in found), found
    assert bool(found) == bool(wanted)


def test_what_changed_between_hours_is_counted(reading: Callable[..., Workload]) -> None:
    old, new = reading(OF_A_DAY), reading(f"hours: {[1, 2, *RATES[2:]]}")
    (change,) = workload_changes(old, new)
    assert (change.key, change.note) == (
        "traffic.hours",
        "2 of 24 hours have another rate; 11.5 req/s on average when planned, 11.58 now",
    )
    keys = [change.key for change in workload_changes(old, reading(f"hours: {RATES * 7}"))]
    assert keys == ["traffic.hours"]
    gone = {change.key for change in workload_changes(old, reading("request_rate: 23"))}
    assert "traffic.hours.time_zone" in gone
