"""A small fleet."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from made_up_fleet import FleetFactory

from sky_melange.domain.front_door import RequestClass
from sky_melange.domain.profile import Profile
from sky_melange.domain.workload import RoutingPolicy
from sky_melange.profiles import bundled
from sky_melange.profiles.lookup import Wanted, find
from sky_melange.simulation import Fleet, Group


@pytest.fixture(scope="session")
def h100() -> Profile:
    return find(Wanted(model="meta-llama/Llama-3.1-8B-Instruct", accelerator="H100", engine="vllm"))


@pytest.fixture(scope="session")
def bundled_profiles() -> tuple[Profile, ...]:
    return tuple(bundled.read(entry) for entry in bundled.entries())


@pytest.fixture(scope="session")
def make_fleet(h100: Profile) -> FleetFactory:
    """`make_fleet(2)`: one group of two H100s; `make_fleet(1, 3)`: two groups, `a` and `b`, with even shares."""

    def make(
        *instances: int, shares: Sequence[float] = (), profile: Profile = h100, limit: int = 64, ranks: int = 1
    ) -> Fleet:
        names = ["a", "b", "c"][: len(instances)]
        even = shares or [1.0 / len(instances)] * len(instances)
        return Fleet(
            groups=tuple(
                Group(name=name, profile=profile, instances=count, ranks=ranks, running_limit=limit)
                for name, count in zip(names, instances, strict=True)
            ),
            classes=(
                RequestClass(
                    name="all",
                    max_input_tokens=None,
                    max_output_tokens=None,
                    rate_rps=1.0,
                    shares=tuple((name, share) for name, share in zip(names, even, strict=True) if share > 0),
                    spare=tuple(name for name, share in zip(names, even, strict=True) if share == 0),
                ),
            ),
            policy=RoutingPolicy.BLIND,
        )

    return make
