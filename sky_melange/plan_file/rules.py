"""What spans several fields of a plan.json: figures that follow from others must still do so."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from sky_melange.domain.commitments import commitment_faults
from sky_melange.domain.emissions import summed
from sky_melange.domain.engine import ENGINES, can_launch
from sky_melange.domain.hosted import hosted_api
from sky_melange.domain.machine import Machine
from sky_melange.domain.own_gpus import OWN_CLOUDS, infra_fault, infra_of, pod_size
from sky_melange.domain.plan import MOST_SIMULATED_REQUESTS, MOST_UTILIZATION, Plan, ReplicaGroup
from sky_melange.domain.schedule_rules import schedule_faults
from sky_melange.domain.unit_costs import token_rates, unit_costs
from sky_melange.domain.workload import Workload
from sky_melange.errors import SkyMelangeError
from sky_melange.plan_file.decode import Decoder, shown
from sky_melange.resources import cloud_features

MAX_INSTANCES: Final = 1_000_000
MAX_PRICE_USD_PER_HOUR: Final = 1e9
MAX_DISK_GB: Final = 65_536

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_STATUSES: Final = ("optimal", "feasible")
_TOLERANCE: Final = 1e-9
_EDITED: Final = "counts, prices and costs must agree: plan again instead of editing"


def check_plan(plan: Plan, workload: Workload, document: Mapping[str, Any], decoder: Decoder) -> None:
    """Notes everything that does not agree."""
    if not plan.groups:
        decoder.mistake("groups", "must list at least one replica group")
        return
    for index, group in enumerate(plan.groups):
        _check_group(f"groups[{index}]", group, document["groups"][index], decoder)
        _check_part(f"groups[{index}]", group, decoder)
    for field in ("name", "file"):
        for value, times in Counter(getattr(group, field) for group in plan.groups).items():
            if times > 1:
                decoder.mistake("groups", f"{times} groups have the {field} {value!r}; each needs its own")
    _check_prices(plan.groups, decoder)
    _check_status_and_overhead(plan, decoder)
    if not _check_traffic(plan, workload, decoder) or not _check_workload(workload, decoder):
        return
    hours = schedule_faults(plan, workload)
    # What follows from a schedule can be computed only of one that is whole.
    beyond = () if hours else tuple(_beyond(plan, workload))
    for key, stated, computed in (*_costs(plan), *_units(plan, workload, document), *beyond):
        if not _agree(stated, computed):
            decoder.mistake(key, f"is {stated!r}, but its parts give {computed!r}; {_EDITED}")
    for key, found, planned in _repeated(plan, workload, document):
        if found != planned:
            decoder.mistake(key, f"is {shown(found)}, but the workload in this file says {shown(planned)}; plan again")
    _check_routes(plan, workload, decoder)
    _check_simulated(plan, workload, decoder)
    for fault in (*hours, *commitment_faults(plan, workload)):
        key, _, message = fault.partition(": ")
        decoder.mistake(key, message)


def _check_prices(groups: Sequence[ReplicaGroup], decoder: Decoder) -> None:
    """Listed machines cost something, and each the same in every group; what is the user's own may differ from that."""
    listed: dict[Machine, float] = {}
    for index, group in enumerate(groups):
        price = group.price_usd_per_hour
        if group.price.is_own:
            continue
        if price <= 0:
            message = "must be above 0: only machines of your own (prices.overrides, candidates.own) cost nothing"
            decoder.mistake(f"groups[{index}].price_usd_per_hour", message)
        price = group.machine_usd_per_hour
        known = listed.setdefault(group.machine, price)
        if not math.isclose(known, price, abs_tol=5e-5):
            machine = f"{group.instance_type} in {group.cloud}/{group.region}"
            decoder.mistake("groups", f"{machine[:120]} has two prices: {known!r} and {price!r}; plan again")


def _check_status_and_overhead(plan: Plan, decoder: Decoder) -> None:
    if plan.status not in _STATUSES:
        decoder.mistake("status", f"must be one of {', '.join(_STATUSES)}, found {plan.status[:60]!r}")
    for index, machine in enumerate(plan.overhead):
        price = machine.price_usd_per_hour
        if price is not None and price > MAX_PRICE_USD_PER_HOUR:
            decoder.mistake(f"overhead[{index}].price_usd_per_hour", "is no price of a machine")


