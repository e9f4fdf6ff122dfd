"""The file of `traffic.hours`: rates of a day or week, dated rates or counts, Prometheus' samples, a request log."""

from __future__ import annotations

import csv
import io
import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from sky_melange.domain.hours import DAY, USUAL_HEADROOM, USUAL_HEADROOM_BASIS, WEEK, HourCount, Hours
from sky_melange.domain.trace import CALENDAR_FROM_S, HoursReference
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.aggregates.prometheus import WATCHERS
from sky_melange.traces.files import compression_of, expand, header_columns, is_remote, open_text
from sky_melange.traces.hours import Sample, gap_note, hours_of_samples
from sky_melange.untrusted import one_line, parse_json

_MAX_BYTES: Final = 64 << 20
_HEAD_BYTES: Final = 1 << 16
_MOST_MISTAKES: Final = 20
_LAST_S: Final = 253_402_300_799
_MOST_RPS: Final = 1e9
_FEW_STEPS: Final = 3
_LEAST_OF_A_COUNTER: Final = 25
"""More samples than a day has hours: rates fall at some time, and counters do not."""

_TIMES: Final = ("time", "timestamp", "date", "datetime", "start", "start_time", "start_s", "ds")
_RATES: Final = ("rate", "rate_rps", "rps", "qps", "requests_per_second", "request_rate", "req_per_s", "value")
_COUNTS: Final = ("count", "requests", "request_count", "num_requests", "api_requests")
_HOURS: Final = ("hour", "hour_of_week", "hour_of_day")
_NUMBER: Final = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
_IS_RANGE: Final = re.compile(r'"resultType"\s*:|"result"\s*:\s*\[|"status"\s*:\s*"(success|error)"')
_REQUESTS: Final = re.compile(r"(total|count)\Z")
_NOT_REQUESTS: Final = re.compile(r"token|_bucket\Z|_sum\Z|seconds")

Read = tuple[Hours, tuple[str, ...]]
"""The hours, and what deserves doubt about them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Places of the columns in a CSV file; without `time` and `hour` the rates stand alone, in order."""

    rate: int
    is_count: bool = False
    time: int | None = None
    hour: int | None = None


def read_hours(reference: HoursReference, folder: Path) -> Read:
    """The hours that a file says, which a workload in `folder` names.

    Raises InputError: no such file, no regular file, larger than 64 MiB (a request log may be), of no known kind, with
    rows that are not rates or times, or with hours of which it says nothing.
    """
    name = reference.file
    if is_remote(name):
        raise _mistake(name, "must be a local file; fetch it first")
    paths = expand([name], folder)
    if len(paths) != 1:
        raise _mistake(name, f"names {len(paths)} files; give one")
    (path,) = paths
    source = Path(path).name
    wanted = reference.options.hours or HourCount()
    percentile = reference.options.rate_percentile
    head = _text(path, _HEAD_BYTES, is_whole=False).removeprefix("\ufeff")
    if not head.strip():
        raise _mistake(source, "is empty")
    if head.lstrip().startswith("{") and _IS_RANGE.search(head):
        samples = _of_prometheus(_text(path, _MAX_BYTES), source)
        return _counted(samples, wanted, percentile, source)
    columns = _columns(head.lstrip("\r\n").splitlines()[0])
    if columns is None:
        return _of_log(path, reference)
    text = _text(path, _MAX_BYTES).removeprefix("\ufeff")
    if columns.time is not None:
        return _counted(_dated(text, columns, wanted, source), wanted, percentile, source)
    hours = Hours(
        rates_rps=_plain(text, columns, source),
        time_zone=wanted.time_zone,
        origin=source,
        headroom_fraction=USUAL_HEADROOM,
        headroom_basis=USUAL_HEADROOM_BASIS,
    )
    return hours, ()


def _counted(samples: Sequence[Sample], wanted: HourCount, percentile: float, source: str) -> Read:
    note = gap_note(samples)
    hours = hours_of_samples(samples, wanted, percentile=percentile, source=source)
    return hours, () if note is None else (f"{source}: {note}",)


def _of_log(path: str, reference: HoursReference) -> Read:
    """Whatever `workload from-trace` reads."""
    from sky_melange.traces import scan_files

    try:
        summary = scan_files([path], reference.options)
    except InputError as error:
        if not any("no known log format" in mistake.message for mistake in error.mistakes):
            raise
        message = (
            f"has no columns that are known: want {_TIMES[0]} and rate (requests/s) or requests (of each step), hour "
            "and rate, 24 or 168 rates alone, Prometheus' answer to query_range, or a request log"
        )
        raise _mistake(Path(path).name, message, line=1) from error
    if summary.rate is None or summary.rate.hours is None:
        raise _mistake(Path(path).name, "has no times, so it says nothing of single hours")
    return summary.rate.hours, summary.notes


