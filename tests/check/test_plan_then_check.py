"""A plan that is checked a second later passes: every cloud, every example, with reserved capacity and without."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from click.testing import CliRunner
from property_examples import mostly_slow

from sky_melange.cli import cli
from sky_melange.prices import load_snapshot

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = sorted(
    path.relative_to(ROOT / "examples").as_posix() for path in (ROOT / "examples").rglob("workload.yaml")
)
CLOUDS: Final = sorted({offer.cloud for offer in load_snapshot().offers if offer.accelerators_per_instance})
RANDOM: Final = 50


def _run(*arguments: object) -> Any:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


def _plan_and_check(workload: Path, out: Path) -> dict[str, Any] | None:
    planned = _run("plan", workload, "--out", out, "--offline")
    if planned.exit_code in (3, 4, 5):  # over its budget; no plan; no price or profile: nothing to check
        return None
    assert planned.exit_code == 0, planned.stderr
    checked = _run("check", out, "--workload", workload, "--offline", "--format", "json")
    assert checked.exit_code == 0, checked.stdout + checked.stderr
    found: dict[str, Any] = json.loads(checked.stdout)
    assert found["cost"]["today"] == found["cost"]["planned"]
    return found


# Those of constraints are also planned in tests/optimizer/test_optimizer_examples.py.
@pytest.mark.parametrize(
    "example", mostly_slow(EXAMPLES, *(e for e in EXAMPLES if not e.startswith(("constraints/", "hours/"))))
)
def test_every_example(example: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    workload = tmp_path / "examples" / example
    found = _plan_and_check(workload, tmp_path / "out")
    assert (found is None) == example.startswith("infeasible/")


def _document(rng: random.Random, cloud: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "means" / "workload.yaml").read_text("utf-8"))
    document["traffic"]["request_rate"] = rng.choice((0.5, 4, 20, 90))
    document["candidates"] = {"clouds": [cloud], "spot": rng.choice(("never", "never", "allow"))}
    document["constraints"] = {"min_replicas": rng.choice((1, 2, 5))}
    document["routing"] = rng.choice(("input_aware", "size_aware", "blind"))
    document["launch"]["mode"] = rng.choice(("serve", "cluster"))
    document["slo"] = {"tpot_ms": rng.choice((40, 80, 150)), "ttft_ms": 5000}
    return document


@pytest.mark.parametrize("seed", mostly_slow(range(RANDOM), 34))
def test_random_workloads(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)  # noqa: S311 - repeatable numbers, nothing secret
    cloud = CLOUDS[seed % len(CLOUDS)]
    document = _document(rng, cloud)
    if rng.random() < 0.5:
        on_demand = [
            offer
            for offer in load_snapshot().offers
            if offer.cloud == cloud and offer.accelerators_per_instance and not offer.use_spot
        ]
        for offer in rng.sample(on_demand, min(2, len(on_demand))):
            price = rng.choice((0, 0, round(offer.price_usd_per_hour / 2, 4)))
            line = f"{cloud},{json.dumps(offer.region)},{offer.instance_type},{price},{rng.randint(1, 4)}\n"
            path = tmp_path / "prices.csv"
            before = (
                path.read_text("utf-8")
                if path.exists()
                else ("cloud,region,instance_type,price_usd_per_hour,reserved_instances\n")
            )
            path.write_text(before + line, encoding="utf-8")
            document["prices"] = {"overrides": "prices.csv"}
    workload = tmp_path / "workload.yaml"
    workload.write_text(yaml.safe_dump(document), encoding="utf-8")
    _plan_and_check(workload, tmp_path / "out")


@pytest.mark.parametrize("cloud", mostly_slow(CLOUDS, "lambda"))
def test_capacity_that_is_paid_for_in_every_cloud(cloud: str, tmp_path: Path) -> None:
    """Price 0: it plans, prints, renders and checks, and no machine beside the replicas takes a reserved one."""
    rng = random.Random(1)  # noqa: S311
    document = _document(rng, cloud) | {"constraints": {"min_replicas": 1}, "slo": {"tpot_ms": 200, "ttft_ms": 10000}}
    document["traffic"]["request_rate"] = 0.2
    document["launch"]["mode"] = "serve"
    names = {"H100", "A100-80GB", "L40S", "H200", "B200"}
    on_demand = [o for o in load_snapshot().offers if o.cloud == cloud and o.accelerator in names and not o.use_spot]
    if not on_demand:
        pytest.skip(f"no profiled GPU of {cloud} in the snapshot")
    offer = min(on_demand, key=lambda offer: offer.sort_key)
    rows = "cloud,region,instance_type,accelerator,price_usd_per_hour,reserved_instances\n"
    rows += f"{cloud},{json.dumps(offer.region)},{offer.instance_type},{offer.accelerator},0,9\n"
    (tmp_path / "prices.csv").write_text(rows, encoding="utf-8")
    document["prices"] = {"overrides": "prices.csv"}
    workload = tmp_path / "workload.yaml"
    workload.write_text(yaml.safe_dump(document), encoding="utf-8")
    _plan_and_check(workload, tmp_path / "out")
    if not (tmp_path / "out").exists():
        pytest.skip(f"{offer.name} cannot serve this")
    plan = json.loads((tmp_path / "out" / "plan.json").read_text("utf-8"))
    assert plan["cost"]["replicas_usd_per_hour"] == 0
    assert all((m["price"] or {"source": ""})["source"] != "overrides" for m in plan["overhead"])
