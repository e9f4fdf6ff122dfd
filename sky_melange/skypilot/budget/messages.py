"""What the guard says."""

from __future__ import annotations

from collections.abc import Sequence

from sky_melange.domain.spending import ANYONE, Excess, Owner, Scope, Spending, SpendingLimit
from sky_melange.skypilot.budget.pricing import WorstCase


def over_budget(claim: Spending, price: WorstCase, found: Sequence[Excess]) -> str:
    """Figure, arithmetic, and each budget that it exceeds."""
    lines = [f"{claim.kind} {shown(claim.name)} costs up to {claim.usd_per_hour:.4f} USD/h ({price.reckoning})."]
    for excess in found:
        lines.append(
            f"That is more than what is left of {budget_words(excess, claim.owner)}: "
            f"{excess.left_usd_per_hour:.4f} of {excess.limit.usd_per_hour:.4f} USD/h{_of_month(excess.limit)}, "
            f"{excess.used_usd_per_hour:.4f} being spent or reserved."
        )
    return " ".join(lines)


def _of_month(limit: SpendingLimit) -> str:
    return "" if limit.usd_per_month is None else f" ({limit.usd_per_month:,.2f} USD per month of 730 hours)"


def budget_words(excess: Excess, owner: Owner) -> str:
    """`the budget users."*" (here: user alice)`."""
    limit = excess.limit
    section = {Scope.USER: "users", Scope.WORKSPACE: "workspaces", Scope.PREFIX: "prefixes"}[limit.scope]
    whose = ""
    if limit.name == ANYONE:
        name = (owner.user_name or owner.user_id) if limit.scope is Scope.USER else owner.workspace
        whose = f" (here {shown(name)})"
    return f"the budget {section}.{shown(limit.name)}{whose}"


def unknown(claim_words: str, problems: Sequence[str]) -> str:
    """Why nothing can be said."""
    listed = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
    return f"what {claim_words} may cost cannot be weighed against the budgets: {listed}."


def shown(name: str) -> str:
    """A name as it can be shown: names come from clients."""
    text = name.split("#", 1)[0]
    return repr(text if len(text) <= 80 else text[:80] + "…")
