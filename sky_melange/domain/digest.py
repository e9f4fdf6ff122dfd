"""One digest of JSON values, whatever their layout."""

from __future__ import annotations

import hashlib
import json


def json_sha256(value: object) -> str:
    """sha256 (hex) of JSON values. Order of keys, spaces, and `1` for `1.0` make no difference."""
    # Browsers write 1.0 as 1, so whole numbers are read as floats.
    numbers = json.loads(json.dumps(value), parse_int=float)
    return hashlib.sha256(json.dumps(numbers, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
