"""Runs a fleet on requests and sums up what came of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sky_melange.domain.buckets import Arrivals, TokenGrid, Traffic
from sky_melange.domain.front_door import RequestClass
from sky_melange.domain.kept import Kept
from sky_melange.domain.profile import LatencyModelForm, Profile
from sky_melange.domain.simulation import (
    MissedFractions,
    SimulatedBucket,
    SimulatedGroup,
    SimulatedPercentile,
    Simulation,
    Spread,
)
from sky_melange.domain.workload import RoutingPolicy, Slo
from sky_melange.profiles.step_terms import budget_of
from sky_melange.simulation import compiled
from sky_melange.simulation.arrivals import Drawn, drawn, replayed
from sky_melange.simulation.fleet import Fleet, Group, kinds, router_tables, thinned
from sky_melange.simulation.law import step_law
from sky_melange.traces.request_log import RequestLog

Floats = NDArray[np.float64]

DEFAULT_REQUESTS: Final = 50_000
MOST_REQUESTS: Final = 5_000_000
_MOST_WARM: Final = 1_000_000
_WARM_S: Final = (30.0, 600.0)
_USUAL_TPOT_S: Final = 0.05
_BATCHES: Final = 20
_STUDENT_19: Final = 2.093
"""97.5 % quantile of Student's t with 19 degrees of freedom."""

_ROUNDS: Final = 8
"""Of a closed loop: as many requests, one after the other."""

_GROWTH_FRACTION: Final = 0.01
_GROWTH_DEVIATIONS: Final = 5.0
_GROWTH_REQUESTS: Final = 3.0
_HISTOGRAM_BINS: Final = 60
_NO_LIMIT: Final = 1e18
_APART_S: Final = 1e6

_KEPT: Final = Kept[tuple[Drawn, str]](most=16)
_MOST_KEPT_REQUESTS: Final = 200_000
"""A search serves the same requests with one fleet after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What comes to the fleet. `log` is replayed; with `arrivals` it gives only the sizes. `requests` are counted."""

    traffic: Traffic
    request_rate_rps: float
    arrivals: Arrivals | None = None
    log: RequestLog | None = None
    requests: int = DEFAULT_REQUESTS
    seed: int = 0


def simulate(
    fleet: Fleet,
    scenario: Scenario,
    slo: Slo,
    *,
    cache_folder: Path | None = None,
    progress: compiled.Progress | None = None,
) -> Simulation:
    """Serves the scenario's requests, and as many before and after that the fleet is in its steady state meanwhile.

    Same arguments, same result. `cache_folder`: where compiled code is kept between processes; None: nowhere.
    Raises InputError for a log that cannot be replayed, MissingDataError for a profile without latencies.
    """
    fleet = thinned(fleet)
    rate_rps = scenario.request_rate_rps * (fleet.thinned_to or 1.0)
    loop = compiled.loop(cache_folder, progress)
    warm = _warm_requests(scenario, slo, rate_rps)
    requests, how = _requests(scenario, warm, rate_rps)
    counted = slice(warm, warm + scenario.requests)
    table, groups, gaps = serve(loop, fleet, requests, counted, scenario.seed)
    return _summed_up(loop, fleet, scenario, slo, table[counted], groups, gaps, rate_rps, how)


def serve(loop: ModuleType, fleet: Fleet, requests: Drawn, counted: slice, seed: int) -> tuple[Any, Any, Floats]:
    """The requests after they were served, the groups, and gaps between tokens, as `loop` has them.

    It ends when all up to the last that is counted are done; sums are of the time in which the counted ones arrive.
    """
    table = np.zeros(len(requests.times_s), loop.REQUEST)
    table["arrival_s"] = requests.times_s
    table["inputs"], table["outputs"] = requests.inputs, requests.outputs
    table["cached"] = 0 if requests.cached is None else requests.cached
    tables = router_tables(fleet)
    kind = kinds(fleet, requests.inputs, requests.outputs, seed)
    table["kind"] = np.where(_is_refused(fleet, requests) | (tables.known[kind] == 0), -1, kind)
    groups, laws = _groups(loop, fleet)
    gaps = np.zeros(loop.ITL_BINS + 3)
    gaps[-2], gaps[-1] = table["arrival_s"][counted][[0, -1]]
    router = loop.Router(tables.order, tables.planned, tables.known, tables.shares, np.zeros_like(tables.shares))
    loop.run(table, groups, laws, router, gaps, until=counted.stop)
    return table, groups, gaps


