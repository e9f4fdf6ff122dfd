"""`traffic.hours.sizes`: hours whose requests have sizes of their own, over the grid of the traffic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol

from sky_melange.domain.buckets import Traffic, rates_of
from sky_melange.domain.hours import DAY, Hours, SizeSet, hour_name
from sky_melange.errors import InputError, Mistake
from sky_melange.workload_file.nodes import KeyPath, MappingNode, ScalarNode, SequenceNode, YamlDocument, YamlNode
from sky_melange.workload_file.report import key_path
from sky_melange.workload_file.traffic import HoursSection, TrafficSection

OTHERS: Final = "others"
"""The set of the hours that are in no other: they have the sizes of the traffic itself."""

Weights = tuple[tuple[float, ...], ...]

_SIZES: Final = ("traffic", "hours", "sizes")
_SAME: Final = 1e-9
_SUMS_DIFFER: Final = 1e-6


class _Stated(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def hours(self) -> Sequence[int]: ...
    @property
    def weights(self) -> Sequence[Sequence[float]] | None: ...


def size_mistakes(
    sets: Sequence[_Stated], cycle: int | None = None, grid: tuple[int, int] | None = None
) -> Iterator[tuple[KeyPath, str]]:
    """(where in the list, what is wrong); `cycle` in hours and `grid` (edges by input and output) None: not known."""
    names: set[str] = set()
    owners: dict[int, str] = {}
    for index, each in enumerate(sets):
        if each.name in names:
            yield (index, "name"), f"{each.name!r} is the name of another set"
        names.add(each.name)
        for place, hour in enumerate(each.hours):
            if cycle is not None and hour >= cycle:
                message = f"is not an hour of the {'day' if cycle == DAY else 'week'}: want 0 to {cycle - 1}"
                yield (index, "hours", place), message
            elif hour in owners:
                where = "listed twice" if owners[hour] == each.name else f"in the set {owners[hour]!r} too"
                name = str(hour) if cycle is None else f"{hour} ({hour_name(hour, cycle)})"
                yield (index, "hours", place), f"hour {name} is {where}; an hour has one set of sizes"
            owners.setdefault(hour, each.name)
        yield from (((index, "weights"), message) for message in _weight_mistakes(each.weights, grid))


def _weight_mistakes(weights: Sequence[Sequence[float]] | None, grid: tuple[int, int] | None) -> Iterator[str]:
    if weights is None:
        return
    if grid is not None and (len(weights) != grid[0] or any(len(row) != grid[1] for row in weights)):
        rows, columns = len(weights), " or ".join(map(str, sorted({len(row) for row in weights})))
        yield (
            f"want a row for each of the {grid[0]} input edges of the traffic and a column for each of the {grid[1]} "
            f"output edges, found {rows} {'row' if rows == 1 else 'rows'} of {columns or 'no'}"
        )
    elif not any(weight > 0 for row in weights for weight in row):
        yield "no weight is above 0; write the requests, or their share, of each bucket"


def check_sizes(document: YamlDocument, cycle: int | None) -> Iterator[Mistake]:
    """What a file says wrong of sizes by the hour, as far as it says what its hours and buckets are."""
    node = document.find(_SIZES)
    if not isinstance(node, SequenceNode) or not node.items:
        return
    scaling = document.find(("launch", "scaling"))
    if isinstance(scaling, ScalarNode) and scaling.value == "autoscale":
        message = (
            "cannot be combined with `launch.scaling: autoscale`: SkyServe counts requests, whatever their size; write "
            "`schedule`, or leave out the sizes"
        )
        yield _mistake(document, _SIZES, message)
    arrivals = document.find(("traffic", "arrivals"))
    if isinstance(arrivals, ScalarNode) and arrivals.value == "trace":
        message = "replays the sizes of the log, in whichever hour; with hours.sizes write `poisson`, or `{cv: 2}`"
        yield _mistake(document, ("traffic", "arrivals"), message)
    stated = [_Found.of(item) for item in node.items]
    edges = [document.find(("traffic", "histogram", f"{axis}_tokens")) for axis in ("input", "output")]
    grid = [len(each.items) for each in edges if isinstance(each, SequenceNode)]
    for place, message in size_mistakes(stated, cycle, (grid[0], grid[1]) if len(grid) == len(edges) else None):
        yield _mistake(document, (*_SIZES, *place), message)
    for index, each in enumerate(stated):
        if each.name == OTHERS:
            message = "is the set of the hours that are in no other; write another name"
            yield _mistake(document, (*_SIZES, index, "name"), message)
    if cycle is not None and len({hour for each in stated for hour in each.hours if hour < cycle}) == cycle:
        yield _mistake(document, _SIZES, _ALL_NAMED)


_ALL_NAMED: Final = (
    "every hour is in a set, so that the sizes of the traffic itself hold in none: write those of one set there "
    "(`histogram`), and leave its hours out here"
)


class _Found:
    """A set as it is written; what is no number or text has a mistake of its own, and is left out."""

    def __init__(self, name: str, hours: Sequence[int], weights: Sequence[Sequence[float]] | None) -> None:
        self.name, self.hours, self.weights = name, hours, weights

    @classmethod
    def of(cls, node: YamlNode) -> _Found:
        entries = node.entries if isinstance(node, MappingNode) else {}
        name, rows = entries.get("name"), entries.get("weights")
        weights = [_numbers(row) for row in rows.items] if isinstance(rows, SequenceNode) else [[None]]
        return cls(
            # What has no name is not named as another set.
            name.value if isinstance(name, ScalarNode) and isinstance(name.value, str) else f"\0{id(node)}",
            [
                int(hour)
                for hour in _numbers(entries.get("hours"))
                if hour is not None and math.isfinite(hour) and hour >= 0
            ],
            None
            if any(weight is None for row in weights for weight in row)
            else [[weight for weight in row if weight is not None] for row in weights],
        )


def _numbers(node: YamlNode | None) -> list[float | None]:
    """The items; None for what is no number, and for what is no list."""
    items = node.items if isinstance(node, SequenceNode) else [None]
    values = [item.value if isinstance(item, ScalarNode) else None for item in items]
    return [value if isinstance(value, int | float) and not isinstance(value, bool) else None for value in values]


def without_sizes(traffic: Traffic) -> tuple[Traffic, Weights | None]:
    """Of traffic that stands in for a log, as it was planned for: that of the hours in no set, and its sizes."""
    weights = next((each.weights for each in traffic.size_sets if each.name == OTHERS), None)
    if traffic.hours is None or not traffic.size_sets:
        return traffic, None
    rates = traffic.rates_rps if weights is None else rates_of(weights, traffic.request_rate_rps)
    return replace(traffic, rates_rps=rates, hours=replace(traffic.hours, sizes=())), weights


def with_sizes(section: TrafficSection, traffic: Traffic, hours: Hours | None, others: Weights | None) -> Traffic:
    """The traffic with the sets of sizes that its section states; its own rates are then those of all hours together.

    `others` are the sizes of the hours in no set; None: those of the traffic. `hours` even where the traffic has none,
    as they are all alike. A set whose sizes are those of another is one with it. Raises InputError for sets that are
    not of these hours and buckets.
    """
    stated = section.hours.sizes if isinstance(section.hours, HoursSection) else ()
    if not stated or hours is None:
        return traffic
    grid = (len(traffic.grid.input_edges), len(traffic.grid.output_edges))
    mistakes = [*size_mistakes(stated, len(hours.rates_rps), grid)]
    named = {hour: index for index, each in enumerate(stated) for hour in each.hours}
    if len(named) == len(hours.rates_rps):
        mistakes.append(((), _ALL_NAMED))
    for index, each in enumerate(() if mistakes else stated):
        if not any(hours.rates_rps[hour] > 0 for hour in each.hours):
            mistakes.append(((index, "hours"), "none of these hours has requests; leave the set out"))
    if mistakes:
        raise InputError([_of_traffic(place, message) for place, message in mistakes])
    found: list[tuple[str, Weights]] = [(OTHERS, others or rates_of(traffic.rates_rps, 1.0))]
    found += [(each.name, rates_of(each.weights, 1.0)) for each in stated]
    sets: list[SizeSet] = []
    for index, (name, weights) in enumerate(found):
        own = [hour for hour, rate in enumerate(hours.rates_rps) if rate > 0 and named.get(hour, -1) == index - 1]
        same = next((number for number, each in enumerate(sets) if _are_alike(each.weights, weights)), None)
        if same is not None:
            sets[same] = replace(sets[same], hours=tuple(sorted((*sets[same].hours, *own))))
        elif own:
            sets.append(SizeSet(name=name, hours=tuple(own), weights=weights))
    if len(sets) == 1 and sets[0].name == OTHERS:
        return traffic
    rates = rates_of(_mean_weights(hours, sets), hours.peak_rps)
    hours = replace(hours, sizes=tuple(sets) if len(sets) > 1 else ())
    return replace(traffic, rates_rps=rates, hours=None if hours.is_even else hours)


def _mean_weights(hours: Hours, sets: Sequence[SizeSet]) -> list[list[float]]:
    """Of the requests of all hours together."""
    requests = [math.fsum(hours.rates_rps[hour] for hour in each.hours) for each in sets]
    size = range(len(sets[0].weights[0]))
    return [
        [math.fsum(count * each.weights[i][j] for count, each in zip(requests, sets, strict=True)) for j in size]
        for i in range(len(sets[0].weights))
    ]


def _are_alike(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> bool:
    pairs = ((a, b) for first, second in zip(one, other, strict=True) for a, b in zip(first, second, strict=True))
    return all(math.isclose(a, b, rel_tol=_SAME) for a, b in pairs)


def embedded_size_mistakes(traffic: Traffic, hours: Hours) -> Iterator[tuple[str, str]]:
    """(key, what is wrong) of the sets of a plan.json, in which each hour with requests is in one of two or more."""
    sets = hours.sizes
    grid = (len(traffic.grid.input_edges), len(traffic.grid.output_edges))
    found = [
        (key_path(("hours", "sizes", *place)), message)
        for place, message in size_mistakes(sets, len(hours.rates_rps), grid)
    ]
    if len(sets) == 1:
        found.append(("hours.sizes", "one set is that of all hours: must be empty, or have two sets or more"))
    owned = {hour for each in sets for hour in each.hours}
    wanted = {hour for hour, rate in enumerate(hours.rates_rps) if rate > 0}
    if sets and owned != wanted:
        found.append(("hours.sizes", "each hour with requests must be in one set, and no other hour"))
    if sets and not found and any(not each.hours for each in sets):
        found.append(("hours.sizes", "a set has no hours"))
    for index, each in enumerate(() if found else sets):
        if abs(math.fsum(weight for row in each.weights for weight in row) - 1) > _SUMS_DIFFER:
            found.append((f"hours.sizes[{index}].weights", "must sum to 1"))
    if sets and not found:
        mean = rates_of(_mean_weights(hours, sets), traffic.request_rate_rps)
        pairs = (
            (a, b) for one, other in zip(mean, traffic.rates_rps, strict=True) for a, b in zip(one, other, strict=True)
        )
        if any(abs(a - b) > _SUMS_DIFFER * traffic.request_rate_rps for a, b in pairs):
            found.append(("rates_rps", "must be those of all hours together, as hours.sizes says"))
    yield from found


def _of_traffic(place: KeyPath, message: str) -> Mistake:
    return Mistake(source="traffic", key=key_path(("hours", "sizes", *place)), message=message)


def _mistake(document: YamlDocument, path: KeyPath, message: str) -> Mistake:
    return Mistake(source=document.source, line=document.line_of(path), key=key_path(path), message=message)
