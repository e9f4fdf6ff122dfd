"""Errors of the roofline by distance from what calibrated it, and whether the stated ones hold."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from profile_fit.outcomes import binomial, quantile
from profile_fit.roofline_fit import MEASURED, SILICON, Guess
from sky_melange.domain.profile import TO_END, Interval, ProfileKind
from sky_melange.profiles import bundled

HEADER: Final = (
    "accelerator",
    "model",
    "memory",
    "truth",
    "comparisons",
    "accelerators",
    "models",
    *(f"{name}_{what}" for name in ("tpot", "ttft", "rate") for what in ("median", "stated")),
    *(f"{name}_{end}" for name in ("tpot", "rate") for end in ("low", "high")),
    "date",
)
LEAST: Final = 20
CONFIDENCE: Final = 0.8
POWER: Final = math.log2(0.5 / (1 - CONFIDENCE))
"""Of 1 + error at that confidence, see `sky_melange.profiles.pessimism`."""
_QUANTITIES: Final = ("tpot", "ttft", "rate")
_BEYOND: Final = 0.08
"""Share of the known comparisons beyond either end: of models of which none is known, about a tenth is beyond it.

Of the shares tried (5 to 10 %) the one with which four of five comparisons with unseen models are between the ends.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """What an estimate is of: seen by the calibration or not, dense or mixture of experts, memory; and the truth."""

    unseen: bool
    moe: bool
    memory: str
    truth: str

    def has(self, guess: Guess) -> bool:
        """Whether a comparison is of this class."""
        setup = guess.sample.setup
        return (guess.unseen, bool(setup.shape.experts), setup.machine.memory, guess.sample.source) == (
            self.unseen,
            self.moe,
            self.memory,
            self.truth,
        )


def classes(guesses: Sequence[Guess]) -> Iterator[Class]:
    """Those with enough comparisons; measured runs are the truth where there are any, measured kernels elsewhere."""
    for unseen in (False, True):
        for moe in (False, True):
            for memory in ("hbm", "gddr"):
                for truth in (MEASURED, SILICON):
                    one = Class(unseen=unseen, moe=moe, memory=memory, truth=truth)
                    if sum(one.has(guess) and guess.quantity == "rate" for guess in guesses) >= LEAST:
                        yield one
                        break


def table(guesses: Sequence[Guess], date: str) -> Iterator[tuple[object, ...]]:
    """A row a class, and last what is stated beyond all of them: the worst decile of measured runs, without ends.

    What is stated of an accelerator that was not seen is never less than of one that was, at either end.
    """
    least: dict[tuple[bool, str, str], float] = {}
    widest: dict[tuple[bool, str, str], Interval] = {}
    for one in classes(guesses):
        own = [guess for guess in guesses if one.has(guess)]
        figures, limits = [], []
        kernels = kernels_error() if one.truth == SILICON else 0.0
        for name in _QUANTITIES:
            place = (one.moe, one.memory, name)
            least[place] = max(least.get(place, 0.0), stated(own, name) + kernels)
            figures += [_typical(own, name), least[place]]
            if name != "ttft":
                low, high = ends(own, name)
                more = math.pow(1.0 + kernels, TO_END)
                before = widest.get(place, (1.0, 1.0))
                widest[place] = min(before[0], low / more), max(before[1], high * more)
                limits += widest[place]
        place_of = ("unseen" if one.unseen else "seen", "moe" if one.moe else "dense", one.memory)
        yield _row(place_of, own, (*figures, *limits), date)
    yield from _slower_models(guesses, least, date)
    own = [guess for guess in guesses if guess.unseen and guess.sample.source == MEASURED]
    figures = [figure for name in _QUANTITIES for figure in (_typical(own, name), quantile(_absolute(own, name), 0.9))]
    yield _row(("beyond", "any", "any"), own, (*figures, *[""] * 4), date)


def _slower_models(
    guesses: Sequence[Guess], least: Mapping[tuple[bool, str, str], float], date: str
) -> Iterator[tuple[object, ...]]:
    """Models that are slower than the pessimistic end of their class more often than by chance: elsewhere too, perhaps.

    Where largest rates are few, what is found of TPOT is stated of them.
    """
    measured = [guess for guess in guesses if not guess.unseen and guess.sample.source == MEASURED]
    for model in sorted({guess.sample.setup.shape.model for guess in measured}):
        own = [guess for guess in measured if guess.sample.setup.shape.model == model]
        logs = {name: [guess.log for guess in own if guess.quantity == name] for name in _QUANTITIES}
        end = math.log1p(least[bool(own[0].sample.setup.shape.experts), "hbm", "tpot"]) * POWER
        no_slower = sum(log <= end for log in logs["tpot"])
        if len(logs["tpot"]) < LEAST or binomial(no_slower, len(logs["tpot"]))[1] >= CONFIDENCE:
            continue
        figures, limits = [], [*ends(own, "tpot")]
        for name in _QUANTITIES:
            known = name if len(logs[name]) >= LEAST else "tpot"
            figures += [_typical(own, known), stated(own, known)]
        low, high = ends(own, "rate") if len(logs["rate"]) >= LEAST else (1 / limits[1], 1 / limits[0])
        yield _row(("own", model, "hbm"), own, (*figures, *limits, low, high), date)


def stated(guesses: Iterable[Guess], quantity: str) -> float:
    """The error whose pessimistic end holds for four of five, at least the median."""
    logs = [guess.log for guess in guesses if guess.quantity == quantity]
    return max(_median(logs), math.expm1(max(0.0, quantile(logs, CONFIDENCE)) / POWER))


def ends(guesses: Iterable[Guess], quantity: str) -> Interval:
    """Multiples of the prediction that all but `_BEYOND` of the comparisons are above, and below; 1 is between them.

    The slower end is at least the pessimistic one.
    """
    logs = [guess.log for guess in guesses if guess.quantity == quantity]
    slow = max(quantile(logs, 1 - _BEYOND), math.log1p(stated(guesses, quantity)) * POWER)
    fast = min(quantile(logs, _BEYOND), 0.0)
    return (math.exp(-slow), math.exp(-fast)) if quantity == "rate" else (math.exp(fast), math.exp(slow))


def kernels_error() -> float:
    """Median TPOT error of the kernel-based profiles against measured runs."""
    errors = [
        bundled.read(entry).provenance.error for entry in bundled.entries() if entry.kind is ProfileKind.ESTIMATED
    ]
    return statistics.median(error.tpot_fraction or 0.0 for error in errors if error is not None)


def _row(
    place: tuple[str, str, str], own: Sequence[Guess], figures: Iterable[float | str], date: str
) -> tuple[object, ...]:
    names = sorted({guess.sample.accelerator for guess in own})
    models = {guess.sample.setup.shape.model for guess in own}
    count = sum(guess.quantity == "tpot" for guess in own)
    texts = [figure if isinstance(figure, str) else f"{figure:.4f}" for figure in figures]
    return (*place, own[0].sample.source, count, " ".join(names), len(models), *texts, date)


def _typical(guesses: Iterable[Guess], quantity: str) -> float:
    return _median([guess.log for guess in guesses if guess.quantity == quantity])


def _absolute(guesses: Iterable[Guess], quantity: str) -> list[float]:
    return [math.expm1(abs(guess.log)) for guess in guesses if guess.quantity == quantity]


def _median(logs: Sequence[float]) -> float:
    return statistics.median(math.expm1(abs(log)) for log in logs)
