"""Says why nothing can be planned: each unserved bucket, its share of traffic, why by layout, and what helps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.candidate import Candidate, Rejected
from sky_melange.domain.engine import layout_text
from sky_melange.domain.profile import ProfileKey, Skipped
from sky_melange.domain.workload import Objective, RoutingPolicy, Workload
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.limits import limits_of
from sky_melange.optimizer.limits.switching import KeepRunning
from sky_melange.optimizer.limits.utilization import MaxUtilization
from sky_melange.optimizer.problem import Problem, RoutingClasses
from sky_melange.optimizer.solve.dominance import undominated

if TYPE_CHECKING:
    from sky_melange.optimizer.model import Model
    from sky_melange.optimizer.solve.session import Session
    from sky_melange.optimizer.why.relax import Relaxation

_MAX_BUCKETS: Final = 5
_LONGEST_SEARCH_S: Final = 20.0
"""For an explanation: less than a plan may take."""


def unserved_classes(model: Model) -> list[tuple[int, ...]]:
    """The routing classes (buckets by index) that no candidate serves whole."""
    rows = zip(model.classes, model.problem.loads, strict=True)
    return [members for members, row in rows if all(load is None for load in row)]


def describe_unserved(model: Model, more: Mapping[int, Sequence[str]], remedies: Sequence[str]) -> InfeasibleError:
    """The error for buckets that no candidate serves. `more[bucket]`: other reasons; `remedies`: changes that help."""
    unserved = unserved_classes(model)
    lines = ["no candidate can serve part of the traffic within the targets:"]
    seen: dict[tuple[str, ...], str] = {}
    for members in unserved[:_MAX_BUCKETS]:
        share = sum(model.buckets[index].rate_rps for index in members) / model.workload.traffic.request_rate_rps
        label = class_label(model.workload.routing, model.buckets, members)
        lines.append(f"  {label} ({share:.1%} of requests)")
        doubted = dict.fromkeys(line for index in members for line in more.get(index, ()))
        lines += _under(label, [*_lines(_refusals(model.candidates, members)), *doubted], seen)
    if len(unserved) > _MAX_BUCKETS:
        lines.append(f"  … and {len(unserved) - _MAX_BUCKETS} more")
    if remedies:
        lines += ["Any one of these makes every bucket servable:", *(f"  {remedy}" for remedy in remedies)]
    else:
        lines.append(_advice(model.workload))
    return InfeasibleError("\n".join(lines))


def describe_limits(model: Model) -> InfeasibleError:
    """The error for a model in which every bucket can be served, but not within the limits together."""
    from sky_melange.optimizer.solve.session import Session

    settings = model.workload.solver
    session = Session(settings, time_limit_s=min(settings.time_limit_s, _LONGEST_SEARCH_S))
    kept = undominated(model.problem)
    problem = model.problem.restricted_to(kept)
    lines = [
        "every bucket can be served, but not all of them within the limits together.",
        f"  limits: {', '.join(_limits(problem)) or 'none'}",
        f"  traffic: {_traffic(model)} at max_utilization {problem.max_utilization:g}",
    ]
    try:
        lines += _left_out(model, kept, problem, session)
    except NotOptimalError:
        lines.append("  which part is left out could not be found within the time limit")
    return InfeasibleError("\n".join([*lines, *_changes(problem, session)]))


def describe_rejected(rejected: Sequence[Rejected]) -> str:
    """One line a reason, the most frequent first."""
    ordered = sorted(rejected, key=lambda item: (-item.offers, item.reason))
    return "\n".join(f"  {item.offers:5d} offers: {item.reason} (such as {item.example})" for item in ordered)


def class_label(policy: RoutingPolicy, buckets: Sequence[Bucket], members: Sequence[int]) -> str:
    """What a routing class is called in messages."""
    if len(members) == 1:
        return f"bucket {buckets[members[0]].label}"
    if policy is RoutingPolicy.INPUT_AWARE:
        return f"requests of ≤{buckets[members[0]].input_tokens} input tokens, any output"
    return "all requests (blind routing sends every size to every group)"


def _traffic(model: Model) -> str:
    if model.workload.objective is Objective.MOST_TRAFFIC:
        return "next to none"
    return f"{model.workload.traffic.request_rate_rps:g} req/s"


def _limits(problem: Problem) -> list[str]:
    """Every limit that is set, as the workload writes it, minima last; the utilisation is shown with the traffic."""
    found = sorted(limits_of(problem), key=lambda limit: limit.is_minimum)
    return [limit.text() for limit in found if not isinstance(limit, MaxUtilization | KeepRunning)]


def _left_out(model: Model, kept: Sequence[int], problem: Problem, session: Session) -> Iterator[str]:
    """The buckets left without a server when the limits serve as much as they can, and what stands in the way."""
    from sky_melange.optimizer.why.relax import least_unserved

    found = least_unserved(problem, session)
    left = [r for r, fraction in enumerate(found.fractions) if fraction > 0]
    if not left:
        yield "  the upper limits leave room for all traffic; the minima on top of it do not fit"
        return
    counts = [0] * len(model.candidates)
    for position, c in enumerate(kept):
        counts[c] = found.counts[position]
    weights = problem.weights or (1.0 / problem.class_count,) * problem.class_count
    # Weights sum to 1 but for rounding, which would be shown as -0.0%.
    served = max(0.0, 1 - math.fsum(weights[r] * fraction for r, fraction in enumerate(found.fractions)))
    yield f"  at most {served:.1%} of the requests can be served; left out:"
    seen: dict[tuple[str, ...], str] = {}
    for r in left[:_MAX_BUCKETS]:
        label = class_label(model.workload.routing, model.buckets, model.classes[r])
        yield f"  {label} ({weights[r]:.1%} of requests, {found.fractions[r]:.1%} of them unserved)"
        yield from _under(label, _obstacles(model, counts, r), seen)
    if len(left) > _MAX_BUCKETS:
        yield f"  … and {len(left) - _MAX_BUCKETS} more"


def _obstacles(model: Model, counts: Sequence[int], r: int) -> list[str]:
    """By layout: why it cannot serve class r, or which limits forbid one more of its cheapest instance."""
    from sky_melange.optimizer.why.relax import in_the_way

    found = _refusals(model.candidates, model.classes[r])
    for c in sorted(range(len(model.candidates)), key=lambda c: (model.problem.prices[c], c)):
        layout = model.candidates[c].profile.key
        if model.problem.loads[r][c] is not None and layout not in found:
            found[layout] = ", ".join(in_the_way(model.problem, counts, c)) or "fits no better beside the others"
    return _lines(found)


def _changes(problem: Problem, session: Session) -> list[str]:
    """The changes that make it feasible: each limit alone, or else together."""
    from sky_melange.optimizer.why.relax import joint_relaxation, relaxations

    alone = relaxations(problem, session)
    if alone:
        return ["Any one of these changes makes it feasible, the smallest first:", *_listed(alone)]
    together = joint_relaxation(problem, session)
    if together:
        return ["No limit alone is to blame; these changes together make it feasible:", *_listed(together)]
    return ["No change of these limits was found that makes it feasible; allow more under candidates, or loosen slo."]


def _listed(changes: Sequence[Relaxation]) -> list[str]:
    return [f"  {change}" for change in changes]


def _refusals(candidates: Sequence[Candidate], members: Sequence[int]) -> dict[ProfileKey, str]:
    """For each layout the first bucket of the class that it cannot serve, and why."""
    reasons: dict[ProfileKey, str] = {}
    for candidate in candidates:
        for index in members:
            capacity = candidate.capacities[index]
            if isinstance(capacity, Skipped):
                reasons[candidate.profile.key] = f"{capacity.reason}: {capacity.detail}"
                break
    return reasons


def _lines(reasons: Mapping[ProfileKey, str]) -> list[str]:
    """One line for an accelerator and reason, with the layouts that it holds for."""
    sizes: dict[tuple[str, str, str], list[str]] = {}
    for key, reason in sorted(reasons.items()):
        layout, comma, engine = layout_text(key.tensor_parallel, key.layout, key.engine).partition(",")
        sizes.setdefault((key.accelerator, comma + engine, reason), []).append(layout.removeprefix("TP "))
    return [
        f"{accelerator} (tensor parallel {', '.join(found)}{engine}): {reason}"
        for (accelerator, engine, reason), found in sizes.items()
    ]


def _under(label: str, lines: Sequence[str], seen: dict[tuple[str, ...], str]) -> list[str]:
    """The lines below a bucket's own, or where they stand already."""
    before = seen.setdefault(tuple(lines), label)
    return [f"    {line}" for line in lines] if before == label else [f"    as {before}"]


def _advice(workload: Workload) -> str:
    hint = "Loosen slo, allow more accelerators under candidates, or take the largest sizes out of the histogram"
    if workload.routing is not RoutingPolicy.SIZE_AWARE:
        return f"{hint}; routing: size_aware asks least of each group."
    return f"{hint}."


def is_servable(classes: RoutingClasses, candidates: Sequence[Candidate]) -> bool:
    """Whether every class has a candidate that serves all of its buckets."""
    return all(
        any(not any(isinstance(candidate.capacities[index], Skipped) for index in members) for candidate in candidates)
        for members in classes
    )
