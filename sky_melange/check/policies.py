"""The rules of policy.yaml; one check for each rule that is set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sky_melange.check.checks import within
from sky_melange.domain.check import Check, Unit, Verdict
from sky_melange.domain.plan import Plan
from sky_melange.domain.policy import Policy
from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.unit_costs import TokenBasis, UnitCosts


def policy_checks(plan: Plan, units: UnitCosts | None, policy: Policy) -> tuple[Check, ...]:
    """`plan` and `units` are at today's prices and profiles; `units` is None when a price is not known."""
    return (*_token_costs(units, policy), *_places(plan, policy), *_kinds(plan, policy))


def _token_costs(units: UnitCosts | None, policy: Policy) -> Iterator[Check]:
    for which, what in (("", "input and output "), ("input_", "input "), ("output_", "output ")):
        limit: float | None = getattr(policy, f"max_usd_per_million_{which}tokens")
        if limit is None:
            continue
        figure: float | None = None if units is None else getattr(units, f"usd_per_million_{which}tokens")
        is_bound = units is not None and units.rates.basis is TokenBasis.UPPER
        says = f"the whole cost over the planned {what}tokens"
        yield Check(
            name=f"policy-usd-per-million-{which.replace('_', '-')}tokens",
            verdict=Verdict.SKIPPED if figure is None else within(figure, limit),
            figure=figure,
            limit=limit,
            unit=Unit.USD_PER_MILLION_TOKENS,
            says=says if figure is not None else f"{says}; not judged, since a price is not known (see prices-known)",
            details=("tokens are counted by the upper edges of buckets; mean_tokens makes them exact",)
            if is_bound
            else (),
            of_prices=True,
            is_lower_bound=is_bound,
        )


def _places(plan: Plan, policy: Policy) -> Iterator[Check]:
    places = [
        *((group.name, group.cloud, group.region) for group in plan.groups),
        *((machine.purpose, machine.cloud, machine.region) for machine in plan.overhead),
    ]
    if policy.banned_clouds:
        found = [f"{name}: {cloud}" for name, cloud, _ in places if cloud in policy.banned_clouds]
        yield _count("policy-clouds", "machines on a banned cloud", found)
    if policy.banned_regions:
        banned = policy.banned_regions
        found = [f"{name}: {cloud} {region}" for name, cloud, region in places if region in banned.get(cloud, ())]
        yield _count("policy-regions", "machines in a banned region", found)


def _kinds(plan: Plan, policy: Policy) -> Iterator[Check]:
    if policy.allowed_accelerators is not None:
        allowed = policy.allowed_accelerators
        found = [f"{group.name}: {group.accelerator}" for group in plan.groups if group.accelerator not in allowed]
        yield _count("policy-accelerators", f"groups on other accelerators than {', '.join(allowed)}", found)
    if policy.max_spot_fraction is not None:
        spot = {group.name for group in plan.groups if group.use_spot}
        on_spot = plan.request_fraction(*spot)
        yield Check(
            name="policy-spot",
            verdict=within(on_spot, policy.max_spot_fraction),
            figure=on_spot,
            limit=policy.max_spot_fraction,
            unit=Unit.FRACTION,
            says="requests that are routed to spot machines",
            details=tuple(sorted(spot)),
        )
    if policy.min_profile_kind is not None:
        order = list(ProfileKind)
        least = order.index(policy.min_profile_kind)
        found = [f"{g.name}: {g.profile.kind}" for g in plan.groups if order.index(g.profile.kind) > least]
        yield _count("policy-profile-kind", f"groups whose throughput is less than {policy.min_profile_kind}", found)


def _count(name: str, says: str, found: Iterable[str]) -> Check:
    details = tuple(found)
    return Check(
        name=name,
        verdict=within(len(details), 0),
        figure=len(details),
        limit=0,
        unit=Unit.MACHINES,
        says=says,
        details=details,
    )
