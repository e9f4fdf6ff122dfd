"""What is said when nothing can be planned: the whole text, one golden file a cause. UPDATE_GOLDEN=1 rewrites them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sky_melange import pipeline
from sky_melange.domain.offer import Quarantined
from sky_melange.domain.workload import (
    Budget,
    CandidateFilter,
    Model,
    Objective,
    RoutingPolicy,
    Slo,
    SpotUse,
    Workload,
)
from sky_melange.errors import InfeasibleError, MissingDataError, SkyMelangeError


@pytest.fixture
def planner(make_offer: Any, cpu_offer: Any, make_profile: Any, make_book: Any) -> Callable[..., pipeline.Planned]:
    """Plans on one L4 and one H100 offer; `profile` changes both profiles, `more` adds offers."""

    def plan(workload: Workload, *, more: Any = (), h100: Any = None, **profile: Any) -> pipeline.Planned:
        book = make_book(make_offer("L4", 0.7), make_offer("H100", 3.0), cpu_offer(), *more)
        profiles = [make_profile("L4", **profile), make_profile("H100", **{"speed": 4.0, **(h100 or profile)})]
        return pipeline.make_plan(workload, book, profiles, workload_digest="0")

    return plan


@pytest.fixture
def refusal(planner: Callable[..., pipeline.Planned]) -> Callable[..., str]:
    def refuse(workload: Workload, error: type[SkyMelangeError] = InfeasibleError, **given: Any) -> str:
        with pytest.raises(error) as caught:
            planner(workload, **given)
        return str(caught.value)

    return refuse


def _golden(repository: Path, name: str, text: str) -> None:
    path = repository / "tests" / "golden" / "infeasible" / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


_ONE_LONG = ((3.0, 0.0), (0.0, 1.0))
_LONG_SHAPES = ((100, 100), (500, 500), (100, 500), (500, 100))

CAUSES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "slo": ({"rates_rps": _ONE_LONG, "slo": Slo(tpot_s=0.004)}, {}),
    "slo-both-targets": ({"slo": Slo(tpot_s=0.004, ttft_s=0.02)}, {}),
    "memory": (
        {"rates_rps": ((3.0, 1.0), (0.0, 0.0)), "routing": RoutingPolicy.INPUT_AWARE},
        {"kv_cache_tokens": 1500},
    ),
    "outside-profile": ({"rates_rps": _ONE_LONG, "routing": RoutingPolicy.BLIND}, {"shapes": _LONG_SHAPES}),
    "context-limit": ({"model": Model(id="example/model-8b", dtype="bfloat16", max_model_len=1200)}, {}),
    "cap": ({"limits": {"max_accelerators": {"L4": 1, "H100": 1}}, "rates_rps": ((9.0, 4.0), (2.0, 2.0))}, {}),
    "cap-in-a-place": (
        {"limits": {"max_accelerators_in": {"aws": {"L4": 1}, "aws/us-east-1": {"H100": 1}}}},
        {},
    ),
    "groups": ({"limits": {"max_accelerators": {"L4": 1, "H100": 1}, "max_groups": 1}}, {}),
    "replicas": (
        {
            "rates_rps": ((0.1, 0.0), (0.0, 0.0)),
            "limits": {"max_accelerators": {"L4": 1, "H100": 1}, "min_replicas": 3},
        },
        {},
    ),
    "on-demand-replicas": (
        {
            "candidates": CandidateFilter(spot=SpotUse.ONLY),
            "limits": {"min_on_demand_replicas": 2},
        },
        {"more": "spot"},
    ),
    "cloud-share": ({"limits": {"max_cloud_share_fraction": 0.6}}, {}),
    "spot-share": (
        {"candidates": CandidateFilter(spot=SpotUse.ONLY), "limits": {"max_spot_share_fraction": 0.5}},
        {"more": "spot"},
    ),
    "losses": ({"limits": {"max_accelerators": {"L4": 2, "H100": 1}, "tolerate_replica_losses": 2}}, {}),
    "utilization": ({"limits": {"max_accelerators": {"L4": 0, "H100": 1}, "max_utilization": 0.5}}, {}),
    "several-limits": (
        {
            "limits": {"max_accelerators": {"L4": 1, "H100": 0}, "min_replicas": 4, "max_groups": 1},
            "rates_rps": ((9.0, 4.0), (2.0, 2.0)),
        },
        {"shapes": ((100, 100), (100, 500)), "h100": {"shapes": ((1000, 100), (1000, 500))}},
    ),
    "budget": ({"budget": Budget(usd_per_hour=0.5), "objective": Objective.MOST_TRAFFIC}, {}),
}


@pytest.fixture
def prepared(make_offer: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Turns the names in CAUSES into offers."""

    def prepare(given: dict[str, Any]) -> dict[str, Any]:
        given = dict(given)
        if given.get("more") == "spot":
            given["more"] = [make_offer("L4", 0.3, use_spot=True)]
        return given

    return prepare


@pytest.mark.parametrize("name", CAUSES)
def test_the_message_of_a_cause(
    name: str, repository: Path, make_workload: Any, refusal: Callable[..., str], prepared: Any
) -> None:
    workload, given = CAUSES[name]
    _golden(repository, name, refusal(make_workload(**workload), **prepared(given)))


