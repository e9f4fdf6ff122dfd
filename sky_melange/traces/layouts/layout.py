"""What a known format of logs is called and how its columns are named."""

from __future__ import annotations

from dataclasses import dataclass

from sky_melange.domain.trace import NamedColumns, Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout(NamedColumns):
    """The columns of a known format, all of which a log must have to be of it.

    `time_unit` is what its writers use for numbers (AUTO: since 1970, in any unit). `asides` are rows that are not the
    traffic: why, and which (in the language of traces/where.py); each holds where the log has the columns that it
    names. `parent`: the id of the row that it is a step of. `marks` are further columns that tell formats apart.
    `has_details`: sizes lie in an object, whose keys with `input` in them add up to the input unless its `total` says
    that the plain ones are all, and so the output.
    """

    name: str
    time: str
    parent: str | None = None
    asides: tuple[tuple[Rejection, str], ...] = ()
    marks: tuple[str, ...] = ()
    has_details: bool = False
