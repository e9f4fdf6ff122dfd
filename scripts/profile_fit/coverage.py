"""Whether stated errors of the roofline hold: of all comparisons, by class and by group."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from profile_fit.outcomes import binomial
from profile_fit.roofline_errors import CONFIDENCE, LEAST, POWER, Class, classes, ends, stated
from profile_fit.roofline_fit import MEASURED, Guess


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Of the comparisons of a group: how many were no slower than the pessimistic end, and between both ends.

    `layouts`: of how many layouts they are. The comparisons of one layout err alike, so that there are hardly more
    independent ones.
    """

    group: str
    comparisons: int
    layouts: int
    planned: int
    within: int

    @property
    def bounds(self) -> tuple[float, float]:
        """The exact binomial interval (95 %) of the share between both ends, were all comparisons independent."""
        return binomial(self.within, self.comparisons)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One comparison by TPOT with what is stated of its class, and the groups that it counts in."""

    groups: tuple[str, ...]
    model: str
    layout: tuple[object, ...]
    log: float
    is_planned: bool
    is_within: bool


def cases(guesses: Sequence[Guess]) -> list[Case]:
    """All comparisons by TPOT that what is stated can be held against.

    The ends are those of the class without the model that is compared, so that none vouches for itself, and without the
    kernels' own error where these are what is compared with.
    """
    found: list[Case] = []
    for one in classes(guesses):
        own = [guess for guess in guesses if one.has(guess) and guess.quantity == "tpot"]
        for model in sorted({guess.sample.setup.shape.model for guess in own}):
            others = [guess for guess in own if guess.sample.setup.shape.model != model]
            if len(others) < LEAST:
                continue
            planned, (low, high) = math.log1p(stated(others, "tpot")) * POWER, ends(others, "tpot")
            found += [
                Case(
                    groups=_groups(one, guess),
                    model=model,
                    layout=(one.unseen, *_layout(guess)),
                    log=guess.log,
                    is_planned=guess.log <= planned,
                    is_within=math.log(low) <= guess.log <= math.log(high),
                )
                for guess in own
                if guess.sample.setup.shape.model == model
            ]
    return found


def coverage(cases: Iterable[Case]) -> Iterator[Coverage]:
    """For each class, accelerator, model and precision with 20 comparisons or more."""
    for name, own in _by_group(cases):
        yield Coverage(
            group=name,
            comparisons=len(own),
            layouts=len({case.layout[1:] for case in own}),
            planned=sum(case.is_planned for case in own),
            within=sum(case.is_within for case in own),
        )


def _by_group(cases: Iterable[Case]) -> list[tuple[str, list[Case]]]:
    found: dict[str, list[Case]] = {}
    for case in cases:
        for name in case.groups:
            found.setdefault(name, []).append(case)
    return [(name, own) for name, own in sorted(found.items()) if len(own) >= LEAST]


def spreads(cases: Iterable[Case]) -> tuple[float, float, float]:
    """Standard deviations of the logarithms: between models, between the layouts of a model, within layouts."""
    layouts: dict[tuple[object, ...], list[float]] = {}
    for case in cases:
        layouts.setdefault((case.model, *case.layout), []).append(case.log)
    means: dict[tuple[object, ...], list[float]] = {}
    for key, logs in layouts.items():
        means.setdefault(key[:2], []).append(statistics.fmean(logs))
    parts = (
        statistics.variance(map(statistics.fmean, means.values())) if len(means) > 1 else 0.0,
        statistics.fmean(statistics.variance(each) for each in means.values() if len(each) > 1),
        statistics.fmean(statistics.variance(logs) for logs in layouts.values() if len(logs) > 1),
    )
    models, between, within = map(math.sqrt, parts)
    return models, between, within


def right_groups(cases: Sequence[Case], *, models: bool, draws: int = 200) -> tuple[float, int, int]:
    """How many groups would be within 75 to 85 % of an interval that is exactly right: mean, 5th and 95th percentile.

    Errors are drawn as what all comparisons of a model have in common (with `models`), of a layout, and of one: normal,
    with the `spreads` that are found. Each is within the interval of four in five of that very distribution. So no
    better statement of errors is expected to do better.
    """
    of_models, between, alone = spreads(cases)
    common = of_models if models else 0.0
    end = statistics.NormalDist(sigma=math.hypot(common, between, alone)).inv_cdf((1 + CONFIDENCE) / 2)
    groups = [group for _, group in _by_group(cases)]
    draw = random.Random(0)  # noqa: S311
    counts = []
    for _ in range(draws):
        of_model = {case.model: draw.gauss(0.0, common) for case in cases}
        # A GPU that is held out with the model or without is the same layout, and errs alike.
        of_layout = {case.layout[1:]: draw.gauss(0.0, between) for case in cases}
        within = {}
        for case in cases:
            own = draw.gauss(0.0, alone)
            within[id(case)] = abs(of_model[case.model] + of_layout[case.layout[1:]] + own) <= end
        shares = (sum(within[id(case)] for case in group) / len(group) for group in groups)
        counts.append(sum(map(is_right, shares)))
    counts.sort()
    return statistics.fmean(counts), counts[draws // 20], counts[-1 - draws // 20]


def is_right(share: float) -> bool:
    """Whether a share of comparisons within the interval is near the one that is stated."""
    return CONFIDENCE - 0.05 <= share <= CONFIDENCE + 0.05


def _layout(guess: Guess) -> tuple[object, ...]:
    setup = guess.sample.setup
    return setup.shape.model, setup.machine.accelerator, setup.tensor_parallel, setup.dtype


def _groups(one: Class, guess: Guess) -> tuple[str, ...]:
    setup = guess.sample.setup
    seen = "unseen" if one.unseen else "seen"
    truth = "measured runs" if one.truth == MEASURED else "measured kernels"
    return (
        "all",
        f"all, {truth}",
        f"{seen} GPU, {'mixture of experts' if one.moe else 'dense'}, {one.memory}",
        f"{seen} {setup.machine.accelerator}",
        f"{seen} GPU, {setup.shape.model.split('/')[-1]}",
        f"{seen} GPU, {setup.dtype}",
    )
