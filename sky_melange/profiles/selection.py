"""Which profile of a replica a plan uses when there are several: the best kind that covers all of the traffic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sky_melange.domain.profile import Profile, ProfileKey, ProfileKind
from sky_melange.profiles.capacity import covers, is_near

RANKS: Final = (ProfileKind.MEASURED, ProfileKind.FITTED, ProfileKind.PUBLISHED, ProfileKind.ESTIMATED)
"""From the most to the least trustworthy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """A profile of a better kind that was not used, and the size that it does not cover."""

    key: ProfileKey
    kind: ProfileKind
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """One profile a key, sorted by key, and the better ones that do not cover the traffic."""

    profiles: tuple[Profile, ...]
    passed_over: tuple[PassedOver, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """The profiles of a kind that is trusted, and what the others are of and of what kind."""

    profiles: tuple[Profile, ...]
    refused: tuple[tuple[ProfileKey, ProfileKind], ...]


def trusted(profiles: Iterable[Profile], weakest: ProfileKind | None) -> Trusted:
    """The profiles no weaker than a kind, in their order; None trusts all."""
    limit = len(RANKS) if weakest is None else RANKS.index(weakest)
    kept, refused = [], []
    for profile in profiles:
        if RANKS.index(profile.provenance.kind) <= limit:
            kept.append(profile)
        else:
            refused.append((profile.key, profile.provenance.kind))
    return Trusted(profiles=tuple(kept), refused=tuple(refused))


def select(profiles: Iterable[Profile], sizes: Sequence[tuple[int, int]], *, extrapolate: bool = False) -> Selection:
    """For each key the best kind whose ranges hold every (input, output) size, or else the one that lacks the fewest.

    With `extrapolate` ranges do not count. Of one kind the profile with the smaller TPOT error is taken, an unknown
    error last. So it is between a law that is continued to sizes that were not measured and one that is estimated:
    there the kind says nothing of the sizes in question, and the stated errors do.
    """
    by_key: dict[ProfileKey, list[Profile]] = {}
    for profile in profiles:
        by_key.setdefault(profile.key, []).append(profile)
    chosen, passed_over = [], []
    for key in sorted(by_key):
        ranked = sorted(by_key[key], key=_rank)
        gaps = [[] if extrapolate else gaps_of(profile, sizes) for profile in ranked]
        index = min(range(len(ranked)), key=lambda place: (len(gaps[place]), place))
        chosen.append(ranked[index])
        passed_over += [
            PassedOver(key=key, kind=profile.provenance.kind, reason=gap[0])
            for profile, gap in zip(ranked[:index], gaps, strict=False)
            if profile.provenance.kind is not ranked[index].provenance.kind and gap
        ]
    return Selection(profiles=tuple(chosen), passed_over=tuple(passed_over))


def _rank(profile: Profile) -> tuple[int, bool, float, str]:
    error = profile.provenance.error
    fraction = None if error is None else error.tpot_fraction
    kind = ProfileKind.ESTIMATED if profile.provenance.continued_from else profile.provenance.kind
    place = RANKS.index(kind)
    return place, fraction is None, fraction or 0.0, profile.engine_version


def gaps_of(profile: Profile, sizes: Sequence[tuple[int, int]]) -> list[str]:
    """What of the traffic the profile does not cover, one sentence a size."""
    found = (covers(profile, *size) for size in sizes if not is_near(profile, *size))
    return [reason for reason in found if reason is not None]
