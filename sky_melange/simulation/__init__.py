"""Replays requests through a plan: the router, its groups, and replicas that batch continuously.

law.py        a profile as the time of one step, by what runs in it
arrivals.py   requests: drawn from a histogram by a seed, or replayed from a log
fleet.py      groups, and the front door as tables
loop.py       the events, compiled; compiled.py imports it
run.py        a fleet on a scenario -> what became of the requests

It knows plans and profiles, and no solver. No clock, no environment; chance comes from a seed.
"""

from __future__ import annotations

from sky_melange.domain.buckets import Arrivals
from sky_melange.simulation.arrivals import parse_arrivals
from sky_melange.simulation.fleet import Fleet, Group, fleet_of, without
from sky_melange.simulation.run import DEFAULT_REQUESTS, MOST_REQUESTS, Scenario, closed_loop, simulate, unloaded

__all__ = [
    "DEFAULT_REQUESTS",
    "MOST_REQUESTS",
    "Arrivals",
    "Fleet",
    "Group",
    "Scenario",
    "closed_loop",
    "fleet_of",
    "parse_arrivals",
    "simulate",
    "unloaded",
    "without",
]
