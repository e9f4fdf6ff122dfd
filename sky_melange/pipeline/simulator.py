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
