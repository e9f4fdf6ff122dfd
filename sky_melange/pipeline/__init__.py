"""The composition root: read -> model -> solve -> verify. Rendering and writing are the caller's.

reading.py     a workload with all that it names
profiling.py   its profiles, and what a replica of each sustains
planning.py    workload, prices and profiles -> a verified plan
answering.py   what there is to choose from -> what to launch
attaining.py   the cheapest plan that holds in simulation
judging.py     whether one holds; drawn_errors.py with profiles that are off
learning.py    what it teaches of the loads at which others do
simulating.py  a plan.json -> the fleet and the requests to simulate
simulator.py   the simulator, with a place for its compiled code
fleets.py      a fleet.yaml -> a verified plan of each workload; fleet_search.py, sharing.py: plans chosen together
melange.py     the released Mélange solver's JSON, solved
digests.py     digests of the inputs

A module is imported when one of its names is first used: `solve` waits for neither prices nor profiles.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sky_melange.pipeline.digests import workload_digest
    from sky_melange.pipeline.melange import solve_melange
    from sky_melange.pipeline.planning import Planned, check_budget, make_plan, plan_file
    from sky_melange.pipeline.profiling import (
        capacities_of,
        profiles_digest,
        profiles_for,
        profiles_on,
        selected_profiles,
    )
    from sky_melange.pipeline.reading import embedded_book, read, with_clouds_of
    from sky_melange.pipeline.simulating import arrivals_log, planned_fleet, usual_requests, workload_file_of
    from sky_melange.pipeline.simulator import in_worst_hour, simulator, swept

__all__ = [
    "Planned",
    "arrivals_log",
    "capacities_of",
    "check_budget",
    "embedded_book",
    "in_worst_hour",
    "make_plan",
    "plan_file",
    "planned_fleet",
    "profiles_digest",
    "profiles_for",
    "profiles_on",
    "read",
    "selected_profiles",
    "simulator",
    "solve_melange",
    "swept",
    "usual_requests",
    "with_clouds_of",
    "workload_digest",
    "workload_file_of",
]

_NAMES: Final = {
    "digests": ("workload_digest",),
    "melange": ("solve_melange",),
    "planning": ("Planned", "check_budget", "make_plan", "plan_file"),
    "profiling": ("capacities_of", "profiles_digest", "profiles_for", "profiles_on", "selected_profiles"),
    "reading": ("embedded_book", "read", "with_clouds_of"),
    "simulating": ("arrivals_log", "planned_fleet", "usual_requests", "workload_file_of"),
    "simulator": ("in_worst_hour", "simulator", "swept"),
}
_HOMES: Final = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    module = importlib.import_module(f"{__name__}.{home}")
    # All of them: a module that is imported takes the place of its function of the same name.
    globals().update({each: getattr(module, each) for each in _NAMES[home]})
    return globals()[name]
