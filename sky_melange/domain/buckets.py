"""The grid of request sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One cell of the grid: requests of up to `input_tokens` and `output_tokens`, arriving at `rate_rps`.

    Sizes are the upper edges of the cell, so a plan is made for the largest request in it.
    """

    input_index: int
    output_index: int
    input_tokens: int
    output_tokens: int
    rate_rps: float

    @property
    def label(self) -> str:
        """For messages: `≤500 in × ≤100 out`."""
        return f"≤{self.input_tokens} in × ≤{self.output_tokens} out"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenGrid:
    """Upper edges of the buckets, tokens, strictly rising."""

    input_edges: tuple[int, ...]
    output_edges: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Request rates over a grid.

    `rates_rps[input bucket][output bucket]`, requests/s, none negative, at least one positive.
    `origin` says in words where the distribution comes from.
    """

    grid: TokenGrid
    rates_rps: tuple[tuple[float, ...], ...]
    origin: str

    @property
    def request_rate_rps(self) -> float:
        """The total over all buckets, requests/s."""
        return sum(sum(row) for row in self.rates_rps)

    def buckets(self) -> tuple[Bucket, ...]:
        """The buckets with traffic, by input then output edge."""
        return tuple(self._positive())

    def _positive(self) -> Iterator[Bucket]:
        for i, row in enumerate(self.rates_rps):
            for j, rate in enumerate(row):
                if rate > 0:
                    yield Bucket(
                        input_index=i,
                        output_index=j,
                        input_tokens=self.grid.input_edges[i],
                        output_tokens=self.grid.output_edges[j],
                        rate_rps=rate,
                    )
