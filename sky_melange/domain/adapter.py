"""LoRA adapters of one base model, which share its replicas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
"""Those that vLLM's `--max-lora-rank` takes."""

MOST_ADAPTERS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter that every replica serves beside the base model: requests whose `model` is its `id`.

    `share`: the part of all requests that is for it. `rank`: of its matrices.
    """

    id: str
    share: float
    rank: int


def max_rank(adapters: Sequence[Adapter]) -> int:
    """The smallest rank of RANKS that all adapters fit in."""
    most = max(adapter.rank for adapter in adapters)
    return next(rank for rank in RANKS if rank >= most)
