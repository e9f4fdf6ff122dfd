"""The validated file -> `domain.Workload`, in base units."""

from __future__ import annotations

import math

from sky_melange.domain.buckets import TokenGrid, Traffic
from sky_melange.domain.units import ms_to_s
from sky_melange.domain.workload import (
    Budget,
    CandidateFilter,
    Constraints,
    Launch,
    Model,
    PricePolicy,
    Slo,
    SolverSettings,
    Workload,
)
from sky_melange.workload_file.schema import WorkloadFile
from sky_melange.workload_file.sections import (
    CandidatesSection,
    ConstraintsSection,
    LaunchSection,
    SloSection,
    SolverSection,
    TrafficSection,
)


def to_workload(file: WorkloadFile, *, file_name: str) -> Workload:
    """The workload; `file_name` is the origin of a histogram that names none."""
    return Workload(
        name=file.name,
        model=Model(id=file.model.id, dtype=file.model.dtype, max_model_len=file.model.max_model_len),
        slo=_slo(file.slo),
        traffic=_traffic(file.traffic, file_name),
        candidates=_candidates(file.candidates),
        constraints=_constraints(file.constraints),
        routing=file.routing,
        budget=None if file.budget is None else Budget(usd_per_hour=float(file.budget.usd_per_hour)),
        prices=PricePolicy(trust=file.prices.trust),
        solver=_solver(file.solver),
        launch=_launch(file.launch),
    )


def _slo(section: SloSection) -> Slo:
    return Slo(tpot_s=_seconds(section.tpot_ms), ttft_s=_seconds(section.ttft_ms), ntpot_s=_seconds(section.ntpot_ms))


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else ms_to_s(milliseconds)


def _traffic(section: TrafficSection, file_name: str) -> Traffic:
    histogram = section.histogram
    # Divided by the largest first: the sum of weights near the largest float would overflow.
    peak = max(max(row) for row in histogram.weights)
    scaled = [[weight / peak for weight in row] for row in histogram.weights]
    total = math.fsum(weight for row in scaled for weight in row)
    return Traffic(
        grid=TokenGrid(input_edges=histogram.input_tokens, output_edges=histogram.output_tokens),
        rates_rps=tuple(tuple(section.request_rate * (weight / total) for weight in row) for row in scaled),
        origin=histogram.source if histogram.source is not None else f"histogram in {file_name}",
    )


def _candidates(section: CandidatesSection) -> CandidateFilter:
    return CandidateFilter(
        accelerators=section.accelerators,
        clouds=section.clouds,
        regions=dict(section.regions),
        spot=section.spot,
    )


def _constraints(section: ConstraintsSection) -> Constraints:
    return Constraints(
        max_utilization=float(section.max_utilization),
        max_accelerators=dict(section.max_accelerators),
        min_replicas=section.min_replicas,
        max_groups=section.max_groups,
    )


def _solver(section: SolverSection) -> SolverSettings:
    return SolverSettings(
        formulation=section.formulation,
        slices=section.slices,
        time_limit_s=float(section.time_limit_s),
        mip_gap=float(section.mip_gap),
    )


def _launch(section: LaunchSection) -> Launch:
    return Launch(mode=section.mode, engine=section.engine, engine_args=section.engine_args, secrets=section.secrets)
