"""Whether plans hold when engines are as wrong as their profiles say: plans at two confidences, simulated again.

    python -m benchmarks.confidence [--draws 40]

Each draw gives every profile of a plan a factor on its latencies, from the distribution that its stated error and
interval stand for, and simulates the plan with these engines by a seed of its own. Prints what the plan costs, and in
which share of the draws `slo.attainment` holds. Deterministic.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.tail import LLAMA_8B, LLAMA_70B, QWEN_32B, Case, workload_of
from sky_melange import pipeline
from sky_melange.domain.profile import Profile
from sky_melange.domain.workload import ProfilePolicy, Workload
from sky_melange.errors import SkyMelangeError
from sky_melange.pipeline.judging import final_scenario
from sky_melange.pipeline.planning import Planned
from sky_melange.plan_file import PlanDocument
from sky_melange.profiles.pessimism import latency_factor, slowed
from sky_melange.simulation.fleet import Group

CASES: Final = (
    Case(name="8B chat-32", kind="chat", rate_rps=32, model=LLAMA_8B),
    Case(name="32B chat-8", kind="chat", rate_rps=8, model=QWEN_32B),
    Case(name="70B chat-8", kind="chat", rate_rps=8, model=LLAMA_70B),
)
CONFIDENCES: Final = (0.5, 0.8)
_LEAST: Final = 1e-9


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=40)
    options = parser.parse_args()
    print("| workload | confidence | USD/h | replicas | holds in |\n| --- | ---: | ---: | --- | ---: |")
    for case in CASES:
        for confidence in CONFIDENCES:
            workload = replace(workload_of(case), profiles=ProfilePolicy(confidence=confidence))
            try:
                planned = _planned(workload)
            except SkyMelangeError as error:
                print(f"| {case.name} | {confidence:g} | – | {str(error).splitlines()[0]} | – |", flush=True)
                continue
            held = list(_held(workload, planned, options.draws))
            groups = ", ".join(
                f"{group.instances} × {group.accelerators_per_instance} {group.accelerator} TP {group.tensor_parallel}"
                for group in planned.plan.groups
            )
            cost = planned.plan.cost.total_usd_per_hour
            print(f"| {case.name} | {confidence:g} | {cost:.2f} | {groups} | {sum(held) / len(held):.0%} |", flush=True)


def _planned(workload: Workload) -> Planned:
    book = pipeline.embedded_book(workload)
    profiles = pipeline.profiles_for(workload, book, Path())
    return pipeline.make_plan(workload, book, profiles, workload_digest="0" * 64, simulator=pipeline.simulator())


def _held(workload: Workload, planned: Planned, draws: int) -> Iterator[bool]:
    document = PlanDocument(path=Path() / "plan.json", plan=planned.plan, workload=workload)
    fleet, _ = pipeline.planned_fleet(document)
    simulate = pipeline.simulator()
    for draw in range(draws):
        random = np.random.default_rng(draw)
        factors: dict[object, float] = {}

        def drawn(group: Group, random: np.random.Generator = random, factors: dict[object, float] = factors) -> Group:
            if group.profile.key not in factors:
                factors[group.profile.key] = _factor(group.profile, random)
            # The profile in the fleet is the pessimistic one already.
            factor = factors[group.profile.key] / group.profile.provenance.slower_by
            return replace(group, profile=slowed(group.profile, factor))

        scenario = replace(final_scenario(workload, None), seed=1000 + draw, requests=20_000)
        found = simulate(replace(fleet, groups=tuple(map(drawn, fleet.groups))), scenario, workload.slo)
        yield found.held >= (workload.slo.attainment or 0.0)


def _factor(profile: Profile, random: np.random.Generator) -> float:
    return latency_factor(profile, float(random.uniform(_LEAST, 1.0 - _LEAST)))


if __name__ == "__main__":
    main()
