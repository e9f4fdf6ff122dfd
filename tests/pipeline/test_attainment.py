"""Plans sized by simulation: they hold by seeds that took no part, cost little, and say what they rest on."""

from __future__ import annotations

import dataclasses
import html
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from sky_melange import pipeline
from sky_melange.cli import cli
from sky_melange.domain.buckets import Arrivals, BucketSize
from sky_melange.domain.workload import Percentile, Slo, Workload
from sky_melange.errors import InfeasibleError, InputError
from sky_melange.extensions import CHECK_FORMATS
from sky_melange.pipeline.judging import final_scenario
from sky_melange.pipeline.planning import Planned
from sky_melange.plan_file import read_plan
from sky_melange.render import plan_json
from sky_melange.render.plan_sentences import attained_sentence
from sky_melange.simulation import simulate

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "quickstart" / "workload.yaml"
PREDICTED = {"estimate": False, "confidence": 0.5}
CACHE = Path(os.environ["SKY_MELANGE_CACHE_DIR"])
UNSEEN = (11, 12, 13, 14, 15)
TARGET = 0.99

Edit = Callable[..., Path]


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """The quickstart with sections replaced: `edit(traffic={...})`."""

    def make(**sections: Mapping[str, Any]) -> Path:
        document = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
        path = tmp_path / "workload.yaml"
        path.write_text(yaml.safe_dump({**document, **sections}), encoding="utf-8")
        return path

    return make


def planned_at(path: Path) -> Planned:
    return pipeline.plan_file(path, simulator=pipeline.simulator())


def attained(planned: Planned, folder: Path, seed: int, **scenario: Any) -> float:
    """By the plan as it is read back from its file."""
    file = folder / "plan.json"
    file.write_text(plan_json.text(planned.plan, planned.workload), encoding="utf-8")
    document = read_plan(file)
    fleet, warnings = pipeline.planned_fleet(document)
    assert not warnings
    wanted = final_scenario(document.workload, pipeline.arrivals_log(document.workload, None))
    return simulate(fleet, replace(wanted, seed=seed, **scenario), document.workload.slo, cache_folder=CACHE).attainment


