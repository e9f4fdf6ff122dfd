"""Each constraint, written out as an LP file for a tiny problem. UPDATE_GOLDEN=1 rewrites the files."""

from __future__ import annotations

import os
from pathlib import Path

import pulp
import pytest

from sky_melange.optimizer.charges import Charges, RouterCharge
from sky_melange.optimizer.limits import LIMITS, limits_of
from sky_melange.optimizer.limits.accelerators import Cap
from sky_melange.optimizer.limits.groups import MaxGroups
from sky_melange.optimizer.limits.replicas import MinOnDemandReplicas, MinReplicas
from sky_melange.optimizer.limits.shares import ShareLimit
from sky_melange.optimizer.problem import Keep, LossCut, Problem
from sky_melange.optimizer.solve.lp import IntegerProgram, build_lp
from sky_melange.optimizer.solve.rows import FIRST, LAST
from sky_melange.optimizer.solve.variables import make_variables

TINY = Problem(
    loads=((0.5, 0.25, None), (None, 1.25, None)),
    prices=(1.0, 2.5, 0.1),
    replicas=(1, 8, 2),
    max_utilization=0.9,
    limits=(
        Cap(name="constraints.max_accelerators.A", weights=(1, 0, 0), limit=4),
        Cap(name="constraints.max_accelerators.B", weights=(0, 8, 2), limit=16),
        Cap(name="constraints.max_accelerators.C", weights=(0, 0, 0), limit=1),
        MinReplicas(weights=(1, 8, 2), limit=3),
        MinOnDemandReplicas(weights=(1, 8, 0), limit=2),
        MaxGroups(limit=1),
        ShareLimit(
            name="constraints.max_cloud_share",
            places=(("aws", (True, False, True)), ("gcp", (False, True, False))),
            limit_fraction=0.6,
        ),
    ),
    weights=(0.75, 0.25),
    max_cost_usd_per_hour=9.5,
    losses=2,
    loss_cuts=(LossCut(weights=(0.9, 1.8, 0.0), demand=1.5, lost=(1, 1, 0)),),
    keep=Keep(previous=(0, 2, 1), usd_per_hour=0.25),
    charges=Charges(
        base_usd_per_hour=0.5,
        steps=((2, 0.125),),
        most_groups=2,
        router=RouterCharge(near_usd_per_hour=(0.2, None, 0.1), elsewhere_usd_per_hour=0.05),
    ),
)


_ROWS = sorted({*FIRST, *LIMITS, *LAST})


def _compare(lp: pulp.LpProblem, golden: Path, scratch: Path) -> None:
    lp.setObjective(pulp.LpAffineExpression())
    path = scratch / golden.name
    lp.writeLP(str(path))
    text = path.read_text(encoding="utf-8")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("slices", [None, 8], ids=["exact", "sliced"])
@pytest.mark.parametrize("name", _ROWS)
def test_a_constraint(name: str, slices: int | None, repository: Path, tmp_path: Path) -> None:
    lp = pulp.LpProblem(name, pulp.LpMinimize)
    variables = make_variables(lp, TINY, slices)
    if name in FIRST or name in LAST:
        (FIRST | LAST)[name](lp, variables, TINY)
    else:
        program = IntegerProgram(TINY, lp, variables)
        for limit in limits_of(TINY):
            if isinstance(limit, LIMITS[name]):
                limit.rows(program)
    suffix = "" if slices is None else "-sliced"
    _compare(lp, repository / "tests" / "golden" / "lp" / f"{name}{suffix}.lp", tmp_path)


def test_the_whole_model(repository: Path, tmp_path: Path) -> None:
    lp = build_lp(TINY, None).lp
    _compare(lp, repository / "tests" / "golden" / "lp" / "model.lp", tmp_path)


def test_the_model_of_the_most_traffic(repository: Path, tmp_path: Path) -> None:
    lp = build_lp(TINY, None, most_traffic=8.0).lp
    _compare(lp, repository / "tests" / "golden" / "lp" / "most-traffic.lp", tmp_path)


def test_no_golden_file_without_its_constraint(repository: Path) -> None:
    names = {path.stem.removesuffix("-sliced") for path in (repository / "tests" / "golden" / "lp").glob("*.lp")}
    assert names == {*_ROWS, "model", "most-traffic"}


def test_limits_that_are_not_asked_for_add_no_rows() -> None:
    lp = build_lp(Problem(loads=((0.5,),), prices=(1.0,), replicas=(1,)), None).lp
    assert sorted(constraint.name for constraint in lp.constraints()) == ["assign_0", "cover_0", "load_0"]
