"""The sections of version 1 of workload.yaml: keys, types, ranges and defaults.

Rules that span several keys are in `checks.py`. Defaults come from the domain classes, which are their one home.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, cast, get_args, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema, create_model

from sky_melange.domain.adapter import MOST_ADAPTERS
from sky_melange.domain.price_record import PriceKind
from sky_melange.domain.workload import (
    AUTO_DTYPE,
    LATENCIES,
    PERCENTS,
    Budget,
    CandidateFilter,
    Constraints,
    ControllerPlace,
    Formulation,
    KeepExisting,
    Launch,
    LaunchMode,
    Model,
    ProfilePolicy,
    Slo,
    SolverName,
    SolverSettings,
    SpotUse,
)
from sky_melange.workload_file.adapters import AdapterSection
from sky_melange.workload_file.field_types import (
    ENGINE_ARGUMENT,
    ENVIRONMENT_VARIABLE,
    MAX_COUNT,
    MAX_LOSSES,
    MAX_TOKENS,
    MODEL_ID,
    VARIABLE_OR_NONE,
    WORD,
    Count,
    ListOf,
    Milliseconds,
    OneLine,
    Place,
    Section,
    Word,
)
from sky_melange.workload_file.own_gpus import MOST_OWN, OwnGpusSection

S = TypeVar("S", bound=Section)


def declared_keys(kind: type) -> dict[str, Any]:
    """The keys that a domain class declares itself (`domain.workload.key`), as fields of a section."""
    types = get_type_hints(kind)
    return {
        field.name: (
            Annotated[types[field.name], Strict(_is_of_yaml(types[field.name]))],
            Field(default=field.default, **field.metadata),
        )
        for field in _declaring(kind)
    }


def with_keys_of(kind: type) -> Callable[[type[S]], type[S]]:
    """Adds to a section the keys that its domain class declares itself."""
    return with_keys(declared_keys(kind))


def with_keys(keys: dict[str, Any]) -> Callable[[type[S]], type[S]]:
    """Adds keys to a section: (type, field) by name."""

    def extended(section: type[S]) -> type[S]:
        return create_model(section.__name__, __base__=section, __doc__=section.__doc__, **keys) if keys else section

    return extended


def values_of_keys(section: Section, kind: type) -> dict[str, Any]:
    """What a file says for the keys that a domain class declares itself."""
    return {field.name: getattr(section, field.name) for field in _declaring(kind)}


def _declaring(kind: type) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(kind) if "description" in field.metadata]


def _is_of_yaml(kind: Any) -> bool:
    """Whether YAML has values of a type: it has no members of an enumeration."""
    return not any(isinstance(each, type) and issubclass(each, Enum) for each in (kind, *get_args(kind)))


Dtype: TypeAlias = Literal["bfloat16", "float16", "fp8", "fp4", "int4"]
DtypeList: TypeAlias = Annotated[tuple[Dtype, ...], Strict(False), Field(min_length=1, max_length=5)]


@with_keys_of(Model)
class ModelSection(Section):
    """The model to serve."""

    id: str = Field(
        pattern=MODEL_ID,
        max_length=200,
        description="Hugging Face id of the model.",
        examples=["meta-llama/Llama-3.1-8B-Instruct"],
    )
    dtype: Literal["auto", "any", "bfloat16", "float16", "fp8", "fp4", "int4"] | DtypeList = Field(
        default=AUTO_DTYPE,
        description="Type of the weights; profiles are looked up by it. Without it: the checkpoint's own. A list: the "
        "one that costs least. `any`: of the checkpoint's own, fp8 made of 16 bits, and those of `checkpoints`.",
        examples=["bfloat16", ["bfloat16", "fp8"]],
    )
    checkpoints: dict[Dtype, Annotated[str, Field(pattern=MODEL_ID, max_length=200)]] = Field(
        default_factory=dict,
        max_length=5,
        description="Ids of other checkpoints of the model, by the type of their weights; `id` has the other ones.",
        examples=[{"fp8": "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8"}],
    )
    adapters: ListOf[AdapterSection] = Field(
        default=(),
        max_length=MOST_ADAPTERS,
        description="LoRA adapters of the model that its replicas serve, too; the rest of the requests is for the "
        "model itself. All replicas serve all of them.",
        examples=[[{"id": "acme/llama-3.1-8b-sql", "share": 0.3, "rank": 16}]],
    )
    max_model_len: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = Field(
        default=None,
        description="Context limit in tokens, input and output together. Without it: the model's own.",
        examples=[16384],
    )
    profile_as: str | None = Field(
        default=None,
        pattern=MODEL_ID,
        max_length=200,
        description="Model whose profiles are used, as the base model of a fine-tune; `id` is what is launched.",
        examples=["meta-llama/Llama-3.1-8B-Instruct"],
    )
    config: OneLine | None = Field(
        default=None,
        description="The model's config.json or the folder of its checkpoint, relative to this file: sizes and dtype "
        "of a model that the table of architectures lacks.",
        examples=["config.json"],
    )


_LATENCY_NAMES: Final = {
    "tpot": "times per output token after the first",
    "ttft": "times to the first token",
    "ntpot": "latencies divided by output tokens",
}


def _percentile_keys() -> dict[str, Any]:
    return {
        f"p{percent}_{latency}_ms": (
            Milliseconds,
            Field(
                default=None,
                description=f"The {percent}th percentile of the requests' {_LATENCY_NAMES[latency]}, milliseconds; "
                "found by simulation.",
                examples=[500 if latency == "ttft" else 40],
            ),
        )
        for latency in LATENCIES
        for percent in PERCENTS
    }


@with_keys({**declared_keys(Slo), **_percentile_keys()})
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
    attainment: Annotated[float, Field(gt=0, lt=1)] | Literal["mean"] = Field(
        default=0.99,
        description="The share of all requests that must each meet every target; found by simulation. `mean`: targets "
        "are of means in steady state, at the buckets' largest sizes, and nothing is simulated.",
        examples=[0.99],
    )


ALL_CLOUDS: Final = "all"
NO_CLOUD: Final = "none"

Clouds: TypeAlias = Annotated[
    ListOf[Word],
    BeforeValidator(lambda found: (found,) if found in (ALL_CLOUDS, NO_CLOUD) else found),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [ALL_CLOUDS, NO_CLOUD]},
                {"type": "array", "items": {"type": "string", "pattern": WORD}, "minItems": 1, "uniqueItems": True},
            ]
        }
    ),
]


@with_keys_of(CandidateFilter)
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
    clouds: Clouds | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Clouds by SkyPilot's lower-case name; `all` of them, or `none` beside `own`.",
        examples=[["aws", "gcp"], "all"],
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
    purchase: ListOf[Annotated[PriceKind, Strict(False)]] | None = Field(
        default=None,
        min_length=1,
        max_length=len(PriceKind),
        description="How machines may be bought: on_demand, spot, and for a term, used or not: commit_1y, commit_3y. "
        "Without it: as `spot` says, and never for a term.",
        examples=[["on_demand", "commit_1y"]],
        json_schema_extra={"uniqueItems": True},
    )
    own: ListOf[OwnGpusSection] = Field(
        default=(),
        max_length=MOST_OWN,
        description="GPUs that you have: candidates whatever `clouds` says, at their price and as many as there are.",
        examples=[
            [{"infra": "k8s/prod-cluster", "accelerator": "H100", "per_node": 8, "nodes": 4, "usd_per_gpu_hour": 0.35}]
        ],
    )


@with_keys_of(KeepExisting)
class KeepSection(Section):
    """A running plan, and what each change of it must be worth."""

    plan: OneLine = Field(
        description="Its plan.json, or the folder that holds it; relative to this file.", examples=["plan/plan.json"]
    )
    switching_usd_per_hour: float = Field(
        ge=0,
        le=1e6,
        description="USD per hour that a cheaper plan must save for each instance that it starts or stops.",
        examples=[0.2],
    )


@with_keys_of(Constraints)
class ConstraintsSection(Section):
    """Limits on the plan."""

    max_utilization: Annotated[float | None, Field(gt=0, le=1)] = Field(
        default=None,
        description="Fraction of a replica's capacity that the plan may use. Without it: what `slo.attainment` allows, "
        f"or {Constraints().max_utilization:g} where that is `mean`.",
        examples=[0.9],
    )
    max_accelerators: dict[Word, Annotated[int, Field(ge=0, le=MAX_COUNT)]] = Field(
        default_factory=dict,
        max_length=100,
        description="The most GPUs (not instances) of each model; 0 excludes one.",
        examples=[{"H100": 8}],
        json_schema_extra={"additionalProperties": False},
    )
    min_replicas: Annotated[int, Field(ge=0, le=MAX_COUNT)] = Field(
        default=Constraints().min_replicas,
        description="The fewest replicas in the whole plan. 0: hours without requests (`traffic.hours`) may run none.",
        examples=[2],
    )
    max_groups: Count | None = Field(
        default=Constraints().max_groups, description="The most replica groups in the plan.", examples=[3]
    )
    max_accelerators_in: dict[
        Place, Annotated[dict[Word, Annotated[int, Field(ge=0, le=MAX_COUNT)]], Field(min_length=1, max_length=100)]
    ] = Field(
        default_factory=dict,
        max_length=100,
        description="The same within a cloud (`aws`) or a region (`aws/us-east-1`), as quotas are.",
        examples=[{"aws/us-east-1": {"H100": 8}}],
        json_schema_extra={"additionalProperties": False},
    )
    min_on_demand_replicas: Annotated[int, Field(ge=0, le=MAX_COUNT)] = Field(
        default=Constraints().min_on_demand_replicas,
        description="The fewest replicas that are not spot.",
        examples=[1],
    )
    max_cloud_share: Annotated[float | None, Field(gt=0, le=1)] = Field(
        default=None, description="The largest fraction of requests that any one cloud may get.", examples=[0.6]
    )
    max_region_share: Annotated[float | None, Field(gt=0, le=1)] = Field(
        default=None, description="The largest fraction of requests that any one region may get.", examples=[0.6]
    )
    max_spot_share: Annotated[float | None, Field(ge=0, le=1)] = Field(
        default=None, description="The largest fraction of requests that spot instances may get.", examples=[0.5]
    )
    tolerate_replica_losses: Annotated[int, Field(ge=0, le=MAX_LOSSES)] = Field(
        default=Constraints().tolerate_replica_losses,
        description="Instances, whichever, that may be lost while the rest still carries all traffic.",
        examples=[1],
    )
    keep: KeepSection | None = Field(
        default=None,
        description="A running plan, and what each change of it must be worth.",
        examples=[{"plan": "plan/plan.json", "switching_usd_per_hour": 0.2}],
    )


@with_keys_of(Budget)
class BudgetSection(Section):
    """What the plan may cost; at least one."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    usd_per_hour: float | None = Field(
        default=None, gt=0, le=1e9, description="USD per hour, with overhead.", examples=[40]
    )
    usd_per_month: float | None = Field(
        default=None, gt=0, le=1e12, description="USD per month of 730 hours, with overhead.", examples=[29200]
    )


