"""Bills against plans: the twelve examples, random bills to the cent, and what is wrong with files."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result
from example_bills import (
    AWS_COLUMNS,
    EXAMPLES,
    FOLDER,
    GCP,
    H100,
    PLANS,
    SHOWN,
    TERM,
    Row,
    as_planned,
    csv_text,
    files,
    shown,
)
from hypothesis import given
from hypothesis import strategies as st

from sky_melange.bills import BillOptions, compare_bill
from sky_melange.bills.causes import Owners, planned_while
from sky_melange.bills.rows import MOST_MISTAKES
from sky_melange.cli import cli
from sky_melange.domain.bill import BillReport, Cause, cents
from sky_melange.domain.hours import Autoscaling, Period, Scaling, Schedule
from sky_melange.domain.plan import terms_of
from sky_melange.domain.planned_bill import InstanceHours, Purchase, planned_lines
from sky_melange.errors import InputError
from sky_melange.plan_file import read_plan
from sky_melange.render import bill_report, focus_csv

PERIOD = ("--from", "2026-07-06", "--until", "2026-07-08")


def check(plan: str, bill: Path, *options: str) -> Result:
    arguments = ["check", str(FOLDER / f"plan-{plan}.json"), "--billed", str(bill), *options]
    return CliRunner(mix_stderr=False).invoke(cli, arguments)


def compared(plan: str, bill: Path, options: BillOptions | None = None, limit: str | None = None) -> BillReport:
    document = read_plan(FOLDER / f"plan-{plan}.json")
    return compare_bill([(document.plan, document.workload)], [bill], options or BillOptions(), limit)


def written(folder: Path, rows: list[Row], columns: list[str] = AWS_COLUMNS) -> Path:
    path = folder / "bill.csv"
    path.write_text(csv_text(rows, columns), encoding="utf-8")
    return path


def assert_adds_up(report: BillReport) -> None:
    """Of lines, of causes, and of the whole: to the cent."""
    for line in report.lines:
        assert line.difference == sum(line.causes.values(), Decimal(0))
    assert sum(report.causes.values(), Decimal(0)) == report.difference == report.billed - report.planned
    assert all(usd == usd.quantize(Decimal("0.01")) for usd in report.causes.values())


def test_the_examples_are_what_their_program_writes() -> None:
    assert len(EXAMPLES) == 12
    assert {path.name for path in FOLDER.iterdir()} == {"README.md", *files()}
    for name, content in files().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == content, name
    for name, content in shown().items():
        assert (SHOWN / name).read_text(encoding="utf-8") == content, name


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_joins_with_its_plan(name: str) -> None:
    example = EXAMPLES[name]
    result = check(example.plan, FOLDER / f"{name}{example.suffix}", "--format", "json", *example.options)
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout, parse_float=Decimal)
    assert answer["planned_usd"] == Decimal(example.planned)
    assert answer["cost_column"] == {"opencost": "totalCost", "euro": "x_EffectiveCostInUsd"}.get(name, "EffectiveCost")
    causes = {cause: usd for cause, usd in answer["causes_usd"].items() if usd}
    assert causes == {cause.value: Decimal(usd) for cause, usd in example.causes.items()}
    assert answer["difference_usd"] == sum(causes.values()) == answer["billed_usd"] - answer["planned_usd"]
    for line in answer["lines"]:
        assert line["difference_usd"] == sum(line["causes_usd"].values()) == line["billed_usd"] - line["planned_usd"]


@pytest.mark.parametrize("name", [name for name in EXAMPLES if EXAMPLES[name].suffix == ".csv"])
def test_parquet_is_read_as_csv_is(name: str, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    example = EXAMPLES[name]
    target = tmp_path / "bill [*].parquet"
    with duckdb.connect() as connection:
        source = f"SELECT * FROM read_csv('{FOLDER / name}.csv', all_varchar = true)"
        connection.execute(f"COPY ({source}) TO '{target}' (FORMAT parquet)")
    results = [
        json.loads(check(example.plan, path, "--format", "json", *example.options).stdout)
        for path in (FOLDER / f"{name}.csv", target)
    ]
    assert results[0] | {"files": []} == results[1] | {"files": []}


def test_parquet_of_aws_has_numbers_times_and_a_map_of_tags(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    target = tmp_path / "bill.parquet"
    with duckdb.connect() as connection:
        source = (
            "SELECT * REPLACE (EffectiveCost::DOUBLE AS EffectiveCost, PricingQuantity::DOUBLE AS PricingQuantity, "
            "ChargePeriodStart::TIMESTAMP AS ChargePeriodStart, ChargePeriodEnd::TIMESTAMP_MS AS ChargePeriodEnd, "
            'from_json(Tags, \'{"user:skypilot-cluster-name": "VARCHAR"}\') AS Tags) '
            f"FROM read_csv('{FOLDER / 'wrong-count.csv'}', all_varchar = true)"
        )
        connection.execute(f"COPY ({source}) TO '{target}' (FORMAT parquet)")
    assert compared("aws", target).causes[Cause.COUNT] == Decimal("4719.36")


def test_a_compressed_bill_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bill.csv.gz"
    path.write_bytes(gzip.compress((FOLDER / "on-demand.csv").read_bytes()))
    assert compared("aws", path).difference == 0


def test_the_projected_charges_of_a_plan_are_a_bill_as_planned(tmp_path: Path) -> None:
    """Of every plan here, for a month: what `plan --format focus-csv` writes is read back without a difference."""
    period = (1_782_864_000, 1_785_542_400)
    for name, plan in PLANS.items():
        document = read_plan(FOLDER / f"plan-{name}.json")
        path = tmp_path / f"{name}.csv"
        path.write_text(focus_csv.render([(document.plan, document.workload)], period), encoding="utf-8")
        report = compared(name, path)
        assert report.difference == 0
        assert all(line.difference == 0 and line.matched_by == "tags" for line in report.lines)
        assert float(report.planned) == pytest.approx(plan.cost.total_usd_per_hour * 744, abs=0.01)


@given(st.integers(min_value=0, max_value=2**32))
def test_differences_of_random_bills_add_up_to_the_cent(seed: int) -> None:
    """Any machines, prices of many digits, hours, spans, credits and strangers; and the total is that of the bill."""
    chance = random.Random(seed)  # noqa: S311
    rows = []
    for _ in range(chance.randrange(1, 40)):
        row = dict(chance.choice(as_planned()))
        start = datetime(2026, 7, 6, tzinfo=UTC) + timedelta(minutes=chance.randrange(0, 5000))
        hours = Decimal(chance.randrange(0, 60_000)) / 1000
        cost = Decimal(chance.randrange(-(10**9), 10**11)) / 10 ** chance.randrange(0, 12)
        row |= {
            "ChargePeriodStart": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "ChargePeriodEnd": (start + timedelta(minutes=chance.randrange(1, 3000))).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "EffectiveCost": str(cost),
            "PricingQuantity": str(hours),
            "ChargeCategory": chance.choice(["Usage"] * 6 + ["Credit", "Tax", "Purchase", "Adjustment"]),
            "ChargeClass": chance.choice(["", "", "", "Correction"]),
        }
        if chance.random() < 0.3:
            row["Tags"] = chance.choice(["", '{"skypilot-cluster-name": "other-1-00000000"}', '{"team": "x"}'])
        rows.append(row)
    options = BillOptions(start_s=1_783_296_000, end_s=1_783_296_000 + chance.randrange(1, 10**6))
    with tempfile.TemporaryDirectory() as folder:
        report = compared("aws", written(Path(folder), rows), options)
    assert_adds_up(report)
    whole = sum((Fraction(row["EffectiveCost"]) for row in rows), Fraction(0))
    assert report.billed == cents([whole])[0]
    assert abs(Fraction(report.planned) - sum(_planned(options), Fraction(0))) <= Fraction(1, 100)


def _planned(options: BillOptions) -> list[Fraction]:
    document = read_plan(FOLDER / "plan-aws.json")
    hours = Fraction((options.end_s or 0) - (options.start_s or 0), 3600)
    prices = [(group.price_usd_per_hour, group.instances) for group in document.plan.groups]
    prices += [(machine.price_usd_per_hour or 0.0, 1) for machine in document.plan.overhead]
    return [Fraction(repr(price)) * count * hours for price, count in prices]


@given(st.lists(st.fractions(min_value=-1000, max_value=1000), max_size=8))
def test_cents_add_up_and_are_next_to_their_amounts(amounts: list[Fraction]) -> None:
    found = cents(amounts)
    exact = sum(amounts, Fraction(0))
    assert abs(Fraction(sum(found, Decimal(0))) - exact) <= Fraction(1, 200)
    assert all(abs(Fraction(usd) - amount) < Fraction(1, 100) for usd, amount in zip(found, amounts, strict=True))


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 200), st.integers(1, 90)), st.fractions(min_value=0, max_value=1, max_denominator=9)
    ),
    st.integers(50, 250),
)
def test_what_was_planned_while_something_ran_is_a_sum_over_minutes(
    spans: dict[tuple[int, int], Fraction], last: int
) -> None:
    """Of spans that overlap as they like, each minute once, by the largest part; planned are 0 to 23 by the hour."""
    hours = InstanceHours(counts=tuple(Fraction(hour) for hour in range(24)))
    begin_s = 1_783_296_000
    running = {(begin_s + start * 60, begin_s + (start + length) * 60): part for (start, length), part in spans.items()}
    within = {span: part for span, part in running.items() if span[0] < begin_s + last * 60}
    slow = Fraction(0)
    for minute in range(last):
        at_s = begin_s + minute * 60
        part = max((part for (start, end), part in within.items() if start <= at_s < end), default=Fraction(0))
        slow += part * (minute // 60) / 60
    assert planned_while(hours, within, (begin_s, begin_s + last * 60)) == slow


@given(st.randoms(use_true_random=False), st.sampled_from([name for name in EXAMPLES if EXAMPLES[name].rows]))
def test_neither_the_order_of_rows_nor_the_number_of_files_matters(chance: random.Random, name: str) -> None:
    example = EXAMPLES[name]
    assert example.rows is not None
    rows = example.rows()
    chance.shuffle(rows)
    cut = chance.randrange(1, len(rows))
    options = BillOptions(cost_column="x_EffectiveCostInUsd" if name == "euro" else "EffectiveCost")
    document = read_plan(FOLDER / f"plan-{example.plan}.json")
    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for number, part in enumerate((rows[:cut], rows[cut:])):
            parts.append(Path(folder) / f"{number}.csv")
            parts[-1].write_text(csv_text(part, example.columns), encoding="utf-8")
        report = compare_bill([(document.plan, document.workload)], parts, options)
    whole = compared(example.plan, FOLDER / f"{name}.csv", options)
    assert replace(report, files=()) == replace(whole, files=())


class TestGate:
    def test_a_difference_within_the_limit_passes(self) -> None:
        assert check("aws", FOLDER / "spot.csv", "--max-difference", "7.20").exit_code == 0

    @pytest.mark.parametrize("limit", ["7.19", "0", "0.05%"])
    def test_a_larger_one_fails(self, limit: str) -> None:
        result = check("aws", FOLDER / "spot.csv", "--max-difference", limit)
        assert result.exit_code == 3
        assert "+7.20" in result.stdout
        assert "exceeds the limit" in result.stderr

    def test_differences_that_cancel_out_fail(self, tmp_path: Path) -> None:
        """A third machine, and a credit of its price."""
        rows = as_planned()
        extra = [{**row, "ResourceId": "i-third"} for row in rows if "chat-h100-x8-1" in row["Tags"]]
        back = [{**row, "ChargeClass": "Correction", "EffectiveCost": f"-{row['EffectiveCost']}"} for row in extra]
        path = written(tmp_path, [*rows, *extra, *back])
        report = compared("aws", path, limit="1%")
        assert report.difference == 0
        assert report.is_failed
        assert "by count alone exceeds" in bill_report.verdict(report)

    def test_a_bill_of_other_things_alone_fails(self, tmp_path: Path) -> None:
        """Nothing of the plan was billed: that is a difference of all that was planned."""
        rows = [{**row, "Tags": "", "RegionId": "eu-west-1"} for row in as_planned()]
        path = written(tmp_path, rows)
        assert check("aws", path, "--max-difference", "50%").exit_code == 3
        assert check("aws", path, "--max-difference", "50%", "--ignore-others").exit_code == 3

    @pytest.mark.parametrize("limit", ["-1", "nan", "5%%", "", "ten", "1e99"])
    def test_a_limit_that_is_none_is_refused(self, limit: str) -> None:
        result = check("aws", FOLDER / "spot.csv", "--max-difference", limit)
        assert result.exit_code == 2
        assert "want USD such as 250, or a percentage" in result.stderr

    def test_options_without_a_bill_and_checks_beside_one_are_refused(self) -> None:
        plan = str(FOLDER / "plan-aws.json")
        run = CliRunner(mix_stderr=False).invoke
        alone = run(cli, ["check", plan, "--max-difference", "5", "--from", "2026-07-01"])
        assert alone.exit_code == 2
        assert alone.stderr.count("only valid together with --billed FILE") == 2
        both = check("aws", FOLDER / "spot.csv", "--budget", "5", "--max-drift", "1", "--format", "junit")
        assert both.exit_code == 2
        assert "--budget: cannot be combined with --billed" in both.stderr
        assert "--max-drift" in both.stderr
        assert "found junit" in both.stderr

    def test_reports_are_written_to_files(self, tmp_path: Path) -> None:
        result = check("aws", FOLDER / "credits.csv", "--write", f"markdown={tmp_path / 'bill.md'}")
        assert result.exit_code == 0
        text = (tmp_path / "bill.md").read_text(encoding="utf-8")
        assert "| credits | -1,085.98 |" in text


class TestCauses:
    def test_half_of_the_hours_of_a_day(self, tmp_path: Path) -> None:
        """Both machines ran for twelve hours: hours are missing, no instances."""
        rows = [
            row | {"PricingQuantity": "12", "EffectiveCost": "1179.84"} if "h100" in row["Tags"] else row
            for row in as_planned()
        ]
        line = compared("aws", written(tmp_path, rows)).lines[0]
        assert dict(line.causes) == {Cause.HOURS: Decimal("-4719.36")}

    def test_one_of_two_machines_for_half_of_the_hours(self, tmp_path: Path) -> None:
        rows = [
            row | {"PricingQuantity": "12", "EffectiveCost": "1179.84"} if "h100-x8-2" in row["Tags"] else row
            for row in as_planned()
        ]
        line = compared("aws", written(tmp_path, rows)).lines[0]
        assert dict(line.causes) == {Cause.COUNT: Decimal("-2359.68")}

    def test_rows_without_hours_are_not_split(self, tmp_path: Path) -> None:
        rows = [row | {"PricingQuantity": ""} if "h100" in row["Tags"] else row for row in as_planned()]
        line = compared("aws", written(tmp_path, [*rows, rows[0]])).lines[0]
        assert dict(line.causes) == {Cause.UNSPLIT: Decimal("2359.68")}
        assert line.billed_hours is None

    def test_opencost_csv_says_no_hours(self, tmp_path: Path) -> None:
        path = tmp_path / "opencost.csv"
        pods = [f"2026-07-06,serving,Pod,,chat-h100-x8-{n}-1a2b3c4d-head,ray-node,2400.50" for n in (1, 2)]
        head = "Date,Namespace,ControllerKind,ControllerName,Pod,Container,TotalCost"
        path.write_text("\n".join([head, *pods, "2026-07-06,kube-system,Pod,,dns-0,dns,1.5", ""]), encoding="utf-8")
        report = compared("aws", path)
        assert_adds_up(report)
        assert report.lines[0].billed == Decimal("4801.00")
        assert list(report.lines[0].causes) == [Cause.UNSPLIT]
        assert report.causes[Cause.UNPLANNED] == Decimal("1.50")


class TestOwners:
    """By the names that SkyPilot gives, else by the machine."""

    @pytest.mark.parametrize(
        ("cluster", "group"),
        [
            ("chat-h100-x8-1-1a2b3c4d", "chat-h100-x8"),
            ("chat-h100-x8-12", "chat-h100-x8"),
            ("CHAT-L4-SPOT-3-1A2B3C4D", "chat-l4-spot"),
            ("sky-serve-controller-1a2b3c4d-1a2b3c4d", "SkyServe controller"),
            ("chat-h100-x-q7-1a2b3c4d", None),
            ("chat-h100-x8-extra-1-1a2b3c4d", None),
            ("chat-h100", None),
            ("", None),
        ],
    )
    def test_names_of_clusters(self, cluster: str, group: str | None, tmp_path: Path) -> None:
        tags = json.dumps({"skypilot-cluster-name": cluster})
        row = as_planned()[0] | {"Tags": tags, "RegionId": "mars"}
        report = compared("aws", written(tmp_path, [row]))
        billed = [line.planned_line.name for line in report.lines if line.matched_by]
        assert billed == ([] if group is None else [group])

    @pytest.mark.slow
    def test_names_that_skypilot_gives(self, tmp_path: Path) -> None:
        """By SkyPilot's own function, for every length that one of its clouds allows: the group, and no other."""
        names = [f"team{'-long' * words}-chat-l4" for words in range(9)]
        code = (
            "import json, sys\n"
            "from sky.utils import common_utils\n"
            "common_utils.get_user_hash = lambda: '1a2b3c4d'\n"
            "limits = [28, 35, 42, 47, 50, 57, 60, 120, 248, None]\n"
            "print(json.dumps([[name, common_utils.make_cluster_name_on_cloud(f'{name}-{number}', limit)]\n"
            "    for name in json.loads(sys.argv[1]) for number in (1, 17) for limit in limits]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(names)],
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        (line,) = (each for each in _gcp_lines() if each.group)
        others = [replace(line, name="other", group="other", cluster="other-l4")]
        for name, on_cloud in json.loads(done.stdout.splitlines()[-1]):
            owners = Owners([*others, replace(line, cluster=name)])
            assert owners._of_cluster(on_cloud) == [1], (name, on_cloud)

    def test_a_name_that_google_cut(self) -> None:
        name = "a-very-long-name-of-a-workload-l4"
        lines = [replace(line, cluster=name) for line in _gcp_lines() if line.group]
        owners = Owners(lines)
        assert owners._of_cluster("a-very-long-name-of-a-w-q7-1a2b3c4d") == [0]
        assert owners._of_cluster("a-very-long-game-of-a-w-q7-1a2b3c4d") == []

    def test_without_tags_the_machine_decides_and_a_warning_says_so(self, tmp_path: Path) -> None:
        rows = [{**row, "Tags": ""} for row in as_planned()]
        report = compared("aws", written(tmp_path, rows))
        assert report.difference == 0
        assert {line.matched_by for line in report.lines} == {"machine"}
        assert sum("matched by instance type and region" in warning for warning in report.warnings) == 3

    def test_where_some_are_tagged_the_others_are_somebody_elses(self, tmp_path: Path) -> None:
        rows = as_planned()
        stranger = rows[0] | {"Tags": "", "ResourceId": "i-other"}
        report = compared("aws", written(tmp_path, [*rows, stranger]))
        assert report.causes[Cause.UNPLANNED] == Decimal("2359.68")
        assert report.others[0].what == "without tags, aws us-east-1 p5.48xlarge"

    def test_two_groups_of_one_machine_are_ambiguous(self, tmp_path: Path) -> None:
        document = read_plan(FOLDER / "plan-aws.json")
        twin = replace(document.plan.groups[0], name="chat-h100-twin")
        plan = replace(document.plan, groups=(*document.plan.groups, twin))
        path = written(tmp_path, [as_planned()[0] | {"Tags": ""}])
        report = compare_bill([(plan, document.workload)], [path], BillOptions())
        assert report.causes[Cause.AMBIGUOUS] == Decimal("2359.68")
        assert report.others[0].what.startswith("chat-h100-x8 or chat-h100-twin")

    def test_several_plans_share_a_bill(self, tmp_path: Path) -> None:
        """As those of a fleet: each owns its machines."""
        documents = [read_plan(FOLDER / f"plan-{name}.json") for name in ("aws", "gcp")]
        plans = [(each.plan, each.workload) for each in documents]
        plans[1] = (replace(plans[1][0], name="code", overhead=()), plans[1][1])
        bill, other = FOLDER / "on-demand.csv", tmp_path / "other.csv"
        rows = list(csv.DictReader(io.StringIO(csv_text(as_planned()[:1], AWS_COLUMNS))))
        tags = json.dumps({"skypilot-cluster-name": "chat-l4-1-1a2b3c4d"})
        rows = [row | {"Tags": tags, "EffectiveCost": "20.40", "ProviderName": "Google Cloud"} for row in rows]
        other.write_text(csv_text(rows, AWS_COLUMNS), encoding="utf-8")
        report = compare_bill(plans, [bill, other], BillOptions())
        assert [(each.workload, each.billed) for each in report.workloads] == [
            ("chat", Decimal("9490.08")),
            ("code", Decimal("20.40")),
        ]
        assert_adds_up(report)


def _gcp_lines() -> list:  # type: ignore[type-arg]
    document = read_plan(FOLDER / "plan-gcp.json")
    return list(planned_lines(document.plan, document.workload))


class TestHoursOfTheClock:
    ZONE = ZoneInfo("Europe/Berlin")
    DAY = InstanceHours(counts=tuple(Fraction(hour) for hour in range(24)), time_zone="Europe/Berlin")

    @pytest.mark.parametrize(
        ("date", "hours"), [((2026, 3, 29), 276 - 2), ((2026, 7, 1), 276), ((2026, 10, 25), 276 + 2)]
    )
    def test_clocks_skip_and_repeat_an_hour(self, date: tuple[int, int, int], hours: int) -> None:
        """2:00 does not come in March, and comes twice in October."""
        start = datetime(*date, tzinfo=self.ZONE)
        end = datetime(*date[:2], date[2] + 1, tzinfo=self.ZONE)
        edges = [int(moment.timestamp()) for moment in (start, end)]
        assert self.DAY.between(*edges) == hours

    @given(st.lists(st.integers(min_value=1_774_000_000, max_value=1_775_000_000), min_size=2, max_size=6))
    def test_parts_add_up_to_the_whole(self, moments: list[int]) -> None:
        edges = sorted(moments)
        parts = sum((self.DAY.between(*pair) for pair in pairwise(edges)), Fraction(0))
        assert parts == self.DAY.between(edges[0], edges[-1])


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=2, max_size=5),
    st.lists(st.integers(0, 4), min_size=168, max_size=168),
    st.integers(0, 60),
    st.integers(0, 9),
    st.booleans(),
)
def test_a_week_of_a_plan_with_hours_costs_what_the_plan_says(
    counts: list[tuple[int, int]], hours: list[int], startup_minutes: int, term: int, is_autoscaled: bool
) -> None:
    """The lines of a bill over a whole cycle, and the plan's own mean: two computations of one figure."""
    document = read_plan(FOLDER / "plan-aws.json")
    first, second = document.plan.groups
    instances = (max(counts), min(counts))[0]
    committed = replace(TERM, instances=min(term, *(count[0] for count in counts)))
    groups = (replace(first, instances=instances[0], committed=committed), replace(second, instances=instances[1]))
    schedule = Schedule(
        time_zone="UTC",
        period_of_hour=tuple(hour % len(counts) for hour in hours),
        periods=tuple(Period(rate_rps=1.0, hours=1, instances=each, cost_usd_per_hour=1.0) for each in counts),
        startup_minutes=float(startup_minutes),
        starts=0,
        usd_per_hour=1.0,
        fixed_usd_per_hour=2.0,
    )
    workload = document.workload
    if is_autoscaled:
        means = tuple(max(float(committed.instances), each + 0.375) for each in counts[0])
        told = Autoscaling(
            headroom_fraction=0.1, least_fraction=0.1, mean_instances=means, attainment=1.0, scheduled_usd_per_hour=1.0
        )
        schedule = replace(schedule, autoscaling=told)
        workload = replace(workload, launch=replace(workload.launch, scaling=Scaling.AUTOSCALE))
    plan = replace(document.plan, groups=groups, schedule=schedule)
    start_s = 1_783_296_000
    total = sum(line.cost(start_s, start_s + 168 * 3600) for line in planned_lines(plan, workload))
    prices = [group.price_usd_per_hour for group in groups]
    overhead = plan.cost.overhead_usd_per_hour
    assert float(total) / 168 == pytest.approx(schedule.mean_usd_per_hour(prices, overhead, terms_of(groups)))
    rows = csv.DictReader(io.StringIO(focus_csv.render([(plan, workload)])))
    assert sum(float(row["EffectiveCost"]) for row in rows) == pytest.approx(float(total) / 168)


