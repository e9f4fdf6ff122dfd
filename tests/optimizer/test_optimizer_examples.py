"""The examples do what their folder's name says. UPDATE_GOLDEN=1 rewrites the messages of the infeasible ones."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from property_examples import mostly_slow

from sky_melange import pipeline
from sky_melange.cli import cli
from sky_melange.errors import InfeasibleError
from sky_melange.optimizer.limits import LIMITS
from sky_melange.render import explain_table, plan_table

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINED = ROOT / "examples" / "constraints"
INFEASIBLE = ROOT / "examples" / "infeasible"

KEYS = {
    "budget": None,
    "keep": "constraints.keep",
    "max-accelerators": "constraints.max_accelerators.B200",
    "max-accelerators-in": "constraints.max_accelerators_in.lambda.B200",
    "max-cloud-share": "constraints.max_cloud_share",
    "max-groups": "constraints.max_groups",
    "max-region-share": "constraints.max_region_share",
    "max-spot-share": "constraints.max_spot_share",
    "max-utilization": "constraints.max_utilization",
    "min-on-demand-replicas": "constraints.min_on_demand_replicas",
    "min-replicas": "constraints.min_replicas",
    "tolerate-replica-losses": "constraints.tolerate_replica_losses",
}
"""Folder -> the name by which an explanation calls its constraint."""

OF_CONSTRAINT = {
    "caps": {"max-accelerators", "max-accelerators-in"},
    "replicas": {"min-replicas"},
    "floors": {"min-on-demand-replicas"},
    "groups": {"max-groups"},
    "shares": {"max-cloud-share", "max-region-share", "max-spot-share"},
    "utilization": {"max-utilization"},
    "budget": {"budget"},
    "switching": {"keep"},
    "losses": {"tolerate-replica-losses"},
}


def test_every_constraint_has_an_example() -> None:
    assert {*OF_CONSTRAINT} == {*LIMITS}
    found = {path.parent.name for path in CONSTRAINED.glob("*/workload.yaml")}
    assert found == {*KEYS} == set().union(*OF_CONSTRAINT.values())


@pytest.mark.parametrize("name", mostly_slow(sorted({*KEYS} - {"budget"}), "max-groups"))
def test_the_constraint_of_an_example_binds(name: str) -> None:
    planned = pipeline.plan_file(CONSTRAINED / name / "workload.yaml", is_explained=True)
    assert planned.plan.status == "optimal"
    assert planned.plan.explanation is not None
    without = {limit.name: limit.cost_without_usd_per_hour for limit in planned.plan.explanation.limits}[KEYS[name]]
    assert without is not None
    assert without < planned.plan.cost.total_usd_per_hour - 0.01


def test_the_budget_of_an_example_is_spent() -> None:
    planned = pipeline.plan_file(CONSTRAINED / "budget" / "workload.yaml")
    assert 29 < planned.plan.cost.total_usd_per_hour <= 30
    assert planned.workload.traffic.request_rate_rps > 64


def test_a_running_plan_that_is_not_kept_is_cheaper() -> None:
    workload = pipeline.read(CONSTRAINED / "keep" / "workload.yaml")
    assert workload.constraints.keep is not None
    planned = pipeline.plan_file(CONSTRAINED / "keep" / "workload.yaml")
    assert planned.plan.switching is not None
    assert (planned.plan.switching.started_instances, planned.plan.switching.stopped_instances) == (0, 0)
    assert workload.constraints.keep.groups


@pytest.mark.parametrize("path", sorted(INFEASIBLE.glob("*/workload.yaml")), ids=lambda path: path.parent.name)
def test_the_message_of_an_infeasible_example(path: Path) -> None:
    with pytest.raises(InfeasibleError) as caught:
        pipeline.plan_file(path)
    golden = path.parent / "message.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(f"{caught.value}\n", encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == f"{caught.value}\n"
    result = CliRunner(mix_stderr=False).invoke(cli, ["plan", str(path), "--no-files", "--offline"])
    assert result.exit_code == 4
    assert result.stdout == ""


def test_the_first_change_that_an_infeasible_example_names_helps(tmp_path: Path) -> None:
    text = (INFEASIBLE / "cap" / "workload.yaml").read_text(encoding="utf-8")
    message = (INFEASIBLE / "cap" / "message.txt").read_text(encoding="utf-8")
    found = re.search(r"raise constraints\.max_accelerators\.(\S+) from (\d+) to (\d+)", message)
    assert found is not None
    name, now, needed = found.groups()
    changed = tmp_path / "workload.yaml"
    changed.write_text(text.replace(f"{name}: {now}", f"{name}: {needed}"), encoding="utf-8")
    assert pipeline.plan_file(changed).plan.groups


@pytest.mark.slow
def test_a_plan_that_is_kept_does_not_blame_the_solver_or_the_routing() -> None:
    planned = pipeline.plan_file(CONSTRAINED / "keep" / "workload.yaml", is_explained=True)
    assert planned.plan.status == "optimal"
    explanation = planned.plan.explanation
    assert explanation is not None
    for text in (
        plan_table.render(planned.plan, planned.workload, color=False),
        explain_table.render(explanation, color=False),
    ):
        assert "charge for changes" in text
        assert "more time" not in text
        assert "One type is enough" not in text
        assert "routing costs" not in text


@pytest.mark.slow
def test_what_runs_leaves_when_it_saves_more_than_the_charge_for_stopping_it() -> None:
    """Two L40S run that nobody needs. Each saves its price, and stopping it is charged with USD 2 per hour.

    The last one leaves when it costs more than that charge and what it saves: the router is cheaper where it is.
    """
    planned = pipeline.plan_file(CONSTRAINED / "keep" / "workload.yaml", is_explained=True)
    assert planned.plan.explanation is not None
    l40s = next(entry for entry in planned.plan.explanation.offers if "g6e" in entry.label)
    assert l40s.without is not None
    assert l40s.without.cost_usd_per_hour == pytest.approx(21.12308)
    beside = l40s.without.cost_usd_per_hour - 20.77 - planned.plan.cost.overhead_usd_per_hour
    assert l40s.leaves_at_usd_per_hour == pytest.approx(2.0 + beside)
