"""Of several profiles of one replica the best kind that covers the traffic is used; plans say when it is another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sky_melange.domain.plan import Route
from sky_melange.domain.profile import Capacity, Profile, ProfileKind, Skipped
from sky_melange.domain.workload import Slo
from sky_melange.errors import InputError
from sky_melange.profiles import profile_remarks, read_profiles, select, unprofiled
from sky_melange.profiles.capacity import max_capacity
from sky_melange.profiles.profile_json import profile_text

MakeProfile = Callable[..., Profile]
WIDE = ((100, 100), (100, 1000), (10_000, 100), (10_000, 1000))
NARROW = ((1000, 500), (1000, 1000), (2000, 500), (2000, 1000))


def of_kind(make_profile: MakeProfile, kind: ProfileKind, accelerator: str = "H100", **changes: Any) -> Profile:
    profile = make_profile(accelerator, **changes)
    return dataclasses.replace(profile, provenance=dataclasses.replace(profile.provenance, kind=kind))


def with_error(profile: Profile, tpot_fraction: float | None) -> Profile:
    assert profile.provenance.error is not None
    error = dataclasses.replace(profile.provenance.error, tpot_fraction=tpot_fraction)
    return dataclasses.replace(profile, provenance=dataclasses.replace(profile.provenance, error=error))


def test_measured_over_fitted_over_published_over_estimated(make_profile: MakeProfile) -> None:
    kinds = [ProfileKind.ESTIMATED, ProfileKind.PUBLISHED, ProfileKind.FITTED, ProfileKind.MEASURED]
    profiles = [of_kind(make_profile, kind, shapes=WIDE) for kind in kinds]
    for count in range(1, 5):
        found = select(profiles[:count], [(500, 200)])
        assert [profile.provenance.kind for profile in found.profiles] == [kinds[count - 1]]
        assert found.passed_over == ()


def test_a_better_kind_that_does_not_cover_the_traffic_is_passed_over_and_named(make_profile: MakeProfile) -> None:
    fitted = of_kind(make_profile, ProfileKind.FITTED, shapes=NARROW)
    estimated = of_kind(make_profile, ProfileKind.ESTIMATED, shapes=WIDE)
    found = select([fitted, estimated], [(1500, 700), (500, 200)])
    assert found.profiles == (estimated,)
    assert [(item.kind, item.reason) for item in found.passed_over] == [
        ("fitted", "500 input tokens, but the profile covers 1000…2000")
    ]
    assert select([fitted, estimated], [(1500, 700)]).profiles == (fitted,)
    assert select([fitted, estimated], [(500, 200)], extrapolate=True).profiles == (fitted,)


def test_when_none_covers_everything_the_one_that_lacks_least_is_used(make_profile: MakeProfile) -> None:
    fitted = of_kind(make_profile, ProfileKind.FITTED, shapes=NARROW)
    estimated = of_kind(make_profile, ProfileKind.ESTIMATED, shapes=WIDE)
    sizes = [(500, 200), (1500, 700), (20_000, 200)]
    assert select([fitted, estimated], sizes).profiles == (estimated,)


def test_of_one_kind_the_smaller_error_is_used_and_an_unknown_one_last(make_profile: MakeProfile) -> None:
    profiles = [with_error(of_kind(make_profile, ProfileKind.FITTED, shapes=WIDE), e) for e in (None, 0.2, 0.05)]
    assert select(profiles, [(500, 200)]).profiles == (profiles[2],)
    assert select(profiles[:2], [(500, 200)]).profiles == (profiles[1],)


def test_the_order_of_the_profiles_does_not_matter(make_profile: MakeProfile) -> None:
    profiles = [
        of_kind(make_profile, kind, accelerator, shapes=WIDE) for kind in ProfileKind for accelerator in ("L4", "H100")
    ]
    assert select(profiles, [(500, 200)]) == select(profiles[::-1], [(500, 200)])
    assert [p.key.accelerator for p in select(profiles, [(500, 200)]).profiles] == ["H100", "L4"]


@pytest.mark.parametrize("size", [(50, 500), (9000, 500), (1500, 50), (1500, 9000), (50, 50), (9000, 9000)])
def test_extrapolated_points_are_never_better_than_the_nearest_measured(
    make_profile: MakeProfile, size: tuple[int, int]
) -> None:
    profile = make_profile("H100", shapes=NARROW, kv_cache_tokens=10_000_000)
    slo = Slo(tpot_s=1.0)
    assert isinstance(max_capacity(profile, *size, slo), Skipped)
    found = max_capacity(profile, *size, slo, extrapolate=True)
    near = max_capacity(profile, min(max(size[0], 1000), 2000), min(max(size[1], 500), 1000), slo)
    assert isinstance(found, Capacity)
    assert isinstance(near, Capacity)
    assert found.tpot_s is not None
    assert near.tpot_s is not None
    assert found.tpot_s >= near.tpot_s


def test_extrapolated_points_keep_within_memory(make_profile: MakeProfile) -> None:
    profile = make_profile("H100", shapes=NARROW, kv_cache_tokens=50_000)
    found = max_capacity(profile, 9000, 1000, Slo(tpot_s=10.0), extrapolate=True)
    assert isinstance(found, Capacity)
    assert found.concurrency * 10_000 <= 50_000
    small = make_profile("H100", shapes=NARROW, kv_cache_tokens=9_000)
    assert isinstance(max_capacity(small, 9000, 1000, Slo(tpot_s=10.0), extrapolate=True), Skipped)


def test_remarks_name_the_group_and_the_range(make_profile: MakeProfile) -> None:
    profile = of_kind(make_profile, ProfileKind.ESTIMATED, shapes=NARROW)
    better = of_kind(make_profile, ProfileKind.FITTED, shapes=((1500, 700),))
    passed_over = select([profile, better], [(1500, 700), (1800, 700)]).passed_over
    routes = [
        Route(input_tokens=i, output_tokens=700, rate_rps=1.0, shares=(("chat-h100", 1.0),)) for i in (1500, 9000)
    ]
    lines = list(profile_remarks({"chat-h100": profile}, routes, [(1500, 700), (9000, 700)], passed_over))
    assert "the fitted profile does not cover the traffic" in lines[0]
    assert "extrapolated" in lines[1]
    assert "9000 input tokens, but the profile covers 1000…2000" in lines[1]
    assert list(profile_remarks({"chat-h100": profile}, routes[:1], [(1500, 700)], ())) == []


def test_accelerators_without_a_profile_are_named_with_the_remedy(make_profile: MakeProfile) -> None:
    assert list(unprofiled(None, [], ["vllm"])) == []
    assert list(unprofiled(("H100",), [make_profile("H100")], ["vllm"])) == []
    (line,) = unprofiled(("L4", "H100", "A10G"), [make_profile("H100")], ["vllm"])
    assert "A10G, L4" in line
    assert "estimate: false" in line


def test_accelerators_without_kernels_are_named_with_their_generation() -> None:
    lines = list(unprofiled(("V100", "MI300X"), [], ["vllm", "sglang"]))
    assert [line.partition(":")[0] for line in lines] == ["MI300X is not considered", "V100 is not considered"]
    assert "cdna3" in lines[0]
    assert "volta" in lines[1]
    assert "vLLM 0.33.0 and SGLang 0.5.23" in lines[1]


def test_own_files_are_read_and_every_mistake_told(make_profile: MakeProfile, tmp_path: Path) -> None:
    good, other, broken = (tmp_path / name for name in ("good.json", "other.json", "broken.json"))
    profile = make_profile("H100")
    good.write_text(profile_text(profile))
    other.write_text(profile_text(dataclasses.replace(profile, key=dataclasses.replace(profile.key, dtype="fp8"))))
    broken.write_text("{")
    key = profile.key
    found = read_profiles([good], key.model, key.dtype, [key.engine])
    assert [p.key for p in found] == [key]
    assert read_profiles([good], key.model, key.dtype, [key.engine], ["L4"]) == ()
    with pytest.raises(InputError) as caught:
        read_profiles([other, broken, tmp_path / "missing.json"], key.model, key.dtype, [key.engine])
    assert [Path(m.source).name for m in caught.value.mistakes] == ["other.json", "broken.json", "missing.json"]
    assert "the workload asks for example/model-8b (bfloat16, vllm)" in caught.value.mistakes[0].message
