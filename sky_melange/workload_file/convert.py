"""The validated file -> `domain.Workload`, in base units."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sky_melange.domain.buckets import BucketSize
from sky_melange.domain.hours import Scaling
from sky_melange.domain.price_record import PriceKind
from sky_melange.domain.units import ms_to_s
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
from sky_melange.workload_file.adapters import to_adapters
from sky_melange.workload_file.hours import StatedHours
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
from sky_melange.workload_file.traffic_convert import ResolveTraffic, to_traffic


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
    traffic = to_traffic(file.traffic, file_name, trace_traffic, usual_size, hours)
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
