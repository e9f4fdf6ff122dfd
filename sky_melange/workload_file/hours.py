"""`traffic.hours`: the rules, the shapes that may be assumed, and the conversion to `domain.Hours`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from sky_melange.domain.hours import DAY, USUAL_HEADROOM, USUAL_HEADROOM_BASIS, WEEK, HourCount, Hours
from sky_melange.domain.trace import HoursReference, LogColumns, TraceOptions
from sky_melange.errors import InputError, Mistake
from sky_melange.resources import time_zone
from sky_melange.workload_file.hour_sizes import check_sizes
from sky_melange.workload_file.nodes import KeyPath, MappingNode, ScalarNode, SequenceNode, YamlDocument
from sky_melange.workload_file.report import key_path
from sky_melange.workload_file.traffic import HOUR_SOURCES, HoursSection, TrafficSection

StatedHours = tuple[Hours, tuple[str, ...]]
"""The hours, and what deserves doubt about them. Of a shape the busiest has 1 request/s."""

ReadHours = Callable[[HoursReference], StatedHours]
"""Reads the file of `traffic.hours`."""

LEAST_RPS: Final = 1e-6
"""As `traffic.request_rate`."""

_HOURS: Final = ("traffic", "hours")
_STATED: Final = "stated in the workload"
_CYCLES: Final = {"day": DAY, "week": WEEK}

_WORKDAY: Final = (5, 4, 4, 4, 5, 8, 18, 40, 75, 95, 100, 95, 80, 90, 100, 95, 85, 65, 40, 28, 20, 14, 10, 7)
_OFF_DAY: Final = (5, 4, 4, 4, 4, 5, 6, 8, 11, 14, 16, 17, 16, 15, 15, 15, 15, 15, 14, 13, 12, 10, 8, 6)
_EVENING: Final = (45, 30, 20, 15, 12, 12, 16, 24, 32, 38, 42, 46, 52, 52, 50, 52, 58, 66, 76, 88, 97, 100, 90, 68)
_WORLDWIDE: Final = (70, 68, 68, 70, 74, 78, 82, 86, 90, 92, 92, 90, 90, 94, 98, 100, 98, 94, 90, 86, 82, 80, 76, 72)

SHAPES: Final[Mapping[str, tuple[int, ...]]] = {
    "office": _WORKDAY * 5 + _OFF_DAY * 2,
    "evening": _EVENING,
    "worldwide": _WORLDWIDE,
}
"""Percent of the busiest hour's rate. Assumptions, drawn by hand and from no measurement: staff at work from Monday to
Friday; people at home; people on all continents."""


def check_hours(document: YamlDocument) -> Iterator[Mistake]:
    """Rules that span several keys, and rates that are of no day or week."""
    node = document.find(_HOURS)
    yield from _check_users(document, is_given=node is not None)
    if isinstance(node, SequenceNode):
        yield from _check_rates(document, _HOURS)
        yield from _check_rate_is_theirs(document, "hours")
    if not isinstance(node, MappingNode):
        return
    given = [name for name in HOUR_SOURCES if name in node.entries]
    if not given:
        listed = ", ".join(HOUR_SOURCES)
        yield _mistake(document, _HOURS, f"give exactly one of {listed}, for example `hours: {{file: hours.csv}}`")
    for name in given[1:]:
        message = f"cannot be combined with {given[0]}; use exactly one of {', '.join(HOUR_SOURCES)}"
        yield _mistake(document, (*_HOURS, name), message)
    if "cycle" in node.entries and "file" not in node.entries:
        instead = "write `counted: day` or `counted: week`" if "counted" in node.entries else "remove it"
        yield _mistake(document, (*_HOURS, "cycle"), f"only valid together with file; {instead}")
    yield from _check_rates(document, (*_HOURS, "rates"))
    for name in ("rates", "file"):
        if given == [name]:
            yield from _check_rate_is_theirs(document, f"hours.{name}")
    yield from check_sizes(document, _cycle_of(node))
    if "counted" in given and document.find(("traffic", "trace")) is None:
        has_preset = document.find(("traffic", "preset")) is not None
        why = "presets have no hours of a day" if has_preset else "a histogram has no times"
        message = f"only valid together with trace: {why}; write `hours: {{file: hours.csv}}` or a shape"
        yield _mistake(document, (*_HOURS, "counted"), message)
    zone = node.entries.get("time_zone")
    if isinstance(zone, ScalarNode) and isinstance(zone.value, str):
        fault = zone_fault(zone.value)
        if fault:
            yield _mistake(document, (*_HOURS, "time_zone"), fault)


def _cycle_of(node: MappingNode) -> int | None:
    """Hours of the cycle, where the file itself says how many there are."""
    rates, shape, counted = (node.entries.get(name) for name in ("rates", "shape", "counted"))
    if isinstance(rates, SequenceNode):
        return len(rates.items) if len(rates.items) in (DAY, WEEK) else None
    if isinstance(shape, ScalarNode) and isinstance(shape.value, str) and shape.value in SHAPES:
        return len(SHAPES[shape.value])
    if isinstance(counted, ScalarNode) and isinstance(counted.value, str):
        return _CYCLES.get(counted.value)
    return None


def has_rates(document: YamlDocument) -> bool:
    """Whether the hours say what the rate is, not only how it varies."""
    node = document.find(_HOURS)
    return isinstance(node, SequenceNode) or (
        isinstance(node, MappingNode) and bool({"rates", "file"} & set(node.entries))
    )


def _check_users(document: YamlDocument, *, is_given: bool) -> Iterator[Mistake]:
    """Keys elsewhere that mean something only where there are hours, or nothing where there are."""
    scaling = document.find(("launch", "scaling"))
    wanted = scaling.value if isinstance(scaling, ScalarNode) else None
    if not is_given and wanted in ("schedule", "autoscale"):
        message = f"{wanted} needs traffic.hours, which say when the requests come; write them, or `scaling: fixed`"
        yield _mistake(document, ("launch", "scaling"), message)
    mode = document.find(("launch", "mode"))
    is_cluster = isinstance(mode, ScalarNode) and mode.value == "cluster"
    yield from _check_stops(document, is_given=is_given, is_fixed=wanted == "fixed", is_cluster=is_cluster)
    if wanted == "autoscale" and is_cluster:
        message = "only SkyServe scales by itself: write `mode: serve`, or `scaling: schedule`"
        yield _mistake(document, ("launch", "scaling"), message)
    if wanted != "autoscale" and document.find(("launch", "min_running_fraction")) is not None:
        message = "only valid together with `scaling: autoscale`; constraints.min_replicas holds in every case"
        yield _mistake(document, ("launch", "min_running_fraction"), message)
    if not is_given and document.find(("constraints", "max_changes_per_hour")) is not None:
        message = "only valid together with traffic.hours: without them nothing changes from hour to hour"
        yield _mistake(document, ("constraints", "max_changes_per_hour"), message)
    objective = document.find(("objective",))
    if is_given and isinstance(objective, ScalarNode) and objective.value == "most_traffic":
        message = "cannot be combined with `objective: most_traffic`, which finds one rate; leave out one of them"
        yield _mistake(document, _HOURS, message)


def _check_stops(document: YamlDocument, *, is_given: bool, is_fixed: bool, is_cluster: bool) -> Iterator[Mistake]:
    least = document.find(("constraints", "min_replicas"))
    if not isinstance(least, ScalarNode) or least.value != 0 or isinstance(least.value, bool):
        return
    why = None
    if not is_given:
        why = "and there are no traffic.hours: write them, or at least 1"
    elif is_cluster:
        why = "and clusters run at all times: write `launch.mode: serve`, or at least 1"
    elif is_fixed:
        why = "and `launch.scaling: fixed` stops nothing: write `schedule` there, or at least 1"
    if why is not None:
        message = f"0 stops the replicas in hours without requests, {why}"
        yield _mistake(document, ("constraints", "min_replicas"), message)


def _check_rate_is_theirs(document: YamlDocument, name: str) -> Iterator[Mistake]:
    if document.find(("traffic", "request_rate")) is not None:
        message = f"cannot be combined with {name}, of which the busiest hour is the rate; leave out one of them"
        yield _mistake(document, ("traffic", "request_rate"), message)


def _check_rates(document: YamlDocument, path: KeyPath) -> Iterator[Mistake]:
    node = document.find(path)
    if not isinstance(node, SequenceNode):
        return
    values = [item.value if isinstance(item, ScalarNode) else None for item in node.items]
    # What is no rate has a mistake of its own; only their number counts then.
    rates = [float(value) if isinstance(value, int | float) and math.isfinite(value) else 1.0 for value in values]
    for index, message in rate_mistakes(rates):
        yield _mistake(document, path if index is None else (*path, index), message)


def rate_mistakes(rates: Sequence[float]) -> Iterator[tuple[int | None, str]]:
    """(hour, what is wrong) of the rates of a cycle; no hour: of all. Their range is the schema's matter."""
    if len(rates) not in (DAY, WEEK):
        message = f"want 24 rates (a day) or 168 (a week from Monday 00:00), found {len(rates)}"
        if len(rates) > WEEK:
            message += "; rates of other hours go into a file, with their dates (`hours: {file: hours.csv}`)"
        yield None, message
    elif not any(rate > 0 for rate in rates):
        yield None, "no hour has requests; one at least must"
    for hour, rate in enumerate(rates):
        if 0 < rate < LEAST_RPS:
            yield hour, f"must be 0, or at least {LEAST_RPS:g}"


