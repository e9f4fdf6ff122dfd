"""Whether the names that a list of prices is asked for exist."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from sky_melange.errors import InputError, Mistake
from sky_melange.prices.clouds import LAUNCHABLE_CLOUDS
from sky_melange.prices.names import known_accelerators


def check_filters(*, accelerator: str | None, cloud: str | None, prefix: str = "") -> None:
    """Raises InputError for names that no price has, with the nearest ones. `prefix` is how arguments are spelled."""
    mistakes = [
        Mistake(
            source=f"{prefix}{argument}",
            message=f"there is no {name!r}{_nearest(name, known)}; there are: {', '.join(known)}",
        )
        for argument, name, known in (
            ("accelerator", accelerator, known_accelerators()),
            ("cloud", cloud, LAUNCHABLE_CLOUDS),
        )
        if name is not None and name not in known
    ]
    if mistakes:
        raise InputError(mistakes)


def _nearest(name: str, known: Sequence[str]) -> str:
    by_fold = {entry.casefold(): entry for entry in known}
    near = difflib.get_close_matches(name.casefold(), list(by_fold), n=1)
    return f", did you mean {by_fold[near[0]]}?" if near else ""
