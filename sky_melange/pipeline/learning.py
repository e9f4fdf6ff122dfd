"""What simulated plans teach of the loads at which groups hold their targets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sky_melange.domain.plan import MOST_UTILIZATION
from sky_melange.domain.profile import ProfileKey
from sky_melange.optimizer import Model, Solved
from sky_melange.pipeline.judging import LOOK_REQUESTS, Judge, Verdict
from sky_melange.simulation import DEFAULT_REQUESTS

_MORE_AT_ONCE: Final = 1.6
_MORE_BESIDE: Final = 1.05
_LESS: Final = 0.985
_MUCH_LESS: Final = 0.95
_LOOKS: Final = 6
_PRECISE: Final = 1.05
_RATES: Final = (0.15, 2.5)
_LEAST_UTILIZATION: Final = 1e-4

_OPTIMISM: Final = 1.1
"""What was not simulated is taken for so much better than what was, or it would never be tried."""


@dataclass(slots=True, kw_only=True)
class Learning:
    """What is known of the groups of a model.

    `known[profile][replicas]`: the utilisation up to which groups of so many replicas held. `used_to[profile]`: the one
    that the program is given.
    """

    judge: Judge
    known: dict[ProfileKey, dict[int, float]] = field(default_factory=dict)
    used_to: dict[ProfileKey, float] = field(default_factory=dict)
    has_held: bool = False

    @property
    def model(self) -> Model:
        """What there is to choose from."""
        return self.judge.model

    @property
    def target(self) -> float:
        """The share of requests that must hold."""
        return self.judge.target

    @property
    def limit(self) -> float:
        """The most that any group may be used to."""
        given = self.model.workload.constraints.max_utilization
        return MOST_UTILIZATION if given is None else given

    def parts(self, used_to: Mapping[ProfileKey, float]) -> list[float]:
        """By candidate."""
        return [max(used_to[candidate.profile.key], _LEAST_UTILIZATION) for candidate in self.model.candidates]

    def learn(self, verdict: Verdict) -> None:
        """Up to which rate the requests of each group hold, and so up to which utilisation."""
        found, fleet, result, is_held = verdict.found, verdict.fleet, verdict.result, verdict.is_held
        attained = {group.name: 1.0 if group.held is None else group.held for group in result.groups}
        enough = self.target if is_held else min(self.target + result.attainment_error, 1.0)
        lost = dict(fleet.lost)
        requests = LOOK_REQUESTS if self.judge.log is None else DEFAULT_REQUESTS
        bounds = {name: _Bounds() for name in attained if _left(found, name, lost)}
        for name, bound in bounds.items():
            bound.note(1.0, holds=attained[name] >= enough)
        for _ in range(_LOOKS):
            faster = max((bound.next() for bound in bounds.values()), key=lambda entry: entry[0])[1]
            if not _RATES[0] <= faster <= _RATES[1]:
                break
            looked = self.judge.run(fleet, found, requests=requests, seed=result.seed, faster=faster)
            for each in looked.groups:
                if each.name in bounds:
                    is_enough = each.held is None or each.held >= self.target
                    bounds[each.name].note(faster, holds=is_enough)
        lowest = min(bounds, key=lambda name: (attained[name], name))
        for group in found.assembled.groups:
            if group.name not in bounds:
                continue
            part = group.utilization * (bounds[group.name].holds or _RATES[0])
            key = found.assembled.candidates[group.name].profile.key
            if is_held:
                part = min(max(part, group.utilization), group.utilization * _MORE_AT_ONCE)
            elif attained[group.name] < enough or group.name == lowest:
                part = min(part, group.utilization * _LESS)
            else:
                part = min(part, self.used_to[key] * _MORE_BESIDE)
            self.known.setdefault(key, {})[group.replicas] = part
        self.apply(found, is_held=is_held)

    def apply(self, found: Solved, *, is_held: bool) -> None:
        """From what is known to what the program is given."""
        replicas: dict[ProfileKey, int] = {}
        for group in found.assembled.groups:
            key = found.assembled.candidates[group.name].profile.key
            replicas[key] = max(replicas.get(key, 0), group.replicas)
        top = max(max(known.values()) for known in self.known.values())
        for key in self.used_to:
            known = self.known.get(key)
            if known is None:
                alike = [
                    max(each.values()) for other, each in self.known.items() if other.accelerator == key.accelerator
                ]
                part = (1.0 if self.has_held else _OPTIMISM) * max(alike, default=top)
            elif key in replicas and not is_held:
                # One more is what comes next, and more replicas pool better.
                now = replicas[key]
                part = _pooled(known[now], now, now + 1) if now in known else max(known.values())
                used = max(
                    group.utilization
                    for group in found.assembled.groups
                    if found.assembled.candidates[group.name].profile.key == key
                )
                part = min(part, used * _LESS) if known.get(now, used) < used else part
            else:
                part = known[replicas[key]] if key in replicas and replicas[key] in known else known[max(known)]
            self.used_to[key] = min(self.limit, part)

    def lower(self, found: Solved) -> None:
        """The program insists on counts that do not hold: its groups get less."""
        for group in found.assembled.groups:
            key = found.assembled.candidates[group.name].profile.key
            self.used_to[key] = min(self.used_to[key], group.utilization) * _MUCH_LESS


@dataclass(slots=True)
class _Bounds:
    """Rates, as factors of the planned one, at which a group holds and at which it does not."""

    holds: float | None = None
    fails: float | None = None

    def note(self, faster: float, *, holds: bool) -> None:
        """One more look."""
        if holds:
            self.holds = max(self.holds or 0.0, faster)
        else:
            self.fails = min(self.fails or math.inf, faster)

    def next(self) -> tuple[float, float]:
        """(how much is open, where to look)."""
        if self.holds is None:
            return 9.0, (self.fails or 1.0) * 0.7
        if self.fails is None:
            return 8.0, self.holds * 1.25
        open_to = self.fails / self.holds
        return (open_to, math.sqrt(self.fails * self.holds)) if open_to > _PRECISE else (0.0, 0.0)


def _pooled(part: float, replicas: int, more: int) -> float:
    """What is left idle for the sake of bursts shrinks with the root of the replicas that share them."""
    return part if part >= 1 else 1 - (1 - part) * math.sqrt(replicas / more)


def _left(found: Solved, name: str, lost: Mapping[str, int]) -> int:
    return next(group.instances for group in found.assembled.groups if group.name == name) - lost.get(name, 0)
