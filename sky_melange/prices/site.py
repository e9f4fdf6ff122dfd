"""The machine's part of the question of prices: the clock, the environment, the cache folder."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sky_melange.errors import InputError, Mistake
from sky_melange.prices.hosted.bases import parse_bases
from sky_melange.prices.source import PriceSite

CATALOG_VARIABLE: Final = "SKY_MELANGE_CATALOG_URL"
CACHE_VARIABLE: Final = "SKY_MELANGE_CACHE_DIR"


def utc_now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


def price_site() -> PriceSite:
    """Where catalogs are kept and come from. Raises InputError for a variable that cannot be followed."""
    address = os.environ.get(CATALOG_VARIABLE, "")
    bases = parse_bases(address, source=CATALOG_VARIABLE) if address.strip() else ()
    return PriceSite(cache_folder=cache_folder(), bases=bases)


def cache_folder() -> Path:
    """Where this user's caches are. Raises InputError for a variable that cannot be followed."""
    chosen = os.environ.get(CACHE_VARIABLE, "")
    if not chosen.strip():
        from platformdirs import user_cache_path

        return user_cache_path("sky-melange", appauthor=False)
    if "\x00" in chosen:
        raise InputError([Mistake(source=CACHE_VARIABLE, message="holds a NUL character")])
    return Path(chosen).expanduser()
