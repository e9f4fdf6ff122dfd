"""The part `matrix` of a profile file."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sky_melange.domain.profile import MatrixForm, StatedTarget

_Tokens = Annotated[int, Field(ge=1, strict=True)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Edges = Annotated[tuple[_Tokens, ...], Field(min_length=1, max_length=1000)]
_Table = tuple[tuple[_Seconds | None, ...], ...]


class _Target(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    tpot_s: _Seconds | None = None
    ttft_s: _Seconds | None = None
    ntpot_s: _Seconds | None = None
    e2e_s: _Seconds | None = None
    percentile: Literal[50, 90, 99] | None = None

    @model_validator(mode="after")
    def _states_one(self) -> _Target:
        if self.tpot_s is None and self.ttft_s is None and self.ntpot_s is None and self.e2e_s is None:
            raise ValueError("no target is stated; rates without one mean nothing")
        return self


class MatrixRecord(BaseModel):
    """Rates in requests/s, [input bucket][output bucket]; null where a bucket cannot be served."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    target: _Target
    input_edges: _Edges
    output_edges: _Edges
    request_rates_rps: _Table
    request_latencies_s: _Table | None = None

    @model_validator(mode="after")
    def _fits(self) -> MatrixRecord:
        for name, edges in (("input_edges", self.input_edges), ("output_edges", self.output_edges)):
            if any(after <= before for before, after in pairwise(edges)):
                raise ValueError(f"{name} must rise strictly")
        shape = (len(self.input_edges), len(self.output_edges))
        tables = (("request_rates_rps", self.request_rates_rps), ("request_latencies_s", self.request_latencies_s))
        for name, table in tables:
            if table is not None and (len(table) != shape[0] or any(len(row) != shape[1] for row in table)):
                raise ValueError(f"{name} must have {shape[0]} rows of {shape[1]}, as the edges say")
        return self

    def form(self) -> MatrixForm:
        """In domain terms."""
        return MatrixForm(
            input_edges=self.input_edges,
            output_edges=self.output_edges,
            request_rates_rps=self.request_rates_rps,
            target=StatedTarget(**self.target.model_dump()),
            request_latencies_s=self.request_latencies_s,
        )
