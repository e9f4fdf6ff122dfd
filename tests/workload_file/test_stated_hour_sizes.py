"""`traffic.hours.sizes` of workload.yaml and plan.json: what it means, and every way to say it wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sky_melange import pipeline
from sky_melange.check.diff import workload_changes
from sky_melange.domain.buckets import Traffic
from sky_melange.domain.hours import SizeSet
from sky_melange.domain.workload import Workload
from sky_melange.errors import InputError
from sky_melange.workload_file.embedded import workload_mistakes

MistakesIn = Callable[..., list[str]]
RATES = [10] * 12 + [20] * 12
NIGHT = "{name: night, hours: [0, 1, 2], weights: [[0, 0, 1], [1, 1, 5]]}"
EVEN = [[1, 2, 1], [2, 1, 1]]


def with_sizes(good: str, sizes: str, *, rates: Sequence[float] = RATES, more: str = "", after: str = "") -> str:
    hours = f"  hours:\n    rates: {list(rates)}\n{more}    sizes: [{sizes}]\n"
    return good.replace("  request_rate: 32\n", hours) + after


@pytest.fixture
def reading(tmp_path: Path, good: str) -> Callable[..., Workload]:
    def read(sizes: str, **changes: Any) -> Workload:
        path = tmp_path / "workload.yaml"
        path.write_text(with_sizes(good, sizes, **changes))
        return pipeline.read(path)

    return read


def sets_of(traffic: Traffic) -> tuple[SizeSet, ...]:
    assert traffic.hours is not None
    return traffic.hours.sizes


def test_hours_in_no_set_have_the_sizes_of_the_histogram(reading: Callable[..., Workload]) -> None:
    traffic = reading(NIGHT).traffic
    others, night = sets_of(traffic)
    assert (others.name, others.hours) == ("others", tuple(range(3, 24)))
    assert (night.name, night.hours) == ("night", (0, 1, 2))
    assert others.weights == ((1 / 8, 2 / 8, 1 / 8), (2 / 8, 1 / 8, 1 / 8))
    assert night.weights == ((0, 0, 1 / 8), (1 / 8, 1 / 8, 5 / 8))
    assert traffic.hours is not None
    assert traffic.hours.busiest_rps == (20, 10)


def test_the_rates_are_those_of_all_hours_together_at_the_busiest(reading: Callable[..., Workload]) -> None:
    traffic = reading(NIGHT).traffic
    assert traffic.request_rate_rps == pytest.approx(20)
    day, night = 9 * 10 + 12 * 20, 3 * 10
    assert traffic.rates_rps[1][2] == pytest.approx(20 * (day * 1 / 8 + night * 5 / 8) / (day + night))
    first, second = traffic.in_busiest_hours()
    assert [bucket.rate_rps for bucket in first] == pytest.approx([20 * each / 8 for each in (1, 2, 1, 2, 1, 1)])
    assert [bucket.rate_rps for bucket in second] == pytest.approx([10 * each / 8 for each in (0, 0, 1, 1, 1, 5)])


def test_the_reserve_goes_no_further_than_the_busiest_hour_of_the_same_sizes(
    reading: Callable[..., Workload],
) -> None:
    hours = reading(NIGHT, more="    headroom_fraction: 0.5\n").traffic.hours
    assert hours is not None
    assert hours.planned_rps(None) == (*[10] * 3, *[15] * 9, *[20] * 12)


def test_sets_with_the_same_sizes_are_none(reading: Callable[..., Workload]) -> None:
    alike = f"{{name: a, hours: [0], weights: {EVEN}}}, {{name: b, hours: [5], weights: [[2, 4, 2], [4, 2, 2]]}}"
    plain = reading("")
    assert reading(alike) == plain
    assert sets_of(plain.traffic) == ()


def test_even_rates_with_two_sizes_are_hours(reading: Callable[..., Workload]) -> None:
    traffic = reading(NIGHT, rates=[5] * 24).traffic
    assert len(sets_of(traffic)) == 2
    assert reading(f"{{name: a, hours: [0], weights: {EVEN}}}", rates=[5] * 24).traffic.hours is None


def test_hours_without_requests_are_in_no_set(reading: Callable[..., Workload]) -> None:
    rates = [0, 0, 4, *[0] * 9, *[20] * 12]
    others, night = sets_of(reading(NIGHT, rates=rates).traffic)
    assert (others.hours, night.hours) == (tuple(range(12, 24)), (2,))


def test_a_set_of_all_hours_with_requests_is_the_histogram(reading: Callable[..., Workload]) -> None:
    """Of one set of sizes nothing by the hour is left to say."""
    rates = [3, 4, 5, *[0] * 21]
    traffic = reading(NIGHT, rates=rates).traffic
    assert sets_of(traffic) == ()
    assert traffic.rates_rps[1][2] == pytest.approx(5 * 5 / 8)


MISTAKES = {
    "25 hours": ("{name: x, hours: [24], weights: [[1,1,1],[1,1,1]]}", "sizes[0].hours[0]: is not an hour of the day"),
    "twice": ("{name: x, hours: [3, 3], weights: [[1,1,1],[1,1,1]]}", "hour 3 (03:00) is listed twice"),
    "two sets": (
        f"{NIGHT}, {{name: x, hours: [2], weights: [[1,1,1],[1,1,1]]}}",
        "sizes[1].hours[0]: hour 2 (02:00) is in the set 'night' too",
    ),
    "one name": (f"{NIGHT}, {{name: night, hours: [9], weights: [[1,1,1],[1,1,1]]}}", "is the name of another set"),
    "others": ("{name: others, hours: [3], weights: [[1,1,1],[1,1,1]]}", "is the set of the hours that are in no"),
    "all hours": (
        f"{{name: x, hours: {list(range(24))}, weights: [[1,1,1],[1,1,1]]}}",
        "every hour is in a set, so that the sizes of the traffic itself hold in none",
    ),
    "other grid": ("{name: x, hours: [3], weights: [[1,1]]}", "want a row for each of the 2 input edges"),
    "ragged": ("{name: x, hours: [3], weights: [[1,1,1],[1]]}", "found 2 rows of 1 or 3"),
    "empty": ("{name: x, hours: [3], weights: []}", "found 0 rows of no"),
    "nothing": ("{name: x, hours: [3], weights: [[0,0,0],[0,0,0]]}", "no weight is above 0"),
    "negative": ("{name: x, hours: [3], weights: [[1,-1,0],[0,0,0]]}", "weights[0][1]"),
    "not a number": ("{name: x, hours: [3], weights: [[.nan,1,0],[0,0,0]]}", "weights[0][0]"),
    "endless": ("{name: x, hours: [3], weights: [[.inf,1,0],[0,0,0]]}", "weights[0][0]"),
    "no hours": ("{name: x, hours: [], weights: [[1,1,1],[1,1,1]]}", "sizes[0].hours"),
    "an hour before": ("{name: x, hours: [-1], weights: [[1,1,1],[1,1,1]]}", "sizes[0].hours[0]"),
    "unknown key": (
        "{name: x, hour: [3], weights: [[1,1,1],[1,1,1]]}",
        "sizes[0].hour: unknown key; did you mean 'hours'",
    ),
    "no name": ("{hours: [3], weights: [[1,1,1],[1,1,1]]}", "name"),
    "a name": ("{name: 'a b', hours: [3], weights: [[1,1,1],[1,1,1]]}", "sizes[0].name"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_is_wrong_is_said_with_its_line(good: str, mistakes_in: MistakesIn, case: str) -> None:
    sizes, expected = MISTAKES[case]
    found = mistakes_in(with_sizes(good, sizes))
    assert any(expected in line and line.startswith("workload.yaml:9: ") for line in found), found


def test_all_mistakes_are_said_at_once(good: str, mistakes_in: MistakesIn) -> None:
    sizes = "{name: x, hours: [24], weights: [[1]]}, {name: x, hours: [1, 1], weights: [[0,0,0],[0,0,0]]}"
    found = mistakes_in(with_sizes(good, sizes, after="launch: {scaling: autoscale}\n"))
    for expected in (
        "not an hour of the day",
        "2 input edges",
        "another set",
        "listed twice",
        "above 0",
        "SkyServe counts",
    ):
        assert sum(expected in line for line in found) == 1, expected


def test_arrivals_of_a_log_are_not_replayed_with_sizes_by_the_hour(good: str, mistakes_in: MistakesIn) -> None:
    found = mistakes_in(with_sizes(good, NIGHT).replace("  histogram:", "  arrivals: trace\n  histogram:"))
    assert any("traffic.arrivals: replays the sizes of the log" in line for line in found)


def test_a_set_without_requests_is_refused_by_its_key(good: str, mistakes_in: MistakesIn) -> None:
    found = mistakes_in(with_sizes(good, NIGHT, rates=[0] * 3 + [9] * 21))
    assert found == [
        "workload.yaml:9: traffic.hours.sizes[0].hours: none of these hours has requests; leave the set out"
    ]


def test_the_grid_of_a_preset_is_known_when_it_is_read(good: str, tmp_path: Path) -> None:
    histogram = good[good.index("  histogram") :]
    path = tmp_path / "workload.yaml"
    path.write_text(with_sizes(good, NIGHT).replace(histogram, "  preset: azure-conversation-2023\n"))
    with pytest.raises(InputError, match=r"sizes\[0\]\.weights: want a row for each of the \d+ input edges"):
        pipeline.read(path)


@pytest.mark.parametrize(("one", "other"), [("1.0e+308", "1.0e+308"), ("5.0e-324", "0"), ("1.0e+308", "5.0e-324")])
def test_weights_of_any_scale_are_shares(reading: Callable[..., Workload], one: str, other: str) -> None:
    traffic = reading(f"{{name: x, hours: [3], weights: [[{one}, {other}, 0], [0, 0, 0]]}}").traffic
    assert sum(map(sum, sets_of(traffic)[1].weights)) == pytest.approx(1)
    assert traffic.request_rate_rps == pytest.approx(20)


@pytest.mark.parametrize("sizes", ["null", "3", "{hours: x, weights: 5}", "{name: [1], hours: [.inf], weights: [[x]]}"])
def test_what_is_no_set_has_one_mistake_for_each_value(good: str, mistakes_in: MistakesIn, sizes: str) -> None:
    found = mistakes_in(with_sizes(good, sizes))
    assert all("traffic.hours.sizes[0]" in line for line in found)
    assert not any("input edges" in line or "another set" in line for line in found)


def test_a_preset_with_sizes_by_the_hour_is_drawn_not_replayed(good: str, tmp_path: Path) -> None:
    histogram = good[good.index("  histogram") :]
    path = tmp_path / "workload.yaml"
    plain = with_sizes(good, "").replace(histogram, "  preset: azure-conversation-2023\n")
    path.write_text(plain)
    traffic = pipeline.read(path).traffic
    assert traffic.arrivals.log is not None
    rows = [[0] * len(traffic.grid.output_edges) for _ in traffic.grid.input_edges]
    rows[3][3] = 1
    path.write_text(plain.replace("sizes: []", f"sizes: [{{name: x, hours: [0], weights: {rows}}}]"))
    assert pipeline.read(path).traffic.arrivals.log is None


def test_what_stands_in_for_a_trace_is_as_it_was_planned(reading: Callable[..., Workload], tmp_path: Path) -> None:
    planned = reading(NIGHT)
    path = tmp_path / "workload.yaml"
    text = path.read_text()
    path.write_text(text[: text.index("  histogram")] + "  trace: gone.csv\n")
    again = pipeline.read(path, planned=planned)
    assert again.traffic.rates_rps == planned.traffic.rates_rps
    assert again.traffic.hours == planned.traffic.hours
    path.write_text(path.read_text().replace(NIGHT, ""))
    assert sets_of(pipeline.read(path, planned=planned).traffic) == ()


def test_changed_sizes_are_a_change_of_the_workload(reading: Callable[..., Workload]) -> None:
    one = reading(NIGHT)
    other = reading(NIGHT.replace("[0, 1, 2]", "[0, 1]"))
    assert workload_changes(one, one) == ()
    (change,) = [each for each in workload_changes(one, other) if each.key == "traffic.hours.sizes"]
    assert (change.old, change.new) == ("others (21 h), night (3 h)", "others (22 h), night (2 h)")


def edited(workload: Workload, **changes: Any) -> Workload:
    assert workload.traffic.hours is not None
    hours = replace(workload.traffic.hours, **changes)
    return replace(workload, traffic=replace(workload.traffic, hours=hours))


def test_the_sets_of_a_plan_keep_the_same_rules(reading: Callable[..., Workload]) -> None:
    workload = reading(NIGHT)
    others, night = sets_of(workload.traffic)
    assert not list(workload_mistakes(workload))
    for sizes, expected in (
        ((others,), "one set is that of all hours"),
        ((others, replace(night, hours=(0, 1))), "each hour with requests must be in one set"),
        ((others, replace(night, hours=(0, 1, 2, 3))), "is in the set 'others' too"),
        ((others, replace(night, name="others")), "is the name of another set"),
        ((others, replace(night, weights=((1.0,),))), "want a row for each of the 2 input edges"),
        ((others, replace(night, weights=((0.0, 0.0, 0.5), (0.0, 0.0, 0.0)))), "must sum to 1"),
        ((others, replace(night, weights=((1.0, 0.0, 0.0), (0.0, 0.0, 0.0)))), "must be those of all hours together"),
        ((replace(others, hours=()), night), "each hour with requests must be in one set"),
    ):
        found = [message for _, message in workload_mistakes(edited(workload, sizes=sizes))]
        assert any(expected in message for message in found), (expected, found)
