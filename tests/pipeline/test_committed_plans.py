"""Plans that may commit: what is bought, what it owes, what is refused, and what check makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from sealed import sealed

from sky_melange.cli import cli
from sky_melange.plan_file import read_plan
from sky_melange.prices.records import judged_commitments, load_commitments, spot_swings

WORKLOAD = {
    "version": 1,
    "name": "chat",
    "model": {"id": "meta-llama/Llama-3.1-8B-Instruct"},
    "slo": {"tpot_ms": 60, "attainment": "mean"},
    "traffic": {
        "request_rate": 120,
        "histogram": {"input_tokens": [512], "output_tokens": [128], "weights": [[1]]},
        "hours": {"shape": "office"},
    },
    "candidates": {"clouds": ["gcp"], "accelerators": ["L4"], "purchase": ["on_demand", "commit_1y", "commit_3y"]},
}


def run(*arguments: object) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, list(map(str, arguments)))


def written(folder: Path, *, hours: bool = True, **candidates: object) -> Path:
    document = json.loads(json.dumps(WORKLOAD))
    document["candidates"] |= candidates
    document["candidates"] = {key: value for key, value in document["candidates"].items() if value is not None}
    if not hours:
        del document["traffic"]["hours"]
    path = folder / "workload.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def planned(folder: Path, **options: object) -> tuple[dict[str, object], Result]:
    result = run("plan", written(folder, **options), "--offline", "--out", folder / "plan")  # type: ignore[arg-type]
    assert result.exit_code == 0, result.stderr
    return json.loads((folder / "plan" / "plan.json").read_text(encoding="utf-8")), result


@pytest.fixture(scope="module")
def by_the_clock(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("clock")
    return folder, planned(folder)[1]


def test_the_base_is_committed_and_the_peak_paid_by_the_hour(by_the_clock: tuple[Path, Result]) -> None:
    plan = read_plan(by_the_clock[0] / "plan").plan
    (group,) = plan.groups
    assert group.committed is not None
    assert group.committed.kind == "commit_3y"
    assert 0 < group.committed.instances < group.instances
    assert plan.schedule is not None
    assert min(period.instances[0] for period in plan.schedule.periods) >= group.committed.instances
    by_the_hour = group.instances - group.committed.instances
    paid = group.committed.usd_per_hour + by_the_hour * group.price_usd_per_hour
    assert plan.cost.replicas_usd_per_hour == pytest.approx(paid)
    assert plan.mean_usd_per_hour < plan.cost.total_usd_per_hour


def test_no_commitment_without_its_downside(by_the_clock: tuple[Path, Result]) -> None:
    folder, result = by_the_clock
    plan = read_plan(folder / "plan").plan
    found = plan.commitments
    assert found is not None
    assert [scenario.name for scenario in found.scenarios] == ["as planned", "traffic halves", "traffic doubles"]
    regret = found.scenarios[0].regret_usd_per_hour
    assert regret is not None
    assert regret < 0
    markdown = run("plan", folder / "workload.yaml", "--offline", "--no-files", "--format", "markdown").stdout
    assert run("report", folder / "plan", "-o", folder / "report.html").exit_code == 0
    report = (folder / "report.html").read_text(encoding="utf-8")
    for text in (result.stdout, markdown, report):
        words = " ".join(text.split())
        assert "owed even if nothing runs" in words
        assert "traffic halves" in words
        assert "Never committing" in words
        assert "SkyPilot does not buy commitments" in words
    document = json.loads((folder / "plan" / "plan.json").read_text(encoding="utf-8"))
    group = document["groups"][0]
    years, hours_per_year = 3, 8760
    owed = group["committed"]["instances"] * group["committed"]["price_usd_per_hour"] * years * hours_per_year
    assert group["committed"]["owed_usd"] == pytest.approx(owed)
    share = group["committed"]["price_usd_per_hour"] / group["price_usd_per_hour"]
    assert group["committed"]["break_even_hours_per_week"] == pytest.approx(168 * share)


def test_check_prices_commitments_as_committed(by_the_clock: tuple[Path, Result]) -> None:
    folder = by_the_clock[0]
    result = run("check", folder / "plan", "--offline", "--format", "json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["cost"]["today"] == pytest.approx(report["cost"]["planned"])
    plan = read_plan(folder / "plan").plan
    total = plan.cost.total_usd_per_hour
    assert run("check", folder / "plan", "--offline", "--budget", total + 0.01).exit_code == 0
    assert run("check", folder / "plan", "--offline", "--budget", total - 0.01).exit_code == 3


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d["groups"][0]["committed"].update(instances=d["groups"][0]["committed"]["instances"] + 1), "cost"),
        (lambda d: d["groups"][0]["committed"].update(kind="commit_1y"), None),
        (lambda d: d["commitments"]["scenarios"][1].update(usd_per_hour=0.1), "the groups give"),
        (lambda d: d.pop("commitments"), "only where, instances are committed"),
        (lambda d: d["workload"]["candidates"].update(purchase=["on_demand", "commit_1y"]), "purchase allows"),
        (lambda d: d["workload"]["candidates"].update(spot="only"), "purchase says never"),
        (lambda d: d["workload"]["candidates"].update(purchase=["on_demand"]), "must be empty"),
    ],
)
def test_an_edited_commitment_is_refused(
    edit: object, words: str | None, by_the_clock: tuple[Path, Result], tmp_path: Path
) -> None:
    document = json.loads((by_the_clock[0] / "plan" / "plan.json").read_text(encoding="utf-8"))
    edit(document)  # type: ignore[operator]
    (tmp_path / "plan.json").write_text(json.dumps(sealed(document)), encoding="utf-8")
    result = run("check", tmp_path / "plan.json", "--offline")
    if words is None:
        # Another term at the price of three years: the file agrees with itself, its price is not today's.
        assert result.exit_code == 3
        return
    assert result.exit_code == 2, result.stderr
    assert words in result.stderr


def test_a_diff_explains_the_whole_change_of_a_bill_with_commitments(
    by_the_clock: tuple[Path, Result], tmp_path: Path
) -> None:
    planned(tmp_path, hours=False, purchase=["on_demand"])
    found = json.loads(run("diff", tmp_path / "plan", by_the_clock[0] / "plan", "--format", "json").stdout)
    effects = [group["price_effect_usd_per_hour"] + group["count_effect_usd_per_hour"] for group in found["groups"]]
    cost = found["cost"]
    changed = cost["new"]["replicas_usd_per_hour"] - cost["old"]["replicas_usd_per_hour"]
    assert changed < 0
    assert sum(effects) == pytest.approx(changed)


@pytest.mark.slow
def test_scenarios_of_an_autoscaled_plan_begin_with_its_mean(tmp_path: Path) -> None:
    path = written(tmp_path)
    document = yaml.safe_load(path.read_text(encoding="utf-8")) | {"launch": {"scaling": "autoscale"}}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    result = run("plan", path, "--offline", "--out", tmp_path / "plan")
    assert result.exit_code == 0, result.stderr
    plan = read_plan(tmp_path / "plan").plan
    assert plan.commitments is not None
    assert plan.commitments.scenarios[0].usd_per_hour == pytest.approx(plan.mean_usd_per_hour)


def test_without_hours_a_machine_costs_its_term(tmp_path: Path) -> None:
    document, _ = planned(tmp_path, hours=False, purchase=["commit_1y"])
    (group,) = document["groups"]  # type: ignore[misc]
    assert group["committed"]["instances"] == group["instances"]
    assert group["committed"]["kind"] == "commit_1y"
    assert group["cost_usd_per_hour"] == pytest.approx(group["instances"] * group["committed"]["price_usd_per_hour"])


def test_nothing_is_committed_unasked_but_v_says_what_it_would_save(tmp_path: Path) -> None:
    path = written(tmp_path, hours=False, purchase=None)
    result = run("plan", path, "--offline", "--out", tmp_path / "plan", "-v")
    text = (tmp_path / "plan" / "plan.json").read_text(encoding="utf-8")
    assert "commit" not in text
    assert result.stdout.count("No commitments were asked for") == 1
    assert "owed over their terms even if nothing runs" in " ".join(result.stdout.split())
    same = run("plan", written(tmp_path, hours=False, purchase=["on_demand"]), "--offline", "--out", tmp_path / "same")
    assert same.exit_code == 0
    digest = '"workload_sha256"'
    kept = [line for line in text.splitlines() if digest not in line and "plan_sha256" not in line]
    other = (tmp_path / "same" / "plan.json").read_text(encoding="utf-8").splitlines()
    assert kept == [line for line in other if digest not in line and "plan_sha256" not in line]


def test_clouds_without_commitment_prices_are_named(tmp_path: Path) -> None:
    document, _ = planned(tmp_path, hours=False, clouds=["lambda"], accelerators=None)
    assert any("no price of commit_1y or commit_3y is known of lambda" in each for each in document["warnings"])  # type: ignore[attr-defined]
    assert "commitments" not in document


def test_a_plan_of_commitments_alone_needs_their_prices(tmp_path: Path) -> None:
    path = written(tmp_path, hours=False, clouds=["lambda"], accelerators=None, purchase=["commit_1y"])
    result = run("plan", path, "--offline", "--no-files")
    assert result.exit_code == 5
    assert "no price of one is known" in " ".join(result.stderr.split())


def test_own_commitment_prices_count_before_the_lists(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text(
        "cloud,region,instance_type,purchase,price_usd_per_hour,as_of\n"
        "gcp,us-central1,g2-standard-24,commit_1y,0.1,2026-11-01\n",
        encoding="utf-8",
    )
    path = written(tmp_path, hours=False, purchase=["on_demand", "commit_1y"])
    document = yaml.safe_load(path.read_text(encoding="utf-8")) | {"prices": {"overrides": "prices.csv"}}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    result = run("plan", path, "--offline", "--out", tmp_path / "plan")
    assert result.exit_code == 0, result.stderr
    (group,) = read_plan(tmp_path / "plan").plan.groups
    assert group.committed is not None
    assert (group.committed.price_usd_per_hour, group.committed.as_of) == (0.1, "2026-11-01")
    budget = read_plan(tmp_path / "plan").plan.cost.total_usd_per_hour + 0.01
    assert run("check", tmp_path / "plan", "--offline", "--budget", budget).exit_code == 0
    (tmp_path / "prices.csv").write_text(
        "cloud,instance_type,price_usd_per_hour\ngcp,g2-standard-24,1.9\n", encoding="utf-8"
    )
    assert run("check", tmp_path / "plan", "--offline", "--budget", budget).exit_code == 3


@pytest.mark.parametrize(
    ("candidates", "words"),
    [
        ("{purchase: []}", "candidates.purchase"),
        ("{purchase: [on_demand, commit_5y]}", "commit_5y"),
        ("{purchase: [on_demand, on_demand]}", "is listed twice"),
        ("{purchase: [on_demand], spot: allow}", "candidates.purchase says never"),
        ("{purchase: [spot], spot: allow}", "candidates.purchase says only"),
        ("{purchase: commit_1y}", "candidates.purchase"),
        ("{commitments: [commit_1y]}", "purchase"),
    ],
)
def test_purchases_that_mean_nothing_are_mistakes(candidates: str, words: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    document = yaml.safe_load(path.read_text(encoding="utf-8")) | {"candidates": yaml.safe_load(candidates)}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    result = run("plan", path, "--offline", "--no-files")
    assert result.exit_code == 2, result.stderr
    assert words in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gcp,,g2-standard-4,commit_2y,0.5,,", "purchase must be one of"),
        ("gcp,,g2-standard-4,commit_1y,0,,", "is 0 for commit_1y"),
        ("gcp,,g2-standard-4,commit_1y,0.5,true,", "leave out spot"),
        ("gcp,us-central1,g2-standard-4,commit_1y,0.5,,4", "paid for already"),
    ],
)
def test_faulty_prices_of_commitments_are_named(line: str, words: str, tmp_path: Path) -> None:
    header = "cloud,region,instance_type,purchase,price_usd_per_hour,spot,reserved_instances\n"
    (tmp_path / "prices.csv").write_text(header + line + "\n", encoding="utf-8")
    path = written(tmp_path)
    document = yaml.safe_load(path.read_text(encoding="utf-8")) | {"prices": {"overrides": "prices.csv"}}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    result = run("plan", path, "--offline", "--no-files")
    assert result.exit_code == 2, result.stderr
    assert "prices.csv:2" in result.stderr
    assert words in " ".join(result.stderr.split())


def test_lists_are_judged_by_their_own_price_on_demand() -> None:
    from dataclasses import replace

    first = load_commitments()[0]
    dear = replace(first, price_usd_per_hour=first.on_demand_usd_per_hour * 1.01)
    cheap = replace(first, price_usd_per_hour=first.on_demand_usd_per_hour * 0.1)
    believed, doubts = judged_commitments([first, dear, cheap])
    assert believed == (first,)
    assert ["dearer than" in doubts[0], "less than 20% of" in doubts[1]] == [True, True]
    assert not judged_commitments(load_commitments())[1]


def test_spot_moved_both_ways_in_the_recorded_year() -> None:
    rises, falls = spot_swings()
    assert rises.keys() == falls.keys() >= {"A100", "A100-80GB", "H100", "L4"}
    assert all(factor > 1 for factor in rises.values())
    assert all(0 < factor < 1 for factor in falls.values())
