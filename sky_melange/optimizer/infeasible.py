"""Says why nothing can be planned: each unserved bucket with its share of traffic, and per layout the reason."""

from __future__ import annotations

from collections.abc import Sequence

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.candidate import Candidate, Rejected
from sky_melange.domain.profile import Skipped
from sky_melange.domain.workload import RoutingPolicy, Workload
from sky_melange.errors import InfeasibleError
from sky_melange.optimizer.problem import Problem, RoutingClasses

_MAX_BUCKETS = 5


def check_servable(
    workload: Workload,
    buckets: Sequence[Bucket],
    classes: RoutingClasses,
    candidates: Sequence[Candidate],
    problem: Problem,
) -> None:
    """Raises InfeasibleError when some routing class has no candidate that serves all of it."""
    unserved = [members for members, row in zip(classes, problem.loads, strict=True) if all(x is None for x in row)]
    if not unserved:
        return
    total_rps = workload.traffic.request_rate_rps
    lines = ["no candidate can serve part of the traffic within the targets:"]
    for members in unserved[:_MAX_BUCKETS]:
        rate_rps = sum(buckets[index].rate_rps for index in members)
        lines.append(f"  {_class_label(workload.routing, buckets, members)} ({rate_rps / total_rps:.1%} of requests)")
        lines += [f"    {line}" for line in _reasons(candidates, members)]
    if len(unserved) > _MAX_BUCKETS:
        lines.append(f"  … and {len(unserved) - _MAX_BUCKETS} more")
    lines.append(_advice(workload))
    raise InfeasibleError("\n".join(lines))


def explain_limits(workload: Workload, problem: Problem) -> InfeasibleError:
    """The error for a model in which every bucket can be served, but not within the limits together."""
    limits = [f"{cap.name} = {cap.limit}" for cap in problem.caps]
    if problem.max_groups is not None:
        limits.append(f"constraints.max_groups = {problem.max_groups}")
    stated = ", ".join(limits) or "none"
    return InfeasibleError(
        "every bucket can be served, but not all of them within the limits together.\n"
        f"  limits: {stated}\n"
        f"  traffic: {workload.traffic.request_rate_rps:g} req/s at max_utilization {problem.max_utilization:g}\n"
        "Raise one of the limits, or allow more accelerators or clouds under candidates."
    )


def describe_rejected(rejected: Sequence[Rejected]) -> str:
    """One line a reason, the most frequent first."""
    ordered = sorted(rejected, key=lambda item: (-item.offers, item.reason))
    return "\n".join(f"  {item.offers:5d} offers: {item.reason} (such as {item.example})" for item in ordered)


def _class_label(policy: RoutingPolicy, buckets: Sequence[Bucket], members: Sequence[int]) -> str:
    if len(members) == 1:
        return f"bucket {buckets[members[0]].label}"
    if policy is RoutingPolicy.INPUT_AWARE:
        return f"requests of ≤{buckets[members[0]].input_tokens} input tokens, any output"
    return "all requests (blind routing sends every size to every group)"


def _reasons(candidates: Sequence[Candidate], members: Sequence[int]) -> list[str]:
    """One line for each profile: the first bucket of the class that it cannot serve, and why."""
    reasons: dict[str, None] = {}
    for candidate in candidates:
        key = candidate.profile.key
        for index in members:
            capacity = candidate.capacities[index]
            if isinstance(capacity, Skipped):
                layout = f"{key.accelerator} (tensor parallel {key.tensor_parallel})"
                reasons[f"{layout}: {capacity.reason}: {capacity.detail}"] = None
                break
    return sorted(reasons)


def _advice(workload: Workload) -> str:
    hint = "Loosen slo, allow more accelerators under candidates, or take the largest sizes out of the histogram"
    if workload.routing is not RoutingPolicy.SIZE_AWARE:
        return f"{hint}; routing: size_aware asks least of each group."
    return f"{hint}."
