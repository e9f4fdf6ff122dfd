"""The sections of version 1 of workload.yaml: keys, types, ranges and defaults.

Rules that span several keys are in `checks.py`. Defaults come from the domain classes, which are their one home.
"""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, Strict

from sky_melange.domain.workload import (
    CandidateFilter,
    Constraints,
    Formulation,
    Launch,
    LaunchMode,
    SolverSettings,
    SpotUse,
)
from sky_melange.workload_file.field_types import (
    ENGINE_ARGUMENT,
    ENVIRONMENT_VARIABLE,
    MAX_COUNT,
    MAX_TOKENS,
    MODEL_ID,
    Count,
    Edge,
    ListOf,
    Milliseconds,
    OneLine,
    Weight,
    Word,
)


class Section(BaseModel):
    """What all sections share: no unknown keys, no silent conversions, no NaN."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSection(Section):
    """The model to serve."""

    id: str = Field(
        pattern=MODEL_ID,
        max_length=200,
        description="Hugging Face id of the model.",
        examples=["meta-llama/Llama-3.1-8B-Instruct"],
    )
    dtype: Literal["bfloat16", "float16", "fp8"] = Field(
        description="Type of the weights; profiles are looked up by it.", examples=["bfloat16"]
    )
    max_model_len: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = Field(
        default=None,
        description="Context limit in tokens, input and output together. Without it: the model's own.",
        examples=[16384],
    )


class SloSection(Section):
    """Latency targets; at least one."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    tpot_ms: Milliseconds = Field(
        default=None, description="Mean time per output token after the first, milliseconds.", examples=[40]
    )
    ttft_ms: Milliseconds = Field(default=None, description="Time to the first token, milliseconds.", examples=[2000])
    ntpot_ms: Milliseconds = Field(
        default=None,
        description="Request latency divided by output tokens, milliseconds: the measure of the Mélange paper.",
        examples=[120],
    )


class HistogramSection(Section):
    """How request sizes are distributed."""

    input_tokens: ListOf[Edge] = Field(
        min_length=1,
        max_length=1000,
        description="Upper edges of the input buckets, tokens, strictly rising.",
        examples=[[100, 500, 2000]],
        json_schema_extra={"uniqueItems": True},
    )
    output_tokens: ListOf[Edge] = Field(
        min_length=1,
        max_length=1000,
        description="Upper edges of the output buckets, tokens, strictly rising.",
        examples=[[100, 500]],
        json_schema_extra={"uniqueItems": True},
    )
    weights: ListOf[ListOf[Weight]] = Field(
        description="Shares of the requests: one row per input edge, one column per output edge. Normalised to 1.",
        examples=[[[0.3, 0.1], [0.3, 0.1], [0.1, 0.1]]],
    )
    source: OneLine | None = Field(
        default=None,
        description="Where the distribution comes from, in words; shown with the plan.",
        examples=["Azure conversation trace, 2023"],
    )


class TrafficSection(Section):
    """The requests to serve."""

    # The floor and the ceiling keep every later product within what a float and a solver resolve.
    request_rate: float = Field(
        ge=1e-6, le=1e9, description="Requests per second, over all sizes together.", examples=[32]
    )
    histogram: HistogramSection = Field(
        description="Request sizes.",
        examples=[{"input_tokens": [100, 500], "output_tokens": [200], "weights": [[0.4], [0.6]]}],
    )


class CandidatesSection(Section):
    """Which offers are considered; a key that is left out restricts nothing."""

    accelerators: ListOf[Word] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="GPU models by canonical name.",
        examples=[["L4", "A100-80GB", "H100"]],
        json_schema_extra={"uniqueItems": True},
    )
    clouds: ListOf[Word] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Clouds by SkyPilot's lower-case name.",
        examples=[["aws", "gcp"]],
        json_schema_extra={"uniqueItems": True},
    )
    regions: dict[Word, Annotated[ListOf[OneLine], Field(min_length=1, max_length=100)]] = Field(
        default_factory=dict,
        max_length=100,
        description="Regions to consider, by cloud. Clouds that are not named here are not restricted.",
        examples=[{"aws": ["us-east-1"]}],
        json_schema_extra={"additionalProperties": False},
    )
    spot: Annotated[SpotUse, Strict(False)] = Field(
        default=CandidateFilter().spot, description="Whether spot offers are candidates.", examples=["never"]
    )


class ConstraintsSection(Section):
    """Limits on the plan."""

    max_utilization: float = Field(
        default=Constraints().max_utilization,
        gt=0,
        le=1,
        description="Fraction of a replica's measured capacity that the plan may use.",
        examples=[0.9],
    )
    max_accelerators: dict[Word, Annotated[int, Field(ge=0, le=MAX_COUNT)]] = Field(
        default_factory=dict,
        max_length=100,
        description="The most GPUs (not instances) of each model; 0 excludes one.",
        examples=[{"H100": 8}],
        json_schema_extra={"additionalProperties": False},
    )
    min_replicas: Count = Field(
        default=Constraints().min_replicas, description="The fewest replicas in the whole plan.", examples=[2]
    )
    max_groups: Count | None = Field(
        default=Constraints().max_groups, description="The most replica groups in the plan.", examples=[3]
    )


class BudgetSection(Section):
    """What the plan may cost."""

    usd_per_hour: float = Field(gt=0, le=1e9, description="USD per hour, with overhead.", examples=[40])


class PricesSection(Section):
    """Which prices are believed."""

    trust: ListOf[OneLine] = Field(
        default=(),
        max_length=1000,
        description="Quarantined offers to use all the same: their name, or a prefix of it that ends at a `/`.",
        examples=[["runpod/"]],
    )


class SolverSection(Section):
    """How the plan is searched for."""

    formulation: Annotated[Formulation, Strict(False)] = Field(
        default=SolverSettings().formulation,
        description="`exact`: a bucket may be divided in any proportion. `sliced`: in multiples of one slice.",
        examples=["exact"],
    )
    slices: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=SolverSettings().slices, description="Slices per bucket, for `sliced`.", examples=[8]
    )
    time_limit_s: float = Field(
        default=SolverSettings().time_limit_s, gt=0, le=86_400, description="Seconds to search.", examples=[60]
    )
    mip_gap: float = Field(
        default=SolverSettings().mip_gap,
        ge=0,
        lt=1,
        description="Relative gap to the proven bound at which the search may stop.",
        examples=[0.0001],
    )


class LaunchSection(Section):
    """How the emitted files start the engine."""

    mode: Annotated[LaunchMode, Strict(False)] = Field(
        default=Launch().mode,
        description="`serve`: one SkyServe service per replica group. `cluster`: one SkyPilot cluster per group.",
        examples=["serve"],
    )
    engine: Literal["vllm"] = Field(
        default=cast("Literal['vllm']", Launch().engine), description="The inference engine.", examples=["vllm"]
    )
    engine_args: ListOf[Annotated[str, Field(pattern=ENGINE_ARGUMENT, max_length=1000)]] = Field(
        default=Launch().engine_args,
        max_length=200,
        description="Arguments appended to the engine's command line, each quoted for the shell.",
        examples=[["--enable-prefix-caching"]],
    )
    secrets: ListOf[Annotated[str, Field(pattern=ENVIRONMENT_VARIABLE, max_length=100)]] = Field(
        default=Launch().secrets,
        max_length=100,
        description="Names of environment variables to pass on as secrets. Names only, never their values.",
        examples=[["HF_TOKEN"]],
        json_schema_extra={"uniqueItems": True},
    )