def test_a_quarantined_price_is_named_with_what_it_would_serve(
    repository: Path, make_workload: Any, make_offer: Any, cpu_offer: Any, make_profile: Any, make_book: Any
) -> None:
    offer = make_offer("H100", 0.01, instance_type="h100.cheap")
    doubted = Quarantined(offer=offer, rule="too_cheap", reason="USD 0.01 is less than a tenth of what others ask")
    book = make_book(make_offer("L4", 0.7), cpu_offer(), quarantined=(doubted,))
    profiles = [make_profile("L4", shapes=((100, 100), (100, 500))), make_profile("H100", speed=4.0)]
    with pytest.raises(InfeasibleError) as caught:
        pipeline.make_plan(make_workload(_ONE_LONG), book, profiles, workload_digest="0")
    _golden(repository, "quarantined", str(caught.value))
    trusted = make_book(make_offer("L4", 0.7), cpu_offer(), offer)
    assert pipeline.make_plan(make_workload(_ONE_LONG), trusted, profiles, workload_digest="0").plan.groups


_CHANGE = re.compile(r"^  (?:raise|lower) constraints\.(\S+) from (\S+) to (\S+)$", re.MULTILINE)
_KEYS = {
    "max_cloud_share": "max_cloud_share_fraction",
    "max_spot_share": "max_spot_share_fraction",
}


def _changed(workload: Workload, key: str, value: float) -> Workload:
    name, _, rest = key.partition(".")
    limits = workload.constraints
    if name == "max_accelerators":
        return replace(workload, constraints=replace(limits, max_accelerators={**limits.max_accelerators, rest: value}))
    if name == "max_accelerators_in":
        place, _, accelerator = rest.rpartition(".")
        places = {**limits.max_accelerators_in, place: {**limits.max_accelerators_in[place], accelerator: value}}
        return replace(workload, constraints=replace(limits, max_accelerators_in=places))
    whole = name not in {"max_utilization", *_KEYS}
    changes = {_KEYS.get(name, name): int(value) if whole else value}
    return replace(workload, constraints=replace(limits, **changes))


_ALONE = [
    name for name in CAUSES if name not in {"slo", "slo-both-targets", "memory", "outside-profile", "context-limit"}
]


@pytest.mark.parametrize("name", [name for name in _ALONE if name not in {"several-limits", "budget"}])
def test_each_change_that_is_named_suffices_and_a_smaller_one_does_not(
    name: str, make_workload: Any, planner: Any, refusal: Callable[..., str], prepared: Any
) -> None:
    workload_given, given = CAUSES[name]
    workload = make_workload(**workload_given)
    changes = _CHANGE.findall(refusal(workload, **prepared(given)))
    assert changes
    for key, before, after in changes:
        assert planner(_changed(workload, key, float(after)), **prepared(given)).plan.groups
        step = 1.0 if float(before).is_integer() and float(after).is_integer() and "share" not in key else 0.001
        less = float(after) - step if float(after) > float(before) else float(after) + step
        if abs(less - float(before)) > 1e-9:
            refusal(_changed(workload, key, less), **prepared(given))


def test_changes_of_several_limits_suffice_together_and_not_one_by_one(
    make_workload: Any, planner: Any, refusal: Callable[..., str]
) -> None:
    workload = make_workload(**CAUSES["several-limits"][0])
    given = CAUSES["several-limits"][1]
    changes = _CHANGE.findall(refusal(workload, **given))
    assert len(changes) > 1
    changed = workload
    for key, _, after in changes:
        refusal(_changed(workload, key, float(after)), **given)
        changed = _changed(changed, key, float(after))
    assert planner(changed, **given).plan.groups


def test_a_looser_target_that_is_named_suffices(make_workload: Any, planner: Any, refusal: Callable[..., str]) -> None:
    workload = make_workload(**CAUSES["slo"][0])
    found = re.search(r"raise slo\.tpot_ms from 4 to (\S+)$", refusal(workload), re.MULTILINE)
    assert found is not None
    needed_s = float(found.group(1)) / 1000
    assert planner(replace(workload, slo=Slo(tpot_s=needed_s))).plan.groups
    refusal(replace(workload, slo=Slo(tpot_s=needed_s * 0.98)))


def test_more_than_five_buckets_are_counted_not_listed(make_workload: Any, refusal: Callable[..., str]) -> None:
    edges = (100, 200, 300, 400)
    workload = make_workload([[1.0] * 2] * 4, input_edges=edges, slo=Slo(tpot_s=0.001))
    lines = refusal(workload).splitlines()
    assert sum(line.startswith("  bucket") for line in lines) == 5
    assert "  … and 3 more" in lines


def test_nothing_helps_where_no_target_within_reason_does(make_workload: Any, refusal: Callable[..., str]) -> None:
    assert "Loosen slo" in refusal(make_workload(slo=Slo(tpot_s=1e-6)))


def test_no_offer_at_all(make_workload: Any, refusal: Callable[..., str]) -> None:
    workload = make_workload(candidates=CandidateFilter(clouds=("gcp",)))
    assert refusal(workload, MissingDataError).splitlines() == [
        "no priced offer can run this workload:",
        "      2 offers: not among candidates.clouds (such as aws/us-east-1/h100.x1)",
        "      1 offers: has no accelerator (such as aws/us-east-1/cpu.4)",
    ]


def test_no_profile_says_what_to_write(make_workload: Any, make_book: Any) -> None:
    workload = make_workload(candidates=CandidateFilter(accelerators=("L4", "T4")))
    with pytest.raises(MissingDataError) as caught:
        pipeline.make_plan(workload, make_book(), [], workload_digest="0")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("write `model.config: config.json`")
    assert "there is no profile of example/model-8b (bfloat16) on any of L4, T4 that vllm can launch" in lines[0]


def test_exit_codes() -> None:
    assert InfeasibleError.exit_code == 4
    assert MissingDataError.exit_code == 5
