"""`router`: the front door."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from sky_melange.domain.router import RouterKind, RouterSettings
from sky_melange.workload_file.sections import Section


class RouterSection(Section):
    """The front door: which program, and how it tells the size of a request."""

    kind: Annotated[RouterKind, Strict(False)] = Field(
        default=RouterSettings().kind,
        description="The program on the router's machine; `none`: no such machine and no router files.",
        examples=["haproxy"],
    )
    bytes_per_token: float = Field(
        default=RouterSettings().bytes_per_token,
        ge=0.1,
        le=1000,
        description="Bytes of a prompt per token: HAProxy tells a request's input size from the length of its body.",
        examples=[4.0],
    )
    envelope_bytes: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        default=RouterSettings().envelope_bytes,
        description="Bytes of JSON around the prompt. Without it: those of a minimal chat request for the model.",
        examples=[160],
    )
    port: Annotated[int, Field(ge=1024, le=65535)] = Field(
        default=RouterSettings().port, description="Where the router listens.", examples=[8080]
    )


def to_router(section: RouterSection) -> RouterSettings:
    """In base units."""
    return RouterSettings(
        kind=section.kind,
        bytes_per_token=float(section.bytes_per_token),
        envelope_bytes=section.envelope_bytes,
        port=section.port,
    )