def zone_fault(name: str) -> str:
    """Why this is not a time zone, and what to write instead; "" where it is one."""
    try:
        time_zone(name)
    except ValueError as error:
        return str(error)
    return ""


def stated_hours(section: TrafficSection, file_name: str, read: ReadHours | None) -> StatedHours | None:
    """The hours that a section states; None where it states none, or they are counted in its trace.

    Raises InputError for a file that cannot be read or holds no such rates,
    ValueError for one without `read`: a mistake of the caller.
    """
    given = section.hours
    if isinstance(given, tuple):
        given = HoursSection(rates=given)
    if given is None or given.counted is not None:
        return None
    if given.file is not None:
        if read is None:
            raise ValueError("this caller of read_workload gives no read_hours, so it reads no files of hours")
        # With a trace, what says how a log is counted is said of that.
        options = TraceOptions(rate_percentile=float(section.rate_percentile), window_s=section.window_s)
        options = options if section.trace is not None else log_options(section)
        cycle = None if given.cycle is None else _CYCLES[given.cycle]
        count = HourCount(time_zone=given.time_zone, cycle=cycle)
        hours, notes = read(HoursReference(file=given.file, options=replace(options, hours=count)))
        mistakes = [
            Mistake(source=given.file, message=message if index is None else f"its hour {index} {message}")
            for index, message in rate_mistakes(hours.rates_rps)
        ]
        if mistakes:
            raise InputError(mistakes)
        return hours, notes
    if given.shape is not None:
        hours = Hours(
            rates_rps=tuple(percent / 100 for percent in SHAPES[given.shape]),
            time_zone=given.time_zone,
            origin=f"the shape {given.shape}, an assumption",
            headroom_fraction=USUAL_HEADROOM,
            headroom_basis=USUAL_HEADROOM_BASIS,
        )
        note = (
            f"they are the shape `{given.shape}`, an assumption and not a measurement: where yours are busier, "
            "requests miss their targets. Count yours: `sky-melange workload from-trace LOG --hours week`."
        )
        return hours, (note,)
    rates = tuple(float(rate) for rate in given.rates or ())
    hours = Hours(
        rates_rps=rates,
        time_zone=given.time_zone,
        origin=f"hours in {file_name}",
        headroom_fraction=USUAL_HEADROOM,
        headroom_basis=USUAL_HEADROOM_BASIS,
    )
    return hours, ()


