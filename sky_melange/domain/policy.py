"""What an organisation allows: the content of policy.yaml, validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sky_melange.domain.profile import ProfileKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits beside the budget. None, or empty: no limit.

    The token limits are USD per million tokens, the whole cost divided by both kinds together, by input or by output
    tokens. `max_spot_fraction` (0..1) is of the requests that may be routed to spot machines. `min_profile_kind` is the
    least trustworthy kind of throughput that a group may rest on. `banned_regions` maps a cloud to regions of it.
    """

    max_usd_per_million_tokens: float | None = None
    max_usd_per_million_input_tokens: float | None = None
    max_usd_per_million_output_tokens: float | None = None
    banned_clouds: tuple[str, ...] = ()
    banned_regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    allowed_accelerators: tuple[str, ...] | None = None
    max_spot_fraction: float | None = None
    min_profile_kind: ProfileKind | None = None