def closed_loop(
    profile: Profile,
    input_tokens: int,
    output_tokens: int,
    concurrency: int,
    *,
    cached_tokens: int = 0,
    cache_folder: Path | None = None,
) -> tuple[float, float, float]:
    """(TTFT, TPOT, requests/s) of one replica with `concurrency` requests of one size in it at any time, as a benchmark
    has them: what the profile itself says. `cached_tokens` of each prompt are not computed. The first ones are of
    different lengths, so that they do not end together.
    """
    loop = compiled.loop(cache_folder)
    form = profile.form
    most = form.max_running if isinstance(form, LatencyModelForm) and form.max_running else concurrency
    group = Group(name="", profile=profile, instances=1, ranks=1, running_limit=min(most, concurrency))
    groups, laws = _groups(loop, Fleet(groups=(group,), classes=(), policy=RoutingPolicy.BLIND, spills=False))
    table = np.zeros(_ROUNDS * concurrency, loop.REQUEST)
    table["inputs"], table["outputs"], table["cached"] = input_tokens, output_tokens, cached_tokens
    table["outputs"][:concurrency] = np.maximum(1, np.arange(1, concurrency + 1) * output_tokens // concurrency)
    none = np.zeros((1, 1), np.int32)
    router = loop.Router(none, none[0], none[0], np.zeros((1, 1)), np.zeros((1, 1)))
    until = (_ROUNDS - 1) * concurrency
    loop.run(table, groups, laws, router, np.zeros(loop.ITL_BINS + 3), until=until, closed=concurrency)
    counted = table[2 * concurrency : until]
    ttft = counted["first_s"] - counted["arrival_s"]
    latency = counted["last_s"] - counted["arrival_s"]
    tpot = (latency - ttft) / max(output_tokens - 1, 1)
    return float(ttft.mean()), float(tpot.mean()), concurrency / float(latency.mean())


def unloaded(profile: Profile, scenario: Scenario) -> dict[str, Floats]:
    """By name of the latency (`LATENCIES`), seconds: of each request of the scenario, alone on one replica.

    A request that can never be served takes for ever. The same scenario has the same requests for every profile.
    """
    found, _ = _requests(scenario, 0, scenario.request_rate_rps)
    apart = replace(found, times_s=np.arange(len(found.times_s), dtype=np.float64) * _APART_S)
    group = Group(name="", profile=profile, instances=1, ranks=1, running_limit=1)
    every = RequestClass(
        name="", max_input_tokens=None, max_output_tokens=None, rate_rps=1.0, shares=(("", 1.0),), spare=()
    )
    fleet = Fleet(groups=(group,), classes=(every,), policy=RoutingPolicy.BLIND, spills=False)
    table, _, _ = serve(compiled.loop(None), fleet, apart, slice(0, len(apart.times_s)), scenario.seed)
    is_served, outputs = table["kind"] >= 0, table["outputs"]
    latencies = {
        "ttft": table["first_s"] - table["arrival_s"],
        "tpot": (table["last_s"] - table["first_s"]) / np.maximum(outputs - 1, 1),
        "ntpot": (table["last_s"] - table["arrival_s"]) / outputs,
    }
    return {name: np.where(is_served, values, np.inf) for name, values in latencies.items()}


def _warm_requests(scenario: Scenario, slo: Slo, rate_rps: float) -> int:
    """Requests before those that are counted: twice the time of a long answer."""
    outputs = (
        scenario.traffic.grid.output_edges[-1] if scenario.log is None else np.quantile(scenario.log.outputs, 0.99)
    )
    low, high = _WARM_S
    seconds = min(high, max(low, 1.5 * float(outputs) * (slo.of_means().tpot_s or _USUAL_TPOT_S)))
    return int(min(_MOST_WARM, math.ceil(seconds * rate_rps)))


def _requests(scenario: Scenario, warm: int, rate_rps: float) -> tuple[Drawn, str]:
    """As many after the counted ones as before: their tail is served under the same load."""

    def find() -> tuple[Drawn, str]:
        found, how = _sized_requests(scenario, warm, rate_rps)
        return replace(found, cached=scenario.traffic.cached_tokens(found.inputs).astype(np.int64)), how

    if scenario.requests + 2 * warm > _MOST_KEPT_REQUESTS:
        return find()
    values = (scenario.arrivals, scenario.requests, scenario.seed, warm, rate_rps)
    return _KEPT.get((scenario.traffic, scenario.log), values, find)


def _sized_requests(scenario: Scenario, warm: int, rate_rps: float) -> tuple[Drawn, str]:
    count = scenario.requests + 2 * warm
    if scenario.log is not None and scenario.arrivals is None:
        return replayed(scenario.log, count, rate_rps, scenario.seed)
    arrivals = scenario.arrivals or Arrivals()
    found = drawn(scenario.traffic, arrivals, count, rate_rps, scenario.seed, scenario.log)
    return found, str(arrivals) if scenario.log is None else f"{arrivals}, sizes of {scenario.log.source}"


def _is_refused(fleet: Fleet, requests: Drawn) -> NDArray[np.bool_]:
    total = requests.inputs + requests.outputs
    held = [group.profile.kv_cache_tokens for group in fleet.groups]
    most = [_NO_LIMIT if tokens is None else float(tokens) for tokens in held]
    limit = _NO_LIMIT if fleet.max_model_len is None else float(fleet.max_model_len)
    return np.asarray(total > min(limit, *most))


def _groups(loop: ModuleType, fleet: Fleet) -> tuple[Any, Any]:
    most = max(group.most_running for group in fleet.groups)
    table = np.zeros(len(fleet.groups), loop.GROUP)
    found = [step_law(group.profile, most) for group in fleet.groups]
    count = max(len(law.knots) for law in found)
    laws = loop.Laws(
        steps=np.zeros((len(found), most + 1, 4)),
        firsts=np.zeros((len(found), most + 1, count)),
        knots=np.zeros((len(found), count)),
    )
    for row, group in enumerate(fleet.groups):
        form = group.profile.form
        lost = dict(fleet.lost).get(group.name, 0) * (fleet.thinned_to or 1.0)
        table[row]["instances"], table[row]["ranks"] = group.instances, group.ranks
        held = group.profile.kv_cache_tokens
        table[row]["kv"] = _NO_LIMIT if held is None else held
        table[row]["most"], table[row]["budget"] = group.most_running, budget_of(group.profile)
        planned = (group.instances + lost) * group.ranks * group.running_limit
        table[row]["limit"] = planned if fleet.spills else _NO_LIMIT
        table[row]["reserves"] = isinstance(form, LatencyModelForm) and form.output_share_held >= 1.0
        table[row]["turns"] = group.in_turn
        law = found[row]
        table[row]["burdens"], table[row]["own_from"], table[row]["most_own"] = law.burdens, law.own_from, law.most_own
        longer = (1.0 + fleet.slower_fraction) * group.slower_by
        laws.steps[row] = longer * np.stack((law.base, law.context, law.prompt, law.square), axis=1)
        # Rows of equal length: more knots on the line through the last two change nothing.
        more = np.arange(1, count - len(law.knots) + 1) * (law.knots[-1] - law.knots[-2])
        laws.knots[row] = np.concatenate((law.knots, law.knots[-1] + more))
        slope = (law.first[:, -1] - law.first[:, -2]) / (law.knots[-1] - law.knots[-2])
        laws.firsts[row] = longer * np.concatenate((law.first, law.first[:, -1:] + np.outer(slope, more)), axis=1)
    return table, laws


def _summed_up(  # noqa: PLR0913, PLR0917 - the arrays of one run
    loop: ModuleType,
    fleet: Fleet,
    scenario: Scenario,
    slo: Slo,
    counted: Any,
    groups: Any,
    gaps: Floats,
    rate_rps: float,
    how: str,
) -> Simulation:
    served = counted["kind"] >= 0
    outputs = counted["outputs"].astype(np.float64)
    ttft = counted["first_s"] - counted["arrival_s"]
    latency = counted["last_s"] - counted["arrival_s"]
    tpot = (counted["last_s"] - counted["first_s"]) / np.maximum(outputs - 1.0, 1.0)
    missed = [
        served & (limit is not None) & (values > (limit or 0.0))
        for limit, values in (
            (slo.ttft_s, ttft),
            (slo.tpot_s, np.where(outputs > 1, tpot, 0.0)),
            (slo.ntpot_s, latency / outputs),
        )
    ]
    met = served & ~missed[0] & ~missed[1] & ~missed[2]
    values = {"ttft": ttft, "tpot": np.where(outputs > 1, tpot, 0.0), "ntpot": latency / outputs}
    beyond = [(each, ~served | (values[each.latency] > each.limit_s)) for each in slo.percentiles]

    def held(own: Any) -> float:
        """Misses of a percentile count as many times as there are fewer of them allowed."""
        allowed = 1.0 - (slo.attainment or 0.0)
        shares = [float(over[own].mean()) / (1.0 - each.percent / 100) * allowed for each, over in beyond]
        return 1.0 - max(1.0 - float(met[own].mean()), *shares, 0.0)

    duration_s = float(gaps[-1] - gaps[-2])
    growth = float(groups["late"].sum() - groups["early"].sum())
    scale = 1.0 / (fleet.thinned_to or 1.0)
    summaries = tuple(
        _group(fleet, row, served & (counted["group"] == row), met, (ttft, tpot, outputs), groups, duration_s, held)
        for row in range(len(fleet.groups))
    )
    rising_ttft, rising_tpot = np.sort(ttft[served]), np.sort(tpot[served & (outputs > 1)])
    return Simulation(
        attainment=float(met.mean()),
        attainment_error=_error(met),
        refused_fraction=float(1.0 - served.mean()),
        requests=len(counted),
        request_rate_rps=rate_rps * scale,
        duration_s=duration_s,
        arrivals=how,
        seed=scenario.seed,
        ttft_s=_spread(ttft[served], rising_ttft),
        tpot_s=_spread(tpot[served & (outputs > 1)], rising_tpot),
        itl_s=_gap_spread(loop, gaps),
        latency_s=_spread(latency[served]),
        missed=MissedFractions(
            refused=float(1.0 - served.mean()),
            ttft=float(missed[0].mean()),
            tpot=float(missed[1].mean()),
            ntpot=float(missed[2].mean()),
        ),
        groups=summaries,
        buckets=_buckets(scenario.traffic.grid, counted, met),
        is_stable=not _grows(float(groups["early"].sum()), growth, duration_s, rate_rps),
        queue_growth_rps=_per_second(growth, duration_s) * scale,
        thinned_to=fleet.thinned_to,
        histogram_tpot_s=_histogram(rising_tpot),
        histogram_ttft_s=_histogram(rising_ttft),
        percentiles=tuple(
            SimulatedPercentile(
                name=str(each), limit_s=each.limit_s, target=each.percent / 100, attainment=float(1.0 - over.mean())
            )
            for each, over in beyond
        ),
        held=held(np.ones(len(met), np.bool_)),
    )


def _group(  # noqa: PLR0913, PLR0917 - the arrays of one run
    fleet: Fleet,
    row: int,
    own: Any,
    met: Any,
    latencies: Sequence[Floats],
    groups: Any,
    duration_s: float,
    held: Callable[[Any], float],
) -> SimulatedGroup:
    group, table = fleet.groups[row], groups[row]
    ttft, tpot, outputs = latencies
    count = int(own.sum())
    time_s = group.replicas * duration_s
    scale = 1.0 / (fleet.thinned_to or 1.0)
    return SimulatedGroup(
        name=group.name,
        instances=group.instances,
        replicas=group.replicas,
        requests=count,
        share_fraction=count / len(own),
        attainment=float(met[own].mean()) if count else None,
        ttft_s=_spread(ttft[own]),
        tpot_s=_spread(tpot[own & (outputs > 1)]),
        busy_fraction=float(table["busy_s"]) / time_s if time_s > 0 else 0.0,
        mean_running=float(table["running"] / table["busy_s"]) if table["busy_s"] > 0 else 0.0,
        running_limit=group.most_running,
        queue_growth_rps=_per_second(float(table["late"] - table["early"]), duration_s) * scale,
        preemptions=int(table["preempted"]),
        held=held(own) if count else None,
    )


def _per_second(growth: float, duration_s: float) -> float:
    """Of requests in flight · seconds in the second half less those in the first."""
    return growth / (0.5 * duration_s) ** 2 if duration_s > 0 else 0.0


def _grows(early: float, growth: float, duration_s: float, rate_rps: float) -> bool:
    """Whether more and more requests are in flight, beyond the chances of one run."""
    if duration_s <= 0:
        return False
    before, more = early / (0.5 * duration_s), growth / (0.5 * duration_s)
    is_more = more > _GROWTH_DEVIATIONS * math.sqrt(before) + _GROWTH_REQUESTS
    return bool(is_more and _per_second(growth, duration_s) > _GROWTH_FRACTION * rate_rps)


def _error(met: Any) -> float:
    """Half of a 95 % confidence interval, from the means of consecutive batches, since neighbours share their fate."""
    if len(met) < _BATCHES * 2:
        return 1.0
    size = len(met) // _BATCHES
    means = met[: size * _BATCHES].reshape(_BATCHES, size).mean(axis=1)
    return float(_STUDENT_19 * means.std(ddof=1) / math.sqrt(_BATCHES))


def _spread(values: Floats, ordered: Floats | None = None) -> Spread | None:
    """`ordered`: the same values, rising; None: they are put in order here."""
    if not len(values):
        return None
    ordered = np.sort(values) if ordered is None else ordered
    p50, p90, p95, p99 = (_quantile(ordered, share) for share in (0.5, 0.9, 0.95, 0.99))
    return Spread(mean=float(values.mean()), p50=p50, p90=p90, p95=p95, p99=p99)


def _quantile(ordered: Floats, share: float) -> float:
    """As `np.quantile` has it, which does not know that the values rise."""
    at = share * (len(ordered) - 1)
    before = math.floor(at)
    low, high = float(ordered[before]), float(ordered[min(before + 1, len(ordered) - 1)])
    part = at - before
    return high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part


def _gap_spread(loop: ModuleType, gaps: Floats) -> Spread | None:
    counts = gaps[: loop.ITL_BINS]
    total = float(counts.sum())
    if total <= 0:
        return None
    sums = np.cumsum(counts)
    middles = loop.ITL_LEAST_S * np.exp((np.arange(loop.ITL_BINS) + 0.5) / loop.ITL_PER_E)
    p50, p90, p95, p99 = (float(middles[np.searchsorted(sums, share * total)]) for share in (0.5, 0.9, 0.95, 0.99))
    return Spread(mean=float(gaps[loop.ITL_BINS]) / total, p50=p50, p90=p90, p95=p95, p99=p99)


def _buckets(grid: TokenGrid, counted: Any, met: Any) -> tuple[SimulatedBucket, ...]:
    rows = np.searchsorted(grid.input_edges, counted["inputs"])
    columns = np.searchsorted(grid.output_edges, counted["outputs"])
    is_larger = (rows == len(grid.input_edges)) | (columns == len(grid.output_edges))
    key = np.where(is_larger, -1, rows * len(grid.output_edges) + columns)
    # Larger requests are counted first.
    counts, held = np.bincount(key + 1), np.bincount(key + 1, weights=met)
    found = []
    for cell in np.flatnonzero(counts):
        i, j = divmod(int(cell) - 1, len(grid.output_edges))
        found.append(
            SimulatedBucket(
                input_tokens=None if cell == 0 else grid.input_edges[i],
                output_tokens=None if cell == 0 else grid.output_edges[j],
                requests=int(counts[cell]),
                attainment=float(held[cell] / counts[cell]),
            )
        )
    return tuple(
        sorted(
            found, key=lambda bucket: (bucket.input_tokens is None, bucket.input_tokens or 0, bucket.output_tokens or 0)
        )
    )


def _histogram(ordered: Floats) -> tuple[tuple[float, int], ...]:
    """(lower end in seconds, requests) of bins of equal width up to the 99.5th percentile of rising values, the rest in
    the last.
    """
    if not len(ordered):
        return ()
    top = _quantile(ordered, 0.995) or 1e-3
    edges = np.linspace(0.0, top * (1 + 1e-9), _HISTOGRAM_BINS + 1)[:-1]
    counts = np.diff(np.searchsorted(ordered, edges), append=len(ordered))
    return tuple((float(edge), int(count)) for edge, count in zip(edges, counts, strict=True))
