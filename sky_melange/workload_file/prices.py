"""The section `prices` of workload.yaml: keys, types, ranges and defaults; and its way into `domain.PricePolicy`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema

from sky_melange.domain.router import RouterKind, RouterSettings, SizeFit
from sky_melange.domain.workload import EVERY_CLOUD, Disagreement, Discount, PricePolicy
from sky_melange.extensions import PRICE_SOURCES
from sky_melange.workload_file.field_types import ListOf, OneLine, Section, Word
from sky_melange.workload_file.sections import values_of_keys, with_keys_of

if TYPE_CHECKING:
    SourceName = str
else:
    SourceName = Literal[tuple(PRICE_SOURCES)]


@with_keys_of(RouterSettings)
class RouterSection(Section):
    """The front door: which program, and how it tells the size of a request."""

    kind: Annotated[RouterKind, Strict(False)] = Field(
        default=RouterSettings().kind,
        description="The program on the router's machine; `none`: no such machine and no router files.",
        examples=["haproxy"],
    )
    bytes_per_token: Annotated[float, Field(ge=0.1, le=1000)] | None = Field(
        default=None,
        description="Bytes of a prompt per token: HAProxy tells a request's input size from the length of its body. "
        f"Without it: what the trace says, or {RouterSettings().bytes_per_token:g}.",
        examples=[4.0],
    )
    envelope_bytes: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        default=RouterSettings().envelope_bytes,
        description="Bytes of JSON around the prompt. Without it: those of a minimal chat request for the model.",
        examples=[160],
    )
    size_error: Annotated[float, Field(ge=0, le=0.5)] | None = Field(
        default=None,
        description="How far the estimate of a single request's input size may be off, as a fraction. Without it: "
        f"what the trace says, or {RouterSettings().size_error_fraction:g}.",
        examples=[0.15],
    )
    size_bias: Annotated[float, Field(ge=0, le=0.5)] | None = Field(
        default=None,
        description="How far the estimates of all requests together may be off. Without it: 0.05 where the trace says "
        f"bytes_per_token, otherwise {RouterSettings().size_bias_fraction:g}.",
        examples=[0.05],
    )
    port: Annotated[int, Field(ge=1024, le=65535)] = Field(
        default=RouterSettings().port, description="Where the router listens.", examples=[8080]
    )


class DiscountSection(Section):
    """A negotiated discount on every offer that fits all the names given."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 2})

    fraction: float = Field(gt=0, lt=1, description="Share of the listed price that is taken off.", examples=[0.15])
    cloud: Word | None = Field(default=None, description="Only offers of this cloud.", examples=["aws"])
    accelerator: Word | None = Field(default=None, description="Only offers with this GPU.", examples=["H100"])
    instance_type: OneLine | None = Field(
        default=None, description="Only offers of this instance type.", examples=["p5.48xlarge"]
    )
    spot: bool = Field(default=False, description="Whether spot prices are discounted too.", examples=[False])


@with_keys_of(PricePolicy)
class PricesSection(Section):
    """Which prices are believed, and which are your own."""

    sources: ListOf[SourceName] = Field(
        default=PricePolicy().sources,
        min_length=1,
        max_length=len(PRICE_SOURCES),
        description="Where prices come from, the preferred source first; `gpuhunt` is a second opinion.",
        examples=[["skypilot", "gpuhunt"]],
        json_schema_extra={"uniqueItems": True},
    )
    base_url: Annotated[str | None, Field(max_length=2000)] = Field(
        default=None,
        description="Where the hosted catalogs are, as a folder with <cloud>/vms.csv; several: separated by blanks, "
        "tried in order.",
        examples=["https://mirror.example.com/catalogs/v8"],
    )
    max_age_hours: Annotated[float | None, Field(gt=0, le=1_000_000)] = Field(
        default=None,
        description="Older prices are not used. Without it they are, with a warning.",
        examples=[24],
    )
    require_clouds: Annotated[
        ListOf[Word],
        BeforeValidator(lambda found: (EVERY_CLOUD,) if found == EVERY_CLOUD else found),
        WithJsonSchema({"anyOf": [{"const": EVERY_CLOUD}, {"type": "array", "items": {"type": "string"}}]}),
    ] = Field(
        default=(),
        max_length=100,
        description="Clouds without whose prices no plan is made (exit 6), or `all` candidate clouds.",
        examples=[["aws", "lambda"], "all"],
    )
    trust: ListOf[OneLine] = Field(
        default=(),
        max_length=1000,
        description="Quarantined offers to use all the same: their name, or a prefix of it that ends at a `/`.",
        examples=[["runpod/"]],
    )
    on_disagreement: Annotated[Disagreement, Strict(False)] = Field(
        default=PricePolicy().on_disagreement,
        description="Where two sources differ: take the dearer price, that of the source named first, or neither.",
        examples=["highest"],
    )
    discounts: ListOf[DiscountSection] = Field(
        default=(),
        max_length=1000,
        description="Negotiated discounts. Where several fit an offer the largest counts; they do not add up.",
        examples=[[{"fraction": 0.15, "cloud": "aws"}]],
    )
    overrides: OneLine | None = Field(
        default=None,
        description="A CSV or YAML file of negotiated prices and reserved capacity, relative to this file.",
        examples=["prices.csv"],
    )


def to_prices(section: PricesSection) -> PricePolicy:
    """The policy; the path of the overrides is still relative to the workload file."""
    return PricePolicy(
        sources=tuple(dict.fromkeys(section.sources)),
        base_url=section.base_url,
        max_age_hours=None if section.max_age_hours is None else float(section.max_age_hours),
        require_clouds=section.require_clouds,
        trust=section.trust,
        on_disagreement=section.on_disagreement,
        discounts=tuple(
            Discount(
                fraction=float(discount.fraction),
                cloud=discount.cloud,
                accelerator=discount.accelerator,
                instance_type=discount.instance_type,
                spot=discount.spot,
            )
            for discount in section.discounts
        ),
        overrides=None if section.overrides is None else Path(section.overrides),
        **values_of_keys(section, PricePolicy),
    )


def to_router(section: RouterSection, fit: SizeFit | None) -> RouterSettings:
    """In base units; what is left out is as fitted to the log, unless `bytes_per_token` is given."""
    usual = RouterSettings() if fit is None or section.bytes_per_token is not None else RouterSettings.fitted(fit)
    return RouterSettings(
        kind=section.kind,
        bytes_per_token=_or(section.bytes_per_token, usual.bytes_per_token),
        envelope_bytes=usual.envelope_bytes if section.envelope_bytes is None else section.envelope_bytes,
        size_error_fraction=_or(section.size_error, usual.size_error_fraction),
        size_bias_fraction=_or(section.size_bias, usual.size_bias_fraction),
        port=section.port,
        **values_of_keys(section, RouterSettings),
    )


def _or(given: float | None, usual: float) -> float:
    return usual if given is None else float(given)
