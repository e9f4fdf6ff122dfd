"""`constraints.min_profile_kind` and `model.profile_as`: which profiles a plan rests on, and what it says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sky_melange import pipeline
from sky_melange.domain.profile import Profile, ProfileKind
from sky_melange.domain.workload import Model
from sky_melange.errors import InfeasibleError, MissingDataError
from sky_melange.profiles import refusals, trusted

ORDER = (ProfileKind.MEASURED, ProfileKind.FITTED, ProfileKind.PUBLISHED, ProfileKind.ESTIMATED)


def of_kind(profile: Profile, kind: ProfileKind) -> Profile:
    return dataclasses.replace(profile, provenance=dataclasses.replace(profile.provenance, kind=kind))


@pytest.fixture
def plan(make_offer: Any, cpu_offer: Any, make_book: Any, make_workload: Any) -> Callable[..., pipeline.Planned]:
    """A plan on one L4 and one H100 offer, with the limits and profiles given."""

    def make(*profiles: Profile, limits: Any = None, **changes: Any) -> pipeline.Planned:
        book = make_book(make_offer("L4", 0.7), make_offer("H100", 30.0), cpu_offer())
        return pipeline.make_plan(make_workload(limits=limits, **changes), book, profiles, workload_digest="0")

    return make


@pytest.mark.parametrize("weakest", ORDER)
def test_the_order_of_trust(make_profile: Any, weakest: ProfileKind) -> None:
    profiles = [of_kind(make_profile("L4"), kind) for kind in ORDER]
    found = trusted(profiles, weakest)
    place = ORDER.index(weakest) + 1
    assert [profile.provenance.kind for profile in found.profiles] == list(ORDER[:place])
    assert [kind for _, kind in found.refused] == list(ORDER[place:])
    assert list(refusals(found, weakest)) == []  # the layout has a trusted profile beside the refused ones


def test_without_a_limit_every_kind_is_trusted(make_profile: Any) -> None:
    profiles = tuple(of_kind(make_profile("L4"), kind) for kind in ORDER)
    assert trusted(profiles, None).profiles == profiles


def test_a_refusal_names_accelerator_layouts_and_kinds(make_profile: Any) -> None:
    profiles = [
        of_kind(make_profile("H100"), ProfileKind.FITTED),
        of_kind(make_profile("H100", tensor_parallel=2), ProfileKind.ESTIMATED),
        of_kind(make_profile("L4"), ProfileKind.ESTIMATED),
        of_kind(make_profile("L4"), ProfileKind.PUBLISHED),
    ]
    assert list(refusals(trusted(profiles, ProfileKind.FITTED), ProfileKind.FITTED)) == [
        "H100 TP 2: only estimated profiles, weaker than constraints.min_profile_kind: fitted; not considered.",
        "L4: only published and estimated profiles, weaker than constraints.min_profile_kind: fitted; not considered.",
    ]


def test_a_plan_leaves_weak_profiles_out_and_says_so(plan: Any, make_profile: Any) -> None:
    cheap = of_kind(make_profile("L4", speed=4.0), ProfileKind.ESTIMATED)
    fitted = of_kind(make_profile("H100", speed=4.0), ProfileKind.FITTED)
    free = plan(cheap, fitted).plan
    assert {group.accelerator for group in free.groups} == {"L4"}
    limited = plan(cheap, fitted, limits={"min_profile_kind": ProfileKind.FITTED})
    assert {group.accelerator for group in limited.plan.groups} == {"H100"}
    assert [line for line in limited.plan.warnings if line.startswith("L4: only estimated profiles")]
    assert any("weaker than fitted" in line for line in limited.plan.assumptions)
    assert any(item.reason.endswith("on L4 that is fitted or better") for item in limited.rejected)


def test_no_profile_of_the_kind_is_exit_5_with_the_kinds_there_are(plan: Any, make_profile: Any) -> None:
    profiles = [of_kind(make_profile("L4"), ProfileKind.ESTIMATED), of_kind(make_profile("H100"), ProfileKind.FITTED)]
    with pytest.raises(MissingDataError) as caught:
        plan(*profiles, limits={"min_profile_kind": ProfileKind.MEASURED})
    assert caught.value.exit_code == 5
    assert str(caught.value).splitlines() == [
        "every profile of example/model-8b (bfloat16) is of too weak a kind:",
        "  H100: only fitted profiles, weaker than constraints.min_profile_kind: measured; not considered.",
        "  L4: only estimated profiles, weaker than constraints.min_profile_kind: measured; not considered.",
    ]


def test_an_infeasible_plan_names_what_was_refused(plan: Any, make_profile: Any) -> None:
    slow = of_kind(make_profile("L4", speed=0.1), ProfileKind.MEASURED)
    fast = of_kind(make_profile("H100", speed=4.0), ProfileKind.ESTIMATED)
    assert plan(slow, fast).plan.groups
    with pytest.raises(InfeasibleError) as caught:
        plan(slow, fast, limits={"min_profile_kind": ProfileKind.FITTED})
    assert caught.value.exit_code == 4
    assert "H100: only estimated profiles, weaker than" in str(caught.value).splitlines()[-1]


def test_selection_for_checks_trusts_as_the_plan_does(make_profile: Any, make_workload: Any) -> None:
    profiles = [of_kind(make_profile(name), kind) for name, kind in (("L4", ORDER[3]), ("H100", ORDER[1]))]
    workload = make_workload(limits={"min_profile_kind": ProfileKind.FITTED})
    assert pipeline.selected_profiles(workload, profiles) == (profiles[1],)


def test_a_fine_tune_uses_the_profiles_of_its_base(plan: Any, make_profile: Any) -> None:
    tuned = Model(id="acme/tuned", dtype="bfloat16", max_model_len=2000, profile_as="example/model-8b")
    found = plan(make_profile("L4"), model=tuned)
    assert found.workload.model.id == "acme/tuned"
    assert any(
        "Throughput is that of example/model-8b" in line and "acme/tuned" in line for line in found.plan.assumptions
    )
    own = plan(make_profile("L4"))
    assert not any("profile_as" in line for line in own.plan.assumptions)


def test_a_base_that_nothing_is_known_of_is_named(plan: Any) -> None:
    tuned = Model(id="acme/tuned", dtype="bfloat16", max_model_len=2000, profile_as="acme/base")
    with pytest.raises(MissingDataError, match=r"no profile of acme/base \(bfloat16\) that vllm"):
        plan(model=tuned)


@pytest.mark.parametrize("text", ["profile_as: ''", "profile_as: a b", "profile_as: 3", "profile_as: [x]"])
def test_a_base_that_is_no_model_id(text: str, tmp_path: Path) -> None:
    from sky_melange.errors import InputError
    from sky_melange.workload_file import read_workload

    path = tmp_path / "workload.yaml"
    path.write_text(
        f"version: 1\nname: chat\nmodel:\n  id: a/b\n  dtype: fp8\n  {text}\nslo: {{attainment: mean, tpot_ms: 40}}\n"
        "traffic:\n  request_rate: 1\n  histogram: {input_tokens: [10], output_tokens: [10], weights: [[1]]}\n"
    )
    with pytest.raises(InputError, match=r"workload\.yaml:6: model\.profile_as"):
        read_workload(path)
