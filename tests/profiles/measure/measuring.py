"""What one run of `profiles measure` left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sky_melange.domain.profile import Profile
from sky_melange.profiles.profile_json import read_profile


@dataclass(frozen=True)
class Measurement:
    """What one run of the command left behind."""

    exit_code: int
    stderr: str
    out: Path

    @property
    def profile(self) -> Profile:
        return read_profile(self.out)

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.out.read_text())
        return content


Measure = Callable[..., Measurement]
