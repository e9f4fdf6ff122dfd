"""Measures a running server: an adapter, and so the home of its own clock, network and random numbers.

`measure` drives an OpenAI-compatible endpoint over a grid of request sizes at rising concurrency; `Journal` keeps what
was found; `to_profile` makes a profile of it. `aiohttp` is imported when `measure` is first used.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Final

from sky_melange.profiles.measure.journal import Journal, Progress
from sky_melange.profiles.measure.results import EndKind, LevelResult, ShapeEnd
from sky_melange.profiles.measure.spec import (
    DEFAULT_CONCURRENCIES,
    DEFAULT_GRID,
    Api,
    Effort,
    Endpoint,
    MeasureSpec,
    Shape,
)
from sky_melange.profiles.measure.to_profile import Measured, NothingMeasuredError, to_profile

__all__ = [
    "DEFAULT_CONCURRENCIES",
    "DEFAULT_GRID",
    "Api",
    "Effort",
    "EndKind",
    "Endpoint",
    "Journal",
    "LevelResult",
    "MeasureSpec",
    "Measured",
    "NothingMeasuredError",
    "Progress",
    "Shape",
    "ShapeEnd",
    "measure",
    "to_profile",
]

_SPARE_FILES: Final = 256
"""Beside one socket a request: libraries, the journal, and sockets that are still closing."""


def measure(spec: MeasureSpec, endpoint: Endpoint, journal: Journal, progress: Progress) -> None:
    """Measures what the journal lacks; see `run.measure`. KeyboardInterrupt passes through, the journal being whole."""
    from sky_melange.profiles.measure import run

    _allow_open_files(spec.concurrencies[-1] + _SPARE_FILES)
    asyncio.run(run.measure(spec, endpoint, journal, progress))


def _allow_open_files(wanted: int) -> None:
    """Raises this process's own limit as far as the system allows: the usual 1024 are few for 1024 connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