def _check_group(key: str, group: ReplicaGroup, entry: Mapping[str, Any], decoder: Decoder) -> None:
    if group.price_usd_per_hour > MAX_PRICE_USD_PER_HOUR:
        decoder.mistake(f"{key}.price_usd_per_hour", f"{group.price_usd_per_hour!r} is no price of a machine")
    for name in ("instances", "replicas_per_instance", "tensor_parallel", "accelerators_per_instance"):
        count = getattr(group, name)
        if not 1 <= count <= MAX_INSTANCES:
            decoder.mistake(f"{key}.{name}", f"want a whole number from 1 to {MAX_INSTANCES}, found {count}")
    for name in ("name", "region", "zone", "instance_type", "accelerator", "catalog_accelerator"):
        if getattr(group, name) == "":
            decoder.mistake(f"{key}.{name}", "want a text that is not empty")
    if group.engine not in ENGINES:
        decoder.mistake(f"{key}.engine", f"want one of {', '.join(ENGINES)}, found {shown(group.engine)}")
    elif not can_launch(group.engine, group.layout):
        known = ", ".join(sorted(filter(None, ENGINES[group.engine].layouts)))
        message = f"want an empty text or one of {known}, found {shown(group.layout)}"
        decoder.mistake(f"{key}.layout", message)
    if not 1 <= group.disk_gb <= MAX_DISK_GB:
        decoder.mistake(f"{key}.disk_gb", f"want a whole number from 1 to {MAX_DISK_GB}, found {group.disk_gb}")
    if group.cloud not in cloud_features():
        known = ", ".join(sorted(cloud_features()))
        decoder.mistake(f"{key}.cloud", f"SkyPilot launches on no cloud {group.cloud[:60]!r}; it launches on {known}")
    if group.cloud in OWN_CLOUDS:
        _check_pod(key, group, decoder)
    if not _FILE_NAME.fullmatch(group.file):
        decoder.mistake(f"{key}.file", f"want a plain file name in the plan's folder, found {group.file[:60]!r}")
    stated = entry.get("cost_usd_per_hour")
    if stated is not None and not (isinstance(stated, int | float) and _agree(stated, group.cost_usd_per_hour)):
        found = f"is {stated!r}"[:60]
        wanted = f"{group.instances} instances at {group.price_usd_per_hour!r} cost {group.cost_usd_per_hour!r}"
        decoder.mistake(f"{key}.cost_usd_per_hour", f"{found}, but {wanted}; {_EDITED}")


def _check_pod(key: str, group: ReplicaGroup, decoder: Decoder) -> None:
    """Launch files say what a pod asks for by the name that SkyPilot would give it."""
    try:
        pod_size(group.instance_type)
    except ValueError as error:
        decoder.mistake(f"{key}.instance_type", str(error))
    fault = infra_fault(infra_of(group.cloud, group.region))
    if fault:
        decoder.mistake(f"{key}.region", f"makes an infra that {fault}")


def _check_part(key: str, group: ReplicaGroup, decoder: Decoder) -> None:
    """A part is smaller than its machine, and pays for at least its GPUs, at most for all of it."""
    part, gpus = group.part, group.accelerators_per_instance
    if part is None:
        return
    if not gpus < part.accelerators <= MAX_INSTANCES:
        message = f"want more than the {gpus} of the part, found {part.accelerators}"
        decoder.mistake(f"{key}.part.accelerators", message)
    elif not gpus / part.accelerators * (1 - _TOLERANCE) <= part.price_fraction <= 1:
        message = f"want {gpus} of {part.accelerators} GPUs to 1, found {part.price_fraction:g}"
        decoder.mistake(f"{key}.part.price_fraction", message)