def test_what_is_not_used_of_a_commitment_has_a_row() -> None:
    document = read_plan(FOLDER / "plan-aws.json")
    first = replace(document.plan.groups[0], instances=2, committed=replace(TERM, instances=3))
    plan = replace(document.plan, groups=(first,), overhead=())
    rows = list(csv.DictReader(io.StringIO(focus_csv.render([(plan, document.workload)]))))
    assert [(row["CommitmentDiscountStatus"], row["EffectiveCost"]) for row in rows] == [
        ("Used", "86.32"),
        ("Unused", "43.16"),
    ]
    assert rows[1]["ListCost"] == rows[1]["ContractedCost"] == rows[1]["x_MillionTokens"] == ""


BROKEN: dict[str, tuple[Callable[[list[Row]], list[Row]], str]] = {
    "another currency": (lambda rows: [rows[0] | {"BillingCurrency": "EUR"}], "export it in USD, or convert"),
    "no currency": (lambda rows: [rows[0] | {"BillingCurrency": ""}], "BillingCurrency: is 'empty'"),
    "not a number": (lambda rows: [rows[0] | {"EffectiveCost": "NaN"}], ":2: EffectiveCost: want a finite number"),
    "infinite": (lambda rows: [rows[0] | {"EffectiveCost": "inf"}], "want a finite number"),
    "no amount": (lambda rows: [rows[0] | {"EffectiveCost": ""}], "want a finite number"),
    "grouped digits": (lambda rows: [rows[0] | {"EffectiveCost": "1,234.5"}], "found '1,234.5'"),
    "an amount without end": (lambda rows: [rows[0] | {"EffectiveCost": "9" * 70}], "want a finite number"),
    "no quantity": (lambda rows: [rows[0] | {"PricingQuantity": "many"}], "PricingQuantity: want a finite number"),
    "no time": (lambda rows: [rows[0] | {"ChargePeriodStart": "7/6/2026"}], "want a time such as 2026-07-01T00:00:00Z"),
    "backwards": (lambda rows: [rows[0] | {"ChargePeriodEnd": "2026-07-01T00:00:00Z"}], "is before ChargePeriodStart"),
    "no category": (lambda rows: [rows[0] | {"ChargeCategory": "usage!"}], "want one of Usage, Purchase, Tax"),
    "cut tags": (lambda rows: [rows[0] | {"Tags": '{"skypilot-cl'}], "Tags: want a JSON object"),
    "two accounts": (
        lambda rows: [rows[0], rows[1] | {"BillingAccountId": "444455556666"}],
        "rows of 2 billing accounts of aws: 111122223333, 444455556666: pass --billing-account",
    ),
    "no rows": (lambda _: [], "has no rows, so there is nothing to compare"),
    "no usage": (lambda rows: [rows[0] | {"ChargeCategory": "Credit"}], "pass --from and --until"),
}