def run(*arguments: str | Path) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("sections", "most_usd_per_hour"),
    [
        pytest.param({}, 8.6, id="quickstart"),
        pytest.param({"profiles": {"confidence": 0.8}}, 11.0, id="with-room-for-errors"),
        pytest.param({"constraints": {}, "profiles": PREDICTED}, 7.2, id="one-replica-is-enough"),
        pytest.param(
            {
                "traffic": {"request_rate": 32, "preset": "azure-code-2023"},
                "constraints": {},
                "profiles": PREDICTED,
            },
            26.0,
            id="code-32",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {
                "traffic": {"request_rate": 128, "preset": "azure-conversation-2023", "arrivals": "poisson"},
                "constraints": {},
                "profiles": PREDICTED,
            },
            22.0,
            id="chat-128",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_plans_hold_on_requests_that_the_search_has_not_seen(
    edit: Edit, tmp_path: Path, sections: dict[str, Any], most_usd_per_hour: float
) -> None:
    planned = planned_at(edit(**sections))
    assert planned.plan.cost.total_usd_per_hour <= most_usd_per_hour
    assert planned.plan.simulated is not None
    assert planned.plan.simulated.attainment >= TARGET
    assert min(attained(planned, tmp_path, seed) for seed in UNSEEN) >= TARGET


@pytest.mark.slow
def test_profiles_that_miss_even_when_idle_do_not_set_the_price_of_the_others(edit: Edit, tmp_path: Path) -> None:
    """12 B200 at tensor parallel 4 hold for 80.88; all profiles used ever less lead to 136.26."""
    planned = planned_at(
        edit(
            model={"id": "Qwen/Qwen3-32B", "dtype": "bfloat16", "max_model_len": 17000},
            slo={"ntpot_ms": 60, "attainment": 0.999},
            traffic={"request_rate": 1, "preset": "azure-code-2023"},
            candidates={"accelerators": ["B200", "H100"], "clouds": ["lambda"], "regions": {"lambda": ["us-east-1"]}},
            constraints={},
            profiles=PREDICTED,
        )
    )
    assert planned.plan.cost.total_usd_per_hour <= 80.88 * 1.05
    assert min(attained(planned, tmp_path, seed) for seed in UNSEEN) >= 0.999


@pytest.mark.slow
def test_no_plan_by_one_factor_on_the_demand_is_much_cheaper(edit: Edit, tmp_path: Path) -> None:
    """Brute force: every factor, at the means of buckets and at their largest sizes; kept where it holds."""
    traffic = {"request_rate": 4, "preset": "azure-code-2023", "arrivals": "poisson"}
    found = planned_at(edit(traffic=traffic, slo={"tpot_ms": 80, "ttft_ms": 2000}, constraints={}))
    best = math.inf
    for size in BucketSize:
        for step in range(12):
            workload = found.workload
            workload = replace(workload, traffic=replace(workload.traffic, bucket_size=size))
            limit = 1.25 / (1 + step)
            workload = replace(workload, constraints=replace(workload.constraints, max_utilization=min(limit, 1.0)))
            plan = _planned_by_means(workload)
            is_cheaper = plan.plan.cost.total_usd_per_hour < best
            if is_cheaper and min(attained(plan, tmp_path, seed) for seed in UNSEEN) >= TARGET:
                best = plan.plan.cost.total_usd_per_hour
    assert math.isfinite(best)
    assert found.plan.cost.total_usd_per_hour <= best * 1.05


def _planned_by_means(workload: Workload) -> Planned:
    """As if targets were of means; the plan's file still asks for what it asked."""
    book = pipeline.embedded_book(workload)
    plain = replace(workload, slo=replace(workload.slo, attainment=None))
    return pipeline.make_plan(plain, book, pipeline.profiles_for(plain, book, ROOT), workload_digest="0" * 64)


@pytest.mark.slow
def test_the_same_workload_gives_the_same_bytes(edit: Edit) -> None:
    path = edit(traffic={"request_rate": 8, "preset": "azure-conversation-2023"})
    texts = {plan_json.text(planned.plan, planned.workload) for planned in (planned_at(path), planned_at(path))}
    assert len(texts) == 1


def test_the_answer_says_what_was_simulated_and_what_is_proven(tmp_path: Path) -> None:
    folder = tmp_path / "plan"
    result = run("plan", QUICKSTART, "--offline", "-v", "--out", folder)
    assert result.exit_code == 0, result.stderr
    text = " ".join(result.stdout.split())
    document = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    simulated = document["simulated"]
    assert simulated["target"] == TARGET
    assert f"{simulated['attainment']:.2%} of 50,000 simulated requests are within targets" in text
    assert "the cheapest found that holds in simulation" in text
    assert "proven cheapest" not in text
    assert "With engines 10% slower: " in text
    again = json.loads(run("simulate", folder, "--seed", simulated["seed"], "--format", "json").stdout)
    assert again["attainment"] == simulated["attainment"]
    checked = run("check", folder, "--offline", "--format", "json")
    assert checked.exit_code == 0, checked.stderr
    (check,) = [each for each in json.loads(checked.stdout)["checks"] if each["name"] == "attainment"]
    assert check["figure"] == pytest.approx(1 - simulated["attainment"])
    assert run("validate", folder).exit_code == 0


@pytest.mark.slow
def test_every_report_says_what_was_simulated_in_the_words_of_the_plan(tmp_path: Path) -> None:
    folder = tmp_path / "plan"
    assert run("plan", QUICKSTART, "--offline", "--out", folder).exit_code == 0
    sentence = attained_sentence(read_plan(folder / "plan.json").plan.simulated)  # type: ignore[arg-type]
    assert "% of 50,000 simulated requests are within targets" in sentence
    assert "p99 TPOT" in sentence
    for kind in CHECK_FORMATS:
        result = run("check", folder, "--offline", "--format", kind)
        assert result.exit_code == 0, result.stderr
        text = " ".join(html.unescape(result.stdout).replace("\\", "").split())
        assert sentence in text, kind


def test_nothing_is_simulated_where_that_is_not_wanted(tmp_path: Path) -> None:
    folder = tmp_path / "plan"
    result = run("plan", QUICKSTART, "--offline", "--no-simulate", "--out", folder)
    assert result.exit_code == 0
    assert "Not simulated: whether 99% of the requests meet the targets." in " ".join(result.stdout.split())
    document = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert document["simulated"] is None
    assert all(group["max_utilization"] == 0.9 for group in document["groups"])


@pytest.mark.slow
def test_check_simulates_the_traffic_of_today(edit: Edit, tmp_path: Path) -> None:
    path, folder = edit(), tmp_path / "plan"
    assert run("plan", path, "--offline", "--out", folder).exit_code == 0
    path.write_text(path.read_text(encoding="utf-8").replace("request_rate: 32", "request_rate: 45"), encoding="utf-8")
    result = run("check", folder, "--offline", "--format", "json")
    assert result.exit_code == 3
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["lock"]["verdict"] == checks["attainment"]["verdict"] == "fail"
    assert checks["attainment"]["figure"] > 0.1


def test_a_plan_that_was_not_simulated_is_simulated_by_check(edit: Edit, tmp_path: Path) -> None:
    folder = tmp_path / "plan"
    traffic = {"request_rate": 32, "preset": "azure-code-2023"}
    assert run("plan", edit(traffic=traffic), "--offline", "--no-simulate", "--out", folder).exit_code == 0
    result = run("check", folder, "--offline", "--format", "json")
    assert result.exit_code == 3
    assert [c["name"] for c in json.loads(result.stdout)["checks"] if c["verdict"] == "fail"] == ["attainment"]


def test_check_simulates_the_losses_that_a_plan_is_to_survive(edit: Edit, tmp_path: Path) -> None:
    """All four H100 hold 87 % of the bursts of code; three would hold 68 %."""
    folder = tmp_path / "plan"
    path = edit(
        traffic={"request_rate": 32, "preset": "azure-code-2023"},
        slo={"tpot_ms": 40, "ttft_ms": 2000, "attainment": 0.8},
        candidates={"accelerators": ["H100"], "clouds": ["lambda"], "regions": {"lambda": ["us-east-1"]}},
        constraints={"tolerate_replica_losses": 1},
    )
    assert run("plan", path, "--offline", "--no-simulate", "--out", folder).exit_code == 0
    (group,) = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["groups"]
    assert run("simulate", folder, "--seed", "100", "--require", "0.8").exit_code == 0
    lost = run("simulate", folder, "--seed", "100", "--lose", f"{group['name']}=1", "--format", "json")
    result = run("check", folder, "--offline", "--format", "json")
    assert result.exit_code == 3
    (check,) = [each for each in json.loads(result.stdout)["checks"] if each["verdict"] == "fail"]
    assert check["name"] == "attainment"
    assert check["figure"] == pytest.approx(1 - json.loads(lost.stdout)["attainment"])
    assert check["details"] == [f"that is without 1 of {group['name']}"]


@pytest.mark.slow
def test_what_a_simulation_allows_is_within_the_limit_of_the_workload(edit: Edit) -> None:
    planned = planned_at(edit(constraints={"max_utilization": 0.5}))
    assert max(group.utilization for group in planned.plan.groups) <= 0.5 * (1 + 1e-9)
    assert planned.plan.simulated is not None
    assert planned.plan.simulated.attainment >= TARGET


@pytest.mark.slow
def test_losses_are_simulated_too(edit: Edit, tmp_path: Path) -> None:
    planned = planned_at(edit(constraints={"tolerate_replica_losses": 1}))
    file = tmp_path / "plan.json"
    file.write_text(plan_json.text(planned.plan, planned.workload), encoding="utf-8")
    for group in planned.plan.groups:
        result = run("simulate", file, "--lose", f"{group.name}=1", "--require", str(TARGET), "--seed", "12")
        assert result.exit_code == 0, result.stderr


def test_requests_that_no_fleet_can_serve_are_named(edit: Edit) -> None:
    said = r"1\d\.\d\d% of the requests are longer than model.max_model_len.*`model.max_model_len: 126527`"
    with pytest.raises(InfeasibleError, match=said):
        planned_at(
            edit(
                model={"id": "meta-llama/Llama-3.1-8B-Instruct", "dtype": "bfloat16", "max_model_len": 20000},
                slo={"tpot_ms": 80, "ttft_ms": 20000},
                traffic={"request_rate": 4, "preset": "mooncake-conversation"},
            )
        )


@pytest.mark.slow
def test_a_target_that_no_unloaded_replica_meets_is_named_with_what_it_would_take(edit: Edit) -> None:
    lambda_only = {"accelerators": ["H100"], "clouds": ["lambda"], "regions": {"lambda": ["us-east-1"]}}
    wide = {"input_tokens": [100, 8000], "output_tokens": [200], "weights": [[0], [1]]}
    sections = {"candidates": lambda_only, "traffic": {"request_rate": 2, "histogram": wide}}
    with pytest.raises(InfeasibleError) as error:
        planned_at(edit(slo={"ttft_ms": 45, "tpot_ms": 40}, **sections))
    text = str(error.value)
    found = re.search(r"slo.ttft_ms: 45 is met by \d\d\.\d\d% of .* 99% of them need ttft_ms: ([\d.]+) there", text)
    assert found is not None, text
    assert "slo.tpot_ms" not in text
    # With a little more than that, load is what remains.
    looser = planned_at(edit(slo={"ttft_ms": float(found[1]) * 1.3, "tpot_ms": 40}, **sections))
    assert looser.plan.simulated is not None


@pytest.mark.parametrize(
    ("slo", "message"),
    [
        ("{tpot_ms: 40, attainment: 0}", "slo.attainment: want a share"),
        ("{tpot_ms: 40, attainment: 1}", "slo.attainment: want a share"),
        ("{tpot_ms: 40, attainment: 1.5}", "slo.attainment: want a share"),
        ("{tpot_ms: 40, attainment: 99}", "write 0.99"),
        ("{tpot_ms: 40, attainment: most}", "slo.attainment: want a share"),
        ("{attainment: 0.99}", "give at least one of tpot_ms, ttft_ms, ntpot_ms"),
    ],
)
def test_attainments_that_mean_nothing_are_mistakes(tmp_path: Path, slo: str, message: str) -> None:
    text = QUICKSTART.read_text(encoding="utf-8")
    start, end = text.index("slo:"), text.index("traffic:")
    path = tmp_path / "workload.yaml"
    path.write_text(f"{text[:start]}slo: {slo}\n{text[end:]}", encoding="utf-8")
    with pytest.raises(InputError) as error:
        pipeline.read(path)
    assert message in str(error.value)
    assert len(error.value.mistakes) == 1


@pytest.mark.parametrize(
    ("arrivals", "wanted"),
    [
        ("poisson", Arrivals()),
        ("trace", Arrivals(log="azure-code-2023")),
        ({"cv": 2}, Arrivals(cv=2.0)),
        (None, Arrivals(log="azure-code-2023")),
    ],
)
def test_arrivals_as_written(edit: Edit, arrivals: object, wanted: Arrivals) -> None:
    traffic = {"request_rate": 4, "preset": "azure-code-2023"}
    workload = pipeline.read(edit(traffic=traffic if arrivals is None else {**traffic, "arrivals": arrivals}))
    assert workload.traffic.arrivals == wanted


@pytest.mark.slow
def test_a_prefix_cache_makes_plans_cheaper_and_is_verified(edit: Edit, tmp_path: Path) -> None:
    traffic = {"request_rate": 32, "preset": "azure-code-2023", "arrivals": "poisson"}
    without = planned_at(edit(traffic=traffic, constraints={}))
    assert "No prompt is found in a prefix cache" in without.plan.assumptions[0]
    path, folder = edit(traffic={**traffic, "prefix_hit_fraction": 0.6}, constraints={}), tmp_path / "plan"
    assert run("plan", path, "--offline", "--out", folder).exit_code == 0
    document = read_plan(folder / "plan.json")
    assert document.workload.traffic.prefix_hit_fraction == 0.6
    assert document.plan.cost.total_usd_per_hour < without.plan.cost.total_usd_per_hour
    assert "0.6 of each prompt is found in the prefix cache" in document.plan.assumptions[0]
    assert run("check", folder, "--offline").exit_code == 0
    # Without the cache the same fleet is overloaded, and check says so.
    path.write_text(path.read_text(encoding="utf-8").replace("prefix_hit_fraction: 0.6", "prefix_hit_fraction: 0"))
    result = run("check", folder, "--offline", "--format", "json")
    assert result.exit_code == 3
    assert {each["name"] for each in json.loads(result.stdout)["checks"] if each["verdict"] == "fail"} >= {
        "lock",
        "attainment",
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (1, "must be less than 1, found the number 1"),
        (-0.1, "must be at least 0, found the number -0.1"),
        (40, "must be less than 1, found the number 40; for 40 percent write 0.4"),
        ("half", "want a number such as `0.4`, found the text 'half'"),
        (math.nan, "must be a finite number"),
    ],
)
def test_wrong_hit_fractions_are_quoted(edit: Edit, wrong: object, message: str) -> None:
    traffic = {"request_rate": 1, "preset": "azure-conversation-2023", "prefix_hit_fraction": wrong}
    with pytest.raises(InputError) as error:
        pipeline.read(edit(traffic=traffic))
    assert f"traffic.prefix_hit_fraction: {message}" in str(error.value)
    assert error.value.mistakes[0].line


@pytest.mark.parametrize(
    ("arrivals", "message"),
    [
        ({"cv": 1000}, "traffic.arrivals.cv: must be at most 100, found the number 1000"),
        ({"cv": -1}, "traffic.arrivals.cv: must be at least 0, found the number -1"),
        ({"cv": "two"}, "traffic.arrivals.cv: want a number such as `2`, found the text 'two'"),
        ({}, "traffic.arrivals.cv: is missing; write for example `cv: 2`"),
        ({"cv": 2, "x": 1}, "traffic.arrivals.x: unknown key; valid keys here: cv"),
        (
            "poison",
            "traffic.arrivals: want poisson, trace, or `{cv: 2}` with a number from 0 to 100, found the text 'poison'",
        ),
        ([2], "traffic.arrivals: want poisson, trace, or `{cv: 2}` with a number from 0 to 100, found a list"),
    ],
)
def test_wrong_arrivals_are_quoted(edit: Edit, arrivals: object, message: str) -> None:
    with pytest.raises(InputError) as error:
        pipeline.read(edit(traffic={"request_rate": 1, "preset": "azure-conversation-2023", "arrivals": arrivals}))
    assert message in str(error.value)
    assert len(error.value.mistakes) == 1


def test_a_histogram_has_no_times_to_replay(edit: Edit) -> None:
    histogram = {"input_tokens": [100], "output_tokens": [100], "weights": [[1.0]]}
    with pytest.raises(InputError, match="a histogram has no times"):
        pipeline.read(edit(traffic={"request_rate": 4, "histogram": histogram, "arrivals": "trace"}))


@pytest.mark.slow
def test_a_log_is_replayed_with_its_own_times(edit: Edit, tmp_path: Path) -> None:
    rows = "".join(f"{1_700_000_000_000 + 1000 * second},200,50\n" for second in range(600))
    (tmp_path / "log.csv").write_text(f"timestamp,input_length,output_length\n{rows}", encoding="utf-8")
    planned = planned_at(edit(traffic={"request_rate": 2, "trace": "log.csv", "arrivals": "trace"}, constraints={}))
    assert planned.workload.traffic.arrivals == Arrivals(log="log.csv")
    assert planned.plan.simulated is not None
    assert "log.csv" in planned.plan.simulated.arrivals


@pytest.mark.slow
def test_percentiles_hold_next_to_the_attainment(edit: Edit, tmp_path: Path) -> None:
    """As written: p99_ttft_ms, whatever the attainment allows."""
    loose = planned_at(edit(slo={"tpot_ms": 40, "ttft_ms": 2000}))
    tight = planned_at(edit(slo={"tpot_ms": 40, "ttft_ms": 2000, "p99_ttft_ms": 150, "p50_tpot_ms": 15}))
    assert loose.plan.simulated is not None
    assert tight.plan.simulated is not None
    assert loose.plan.simulated.ttft_s is not None
    assert loose.plan.simulated.ttft_s.p99 > 0.15
    assert [(each.name, each.attainment >= each.target) for each in tight.plan.simulated.percentiles] == [
        ("p50 TPOT", True),
        ("p99 TTFT", True),
    ]
    assert tight.plan.cost.total_usd_per_hour >= loose.plan.cost.total_usd_per_hour
    file = tmp_path / "plan.json"
    file.write_text(plan_json.text(tight.plan, tight.workload), encoding="utf-8")
    for seed in UNSEEN[:2]:
        result = run("simulate", file, "--seed", seed, "--require", str(TARGET))
        assert result.exit_code == 0, result.stderr
        assert "p99 TTFT ≤ 150 ms: 99." in result.stdout
    failed = run("simulate", file, "--rate", 60, "--require", "0.01", "--requests", 5000)
    assert failed.exit_code == 3


def test_percentiles_alone_are_targets(edit: Edit) -> None:
    workload = pipeline.read(edit(slo={"p95_tpot_ms": 50}))
    assert workload.slo == Slo(attainment=0.99, percentiles=(Percentile(latency="tpot", percent=95, limit_s=0.05),))
    with pytest.raises(InputError, match="is found by simulation, and `attainment: mean` simulates nothing"):
        pipeline.read(edit(slo={"p95_tpot_ms": 50, "attainment": "mean"}))


def test_a_rate_in_the_wrong_unit_is_said_before_anything_is_simulated(edit: Edit) -> None:
    def simulate(*_: Any) -> Any:
        raise AssertionError

    path = edit(traffic={"request_rate": 1e9, "preset": "azure-conversation-2023"})
    with pytest.raises(InfeasibleError, match=r"a group holds at most 1,000,000"):
        pipeline.plan_file(path, simulator=simulate)


def test_means_are_what_they_were(edit: Edit) -> None:
    workload = pipeline.read(edit(slo={"tpot_ms": 40, "attainment": "mean"}))
    assert workload.slo == Slo(tpot_s=0.04)
    assert workload.traffic.bucket_size is BucketSize.UPPER
    assert workload.constraints.max_utilization == 0.9
    assert dataclasses.replace(workload.constraints, max_utilization=0.9) == workload.constraints


@pytest.mark.slow
def test_upper_sizes_are_simulated_as_they_are_planned(edit: Edit) -> None:
    """One cell: every request has its size, as where its mean says so; where nobody says it, the plan warns."""
    cell = {"input_tokens": [1000], "output_tokens": [200], "weights": [[1]]}
    plans = {
        name: planned_at(edit(traffic={"request_rate": 10, **traffic})).plan
        for name, traffic in {
            "upper": {"bucket_size": "upper", "histogram": cell},
            "mean": {"histogram": {**cell, "mean_tokens": [[1000, 200, 1000, 200]]}},
            "unsaid": {"histogram": cell},
        }.items()
    }
    cost = {name: plan.cost.total_usd_per_hour for name, plan in plans.items()}
    assert cost["upper"] == pytest.approx(cost["mean"])
    assert cost["unsaid"] < cost["upper"]
    warned = [
        name for name, plan in plans.items() if any("within their buckets is not given" in w for w in plan.warnings)
    ]
    assert warned == ["unsaid"]
    (warning,) = (w for w in plans["unsaid"].warnings if "within their buckets" in w)
    assert "131 input and 33 output tokens on average, with edges of 1,000 and 200" in warning
