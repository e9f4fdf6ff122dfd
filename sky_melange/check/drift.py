"""No other plan is much cheaper at today's prices."""

from __future__ import annotations

from sky_melange.check.outcome import within
from sky_melange.domain.check import Check, Unit, Verdict
from sky_melange.domain.plan import Cost, Plan

_SAYS = "what the cheapest plan of today would save against this one at today's prices"


def drift(today: Cost | None, best: Plan | None, max_drift_fraction: float | None, problem: str = "") -> Check:
    """`best` is the plan of today, re-solved; None with the `problem` when there is none.

    Totals are compared, overhead included; replicas alone where the overhead's price is not known in `best`.
    """
    if max_drift_fraction is None:
        return _check(Verdict.SKIPPED, None, None, f"{_SAYS}; not searched for (--max-drift)")
    if today is None:
        says = f"{_SAYS}; not judged, since a price is not known (see prices-known)"
        return _check(Verdict.SKIPPED, None, max_drift_fraction, says)
    if best is None:
        return _check(Verdict.FAIL, None, max_drift_fraction, f"{_SAYS}; searching failed", *problem.splitlines())
    known = all(machine.price_usd_per_hour is not None for machine in best.overhead)
    now = today.total_usd_per_hour if known else today.replicas_usd_per_hour
    then = best.cost.total_usd_per_hour if known else best.cost.replicas_usd_per_hour
    saving = max(0.0, 1 - then / now) if now > 0 else 0.0
    groups = tuple(f"{g.name}: {g.instances} × {g.instance_type} on {g.cloud} {g.region}" for g in best.groups)
    proven = () if best.status == "optimal" else ("this plan is not proven cheapest: more may be saved",)
    return _check(within(saving, max_drift_fraction), saving, max_drift_fraction, _SAYS, *groups, *proven)


def _check(verdict: Verdict, figure: float | None, limit: float | None, says: str, *details: str) -> Check:
    return Check(
        name="drift", verdict=verdict, figure=figure, limit=limit, unit=Unit.FRACTION, says=says, details=details
    )
