"""The validated file -> `domain.Workload`, in base units."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from sky_melange.domain.buckets import Arrivals, BucketSize, TokenGrid, Traffic, rates_of
from sky_melange.domain.hours import Scaling
from sky_melange.domain.price_record import PriceKind
from sky_melange.domain.trace import TraceReference
from sky_melange.domain.units import HOURS_PER_MONTH, SECONDS_PER_HOUR, ms_to_s
from sky_melange.domain.workload import (
    ANY_DTYPE,
    LATENCIES,
    PERCENTS,
    Budget,
    CandidateFilter,
    CloudsFrom,
    Constraints,
    KeepExisting,
    Launch,
    Model,
    Percentile,
    ProfilePolicy,
    Slo,
    SolverSettings,
    SpotUse,
    Workload,
)
from sky_melange.errors import InputError, Mistake
from sky_melange.workload_file.adapters import to_adapters
from sky_melange.workload_file.hour_sizes import with_sizes, without_sizes
from sky_melange.workload_file.hours import StatedHours, counted_hours, is_shape, log_options, with_headroom
from sky_melange.workload_file.own_gpus import to_own
from sky_melange.workload_file.prices import to_prices, to_router
from sky_melange.workload_file.schema import WorkloadFile
from sky_melange.workload_file.sections import (
    ALL_CLOUDS,
    NO_CLOUD,
    BudgetSection,
    CandidatesSection,
    ConstraintsSection,
    KeepSection,
    LaunchSection,
    ModelSection,
    ProfilesSection,
    SloSection,
    SolverSection,
    values_of_keys,
)
from sky_melange.workload_file.traffic import (
    MAX_RPS,
    MIN_RPS,
    RATES,
    SECONDS,
    ArrivalsSection,
    HistogramSection,
    HoursSection,
    TrafficSection,
)

ResolveTraffic = Callable[[TraceReference], Traffic]
"""Counts a log or looks up a preset."""


def to_workload(
    file: WorkloadFile,
    *,
    file_name: str,
    trace_traffic: ResolveTraffic | None = None,
    hours: StatedHours | None = None,
) -> Workload:
    """The workload; `file_name` is the origin of a histogram that names none, `hours` those that its traffic states."""
    is_mean = file.slo.attainment == "mean"
    usual_size = BucketSize.UPPER if is_mean else BucketSize.MEAN
    traffic = _to_traffic(file.traffic, file_name, trace_traffic, usual_size, hours)
    launch = _launch(file.launch)
    if traffic.hours is not None and launch.scaling is not Scaling.AUTOSCALE:
        # They are for SkyServe's autoscaler alone, and a thousand figures.
        traffic = replace(traffic, hours=replace(traffic.hours, windows_rps=()))
    return Workload(
        name=file.name,
        model=_model(file.model),
        slo=_slo(file.slo),
        traffic=traffic,
        candidates=_candidates(file.candidates),
        constraints=_constraints(file.constraints, Constraints().max_utilization if is_mean else None),
        routing=file.routing,
        budget=None if file.budget is None else _budget(file.budget),
        prices=to_prices(file.prices),
        solver=_solver(file.solver),
        launch=launch,
        profiles=_profiles(file.profiles),
        router=to_router(file.router, traffic.fit),
        objective=file.objective,
    )


def _model(section: ModelSection) -> Model:
    stated = (section.dtype,) if isinstance(section.dtype, str) else section.dtype
    return Model(
        id=section.id,
        dtype=stated[0],
        dtypes=stated if len(stated) > 1 or stated == (ANY_DTYPE,) else (),
        checkpoints={str(dtype): name for dtype, name in section.checkpoints.items()},
        max_model_len=section.max_model_len,
        profile_as=section.profile_as,
        config=section.config,
        adapters=to_adapters(section.adapters),
        **values_of_keys(section, Model),
    )


def _budget(section: BudgetSection) -> Budget:
    hourly, monthly = section.usd_per_hour, section.usd_per_month
    return Budget(
        usd_per_hour=None if hourly is None else float(hourly),
        usd_per_month=None if monthly is None else float(monthly),
        **values_of_keys(section, Budget),
    )


def _slo(section: SloSection) -> Slo:
    return Slo(
        tpot_s=_seconds(section.tpot_ms),
        ttft_s=_seconds(section.ttft_ms),
        ntpot_s=_seconds(section.ntpot_ms),
        attainment=None if section.attainment == "mean" else float(section.attainment),
        percentiles=tuple(
            Percentile(latency=latency, percent=percent, limit_s=ms_to_s(limit_ms))
            for latency in LATENCIES
            for percent in PERCENTS
            if (limit_ms := getattr(section, f"p{percent}_{latency}_ms")) is not None
        ),
        **values_of_keys(section, Slo),
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else ms_to_s(milliseconds)


def _candidates(section: CandidatesSection) -> CandidateFilter:
    purchase = section.purchase or ()
    return CandidateFilter(
        accelerators=section.accelerators,
        clouds=_clouds(section),
        regions=dict(section.regions),
        spot=section.spot if section.purchase is None else spot_of(section.purchase),
        purchase=tuple(kind for kind in PriceKind if kind in purchase) if any(k.years for k in purchase) else (),
        own=to_own(section.own),
        clouds_from=CloudsFrom.USUAL if section.clouds is None else CloudsFrom.STATED,
        **values_of_keys(section, CandidateFilter),
    )


def _clouds(section: CandidatesSection) -> tuple[str, ...] | None:
    """None: all. Where the file states none, whoever knows the usual ones fills them in."""
    if section.clouds == (ALL_CLOUDS,):
        return None
    return () if section.clouds == (NO_CLOUD,) else section.clouds


def spot_of(purchase: Collection[PriceKind]) -> SpotUse:
    """What `candidates.spot` says of a list of kinds."""
    if PriceKind.SPOT not in purchase:
        return SpotUse.NEVER
    return SpotUse.ONLY if len(purchase) == 1 else SpotUse.ALLOW


def _constraints(section: ConstraintsSection, usual_utilization: float | None) -> Constraints:
    given = section.max_utilization
    return Constraints(
        max_utilization=usual_utilization if given is None else float(given),
        max_accelerators=dict(section.max_accelerators),
        min_replicas=section.min_replicas,
        max_groups=section.max_groups,
        max_accelerators_in={place: dict(limits) for place, limits in section.max_accelerators_in.items()},
        min_on_demand_replicas=section.min_on_demand_replicas,
        max_cloud_share_fraction=_fraction(section.max_cloud_share),
        max_region_share_fraction=_fraction(section.max_region_share),
        max_spot_share_fraction=_fraction(section.max_spot_share),
        tolerate_replica_losses=section.tolerate_replica_losses,
        keep=None if section.keep is None else _keep(section.keep),
        **values_of_keys(section, Constraints),
    )


def _fraction(value: float | None) -> float | None:
    return None if value is None else float(value)


def _keep(section: KeepSection) -> KeepExisting:
    """Its groups are read from the plan by the caller, who knows where it lies."""
    return KeepExisting(
        plan=section.plan,
        groups=(),
        switching_usd_per_hour=float(section.switching_usd_per_hour),
        **values_of_keys(section, KeepExisting),
    )


def _solver(section: SolverSection) -> SolverSettings:
    return SolverSettings(
        name=section.name,
        formulation=section.formulation,
        slices=section.slices,
        time_limit_s=float(section.time_limit_s),
        mip_gap=float(section.mip_gap),
        **values_of_keys(section, SolverSettings),
    )


def _launch(section: LaunchSection) -> Launch:
    return Launch(
        mode=section.mode,
        controller=section.controller,
        engine=section.engine,
        engine_args=section.engine_args,
        secrets=section.secrets if "secrets" in section.model_fields_set else None,
        api_key_secret=section.wanted_api_key_secret,
        **values_of_keys(section, Launch),
    )


def _profiles(section: ProfilesSection) -> ProfilePolicy:
    return ProfilePolicy(
        files=section.files,
        extrapolate=section.extrapolate,
        estimate=section.estimate,
        **values_of_keys(section, ProfilePolicy),
    )


def _to_traffic(
    section: TrafficSection,
    file_name: str,
    resolve: ResolveTraffic | None,
    usual_size: BucketSize = BucketSize.UPPER,
    hours: StatedHours | None = None,
) -> Traffic:
    """The traffic; `file_name` is the origin of a histogram that names none, `usual_size` where none is given.

    `hours` are those that the section states. `checks` has seen to it that there is a rate with a histogram. Raises
    ValueError for a trace or preset without `resolve`: a mistake of the caller.
    """
    if hours is not None and section.request_rate is None and not is_shape(section):
        section = section.model_copy(update={"request_rate": hours[0].peak_rps})
    traffic, others = without_sizes(_sized(section, file_name, resolve, usual_size))
    traffic = _at_tokens(traffic, section.tokens_per_month)
    scaled = traffic.hours
    if hours is not None:
        rate = traffic.request_rate_rps if section.request_rate is None else section.request_rate
        scaled = hours[0].scaled_to(rate)
        traffic = replace(traffic, hours=None if scaled.is_even else scaled)
    traffic = with_sizes(section, traffic, scaled, others)
    traffic = replace(traffic, hours=with_headroom(section, traffic.hours))
    doubts = (f"Hours: {note}" for note in _doubts(traffic, () if hours is None else hours[1]))
    # Traffic that stands in for what is missing has them already.
    notes = tuple(dict.fromkeys((*traffic.notes, *_spread(section, traffic.request_rate_rps), *doubts)))
    return replace(traffic, prefix_hit_fraction=float(section.prefix_hit_fraction), notes=notes)


def _doubts(traffic: Traffic, notes: tuple[str, ...]) -> Iterator[str]:
    yield from notes
    jump = None if traffic.hours is None else traffic.hours.steepest_jump()
    if jump is not None:
        yield f"{jump}."


def _spread(section: TrafficSection, rate_rps: float) -> Iterator[str]:
    """What a count over a long time leaves out."""
    for key in RATES[2:]:
        if getattr(section, key) is not None:
            yield (
                f"Traffic: {key} is spread evenly, {rate_rps:.4g} requests per second at all times: plan for the "
                "busiest hour with request_rate, or targets are missed in it"
            )


def _rate(section: TrafficSection) -> float | None:
    """Requests per second; 1 where the file counts tokens, until their mean number is known."""
    if section.tokens_per_month is not None:
        return 1.0
    given = ((getattr(section, key), seconds) for key, seconds in SECONDS.items())
    return next((count / seconds for count, seconds in given if count is not None), None)


def _at_tokens(traffic: Traffic, tokens_per_month: float | None) -> Traffic:
    """The traffic at the rate that makes so many tokens. Raises InputError where mean sizes or the rate are no good."""
    if tokens_per_month is None:
        return traffic
    tokens = traffic.mean_request_tokens
    if tokens is None:
        message = "needs the mean sizes of every bucket that has requests: write them in histogram.mean_tokens"
        raise InputError([Mistake(source="traffic", key="tokens_per_month", message=message)])
    rate_rps = tokens_per_month / tokens / (HOURS_PER_MONTH * SECONDS_PER_HOUR)
    if not MIN_RPS <= rate_rps <= MAX_RPS:
        message = f"makes {rate_rps:.4g} requests per second, of {tokens:,.0f} tokens; want {MIN_RPS:g} to {MAX_RPS:g}"
        raise InputError([Mistake(source="traffic", key="tokens_per_month", message=message)])
    if math.isclose(rate_rps, traffic.request_rate_rps):
        return traffic
    return replace(traffic, rates_rps=rates_of(traffic.rates_rps, rate_rps))


def _sized(section: TrafficSection, file_name: str, resolve: ResolveTraffic | None, usual_size: BucketSize) -> Traffic:
    rate_rps = _rate(section)
    if section.histogram is not None and rate_rps is not None:
        traffic = _of_histogram(section.histogram, rate_rps, file_name)
        if section.bucket_size is BucketSize.UPPER and usual_size is BucketSize.MEAN:
            # Asked for where single requests count: all are as large as their bucket, in simulation too.
            traffic = replace(traffic, mean_tokens=_edges(traffic.grid))
        return replace(traffic, bucket_size=section.bucket_size or usual_size, arrivals=_arrivals(section, False))
    if resolve is None:
        raise ValueError("this caller of read_workload gives no trace_traffic, so it reads histograms only")
    traffic = resolve(_reference(section, usual_size))
    return replace(traffic, arrivals=_arrivals(section, traffic.arrivals.log is not None))


def _arrivals(section: TrafficSection, has_times: bool) -> Arrivals:
    """As given, or the preset's own, where its sizes are those of every hour.

    `checks` has seen to it that `trace` is said with a trace or preset.
    """
    given = section.arrivals
    if given is None and isinstance(section.hours, HoursSection) and section.hours.sizes:
        return Arrivals()
    if isinstance(given, ArrivalsSection):
        return Arrivals(cv=float(given.cv))
    if given == "poisson" or (given is None and (section.preset is None or not has_times)):
        return Arrivals()
    return Arrivals(log=section.trace if section.preset is None else section.preset)


def _of_histogram(histogram: HistogramSection, request_rate: float, file_name: str) -> Traffic:
    return Traffic(
        grid=TokenGrid(input_edges=histogram.input_tokens, output_edges=histogram.output_tokens),
        rates_rps=rates_of(histogram.weights, request_rate),
        origin=histogram.source if histogram.source is not None else f"histogram in {file_name}",
        mean_tokens=_means(histogram),
        input_parts=histogram.input_parts,
    )


def _means(histogram: HistogramSection) -> tuple[tuple[tuple[float, float] | None, ...], ...] | None:
    if histogram.mean_tokens is None:
        return None
    found = {(row[0], row[1]): (float(row[2]), float(row[3])) for row in histogram.mean_tokens}
    return tuple(tuple(found.get((i, j)) for j in histogram.output_tokens) for i in histogram.input_tokens)


def _edges(grid: TokenGrid) -> tuple[tuple[tuple[float, float], ...], ...]:
    return tuple(tuple((float(i), float(j)) for j in grid.output_edges) for i in grid.input_edges)


def _reference(section: TrafficSection, usual_size: BucketSize) -> TraceReference:
    return TraceReference(
        files=() if section.trace is None else (section.trace,),
        preset=section.preset,
        request_rate_rps=_rate(section),
        bucket_size=section.bucket_size or usual_size,
        options=replace(log_options(section), hours=counted_hours(section)),
    )
