"""Which budgets a launch would break. Pure: no clock, no database, no SkyPilot."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence

from sky_melange.domain.spending import ANYONE, Budgets, Excess, GuardMode, Kind, Owner, Scope, Spending, SpendingLimit

_TOLERANCE_USD_PER_HOUR = 1e-9


def limits_on(budgets: Budgets, name: str, owner: Owner) -> tuple[SpendingLimit, ...]:
    """The budgets that a launch of this name by this owner falls under; `*` only where no entry names the owner."""
    users = {_composed(owner.user_id), *([_composed(owner.user_name)] if owner.user_name else [])}
    found = [
        *_named_or_anyone(budgets.limits, Scope.USER, users),
        *_named_or_anyone(budgets.limits, Scope.WORKSPACE, {_composed(owner.workspace)}),
    ]
    found += [limit for limit in budgets.limits if limit.scope is Scope.PREFIX and name.startswith(limit.name)]
    return tuple(found)


def _named_or_anyone(limits: Iterable[SpendingLimit], scope: Scope, names: set[str]) -> list[SpendingLimit]:
    fitting = [limit for limit in limits if limit.scope is scope]
    named = [limit for limit in fitting if _composed(limit.name) in names]
    return named or [limit for limit in fitting if limit.name == ANYONE]


def _composed(name: str) -> str:
    """One spelling of a name: `é` may be one character or two."""
    return unicodedata.normalize("NFC", name)


def excesses(budgets: Budgets, claim: Spending, spent: Sequence[Spending]) -> tuple[Excess, ...]:
    """The limits that the claim would break beside everything else, in the order of the file.

    What the claim replaces (the same kind and name: an update, a second launch) is not counted twice, and a claim that
    costs no more than what the same user has there is always let through: a lowered budget must not hold it up.
    """
    own = (entry for entry in spent if entry.key == claim.key and entry.owner.user_id == claim.owner.user_id)
    replaced = _by_thing(own).get(claim.key)
    if replaced is not None and claim.usd_per_hour <= replaced + _TOLERANCE_USD_PER_HOUR:
        return ()
    found = []
    for limit in limits_on(budgets, claim.name, claim.owner):
        used = used_usd_per_hour(limit, claim, spent)
        if used + claim.usd_per_hour > limit.usd_per_hour + _TOLERANCE_USD_PER_HOUR:
            is_fatal = budgets.mode_of(limit) is GuardMode.ENFORCE
            found.append(Excess(limit=limit, used_usd_per_hour=used, is_fatal=is_fatal))
    return tuple(found)


def used_usd_per_hour(limit: SpendingLimit, claim: Spending, spent: Iterable[Spending]) -> float:
    """What is spent under a limit beside the claim. A thing both seen and reserved counts once, at the larger."""
    under = (entry for entry in spent if entry.key != claim.key and _is_under(limit, claim.owner, entry))
    return math.fsum(_by_thing(under).values())


def matters(budgets: Budgets, claim: Spending, entry: Spending) -> bool:
    """Whether a thing counts under any budget that the claim falls under."""
    limits = limits_on(budgets, claim.name, claim.owner)
    return entry.key != claim.key and any(_is_under(limit, claim.owner, entry) for limit in limits)


def _by_thing(spent: Iterable[Spending]) -> dict[tuple[Kind, str], float]:
    largest: dict[tuple[Kind, str], float] = {}
    for entry in spent:
        largest[entry.key] = max(entry.usd_per_hour, largest.get(entry.key, 0.0))
    return largest


def _is_under(limit: SpendingLimit, claimant: Owner, entry: Spending) -> bool:
    if limit.scope is Scope.USER:
        # The limit is the claimant's, by name or as one of `*`: what counts is theirs alone.
        return entry.owner.user_id == claimant.user_id
    if limit.scope is Scope.WORKSPACE:
        return entry.owner.workspace == claimant.workspace
    return entry.name.startswith(limit.name)
