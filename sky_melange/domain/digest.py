"""JSON values: one digest whatever their layout, and the order of their keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sky_melange.untrusted import own_json


def json_sha256(value: object) -> str:
    """sha256 (hex) of JSON values. Order of keys, spaces, and `1` for `1.0` make no difference."""
    # Browsers write 1.0 as 1, so whole numbers are read as floats.
    numbers = own_json(json.dumps(value), whole_number=float)
    return hashlib.sha256(json.dumps(numbers, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def in_order(values: Mapping[str, Any], first: Sequence[str]) -> dict[str, Any]:
    """Those of `first` that are there, in this order, then the others."""
    return {**{key: values[key] for key in first if key in values}, **values}