def _text(path: str, most: int, *, is_whole: bool = True) -> str:
    source = Path(path).name
    try:
        with open_text(path, compression_of(path)) as stream:
            content = stream.read(most + 1)
    except PermissionError:
        raise _mistake(source, "may not be read; check its permissions") from None
    except (OSError, EOFError, zlib.error) as error:
        raise _mistake(source, f"is damaged or cannot be read: {one_line(str(error))}") from error
    if is_whole and len(content) > most:
        raise _mistake(source, f"is larger than {most >> 20} MiB, the most that is read of rates; take a part of it")
    return content.decode("utf-8", "replace")


def _columns(first: str) -> _Columns | None:
    """By the first line of a CSV file: its header, or a rate. None: it is something else."""
    names, _ = header_columns(first[:10_000])
    if len(names) == 1 and _NUMBER.fullmatch(names[0]):
        return _Columns(rate=0)
    if len(names) == 2 and _NUMBER.fullmatch(names[1]):
        second, _ = _second(names[0])
        if second is not None:
            return _Columns(hour=0, rate=1) if second < WEEK else _Columns(time=0, rate=1)
    folded = [name.casefold() for name in names]

    def place(known: Sequence[str]) -> int | None:
        return next((folded.index(name) for name in known if name in folded), None)

    time, hour, rate, count = place(_TIMES), place(_HOURS), place(_RATES), place(_COUNTS)
    if time is not None and (rate is not None or count is not None):
        return _Columns(time=time, rate=rate if rate is not None else count or 0, is_count=rate is None)
    if rate is not None and (hour is not None or len(names) == 1):
        return _Columns(hour=hour, rate=rate)
    return None


def _rows(text: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) without the header and empty lines."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    names, delimiter = header_columns(first)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    is_header = not any(_NUMBER.fullmatch(name) for name in names)
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if is_header:
                is_header = False
                continue
            yield reader.line_num, cells
    except csv.Error as error:
        raise _mistake(source, f"is no CSV: {one_line(str(error))}", line=reader.line_num) from None


class _Mistakes:
    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[Mistake] = []

    def add(self, line: int, message: str) -> None:
        if len(self.found) < _MOST_MISTAKES:
            self.found.append(Mistake(source=self.source, line=line, message=message))

    def rate(self, cells: list[str], place: int, line: int) -> float | None:
        """A number of requests that is finite and not negative."""
        text = cells[place].strip() if place < len(cells) else ""
        if not text:
            self.add(line, "has no rate; write 0 for an hour without requests, or leave out the row")
        elif not _NUMBER.fullmatch(text):
            self.add(line, f"{one_line(text)[:40]!r} is not a rate; want a number such as 12.5")
        elif not 0 <= (value := float(text)) <= _MOST_RPS:
            self.add(line, f"{one_line(text)[:40]} is not a rate: want 0 to {_MOST_RPS:,.0f}")
        else:
            return value
        return None

    def check(self) -> None:
        if self.found:
            raise InputError(self.found)


def _plain(text: str, columns: _Columns, source: str) -> tuple[float, ...]:
    """24 or 168 rates, in order or each with its hour."""
    mistakes = _Mistakes(source)
    rates: dict[int, float] = {}
    count = 0
    for line, cells in _rows(text, source):
        count += 1
        if count > 10 * WEEK:
            break
        rate = mistakes.rate(cells, columns.rate, line)
        hour = count - 1
        if columns.hour is not None:
            given = cells[columns.hour].strip() if columns.hour < len(cells) else ""
            if not (given.isascii() and given.isdecimal() and len(given) < 4 and int(given) < WEEK):
                mistakes.add(
                    line, f"{one_line(given)[:40]!r} is not an hour; want 0 to 23, or 0 to 167 from Monday 00:00"
                )
                continue
            hour = int(given)
            if hour in rates:
                mistakes.add(line, f"the hour {hour} is repeated")
        rates[hour] = rate or 0.0
    mistakes.check()
    if count not in (DAY, WEEK) or set(rates) != set(range(count)):
        found = (
            f"{count} rows" if set(rates) == set(range(count)) else f"the hours {sorted(rates)[:3]} … in {count} rows"
        )
        message = (
            f"want 24 rates (a day) or 168 (a week from Monday 00:00), found {found}; other rates need their dates"
        )
        raise _mistake(source, message)
    return tuple(rates[hour] for hour in range(count))


