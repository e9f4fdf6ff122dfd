"""The budget guard: `admin_policy: sky_melange.skypilot.budget_policy.BudgetPolicy` in SkyPilot's config.

See docs/budget-guard.md for the file of budgets, and for what the guard cannot see.
"""

from __future__ import annotations

from typing import Any

import sky
from sky import exceptions, sky_logging

from sky_melange.errors import InputError
from sky_melange.skypilot.budget.guard import Verdict, judge

_LOGGER = sky_logging.init_logger("sky.melange.budget_policy")


class BudgetPolicy(sky.AdminPolicy):  # type: ignore[misc]
    """Rejects a launch whose worst-case price exceeds what is left of a budget; labels what passes with its price."""

    @classmethod
    def validate_and_mutate(cls, user_request: Any) -> Any:
        """SkyPilot's hook. Raises `UserRequestRejectedByPolicy` with the figure and the budget."""
        try:
            verdict = judge(user_request)
        except InputError as error:
            # A guard whose budgets cannot be read lets nothing pass, whatever they would have said.
            verdict = Verdict(rejection=str(error))
        for warning in verdict.warnings:
            _LOGGER.warning("Budget guard: %s", warning)
        if verdict.rejection is not None:
            raise exceptions.UserRequestRejectedByPolicy(f"Rejected by the budget guard: {verdict.rejection}")
        return sky.MutatedUserRequest(task=user_request.task, skypilot_config=user_request.skypilot_config)
