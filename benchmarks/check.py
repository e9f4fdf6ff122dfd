"""How long a CI job waits: `sky-melange check` of a plan of ten groups, without and with solving again.

    python -m benchmarks.check [--runs 7]

The plan is made of the ten cheapest machines that have a profile of Llama 3.1 8B, one group each, every bucket divided
evenly over all ten. Prices are those embedded in this release. Prints for each command (new process, warm file cache)
the median wall time and the mean processor time, seconds, and the target for the wall time. On a machine that does
other things at the same time only the processor time says anything.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.startup import QUICKSTART, median_s
from sky_melange import pipeline
from sky_melange.domain.candidate import Candidate
from sky_melange.domain.plan import Cost, Plan, ReplicaGroup, Route
from sky_melange.domain.profile import Capacity
from sky_melange.domain.workload import Workload
from sky_melange.optimizer.candidates import build_candidates
from sky_melange.prices import load_snapshot
from sky_melange.render import render_files
from sky_melange.resources import cloud_features

GROUPS: Final = 10
INSTANCES: Final = 20
TARGET_S: Final = 1.0


def cheapest(workload: Workload) -> tuple[Plan, list[Candidate]]:
    """A real plan of the workload, and the cheapest candidate of each of ten machine types that serve everything."""
    book = load_snapshot()
    profiles = pipeline.profiles_for(workload, book, QUICKSTART.parent)
    selected = pipeline.selected_profiles(workload, profiles)
    found = build_candidates(workload, book.offers, pipeline.capacities_of(workload, selected), cloud_features())
    able = [c for c in found.candidates if all(isinstance(entry, Capacity) for entry in c.capacities)]
    by_type: dict[tuple[str, str], Candidate] = {}
    for candidate in sorted(able, key=lambda c: (c.offer.price_usd_per_hour, c.sort_key)):
        by_type.setdefault((candidate.offer.cloud, candidate.offer.instance_type), candidate)
    plan = pipeline.make_plan(workload, book, profiles, workload_digest="0" * 64).plan
    return plan, list(by_type.values())[:GROUPS]


def ten_groups(plan: Plan, candidates: list[Candidate], workload: Workload) -> Plan:
    """The same traffic, divided evenly over a group of each candidate."""
    groups = tuple(_group(plan.groups[0], candidate, index) for index, candidate in enumerate(candidates))
    shares = tuple((group.name, 1 / len(groups)) for group in groups)
    routing = tuple(
        Route(
            input_tokens=bucket.input_tokens,
            output_tokens=bucket.output_tokens,
            rate_rps=bucket.rate_rps,
            shares=shares,
        )
        for bucket in workload.traffic.buckets()
    )
    return replace(
        plan,
        groups=groups,
        routing=routing,
        overhead=(),
        cost=Cost.of(groups, ()),
        contingencies=(),
        inputs=replace(plan.inputs, profiles="0" * 64),
    )


def _group(pattern: ReplicaGroup, candidate: Candidate, index: int) -> ReplicaGroup:
    offer, profile = candidate.offer, candidate.profile
    return replace(
        pattern,
        name=f"chat-{index}",
        file=f"chat-{index}.sky.yaml",
        cloud=offer.cloud,
        region=offer.region,
        zone=offer.zone,
        instance_type=offer.instance_type,
        accelerator=offer.accelerator,
        catalog_accelerator=offer.catalog_accelerator,
        accelerators_per_instance=offer.accelerators_per_instance,
        use_spot=offer.use_spot,
        instances=INSTANCES,
        replicas_per_instance=candidate.replicas_per_instance,
        tensor_parallel=profile.key.tensor_parallel,
        price_usd_per_hour=offer.price_usd_per_hour,
        price=offer.provenance,
        engine_version=profile.engine_version,
        engine_args=tuple(sorted(profile.engine_args.items())),
        profile=profile.provenance,
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    workload = pipeline.read(QUICKSTART)
    workload = replace(workload, candidates=replace(workload.candidates, clouds=None, regions={}))
    plan = ten_groups(*cheapest(workload), workload)
    with tempfile.TemporaryDirectory() as home:
        for name, text in render_files(plan, workload).items():
            path = Path(home) / "plan" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        environment = {**os.environ, "HOME": home, "SKY_MELANGE_CACHE_DIR": f"{home}/cache"}
        check = [sys.executable, "-m", "sky_melange", "check", f"{home}/plan/plan.json", "--offline"]
        report = subprocess.run([*check, "--format", "json"], env=environment, check=True, capture_output=True)
        groups = [price for price in json.loads(report.stdout)["prices"] if price["instances"] == INSTANCES]
        print(f"{len(groups)} groups, {len(plan.routing)} buckets")
        print(f"{'command':36} {'wall s':>8} {'cpu s':>8} {'target':>8}")
        for options, target in (((), f"{TARGET_S:.2f}"), (("--max-drift", "99"), "")):
            before = _children_cpu_s()
            wall_s = median_s([*check, *options], runs, environment)
            cpu_s = (_children_cpu_s() - before) / (runs + 1)
            print(f"{' '.join(('sky-melange check', *options)):36} {wall_s:8.3f} {cpu_s:8.3f} {target:>8}")


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