def _check_traffic(plan: Plan, workload: Workload, decoder: Decoder) -> bool:
    """Tables of traffic have the shape of their grid, some traffic, and routes lead to groups that exist."""
    before = len(decoder.mistakes)
    traffic, grid = workload.traffic, workload.traffic.grid
    for name, table in (("rates_rps", traffic.rates_rps), ("mean_tokens", traffic.mean_tokens)):
        if table is not None and not _has_shape(table, len(grid.input_edges), len(grid.output_edges)):
            decoder.mistake(f"workload.traffic.{name}", "must have a row per input edge and a column per output edge")
    for name, edges in (("input_edges", grid.input_edges), ("output_edges", grid.output_edges)):
        rising = all(earlier < later for earlier, later in pairwise(edges))
        if not edges or edges[0] < 1 or not rising:
            decoder.mistake(f"workload.traffic.grid.{name}", "must be whole numbers from 1, strictly rising")
    if not any(rate > 0 for row in traffic.rates_rps for rate in row):
        decoder.mistake("workload.traffic.rates_rps", "has no traffic")
    if not any(route.rate_rps > 0 for route in plan.routing):
        decoder.mistake("routing.buckets", "routes no traffic")
    names = {group.name for group in plan.groups}
    for index, route in enumerate(plan.routing):
        for name, share in route.shares:
            if name not in names:
                decoder.mistake(f"routing.buckets[{index}].shares", f"{name[:60]!r} is no group of the plan")
            if share > 1:
                decoder.mistake(f"routing.buckets[{index}].shares", f"{share!r} is no share: want 0 to 1")
    return len(decoder.mistakes) == before