@with_keys_of(ProfilePolicy)
class ProfilesSection(Section):
    """Which throughput profiles are used, beside the bundled ones."""

    files: ListOf[OneLine] = Field(
        default=(),
        max_length=1000,
        description="Profile files of your own, relative to this file: measured, imported or estimated.",
        examples=[["profiles/L4-tp1-bfloat16-vllm.json"]],
    )
    extrapolate: bool = Field(
        default=ProfilePolicy().extrapolate,
        description="Use profiles outside the request sizes and concurrency that they cover; the plan then says so.",
        examples=[False],
    )
    estimate: bool = Field(
        default=ProfilePolicy().estimate,
        description="Estimate accelerators that have no profile from their datasheets; the plan then says so.",
        examples=[False],
    )


@with_keys_of(SolverSettings)
class SolverSection(Section):
    """How the plan is searched for."""

    name: Annotated[SolverName, Strict(False)] = Field(
        default=SolverSettings().name, description="The program that solves the model.", examples=["highs"]
    )
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


API_KEY_VARIABLE: Final = "VLLM_API_KEY"
"""Where vLLM itself looks for its key; the key of other engines has the same name, as clients have one for all."""


@with_keys_of(Launch)
class LaunchSection(Section):
    """How the emitted files start the engine."""

    mode: Annotated[LaunchMode, Strict(False)] = Field(
        default=Launch().mode,
        description="`serve`: one SkyServe service per replica group. `cluster`: one SkyPilot cluster per group.",
        examples=["serve"],
    )
    controller: Annotated[ControllerPlace, Strict(False)] = Field(
        default=Launch().controller,
        description="Where SkyServe's controller runs. `machine`: one of its own, placed by the plan's `.sky.yaml`. "
        "`consolidated`: in the API server (SkyPilot's consolidation mode), at no cost of its own.",
        examples=["machine"],
    )
    engine: Literal["vllm", "sglang", "any"] = Field(
        default=cast("Literal['vllm']", Launch().engine),
        description="The inference engine. `any`: for each group whichever costs less, by its profiles.",
        examples=["vllm"],
    )
    engine_args: ListOf[Annotated[str, Field(pattern=ENGINE_ARGUMENT, max_length=1000)]] = Field(
        default=Launch().engine_args,
        max_length=200,
        description="Arguments appended to the engine's command line, each quoted for the shell.",
        examples=[["--enable-prefix-caching"]],
    )
    secrets: ListOf[Annotated[str, Field(pattern=ENVIRONMENT_VARIABLE, max_length=100)]] = Field(
        default=(),
        max_length=100,
        description="Names of environment variables to pass on as secrets. Names only, never their values. Left out: "
        "HF_TOKEN where the model is gated.",
        examples=[["HF_TOKEN"]],
        json_schema_extra={"uniqueItems": True},
    )
    api_key_secret: Annotated[str, Field(pattern=VARIABLE_OR_NONE, max_length=100)] | None = Field(
        default=None,
        description="Name of the secret that clients must send as a bearer token, and replicas ask for. Left out: "
        f"{API_KEY_VARIABLE} in mode serve, `none` in mode cluster. `none`: replicas and router are open to the world.",
        examples=[API_KEY_VARIABLE],
    )

    @property
    def wanted_api_key_secret(self) -> str | None:
        """As given, or the default of the mode."""
        if "api_key_secret" in self.model_fields_set:
            return None if self.api_key_secret == "none" else self.api_key_secret  # noqa: S105
        return API_KEY_VARIABLE if self.mode is LaunchMode.SERVE else None
