"""The simulator with compiled code kept in the user's cache folder. Numba is imported when it first runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sky_melange.domain.workload import Slo

if TYPE_CHECKING:
    from sky_melange.domain.simulation import Simulation
    from sky_melange.simulation import Fleet, Scenario

    Simulator = Callable[[Fleet, Scenario, Slo], Simulation]


_SWEPT: Final = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5)
_SWEPT_REQUESTS: Final = 20_000


def in_worst_hour(run: Callable[[Scenario], Simulation], scenario: Scenario) -> tuple[Scenario, Simulation, str | None]:
    """(the scenario, what comes of it, the sizes) of the set of sizes with which the fewest requests hold.

    Each in its busiest hour, or all at the rate of the scenario where that is another than planned. The scenario itself
    and None where sizes are the same in all hours, or those of a log.
    """
    traffic, rate_rps = scenario.traffic, scenario.request_rate_rps
    if scenario.log is not None or traffic.hours is None or not traffic.size_sets:
        return scenario, run(scenario), None
    is_planned = rate_rps == traffic.request_rate_rps
    found = []
    for number, (each, busiest_rps) in enumerate(zip(traffic.size_sets, traffic.hours.busiest_rps, strict=True)):
        own_rps = busiest_rps if is_planned else rate_rps
        own = replace(scenario, traffic=traffic.within(number, own_rps).drawn, request_rate_rps=own_rps)
        found.append((own, run(own), each.name))
    return min(found, key=lambda each: each[1].held)


def swept(
    run: Callable[[Scenario], Simulation], scenario: Scenario, found: Simulation
) -> list[tuple[float, Simulation]]:
    """By requests/s, from 25 to 150 % of the rate of `scenario`, which is `found`."""
    requests = min(scenario.requests, _SWEPT_REQUESTS)
    rates = ((factor, factor * scenario.request_rate_rps) for factor in _SWEPT)
    return [
        (rate_rps, found if factor == 1 else run(replace(scenario, request_rate_rps=rate_rps, requests=requests)))
        for factor, rate_rps in rates
    ]


def simulator(progress: Callable[[str], None] | None = None) -> Simulator:
    """`simulation.simulate`; `progress` is told when it has to be compiled first, which takes some ten seconds."""

    def run(fleet: Fleet, scenario: Scenario, slo: Slo) -> Simulation:
        from sky_melange.prices.site import cache_folder
        from sky_melange.simulation import simulate

        return simulate(fleet, scenario, slo, cache_folder=cache_folder(), progress=progress)

    return run