class TestBadBills:
    @pytest.mark.parametrize("name", BROKEN)
    def test_rows(self, name: str, tmp_path: Path) -> None:
        change, words = BROKEN[name]
        result = check("aws", written(tmp_path, change(as_planned())))
        assert result.exit_code == 2, result.output
        assert words in result.stderr
        assert not result.stdout

    def test_mistakes_are_told_at_once_and_not_without_end(self, tmp_path: Path) -> None:
        rows = [row | {"EffectiveCost": "?", "ChargeCategory": "?"} for row in as_planned() * 10]
        with pytest.raises(InputError) as error:
            compared("aws", written(tmp_path, rows))
        assert len(error.value.mistakes) == MOST_MISTAKES + 1

    def test_missing_columns_are_named_together(self, tmp_path: Path) -> None:
        kept = [name for name in AWS_COLUMNS if name not in ("BillingCurrency", "ChargePeriodEnd", "ProviderName")]
        kept = [name for name in kept if not name.endswith("Unit")]
        result = check("aws", written(tmp_path, as_planned(), kept))
        assert result.exit_code == 2
        for name in ("BillingCurrency", "ChargePeriodEnd", "ProviderName", "PricingQuantity with PricingUnit"):
            assert name in result.stderr

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "is empty"),
            (b" \n\n", "is empty"),
            (b"a,b\n1,2\n", "is neither a FOCUS export"),
            (b"\xff\xfe\x00\x01garbage\n", "is not CSV in UTF-8"),
            (b'{"code": 200, "data": [{"x": {"totalCost": "NaN"}}]}', "totalCost: want a finite number"),
            (b'{"code": 200, "data": [{"x": {"totalCost": NaN}}]}', "NaN is not a number"),
            (b'{"code": 200, "data": [{"x": 5}]}', "want an object"),
            (b'{"code": 200, "data": "no"}', "is not an answer to OpenCost's /allocation"),
            (b'{"code": 200, "data": [{"x"', "is the file truncated?"),
            (b"PAR1 and no more", "is not readable Parquet"),
        ],
    )
    def test_files(self, content: bytes, words: str, tmp_path: Path) -> None:
        path = tmp_path / "bill"
        path.write_bytes(content)
        result = check("aws", path)
        assert result.exit_code == 2, result.output
        assert words in result.stderr

    def test_a_missing_file_and_a_folder(self, tmp_path: Path) -> None:
        assert "there is no such file" in check("aws", tmp_path / "none.csv").stderr
        assert "is a folder" in check("aws", tmp_path).stderr

    @pytest.mark.parametrize("is_compressed", [False, True])
    def test_a_file_cut_anywhere_is_no_bill(self, is_compressed: bool, tmp_path: Path) -> None:
        """Wherever a download stopped, but at the end of a row, no shorter bill is taken for a whole one."""
        whole = (FOLDER / "spot.csv").read_bytes()
        content = gzip.compress(whole) if is_compressed else whole
        path = tmp_path / "bill"
        chance = random.Random(1)  # noqa: S311
        cuts = [len(content) - 1, *(chance.randrange(1, len(content)) for _ in range(60))]
        for cut in cuts:
            if not is_compressed and content[:cut].endswith(b"\n"):
                continue
            path.write_bytes(content[:cut])
            result = check("aws", path)
            assert result.exit_code == 2, (cut, result.output)

    def test_one_account_of_two_may_be_chosen(self, tmp_path: Path) -> None:
        rows = as_planned()
        path = written(tmp_path, [*rows, rows[0] | {"BillingAccountId": "444455556666"}])
        assert compared("aws", path, BillOptions(accounts=("111122223333",))).difference == 0
        result = check("aws", path, "--billing-account", "1")
        assert "has no rows of the billing accounts 1" in result.stderr

    def test_names_from_a_bill_are_no_formulas_nor_markup(self, tmp_path: Path) -> None:
        evil = "=cmd|' /C calc'!A0\x1b[31m<script>@everyone"
        row = as_planned()[0] | {"Tags": "", "RegionId": "mars", "ServiceName": evil}
        path = written(tmp_path, [row])
        for text in (check("aws", path).stdout, json.dumps(json.loads(check("aws", path, "--format", "json").stdout))):
            assert "'=cmd" in text
            assert "\x1b" not in text
        markdown = check("aws", path, "--format", "markdown").stdout
        assert "<script>" not in markdown
        assert "@everyone" not in markdown

    @pytest.mark.slow
    def test_many_rows(self, tmp_path: Path) -> None:
        path = tmp_path / "bill.csv"
        rows = [row | {"ChargePeriodStart": "S", "ChargePeriodEnd": "E"} for row in as_planned()[:2]]
        with path.open("w", encoding="utf-8") as file:
            file.write(csv_text([], AWS_COLUMNS))
            texts = csv_text(rows, AWS_COLUMNS).splitlines(keepends=True)[1:]
            begin = datetime(2026, 7, 6, tzinfo=UTC)
            for number in range(100_000):
                start = begin + timedelta(hours=number % 744)
                span = [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (start, start + timedelta(hours=1))]
                file.writelines(text.replace(",S,", f",{span[0]},").replace(",E,", f",{span[1]},") for text in texts)
        report = compared("aws", path)
        assert report.rows == 200_000
        assert_adds_up(report)