def _dated(text: str, columns: _Columns, wanted: HourCount, source: str) -> list[Sample]:
    """Each row is known of its step: from its time to that of the next row, or as long as steps mostly are."""
    mistakes = _Mistakes(source)
    rows: dict[int, tuple[float, int]] = {}
    naive: int | None = None
    for line, cells in _rows(text, source):
        rate = mistakes.rate(cells, columns.rate, line)
        given = cells[columns.time or 0].strip() if (columns.time or 0) < len(cells) else ""
        second, has_zone = _second(given)
        if second is None:
            wanted_time = "want dates such as 2026-05-01T09:00:00+02:00, or seconds since 1970"
            mistakes.add(line, f"{one_line(given)[:40]!r} is not a time; {wanted_time}")
            continue
        if second < CALENDAR_FROM_S:
            message = (
                "times count from the file's own start: they are in no hour of a day; write dates, or 24 or 168 rates"
            )
            mistakes.add(line, message)
            break
        if not has_zone and naive is None:
            naive = line
        if second in rows:
            mistakes.add(
                line, f"the time {one_line(given)[:40]} is repeated (line {rows[second][1]}); add up such rows first"
            )
        rows[second] = (rate or 0.0, line)
    if naive is not None and wanted.time_zone != "UTC":
        message = (
            f"times name no zone, and time_zone is {wanted.time_zone}: write them with theirs, such as "
            "2026-05-01T09:00:00+02:00, or 2026-05-01T09:00:00Z for UTC"
        )
        mistakes.add(naive, message)
    mistakes.check()
    if len(rows) < 2:
        raise _mistake(source, f"want dated rates of a day at least, found {len(rows)}")
    seconds = sorted(rows)
    usual = _usual_step(seconds)
    ends = [min(after, begin + usual) for begin, after in pairwise(seconds)]
    ends.append(seconds[-1] + usual)
    return [
        Sample(
            begin_s=begin, end_s=end, rate_rps=rows[begin][0] / (end - begin) if columns.is_count else rows[begin][0]
        )
        for begin, end in zip(seconds, ends, strict=True)
    ]


def _usual_step(seconds: Sequence[int]) -> int:
    steps = Counter(after - before for before, after in pairwise(seconds) if after > before)
    return min(steps, key=lambda step: (-steps[step], step))


