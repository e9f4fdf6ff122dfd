"""Errors of the roofline by distance from what calibrated it, and whether the stated ones hold."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from profile_fit.outcomes import quantile
from profile_fit.roofline_fit import MEASURED, SILICON, Guess
from sky_melange.domain.profile import ProfileKind
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
    "date",
)
LEAST: Final = 20
CONFIDENCE: Final = 0.8
POWER: Final = math.log2(0.5 / (1 - CONFIDENCE))
"""Of 1 + error at that confidence, see `sky_melange.profiles.pessimism`."""
_QUANTITIES: Final = ("tpot", "ttft", "rate")


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
    """A row a class, and last what is stated beyond all of them: the worst decile of measured runs.

    What is stated of an accelerator that was not seen is never less than of one that was.
    """
    least: dict[tuple[bool, str, str], float] = {}
    for one in classes(guesses):
        own = [guess for guess in guesses if one.has(guess)]
        figures = []
        for name in _QUANTITIES:
            place = (one.moe, one.memory, name)
            least[place] = max(least.get(place, 0.0), stated(own, name, one.truth))
            figures += [_typical(own, name), least[place]]
        yield _row("unseen" if one.unseen else "seen", "moe" if one.moe else "dense", one.memory, own, figures, date)
    own = [guess for guess in guesses if guess.unseen and guess.sample.source == MEASURED]
    figures = [figure for name in _QUANTITIES for figure in (_typical(own, name), quantile(_absolute(own, name), 0.9))]
    yield _row("beyond", "any", "any", own, figures, date)


def stated(guesses: Iterable[Guess], quantity: str, truth: str) -> float:
    """The error whose pessimistic end holds for four of five, at least the median; of kernels, with their own added."""
    logs = [guess.log for guess in guesses if guess.quantity == quantity]
    error = max(_median(logs), math.expm1(max(0.0, quantile(logs, CONFIDENCE)) / POWER))
    return error + (kernels_error() if truth == SILICON else 0.0)


def kernels_error() -> float:
    """Median TPOT error of the kernel-based profiles against measured runs."""
    errors = [
        bundled.read(entry).provenance.error for entry in bundled.entries() if entry.kind is ProfileKind.ESTIMATED
    ]
    return statistics.median(error.tpot_fraction or 0.0 for error in errors if error is not None)


def coverage(guesses: Sequence[Guess]) -> Iterator[tuple[str, int, float, float, float]]:
    """(group, comparisons, stated TPOT error, share no slower than planned, share within the 80 % interval).

    For each class, accelerator, model and precision with 20 comparisons or more. The error is that of the class
    without the model that is compared, so that none vouches for itself.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for one in classes(guesses):
        own = [guess for guess in guesses if one.has(guess) and guess.quantity == "tpot"]
        models = sorted({guess.sample.setup.shape.model for guess in own})
        for model in models:
            others = [guess for guess in own if guess.sample.setup.shape.model != model]
            if len(others) < LEAST:
                continue
            error = math.log1p(stated(others, "tpot", one.truth))
            for guess in own:
                if guess.sample.setup.shape.model == model:
                    for name in _groups(one, guess):
                        found.setdefault(name, []).append((guess.log, error))
    for name, pairs in sorted(found.items()):
        if len(pairs) >= LEAST:
            count = len(pairs)
            planned = sum(log <= error * POWER for log, error in pairs) / count
            within = sum(abs(log) <= error * math.log2(0.5 / 0.1) for log, error in pairs) / count
            yield name, count, statistics.median(math.expm1(error) for _, error in pairs), planned, within


def _groups(one: Class, guess: Guess) -> tuple[str, ...]:
    setup = guess.sample.setup
    seen = "unseen" if one.unseen else "seen"
    return (
        "all",
        f"{seen} GPU, {'mixture of experts' if one.moe else 'dense'}, {one.memory}",
        f"{seen} {setup.machine.accelerator}",
        f"{seen} GPU, {setup.shape.model.split('/')[-1]}",
        f"{seen} GPU, {setup.dtype}",
    )


def _row(
    accelerator: str, model: str, memory: str, own: Sequence[Guess], figures: Iterable[float], date: str
) -> tuple[object, ...]:
    names = sorted({guess.sample.accelerator for guess in own})
    models = {guess.sample.setup.shape.model for guess in own}
    truth = own[0].sample.source
    count = sum(guess.quantity == "tpot" for guess in own)
    texts = [f"{figure:.4f}" for figure in figures]
    return (accelerator, model, memory, truth, count, " ".join(names), len(models), *texts, date)


def _typical(guesses: Iterable[Guess], quantity: str) -> float:
    return _median([guess.log for guess in guesses if guess.quantity == quantity])


def _absolute(guesses: Iterable[Guess], quantity: str) -> list[float]:
    return [math.expm1(abs(guess.log)) for guess in guesses if guess.quantity == quantity]


def _median(logs: Sequence[float]) -> float:
    return statistics.median(math.expm1(abs(log)) for log in logs)
