"""What a known format of logs is called and how its columns are named."""

from __future__ import annotations

from dataclasses import dataclass

from sky_melange.domain.trace import Rejection, TimeUnit


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The columns of a known format, all of which a log must have to be of it.

    `time_unit` is what its writers use for numbers (AUTO: since 1970, in any unit). `asides` are rows that are not the
    traffic: why, and which (in the language of traces/where.py); each holds where the log has the columns that it
    names. `id` is the same for all rows of one request, `parent` the id of the row that it is a step of. `marks` are
    further columns that tell formats apart. `has_details`: sizes lie in an object, whose keys with `input` in them add
    up to the input unless its `total` says that the plain ones are all, and so the output.
    `blocks`, `block_tokens`: as in `LogColumns`.
    """

    name: str
    input: str
    output: str
    time: str
    time_unit: TimeUnit = TimeUnit.AUTO
    model: str | None = None
    id: str | None = None
    parent: str | None = None
    asides: tuple[tuple[Rejection, str], ...] = ()
    marks: tuple[str, ...] = ()
    blocks: str | None = None
    block_tokens: int = 0
    has_details: bool = False
