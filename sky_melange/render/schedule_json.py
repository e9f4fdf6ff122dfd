"""schedule.json: the instances of each service in each hour, for whatever scales them by the clock."""

from __future__ import annotations

import json
from typing import Final

from sky_melange.domain.hours import Scaling
from sky_melange.domain.plan import Plan
from sky_melange.domain.scaling import counts_by_hour, hour_words, scaling_of
from sky_melange.domain.workload import Workload

FILE_NAME: Final = "schedule.json"
SCHEMA_VERSION: Final = 1


def render(plan: Plan, workload: Workload) -> dict[str, str]:
    """File name -> JSON text; {} where the plan is not scaled by the clock. One line an hour."""
    schedule = plan.schedule
    if schedule is None or scaling_of(plan, workload) is not Scaling.SCHEDULE:
        return {}
    head = {
        "schema_version": SCHEMA_VERSION,
        "plan": plan.name,
        "time_zone": schedule.time_zone,
        "startup_minutes": float(schedule.startup_minutes),
        "services": [group.name for group in plan.groups],
    }
    hours = [
        {"hour": hour_words(schedule, hour), "instances": counts}
        for hour, counts in enumerate(counts_by_hour(schedule))
    ]
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    rows = ",\n".join(f"    {json.dumps(hour)}" for hour in hours)
    return {FILE_NAME: "{\n" + ",\n".join([*lines, f'  "hours": [\n{rows}\n  ]']) + "\n}\n"}
