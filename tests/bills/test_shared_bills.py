"""Bills of machines that workloads share: billed once, divided by the GPUs in use, to the cent."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from example_bills import AWS_COLUMNS, Row, csv_text, days, machine, usage
from fleet_files import SHARING, fleet, workload

from sky_melange.api import check_bill
from sky_melange.cli import cli
from sky_melange.domain.bill import BillReport, Cause
from sky_melange.domain.planned_bill import shared_lines
from sky_melange.plan_file.fleet import read_fleet_plan

NAME, TYPE, PRICE = "both-shared-a100-80gb-x8", "p4de.24xlarge", Decimal("27.44705")


def run(*arguments: object) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two workloads on one machine of AWS: 2 GPUs of one, 4 of the other, or whatever is cheapest."""
    folder = tmp_path_factory.mktemp("shared")
    files = [workload(folder, name, rate=rate, **SHARING) for name, rate in (("chat", 12), ("talk", 3))]
    for file in files:
        text = (folder / file).read_text(encoding="utf-8").replace("clouds: [aws, lambda]", "clouds: [aws]")
        (folder / file).write_text(text.replace(", lambda: [us-east-1]", ""), encoding="utf-8")
    done = run("plan", fleet(folder, *files, more="  share_machines: true\n"), "--out", folder / "out", "--offline")
    assert done.exit_code == 0, done.stderr
    return folder / "out"


def rows(price: Decimal, *, count: int = 2, cluster: str = NAME) -> list[Row]:
    return [usage(price * 24, span, **machine(cluster, TYPE)) for span in days(count)]


def compared(planned: Path, folder: Path, given: Sequence[Row]) -> BillReport:
    path = folder / "bill.csv"
    path.write_text(csv_text(list(given), AWS_COLUMNS), encoding="utf-8")
    report = check_bill(planned, [path])
    for line in report.lines:
        assert line.difference == sum(line.causes.values(), Decimal(0))
    assert sum(report.causes.values(), Decimal(0)) == report.difference == report.billed - report.planned
    total = sum((Decimal(row["EffectiveCost"]) for row in given), Decimal(0))
    assert abs(report.billed - total) <= Decimal("0.005")
    assert (
        sum((each.billed for each in report.workloads), Decimal(0))
        + sum((each.billed for each in report.others), Decimal(0))
        == report.billed
    )
    return report


def gpus(planned: Path) -> dict[str, int]:
    engines = [engine for each in read_fleet_plan(planned).plan.machines for engine in each.engines]
    return {name: sum(len(e.gpus) for e in engines if e.workload == name) for name in ("chat", "talk")}


def parts(report: BillReport) -> dict[str, Decimal]:
    """What was billed for the parts of machines, by workload."""
    return {line.planned_line.workload: line.billed for line in report.lines if line.planned_line.group}


def test_a_machine_that_is_billed_as_planned_has_no_difference(planned: Path, tmp_path: Path) -> None:
    (shared,) = read_fleet_plan(planned).plan.machines
    price = Decimal(repr(shared.price_usd_per_hour))
    report = compared(planned, tmp_path, rows(price))
    of_parts = [line for line in report.lines if line.planned_line.group]
    assert len(of_parts) == 2
    for line in of_parts:
        assert (line.difference, line.matched_by, line.billed_hours) == (0, "tags", line.planned_hours)
        assert not any(line.causes.values())
    used = gpus(planned)
    for name, billed in parts(report).items():
        assert float(billed) == pytest.approx(float(price) * 48 * used[name] / sum(used.values()), abs=0.01)


def test_what_differs_is_divided_with_its_causes(planned: Path, tmp_path: Path) -> None:
    price = Decimal(repr(read_fleet_plan(planned).plan.machines[0].price_usd_per_hour))
    disk = usage("10.01", days()[0], **machine(NAME, TYPE)) | {
        "ServiceSubcategory": "Block Storage",
        "ResourceType": "Volume",
        "SkuMeter": "EBS:VolumeUsage.gp3",
        "SkuPriceDetails": "",
        "ResourceId": "vol-1",
        "ServiceCategory": "Storage",
    }
    late = usage(price * 12, days()[1], "12", **machine(NAME, TYPE, 2))
    report = compared(planned, tmp_path, [*rows(price * 2, count=1), late, disk])
    used, causes = gpus(planned), report.causes
    assert abs(causes[Cause.EXTRAS] - Decimal("10.01")) <= Decimal("0.01")
    assert float(causes[Cause.PRICE]) == pytest.approx(float(price) * 24, abs=0.011)
    assert float(causes[Cause.HOURS]) == pytest.approx(-float(price) * 12, abs=0.3)
    billed = parts(report)
    assert float(billed["chat"] / billed["talk"]) == pytest.approx(used["chat"] / used["talk"], rel=1e-4)


def test_random_bills_add_up_to_the_cent(planned: Path, tmp_path: Path) -> None:
    chance = random.Random(0)  # noqa: S311
    for _ in range(20):
        given = [
            usage(
                Decimal(chance.randrange(1, 10**7)) / 1000,
                chance.choice(days(3)),
                str(chance.randrange(1, 25)),
                **machine(chance.choice((NAME, NAME, "", "other")), TYPE, chance.randrange(3)),
            )
            for _ in range(chance.randrange(1, 6))
        ]
        compared(planned, tmp_path, given)


def test_without_tags_the_machine_is_found_once(planned: Path, tmp_path: Path) -> None:
    price = Decimal(repr(read_fleet_plan(planned).plan.machines[0].price_usd_per_hour))
    report = compared(planned, tmp_path, rows(price, cluster=""))
    assert report.causes[Cause.AMBIGUOUS] == 0
    assert {line.matched_by for line in report.lines if line.planned_line.group} == {"machine"}


def test_the_projected_bill_of_the_fleet_is_as_planned(planned: Path, tmp_path: Path) -> None:
    path = tmp_path / "planned.csv"
    period = ("--period", "2026-07-06/2026-07-08")
    assert run("report", planned, "--as", "focus-csv", *period, "-o", path).exit_code == 0
    done = run("check", planned, "--billed", path, "--max-difference", "0", "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert not any(float(usd) for usd in json.loads(done.stdout)["causes_usd"].values())


def test_a_plan_of_the_fleet_is_billed_with_it(planned: Path, tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    path.write_text(csv_text(rows(PRICE), AWS_COLUMNS), encoding="utf-8")
    done = run("check", planned / "chat", "--billed", path)
    assert done.exit_code == 2
    assert "give the fleet's folder" in done.stderr


def test_machines_of_one_kind_are_one_line_that_their_numbers_name(planned: Path) -> None:
    (shared,) = read_fleet_plan(planned).plan.machines
    first, second = (
        replace(shared, name=f"{NAME}-{number}", engines=engines)
        for number, engines in ((1, shared.engines), (2, shared.engines[:1]))
    )
    (line,) = shared_lines([first, second])
    assert (line.line.cluster, line.line.hours.counts) == (NAME, (2,))
    assert sum(cost for cost, _ in line.parts.values()) == 1
    engine = shared.engines[0]
    assert line.parts[engine.workload, engine.group][1] == Fraction(2, 2)