def _repeated(plan: Plan, workload: Workload, document: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    """(key, stated, planned) of what the file says of its workload a second time."""
    yield "name", plan.name, workload.name
    yield "routing.policy", plan.policy.value, workload.routing.value
    yield "launch_mode", document.get("launch_mode"), workload.launch.mode.value
    stated = document.get("unit_costs")
    rates = stated.get("rates") if isinstance(stated, dict) else None
    if isinstance(rates, dict) and "basis" in rates:
        yield "unit_costs.rates.basis", rates["basis"], token_rates(workload.traffic).basis.value
    model = document.get("model")
    for name in ("id", "dtype", "max_model_len"):
        yield f"model.{name}", model.get(name) if isinstance(model, dict) else None, getattr(workload.model, name)


def _check_routes(plan: Plan, workload: Workload, decoder: Decoder) -> None:
    """Each bucket with traffic has its route, at its rate; groups that may stand in exist."""
    rates = {(bucket.input_tokens, bucket.output_tokens): bucket.rate_rps for bucket in workload.traffic.buckets()}
    sizes = [(route.input_tokens, route.output_tokens) for route in plan.routing]
    if sorted(sizes) != sorted(rates):
        decoder.mistake("routing.buckets", "must be the buckets with traffic of the workload in this file, each once")
        return
    names = {group.name for group in plan.groups}
    for index, (size, route) in enumerate(zip(sizes, plan.routing, strict=True)):
        if not _agree(route.rate_rps, rates[size]):
            message = f"is {route.rate_rps!r}, but the workload in this file has {rates[size]!r}; plan again"
            decoder.mistake(f"routing.buckets[{index}].rate_rps", message)
        if not names.issuperset(route.can_serve):
            decoder.mistake(f"routing.buckets[{index}].can_serve", "names a group that the plan does not have")


def _check_simulated(plan: Plan, workload: Workload, decoder: Decoder) -> None:
    """What a plan says of its simulation is what a search can have found."""
    for index, group in enumerate(plan.groups):
        if group.max_utilization is not None and not 0 < group.max_utilization <= MOST_UTILIZATION:
            message = f"want above 0 and at most {MOST_UTILIZATION:g}, found {group.max_utilization:g}"
            decoder.mistake(f"groups[{index}].max_utilization", message)
    found = plan.simulated
    if found is None:
        return
    if found.target != workload.slo.attainment:
        message = f"is {found.target:g}, but slo.attainment of the workload in this file is {workload.slo.attainment}"
        decoder.mistake("simulated.target", f"{message}; plan again")
    for name in ("attainment", "refused_fraction", "slower_attainment"):
        if getattr(found, name) > 1:
            decoder.mistake(f"simulated.{name}", f"is no share: want 0 to 1, found {getattr(found, name):g}")
    if found.draws_held > found.draws:
        decoder.mistake("simulated.draws_held", f"is more than all {found.draws} draws: found {found.draws_held}")
    if found.requests > MOST_SIMULATED_REQUESTS:
        message = f"is more than any plan is judged by: want at most {MOST_SIMULATED_REQUESTS:,}, found"
        decoder.mistake("simulated.requests", f"{message} {found.requests:,}")
    if found.attainment < found.target or any(each.attainment < each.target for each in found.percentiles):
        decoder.mistake("simulated.attainment", "is below its target, and no such plan is written; plan again")


def _check_workload(workload: Workload, decoder: Decoder) -> bool:
    """Every value is one that a workload.yaml may have."""
    from sky_melange.workload_file.embedded import workload_mistakes

    before = len(decoder.mistakes)
    for key, message in workload_mistakes(workload):
        decoder.mistake(f"workload.{key}", message)
    if workload.model.sizes is not None:
        from sky_melange.profiles.checkpoint import sizes_of

        try:
            sizes_of(workload.model.sizes, workload.model.id)
        except SkyMelangeError as error:
            decoder.mistake(
                "workload.model.sizes", f"are not those that a config.json said: {str(error).splitlines()[0]}"
            )
    return len(decoder.mistakes) == before


def _has_shape(table: Sequence[Sequence[object]], rows: int, columns: int) -> bool:
    return len(table) == rows and all(len(row) == columns for row in table)


def _costs(plan: Plan) -> Iterator[tuple[str, float, float]]:
    """(key, stated, computed) of the plan's costs."""
    replicas = math.fsum(group.cost_usd_per_hour for group in plan.groups)
    overhead = math.fsum(machine.price_usd_per_hour or 0.0 for machine in plan.overhead)
    cost = plan.cost
    yield "cost.replicas_usd_per_hour", cost.replicas_usd_per_hour, replicas
    yield "cost.overhead_usd_per_hour", cost.overhead_usd_per_hour, overhead
    yield "cost.total_usd_per_hour", cost.total_usd_per_hour, math.fsum((replicas, overhead))
    worst = cost.worst_case_usd_per_hour
    yield "cost.worst_case_usd_per_hour", worst, max(worst, cost.total_usd_per_hour)


def _units(plan: Plan, workload: Workload, document: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """The same of `unit_costs`, which follow from the total and the traffic."""
    stated = document.get("unit_costs")
    computed = unit_costs(plan.mean_usd_per_hour, workload.traffic)
    for field in dataclasses.fields(computed):
        value = getattr(computed, field.name)
        found = stated.get(field.name) if isinstance(stated, dict) else None
        if isinstance(value, float) and isinstance(found, int | float):
            yield f"unit_costs.{field.name}", found, value
    rates = stated.get("rates") if isinstance(stated, dict) else None
    for field in dataclasses.fields(computed.rates):
        value = getattr(computed.rates, field.name)
        found = rates.get(field.name) if isinstance(rates, dict) else None
        if isinstance(value, float) and isinstance(found, int | float):
            yield f"unit_costs.rates.{field.name}", found, value


def _beyond(plan: Plan, workload: Workload) -> Iterator[tuple[str, float, float]]:
    """The same of the hosted API, at the price that stands there, and of emissions; None agrees only with None."""
    api = plan.hosted_api
    if api is not None:
        computed = hosted_api(plan, workload, [api.price])
        for name in ("usd_per_hour", "own_from_rps", "loaded_usd_per_hour"):
            found = None if computed is None else getattr(computed, name)
            yield f"hosted_api.{name}", _number(getattr(api, name)), _number(found)
    if plan.emissions is not None:
        stated = plan.emissions
        following = summed(plan, {one.group: one for one in stated.groups})
        yield "emissions.groups", len(stated.groups), len(following.groups)
        yield (
            "emissions.grams_co2e_per_hour",
            _number(stated.grams_co2e_per_hour),
            _number(following.grams_co2e_per_hour),
        )
        for index, (one, own) in enumerate(zip(stated.groups, following.groups, strict=False)):
            key = f"emissions.groups[{index}].grams_co2e_per_hour"
            yield key, _number(one.grams_co2e_per_hour), _number(own.grams_co2e_per_hour)


def _number(value: float | None) -> float:
    return math.inf if value is None else value


def _agree(stated: float, computed: float) -> bool:
    return math.isclose(stated, computed, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