def with_headroom(section: TrafficSection, hours: Hours | None) -> Hours | None:
    """The hours with the reserve that the section states, where it states one."""
    given = section.hours
    if hours is None or not isinstance(given, HoursSection) or given.headroom_fraction is None:
        return hours
    return replace(hours, headroom_fraction=float(given.headroom_fraction), headroom_basis=_STATED)


def is_shape(section: TrafficSection) -> bool:
    """Whether the hours say only how the rate varies."""
    return isinstance(section.hours, HoursSection) and section.hours.shape is not None


def counted_hours(section: TrafficSection) -> HourCount | None:
    """How the trace's hours are counted, where they are."""
    given = section.hours
    if not isinstance(given, HoursSection) or given.counted is None:
        return None
    return HourCount(time_zone=given.time_zone, cycle=_CYCLES[given.counted])


def log_options(section: TrafficSection) -> TraceOptions:
    """How the section says that a log is counted."""
    columns = section.columns
    return TraceOptions(
        columns=None
        if columns is None
        else LogColumns(input=columns.input, output=columns.output, time=columns.time, bytes=columns.bytes),
        where=section.where,
        model_column=section.model_column,
        time_unit=section.time_unit,
        buckets=section.buckets,
        window_s=section.window_s,
        rate_percentile=float(section.rate_percentile),
    )


def _mistake(document: YamlDocument, path: KeyPath, message: str) -> Mistake:
    return Mistake(source=document.source, line=document.line_of(path), key=key_path(path), message=message)
