"""The simulator with compiled code kept in the user's cache folder. Numba is imported when it first runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sky_melange.domain.workload import Slo

if TYPE_CHECKING:
    from sky_melange.domain.simulation import Simulation
    from sky_melange.simulation import Fleet, Scenario

    Simulator = Callable[[Fleet, Scenario, Slo], Simulation]


def simulator(progress: Callable[[str], None] | None = None) -> Simulator:
    """`simulation.simulate`; `progress` is told when it has to be compiled first, which takes some ten seconds."""

    def run(fleet: Fleet, scenario: Scenario, slo: Slo) -> Simulation:
        from sky_melange.prices.site import cache_folder
        from sky_melange.simulation import simulate

        return simulate(fleet, scenario, slo, cache_folder=cache_folder(), progress=progress)

    return run
