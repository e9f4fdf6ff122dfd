"""What sums up a run, against numpy; and what is kept between runs."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from sky_melange.domain.kept import Kept
from sky_melange.simulation.run import _histogram, _spread


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 20_001])
def test_spreads_and_histograms_are_those_of_numpy(count: int) -> None:
    values = np.random.default_rng(count).exponential(size=count)
    spread = _spread(values)
    assert spread is not None
    assert spread.mean == values.mean()
    wanted = np.quantile(values, (0.5, 0.9, 0.95, 0.99))
    assert (spread.p50, spread.p90, spread.p95, spread.p99) == tuple(wanted)
    top = float(np.quantile(values, 0.995))
    counts, edges = np.histogram(np.minimum(values, top), bins=60, range=(0.0, top * (1 + 1e-9)))
    assert _histogram(np.sort(values)) == tuple(zip(edges[:-1], counts, strict=True))
    assert _spread(values[:0]) is None
    assert _histogram(values[:0]) == ()


def test_what_is_kept_is_of_these_very_objects_and_of_no_more_than_so_many() -> None:
    kept, found = Kept[int](most=2), []
    one, same = [1], [1]
    for things, value in (((one,), 1), ((one,), 1), ((same,), 1), ((one,), 2), ((one,), 1)):
        kept.get(things, value, lambda things=things, value=value: found.append((things, value)) or len(found))  # type: ignore[misc]
    assert [value for _, value in found] == [1, 1, 2, 1]


def test_threads_that_drop_what_others_ask_for_still_get_an_answer() -> None:
    kept, things = Kept[int](most=1), [[number] for number in range(8)]
    wrong: list[int] = []

    def ask() -> None:
        for turn in range(2000):
            number = turn % len(things)
            if kept.get((things[number],), None, lambda: number) != number:  # noqa: B023 - called at once
                wrong.append(number)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
