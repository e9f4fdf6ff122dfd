"""Laws of the total (replicas, controller and router) over the real embedded offers: 200 random sub-catalogs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Final

import pytest
from property_examples import mostly_slow

from sky_melange import pipeline
from sky_melange.domain.offer import Offer, PriceBook
from sky_melange.domain.profile import Profile
from sky_melange.domain.workload import CandidateFilter, LaunchMode, RoutingPolicy, Workload
from sky_melange.errors import InfeasibleError, MissingDataError
from sky_melange.optimizer import build_model, solve_problem
from sky_melange.optimizer.candidates import ProfileCapacities
from sky_melange.optimizer.why.infeasible import unserved_classes
from sky_melange.resources import cloud_features

ROOT: Final = Path(__file__).resolve().parents[2]
SEEDS: Final = 200


@cache
def _given() -> tuple[Workload, PriceBook, tuple[Profile, ...]]:
    workload = pipeline.read(ROOT / "examples" / "means" / "workload.yaml")
    workload = replace(
        workload, candidates=CandidateFilter(), solver=replace(workload.solver, break_ties=False, time_limit_s=600)
    )
    book = pipeline.embedded_book(workload)
    return workload, book, pipeline.profiles_for(workload, book, ROOT)


Total = Callable[[Workload, Sequence[Offer]], float | None]


def _total(capacities: Sequence[ProfileCapacities], workload: Workload, offers: Sequence[Offer]) -> float | None:
    """What the program proves to be the least total; None where there is no plan."""
    try:
        model = build_model(workload, sorted(offers, key=lambda offer: offer.sort_key), capacities, cloud_features())
        if unserved_classes(model):
            return None
        solution = solve_problem(model.problem, workload.solver)
    except (InfeasibleError, MissingDataError):
        return None
    assert solution.status == "optimal"
    return solution.cost_usd_per_hour


def _at_least(total: float | None, least: float) -> bool:
    return total is None or total >= least * (1 - 2e-6)


@pytest.mark.parametrize("batch", mostly_slow(range(10), 0))
def test_fewer_candidates_and_more_limits_never_cost_less_and_discounts_never_more(batch: int) -> None:
    workload, book, profiles = _given()
    plain = [offer for offer in book.offers if not offer.accelerators_per_instance]
    planned = 0
    for seed in range(batch * SEEDS // 10, (batch + 1) * SEEDS // 10):
        rng = random.Random(seed)  # noqa: S311 - repeatable numbers, nothing secret
        sold = [o for o in book.offers if o.accelerators_per_instance and not o.use_spot]
        some = rng.sample(sold, rng.choice((20, 60, 150)))
        factor = rng.choice((0.02, 0.1, 0.5, 2.0))
        traffic = replace(
            workload.traffic, rates_rps=tuple(tuple(r * factor for r in row) for row in workload.traffic.rates_rps)
        )
        base = replace(
            workload,
            traffic=traffic,
            routing=rng.choice(tuple(RoutingPolicy)),
            launch=replace(workload.launch, mode=rng.choice((LaunchMode.SERVE, LaunchMode.SERVE, LaunchMode.CLUSTER))),
            constraints=replace(workload.constraints, min_replicas=rng.choice((1, 2))),
        )
        # The same for all that is asked of this traffic: neither limits nor prices change what a replica carries.
        least: Total = partial(_total, pipeline.capacities_of(base, profiles))
        total = least(base, [*some, *plain])
        if total is None:
            continue
        planned += 1
        fewer = [offer for offer in some if rng.random() < 0.7]
        assert _at_least(least(base, [*fewer, *plain]), total), f"seed {seed}: fewer candidates"
        limits = base.constraints
        for changed in (
            replace(limits, min_replicas=limits.min_replicas + 2),
            replace(limits, max_groups=1),
            replace(limits, max_utilization=0.7),
        ):
            assert _at_least(least(replace(base, constraints=changed), [*some, *plain]), total), f"seed {seed}"
        only = CandidateFilter(accelerators=(rng.choice(some).accelerator,))
        assert _at_least(least(replace(base, candidates=only), [*some, *plain]), total), f"seed {seed}: one type"
        cloud = rng.choice(some).cloud
        cheaper = [replace(o, price_usd_per_hour=o.price_usd_per_hour * 0.79) if o.cloud == cloud else o for o in some]
        discounted = least(base, [*cheaper, *plain])
        assert discounted is not None
        assert discounted <= total * (1 + 2e-6), f"seed {seed}: 21 % off {cloud}"
    assert planned >= SEEDS // 10 // 4
