"""A plan.json edited by somebody who knows of its digest."""

from __future__ import annotations

from typing import Any

from sky_melange.domain.digest import json_sha256


def sealed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the digest of what it holds now."""
    rest = {key: value for key, value in document.items() if key != "plan_sha256"}
    return {**rest, "plan_sha256": json_sha256(rest)}
