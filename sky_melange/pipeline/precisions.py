"""Of the precisions that a model's weights may have, the one whose plan costs least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sky_melange.domain.workload import Objective, Workload
from sky_melange.errors import InfeasibleError, MissingDataError, SkyMelangeError

if TYPE_CHECKING:
    from sky_melange.pipeline.planning import Planned


def cheapest_precision(workloads: Sequence[Workload], at: Callable[[Workload], Planned]) -> Planned:
    """The best plan of those at each precision; it says what the others cost. Raises the first's error if all fail."""
    found: dict[str, Planned] = {}
    failed: dict[str, SkyMelangeError] = {}
    for workload in workloads:
        try:
            found[workload.model.dtype] = at(workload)
        except (InfeasibleError, MissingDataError) as error:
            failed[workload.model.dtype] = error
    if not found:
        first = failed.pop(workloads[0].model.dtype)
        raise type(first)("\n".join((str(first), *(f"With {name}: {error}" for name, error in failed.items()))))

    def merit(dtype: str) -> tuple[float, float]:
        planned = found[dtype]
        rate_rps = planned.workload.traffic.request_rate_rps
        return (-rate_rps if planned.workload.objective is Objective.MOST_TRAFFIC else 0.0), (
            planned.plan.mean_usd_per_hour
        )

    # Of plans that cost the same, the first that the workload names.
    best = min(found, key=merit)
    plan = found[best].plan
    sentences = [
        f"{other.plan.mean_usd_per_hour:.2f} USD/h with {name}" for name, other in found.items() if name != best
    ] + [f"no plan with {name} ({str(error).splitlines()[0]})" for name, error in failed.items()]
    said = (
        f"Weights: {best} ({found[best].workload.model.id}), {plan.mean_usd_per_hour:.2f} USD/h, is the cheapest that "
        f"model.dtype allows; {', '.join(sentences)}. Answers differ between precisions: compare their quality first."
    )
    explanation = plan.explanation and replace(plan.explanation, other_dtypes=(said,))
    return replace(found[best], plan=replace(plan, assumptions=(said, *plan.assumptions), explanation=explanation))
