"""`router`: the front door."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from sky_melange.domain.router import RouterKind, RouterSettings, SizeFit
from sky_melange.workload_file.field_types import Section
from sky_melange.workload_file.sections import values_of_keys, with_keys_of


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
