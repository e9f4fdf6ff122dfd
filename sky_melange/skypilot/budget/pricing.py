"""What a task costs per hour at its worst, by SkyPilot's own optimizer and catalogs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from sky_melange.errors import MissingDataError
from sky_melange.skypilot.skypilot_errors import one_line, skypilot_errors

_FREE_CLOUDS: Final = frozenset({"kubernetes", "ssh", "slurm", "local"})
"""Machines that one owns: SkyPilot's 0 is their price, unless its config names another."""


class UnknownPriceError(MissingDataError):
    """SkyPilot has no price for what a task asks for."""


class NoMachineError(UnknownPriceError):
    """SkyPilot's optimizer finds no machine: what cannot be had cannot be launched either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePrice:
    """One machine of the kind that SkyPilot would pick for one of a task's candidates."""

    machine: str
    usd_per_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """The dearest that a task may become.

    `per_candidate`: what one machine of each candidate (in the task's order) costs, None for one that cannot be had.
    `reckoning` is the arithmetic in words.
    """

    usd_per_hour: float
    reckoning: str
    per_candidate: tuple[float | None, ...]


def worst_case(task: Any, *, has_replicas: bool, copies: int = 1, minimize: Any = None) -> WorstCase:
    """The price of a `sky.Task`: its dearest candidate, times nodes, times replicas and stand-ins of a service.

    `has_replicas`: launched as a service or pool; else what stands under `service:` is ignored, as SkyPilot does.
    A candidate's price is that of the machine that SkyPilot's optimizer picks for it alone, by `minimize`. Raises
    UnknownPriceError when there is a machine without a price, or no machine for any candidate.
    """
    nodes = task.num_nodes or 1
    found: list[tuple[float, str]] = []
    machines: list[float | None] = []
    refusals: list[str] = []
    for candidate in task.resources:
        try:
            total, words, machine = _candidate_total(task.service if has_replicas else None, candidate, nodes, minimize)
        except NoMachineError as error:
            refusals.append(str(error))
            machines.append(None)
            continue
        found.append((total, words))
        machines.append(machine)
    if not found:
        raise UnknownPriceError("; ".join(dict.fromkeys(refusals)) or "the task asks for no resources")
    usd_per_hour, reckoning = max(found)
    if copies > 1:
        usd_per_hour, reckoning = copies * usd_per_hour, f"{copies} × {reckoning}"
    if len(found) > 1:
        reckoning += f", the dearest of {len(found)} candidates"
    return WorstCase(usd_per_hour=usd_per_hour, reckoning=reckoning, per_candidate=tuple(machines))


def _candidate_total(spec: Any, candidate: Any, nodes: int, minimize: Any) -> tuple[float, str, float]:
    """USD/h of everything if this candidate is what SkyPilot takes, the arithmetic, and USD/h of one machine."""
    if spec is None:
        price = machine_price(candidate, minimize)
        return price.usd_per_hour * nodes, _words(1, nodes, price, "machine"), price.usd_per_hour
    counts = replica_counts(spec)
    parts = []
    for count, use_spot in ((counts.stated, None), (counts.spot, True), (counts.on_demand, False)):
        if count:
            wanted = candidate if use_spot is None else candidate.copy(use_spot=use_spot)
            parts.append((count, machine_price(wanted, minimize)))
    if not parts:
        return 0.0, "no replicas", machine_price(candidate, minimize).usd_per_hour
    total = math.fsum(count * nodes * price.usd_per_hour for count, price in parts)
    reckoning = " + ".join(_words(count, nodes, price, "replica") for count, price in parts)
    return total, reckoning, parts[0][1].usd_per_hour


def _words(count: int, nodes: int, price: MachinePrice, noun: str) -> str:
    many = "" if noun == "machine" else f"{count} {noun}s × " if count != 1 else f"1 {noun} × "
    at = f"{nodes} nodes × " if nodes != 1 else ""
    return f"{many}{at}{price.machine} at {price.usd_per_hour:.4f} USD/h"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCounts:
    """The most replicas of a service at once: as its candidates state, or told apart by kind of machine."""

    stated: int = 0
    spot: int = 0
    on_demand: int = 0


def replica_counts(spec: Any) -> ReplicaCounts:
    """The worst case of SkyServe's autoscalers.

    `max_replicas` (without autoscaling `min_replicas`) and `num_overprovision`. With a dynamic fallback on-demand
    machines stand in for every spot machine that is not ready, beside it: SkyServe's
    `FallbackRequestRateAutoscaler._generate_scaling_decisions` with no spot machine ready.
    """
    target = spec.max_replicas if spec.max_replicas is not None else spec.min_replicas
    final = target + (getattr(spec, "num_overprovision", None) or 0)
    base = spec.base_ondemand_fallback_replicas or 0
    dynamic = bool(spec.dynamic_ondemand_fallback)
    if not base and not dynamic:
        return ReplicaCounts(stated=final)
    spot = max(0, final - base)
    on_demand = min(base + (spot if dynamic else 0), target)
    return ReplicaCounts(spot=spot, on_demand=on_demand)


def machine_price(resources: Any, minimize: Any = None) -> MachinePrice:
    """One machine of the kind that SkyPilot's optimizer picks. Raises UnknownPriceError."""
    picked = _picked(resources, minimize)
    return MachinePrice(machine=machine_words(picked), usd_per_hour=launched_price(picked))


def launched_price(resources: Any) -> float:
    """USD/h of one machine of resources that name a cloud and an instance type. Raises UnknownPriceError."""
    try:
        usd_per_hour = float(resources.get_cost(3600))
    except skypilot_errors() as error:
        raise UnknownPriceError(f"no price of {machine_words(resources)} is known: {one_line(error)}") from error
    is_free = str(resources.cloud).lower() in _FREE_CLOUDS
    if not math.isfinite(usd_per_hour) or usd_per_hour < 0 or (usd_per_hour == 0 and not is_free):
        raise UnknownPriceError(f"the catalog's price of {machine_words(resources)} is {usd_per_hour:g}, which is none")
    return usd_per_hour


def _picked(resources: Any, minimize: Any) -> Any:
    import sky
    from sky import exceptions, optimizer
    from sky.utils import common

    # A bare task: the guard must not touch the files, volumes and variables of the one that is launched.
    bare = sky.Task(name="budget-guard")
    bare.set_resources(resources)
    with sky.Dag() as dag:
        dag.add(bare)
    try:
        optimizer.Optimizer.optimize(dag, minimize=minimize or common.OptimizeTarget.COST, quiet=True)
    except exceptions.ResourcesUnavailableError as error:
        raise NoMachineError(f"SkyPilot's optimizer finds no machine: {one_line(error)}") from error
    except skypilot_errors() as error:
        raise UnknownPriceError(f"SkyPilot's optimizer cannot price it: {one_line(error)}") from error
    if bare.best_resources is None:
        raise NoMachineError("SkyPilot's optimizer finds no machine")
    return bare.best_resources


def machine_words(resources: Any) -> str:
    """`spot a2-highgpu-1g (gcp us-central1)`."""
    spot = "spot " if resources.use_spot else ""
    place = " ".join(filter(None, (str(resources.cloud).lower(), resources.region)))
    return f"{spot}{resources.instance_type or 'machine'} ({place})"
