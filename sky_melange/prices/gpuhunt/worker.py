"""Asks gpuhunt and prints its offers as one JSON document.

A program of its own, because gpuhunt sets no timeouts and its threads outlive any that we could set: this process is
ended from outside when it takes too long.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.error
from typing import Any, Final

from sky_melange.prices.gpuhunt.names import CLOUDS

TIMEOUT_S: Final = 2.4


def main() -> None:
    """Prints `{"providers": {name: [[instance, location, price, vcpus, memory, count, gpu, gpu memory, spot], …]},
    "problems": {name: reason}, "unmapped": [names]}`.
    """
    import gpuhunt

    socket.setdefaulttimeout(TIMEOUT_S)
    catalog = gpuhunt.Catalog(auto_reload=False)
    answer: dict[str, Any] = {"providers": {}, "problems": {}, "unmapped": []}
    if not os.environ.get("GPUHUNT_CATALOG_DIR"):
        try:
            catalog.load()
        except gpuhunt.GPUHuntError as error:
            answer["problems"] = dict.fromkeys(CLOUDS, _reason(error))
            json.dump(answer, sys.stdout)
            return
    answer["unmapped"] = sorted(set(catalog.catalog) - set(CLOUDS))
    for provider in CLOUDS:
        try:
            items = catalog.query(provider=[provider], min_gpu_count=1)
        except (OSError, ValueError, KeyError) as error:
            answer["problems"][provider] = _reason(error)
            continue
        rows = [_row(item) for item in items if item.gpu_name]
        if rows:
            answer["providers"][provider] = rows
        else:
            answer["problems"][provider] = "gpuhunt has no offers"
    json.dump(answer, sys.stdout)


def _row(item: Any) -> list[object]:
    return [
        item.instance_name,
        item.location,
        item.price,
        item.cpu,
        item.memory,
        item.gpu_count,
        item.gpu_name,
        item.gpu_memory or 0.0,
        item.spot,
    ]


def _reason(error: BaseException) -> str:
    """The first cause, in a few words."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, urllib.error.URLError):
        return f"gpuhunt: {getattr(error.reason, 'strerror', None) or error.reason}"[:200]
    return f"gpuhunt: {type(error).__name__}: {error}"[:200]


if __name__ == "__main__":
    main()