def _second(text: str) -> tuple[int | None, bool]:
    """(seconds since 1970 or None, whether a zone is known)."""
    if _NUMBER.fullmatch(text):
        number = float(text)
        # Seconds, or milli-, micro- or nanoseconds, by their size.
        scale = next((each for each in (1, 10**3, 10**6, 10**9) if abs(number) < CALENDAR_FROM_S * 1000 * each), None)
        return (None, True) if scale is None or number < 0 else (int(number // scale), True)
    try:
        moment = datetime.fromisoformat(text.removesuffix(" UTC") + ("Z" if text.endswith(" UTC") else ""))
    except ValueError:
        return None, False
    has_zone = moment.tzinfo is not None
    try:
        second = math.floor((moment if has_zone else moment.replace(tzinfo=UTC)).timestamp())
    except (OverflowError, ValueError):
        return None, has_zone
    return (second, has_zone) if 0 <= second <= _LAST_S else (None, has_zone)


def _of_prometheus(text: str, source: str) -> list[Sample]:
    """The sum of all series: counters by their increase, anything else as rates over the step that ends at a sample."""
    result = _matrix(text, source)
    names = {str(series["metric"].get("__name__", "")) for series in result}
    models = {series["metric"].get("model_name") or series["metric"].get("model") for series in result}
    if len(names) > 1:
        listed = ", ".join(sorted(one_line(name) or "(no name)" for name in names))
        raise _mistake(source, f"holds several metrics ({listed}); query one")
    (name,) = names
    if _NOT_REQUESTS.search(name):
        raise _mistake(source, f"{one_line(name)} does not count requests; query vllm:request_success_total")
    if len(models) > 1:
        listed = ", ".join(sorted(one_line(str(model))[:60] for model in models)[:5])
        raise _mistake(source, f'holds the requests of {len(models)} models ({listed}); query one: {{model_name="…"}}')
    series = _each_once(result, source)
    is_counter = _REQUESTS.search(name) is not None
    if not is_counter:
        _check_no_counter(series, source)
    sums: dict[tuple[int, int], float] = defaultdict(float)
    begin = min(samples[0][0] for samples in series)
    if max(map(len, series)) < 2:
        raise _mistake(source, "holds single samples; ask for a range (query_range) with a step of an hour or less")
    step_s = _usual_step([at for samples in series for at, _ in samples if len(samples) > 1])
    for samples in series:
        for start, end, rate in _increases(samples, begin) if is_counter else _rates(samples, step_s):
            sums[start, end] += rate
    return _disjoint(sums)


def _matrix(text: str, source: str) -> list[dict[str, Any]]:
    want = "want Prometheus' answer to /api/v1/query_range"
    document = parse_json(text, source)
    if isinstance(document, dict) and document.get("status") == "error":
        raise _mistake(source, f"is an error of Prometheus: {one_line(str(document.get('error')))}")
    data = document.get("data", document) if isinstance(document, dict) else None
    result = data.get("result") if isinstance(data, dict) else None
    if not isinstance(result, list) or not isinstance(data, dict) or data.get("resultType") != "matrix":
        raise _mistake(source, f"holds no range of samples (resultType matrix); {want}")
    if not result:
        raise _mistake(source, "its result is empty: the query matches no series in that range")
    for index, series in enumerate(result):
        is_series = isinstance(series, dict) and isinstance(series.get("metric"), dict)
        if not is_series or not isinstance(series.get("values"), list) or not series["values"]:
            raise _mistake(source, f"data.result[{index}] is not a series with metric and values; {want}")
    return result


def _each_once(result: Sequence[Mapping[str, Any]], source: str) -> list[list[tuple[int, float]]]:
    """The samples of each series by rising time; of the Prometheus that watch the same server the one that saw most."""
    found: dict[tuple[tuple[str, str], ...], list[tuple[int, float]]] = {}
    for index, series in enumerate(result):
        samples = []
        for pair in series["values"]:
            is_pair = isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in (int, float)
            value = _value(pair[1]) if is_pair else None
            if not is_pair or value is None or not 0 <= pair[0] <= _LAST_S:
                message = (
                    f'data.result[{index}].values holds {one_line(str(pair))[:60]}; want [seconds since 1970, "rate"]'
                )
                raise _mistake(source, message)
            if not math.isnan(value):
                samples.append((int(pair[0]), value))
        labels = tuple(sorted((key, str(label)) for key, label in series["metric"].items() if key not in WATCHERS))
        if len(samples) > len(found.get(labels, ())):
            found[labels] = sorted(dict(samples).items())
    if not found:
        raise _mistake(source, "holds no sample that is a number")
    return list(found.values())


def _value(text: object) -> float | None:
    """A sample's value, NaN where Prometheus knows none; None for what is none."""
    try:
        value = float(text) if isinstance(text, str) and len(text) < 60 else math.inf
    except ValueError:
        return None
    return value if math.isnan(value) or 0 <= value < math.inf else None


def _check_no_counter(series: Sequence[Sequence[tuple[int, float]]], source: str) -> None:
    """A counter without its name, as sums of counters are, would be taken for enormous rates."""
    for samples in series:
        values = [value for _, value in samples]
        never_falls = all(before <= now for before, now in pairwise(values))
        if len(values) >= _LEAST_OF_A_COUNTER and never_falls and values[-1] > values[0]:
            message = (
                "never falls, as a counter does, and has no name that says so: query sum(rate(…[5m])), or the counter"
            )
            raise _mistake(source, f"{message} itself")


def _increases(samples: Sequence[tuple[int, float]], begin: int) -> Iterator[tuple[int, int, float]]:
    """(from, to, rate) of a counter. One that begins within the range at a small count began at 0 a step before."""
    if len(samples) < 2:
        return
    (first, value), (second, _) = samples[:2]
    most = max((now - before for (_, before), (_, now) in pairwise(samples)), default=0.0)
    if first - begin >= second - first and value <= _FEW_STEPS * most:
        samples = [(first - (second - first), 0.0), *samples]
    for (start, before), (end, now) in pairwise(samples):
        yield start, end, (now - before if now >= before else now) / (end - start)


def _rates(samples: Sequence[tuple[int, float]], step_s: int) -> Iterator[tuple[int, int, float]]:
    for at, rate in samples:
        yield at - step_s, at, rate


def _disjoint(sums: Mapping[tuple[int, int], float]) -> list[Sample]:
    """What is known of several stretches of time, added up where they overlap."""
    # Fractions, since what is added must come off again without a rest.
    changes: dict[int, Fraction] = defaultdict(Fraction)
    depth: dict[int, int] = defaultdict(int)
    for (begin, end), rate in sums.items():
        changes[begin] += Fraction(rate)
        changes[end] -= Fraction(rate)
        depth[begin] += 1
        depth[end] -= 1
    samples = []
    known, total = 0, Fraction()
    for begin, end in pairwise(sorted(changes)):
        known += depth[begin]
        total += changes[begin]
        if known:
            samples.append(Sample(begin_s=begin, end_s=end, rate_rps=float(total)))
    return samples


def _mistake(source: str, message: str, *, line: int | None = None) -> InputError:
    return InputError([Mistake(source=one_line(source), line=line, message=message)])
