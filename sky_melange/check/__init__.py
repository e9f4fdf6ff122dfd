"""The budget gate: a plan, today's prices, limits -> verdicts; two plans -> what changed. Pure, one check a function.

lock.py      the plan was made for what the workload file asks for now
prices.py    every machine has a price, and none is too old
budget.py    total, worst case, overhead and month against the budget
serves.py    the plan still carries the workload
files.py     the files beside plan.json are what it renders
drift.py     no plan is much cheaper now
policies.py  the rules of policy.yaml
diff.py      what changed between two plans
inputs.py    what changed between two workloads or profiles
"""

from __future__ import annotations

from sky_melange.check.budget import budget_checks
from sky_melange.check.diff import Side, compare
from sky_melange.check.drift import drift
from sky_melange.check.files import files
from sky_melange.check.lock import lock
from sky_melange.check.policies import policy_checks
from sky_melange.check.prices import not_confirmed, prices_fresh, prices_known, without_prices
from sky_melange.check.serves import serves

__all__ = [
    "Side",
    "budget_checks",
    "compare",
    "drift",
    "files",
    "lock",
    "not_confirmed",
    "policy_checks",
    "prices_fresh",
    "prices_known",
    "serves",
    "without_prices",
]