class TestFocusCsv:
    def rows(self, name: str, period: tuple[int, int] | None = None) -> list[dict[str, str]]:
        document = read_plan(FOLDER / f"plan-{name}.json")
        text = focus_csv.render([(document.plan, document.workload)], period)
        return list(csv.DictReader(io.StringIO(text)))

    def test_what_only_an_invoice_knows_is_empty(self) -> None:
        for row in self.rows("aws"):
            for name in (
                "BilledCost",
                "BillingAccountId",
                "BillingPeriodStart",
                "ChargePeriodStart",
                "ResourceId",
                "SkuId",
            ):
                assert row[name] == ""
            assert row["BillingCurrency"] == "USD"
            assert row["ChargeCategory"] == "Usage"

    def test_an_hour_and_a_period(self) -> None:
        (hour, _, controller) = self.rows("aws")
        assert (hour["EffectiveCost"], hour["PricingQuantity"]) == ("196.64", "2")
        assert controller["ResourceName"] == "SkyServe controller"
        day = self.rows("aws", (1_783_296_000, 1_783_382_400))[0]
        assert (day["EffectiveCost"], day["ConsumedQuantity"]) == ("4719.36", "48")
        assert (day["ChargePeriodStart"], day["ChargePeriodEnd"]) == ("2026-07-06T00:00:00Z", "2026-07-07T00:00:00Z")
        assert json.loads(day["Tags"])["sky-melange-model"] == "example/model-8b"

    def test_tokens_of_the_groups_are_those_of_the_workload(self) -> None:
        rows = self.rows("aws")
        report = compared("aws", FOLDER / "on-demand.csv")
        tokens = sum(Fraction(row["x_MillionTokens"]) for row in rows if row["x_MillionTokens"])
        assert float(tokens) == pytest.approx(float(report.workloads[0].planned_million_tokens / 48))
        assert rows[2]["x_MillionTokens"] == ""

    def test_costs_are_unit_prices_times_quantities(self) -> None:
        for name in PLANS:
            for row in self.rows(name):
                for cost, price in (("ListCost", "ListUnitPrice"), ("ContractedCost", "ContractedUnitPrice")):
                    if row[price]:
                        assert Fraction(row[cost]) == Fraction(row[price]) * Fraction(row["PricingQuantity"])

    def test_a_commitment_has_its_columns(self) -> None:
        row = self.rows("committed")[0]
        assert row["PricingCategory"] == "Committed"
        assert row["CommitmentDiscountStatus"] == "Used"
        assert row["CommitmentDiscountType"] == "commit_3y"
        assert (row["ListUnitPrice"], row["EffectiveCost"]) == ("98.32", "129.48")
        assert self.rows("aws")[1]["PricingCategory"] == "Dynamic"
        assert all(row["CommitmentDiscountId"] == "" for row in self.rows("aws"))

    def test_prices_that_are_no_list_prices_are_not_called_so(self) -> None:
        document = read_plan(FOLDER / "plan-aws.json")
        first = document.plan.groups[0]
        own = replace(first, price=replace(first.price, detail="row; 0.1 off the listed 109.2 USD per hour"))
        plan = replace(document.plan, groups=(own, *document.plan.groups[1:]))
        row = next(csv.DictReader(io.StringIO(focus_csv.render([(plan, document.workload)]))))
        assert (row["ListCost"], row["ListUnitPrice"]) == ("", "")
        assert row["ContractedCost"] == row["EffectiveCost"] == "196.64"

    def test_a_price_that_is_not_known_is_empty(self) -> None:
        document = read_plan(FOLDER / "plan-aws.json")
        unknown = replace(document.plan.overhead[0], price_usd_per_hour=None, price=None)
        plan = replace(document.plan, overhead=(unknown,))
        rows = list(csv.DictReader(io.StringIO(focus_csv.render([(plan, document.workload)]))))
        assert rows[-1]["EffectiveCost"] == rows[-1]["ListCost"] == ""

    def test_formulas_are_quoted(self) -> None:
        document = read_plan(FOLDER / "plan-aws.json")
        first = replace(document.plan.groups[0], instance_type="=cmd", region="@SUM(1)")
        plan = replace(document.plan, groups=(first, *document.plan.groups[1:]))
        row = next(csv.DictReader(io.StringIO(focus_csv.render([(plan, document.workload)]))))
        assert row["x_InstanceType"] == "'=cmd"
        assert row["RegionId"] == "'@SUM(1)"

    def test_a_plan_that_is_made_prints_it(self, tmp_path: Path) -> None:
        """Of any plan, as it comes: its own projection is a bill without a difference."""
        workload = Path(__file__).parents[2] / "examples" / "means" / "workload.yaml"
        arguments = ["plan", str(workload), "--offline", "--out", str(tmp_path / "plan"), "--format", "focus-csv"]
        run = CliRunner(mix_stderr=False).invoke
        result = run(cli, [*arguments, "--period", "2026-07-01/2026-08-01"])
        assert result.exit_code == 0, result.stderr
        bill = tmp_path / "bill.csv"
        bill.write_text(result.stdout, encoding="utf-8")
        checked = run(cli, ["check", str(tmp_path / "plan"), "--billed", str(bill), "--max-difference", "0"])
        assert checked.exit_code == 0, checked.output
        refused = run(cli, [*arguments[:-2], "--period", "2026-07-01/2026-08-01"])
        assert refused.exit_code == 2
        assert "only valid together with --format focus-csv" in refused.stderr

    def test_report_writes_it(self, tmp_path: Path) -> None:
        target = tmp_path / "planned.csv"
        arguments = ["report", str(FOLDER / "plan-aws.json"), "--as", "focus-csv", "-o", str(target)]
        run = CliRunner(mix_stderr=False).invoke
        assert run(cli, [*arguments, "--period", "2026-07-06/2026-07-08"]).exit_code == 0
        assert check("aws", target).exit_code == 0
        for period, words in (("2026-07-08/2026-07-06", "must end after"), ("July", "want a date or time")):
            refused = run(cli, [*arguments, "--period", period])
            assert refused.exit_code == 2
            assert words in refused.stderr
        page = run(cli, [*arguments[:2], "--period", "2026-07-06/2026-07-08"])
        assert "only valid together with --as focus-csv" in page.stderr


def test_offers_here_are_those_of_the_plans() -> None:
    assert {line.purchase for line in _gcp_lines()} == {Purchase.ON_DEMAND}
    assert (H100.instance_type, GCP.cloud) == ("p5.48xlarge", "gcp")


def test_a_bill_that_is_given_twice_is_refused_and_not_counted_twice() -> None:
    from sky_melange import api

    plan, bill = FOLDER / "plan-aws.json", next(FOLDER.glob("*.csv"))
    for again in (bill, bill.parent / "." / bill.name, bill.parent.parent / bill.parent.name / bill.name):
        with pytest.raises(InputError, match="is given twice"):
            api.check_bill(plan, [bill, again])
