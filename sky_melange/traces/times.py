"""Times of any column type, as Ibis expressions: whole seconds, or the reason why there are none.

Dates in text are cast only where a pattern has found that they exist, cut to the second and without their zone, which
is subtracted as a number: every engine then gives the same second, whatever its own parser, session time zone or
precision. Each step is a column of its own: named, engines compute it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.trace import CALENDAR_FROM_S, Rejection, TimeUnit
from sky_melange.traces.numbers import BLANK, CODES, NUMBER

if TYPE_CHECKING:
    import ibis.expr.types as ir

LAST_S: Final = 253_402_300_799
"""9999-12-31 23:59:59."""

PER_SECOND: Final = {TimeUnit.S: 1, TimeUnit.MS: 10**3, TimeUnit.US: 10**6, TimeUnit.NS: 10**9}
_UNKNOWN_UNIT: Final = -(10**12)
_BEFORE_ZERO: Final = -1
_MICROSECONDS: Final = 6
_WHOLE: Final = "^ *[+]?([0-9]{1,18}|[1-8][0-9]{18}) *$"
_LEAP: Final = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"
_DATE: Final = (
    "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP}-02-29)"
)
_CLOCK: Final = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_ZONE: Final = "( ?(Z|z|UTC|GMT)| ?[+-](0[0-9]|1[0-9])(:?[0-5][0-9])?)"
_DATE_AND_TIME: Final = f"^{_DATE}[T ]{_CLOCK}([.,][0-9]{{1,18}})?{_ZONE}?$"
"""Only dates that exist, so that every engine can cast what matches."""

_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"
_NAMED: Final = (
    "^((Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +)?([0-9]{1,2})[/ -](Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[/ -]"
    f"([0-9]{{4}})[: ]([0-9]{{2}}:[0-9]{{2}})(:[0-9]{{2}}([.,][0-9]{{1,18}})?)?({_ZONE})?$"
)
"""RFC 2822, and the log formats of Apache and nginx (without their brackets)."""

_HALVES: Final = (
    "^([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}),? (0?[1-9]|1[0-2])(:[0-9]{2})(:[0-9]{2}([.,][0-9]{1,18})?)? ?([AaPp])[Mm]$"
)
"""The American spelling with AM or PM; without them, month and day could be the other way round."""

_NO_SECONDS: Final = f"^[0-9]{{4}}[-/][0-9]{{2}}[-/][0-9]{{2}}[T ][0-9]{{2}}:[0-9]{{2}}({_ZONE})?$"
_UNPADDED: Final = (
    "^([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(T|[[:space:]]+)([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})([.,][0-9]{1,18})?"
    f"[[:space:]]*({_ZONE})?$"
)
"""Dates without leading zeros, and with any space between their parts."""

_SLASHES: Final = "^[0-9]{4}/[0-9]{2}/[0-9]{2}[T ]"
FORMATS: Final = (
    "2026-05-01T09:00:00.25Z (ISO 8601; seconds and zone may be left out), Fri, 01 May 2026 09:00:00 +0000 (RFC 2822), "
    "01/May/2026:09:00:00 +0000 (nginx, Apache), 05/01/2026 09:00:00 AM (month/day/year), or seconds, milliseconds, "
    "microseconds or nanoseconds since 1970"
)


def is_readable(column: ir.Value) -> bool:
    """Whether a column of this type can hold times."""
    kind = column.type()
    return bool(kind.is_integer() or kind.is_floating() or kind.is_decimal() or kind.is_timestamp() or kind.is_string())


def with_seconds(rows: ir.Table, column: str, unit: TimeUnit, *, respells: bool = True) -> ir.Table:
    """Adds `second` and `is_time` (false or null where that is no time); to text `no_zone`, 1 for a date without one.

    Seconds are rounded down, and count from 1970 UTC or, for small numbers, from the log's own zero. Where the column
    itself can tell whether it is a time, that is asked, not the second: files know the range of their columns. Without
    `respells` text holds numbers and full ISO 8601 dates only.
    """
    import ibis

    value = rows[column]
    kind = value.type()
    if kind.is_timestamp() and (kind.scale or 0) > _MICROSECONDS:
        # Engines round nanoseconds to microseconds, and so into the next second; their text is exact.
        rows = rows.mutate(**{column: value.cast("string")})
        kind = rows[column].type()
    if kind.is_string():
        rows = _with_seconds_of_text(rows, column, unit, respells=respells)
        return rows.mutate(is_time=rows.second.between(0, LAST_S))
    if not kind.is_timestamp():
        rows = rows.mutate(second=_scaled(value, unit))
        is_time = _is_time(value, unit) if kind.is_signed_integer() else rows.second.between(0, LAST_S)
        return rows.mutate(is_time=is_time)
    is_time = value.between(ibis.timestamp("1970-01-01"), ibis.timestamp("9999-12-31 23:59:59.999999"))
    return rows.mutate(second=seconds(is_time.ifelse(value, ibis.null())), is_time=is_time)


def is_zoneless(column: Any) -> bool | None:
    """Whether the dates of a column name no zone; None where each has its own."""
    kind = column.type()
    if kind.is_string() or (kind.is_timestamp() and (kind.scale or 0) > _MICROSECONDS):
        return None
    return bool(kind.is_timestamp() and kind.timezone is None)


def seconds(moment: Any) -> Any:
    """Whole seconds since 1970 of a timestamp, rounded down."""
    return moment.truncate("s").epoch_seconds().cast("int64")


def fault(column: Any, second: Any) -> Any:
    """The code of why `second`, read from `column`, is no time; 0 where it is one."""
    import ibis

    kind = column.type()
    blank = [(column.re_search(BLANK), _code(Rejection.TIME_MISSING))] if kind.is_string() else []
    unreadable = Rejection.TIME_OUT_OF_RANGE if kind.is_timestamp() else Rejection.TIME_UNREADABLE
    return ibis.cases(
        (column.isnull(), _code(Rejection.TIME_MISSING)),
        *blank,
        (second.isnull(), _code(unreadable)),
        (second == _UNKNOWN_UNIT, _code(Rejection.TIME_UNIT_UNKNOWN)),
        ((second < 0) | (second > LAST_S), _code(Rejection.TIME_OUT_OF_RANGE)),
        else_=ibis.literal(0, "int8"),
    )


def _scaled(number: Any, unit: TimeUnit) -> Any:
    """A number in `unit` as whole seconds; null for NaN and infinity, negative where there is no answer."""
    import ibis

    if not number.type().is_integer():
        value = number.cast("float64")
        number = (~(value.isnan() | value.isinf()) & (value.abs() < 1e19)).ifelse(value, ibis.null())
    if unit is not TimeUnit.AUTO:
        return _whole(number, PER_SECOND[unit])
    return ibis.cases(
        (number < 0, ibis.literal(_BEFORE_ZERO, "int64")),
        (number < CALENDAR_FROM_S, ibis.literal(_UNKNOWN_UNIT, "int64")),
        *((number < CALENDAR_FROM_S * 1000 * scale, _whole(number, scale)) for scale in (1, 10**3, 10**6)),
        else_=_whole(number, 10**9),
    )


def _is_time(number: Any, unit: TimeUnit) -> Any:
    """Whether `_scaled` makes a time of a whole number of up to 64 bits."""
    if unit is TimeUnit.AUTO:
        return number >= CALENDAR_FROM_S
    return number.between(0, min((LAST_S + 1) * PER_SECOND[unit] - 1, 2**63 - 1))


def _whole(number: Any, per_second: int) -> Any:
    """Floor of number ÷ per_second; negative where that is. Whole numbers stay whole, so no precision is lost."""
    import ibis

    if not number.type().is_integer():
        return (number / per_second).floor().cast("int64")
    wide = number.cast("int64")
    if per_second == 1:
        return wide
    # Exact division only: engines differ in how they round a quotient, and a float holds 53 bits.
    seconds = ((wide - wide % per_second) / per_second).cast("int64")
    return (wide < 0).ifelse(ibis.literal(_BEFORE_ZERO, "int64"), seconds)


def _with_seconds_of_text(rows: ir.Table, column: str, unit: TimeUnit, *, respells: bool) -> ir.Table:
    """Adds `second` and `no_zone` for text that holds numbers or dates, row by row."""
    import ibis

    null = ibis.null()
    rows = rows.mutate(text=rows[column], is_iso=rows[column].re_search(_DATE_AND_TIME))
    is_date = rows.is_iso
    if respells:
        rows = rows.mutate(text=ibis.coalesce(_respelled(rows.is_iso.ifelse(null, rows.text)), rows.text))
        is_date = rows.is_iso | rows.text.re_search(_DATE_AND_TIME)
    rows = rows.mutate(date=is_date.ifelse(rows.text, null))
    # Null where there is a date: engines pass over nulls, and most logs hold dates throughout.
    rows = rows.mutate(
        other=rows.date.isnull().ifelse(rows.text, null),
        tail=rows.date.substr(19),
        local_s=rows.date.substr(0, 19).cast("timestamp").epoch_seconds().cast("int64"),
    )
    rows = _with_offset(rows)
    rows = rows.mutate(is_whole=rows.other.re_search(_WHOLE))
    is_fraction = ~rows.is_whole & rows.other.re_search(NUMBER)
    rows = rows.mutate(
        integer=rows.is_whole.ifelse(rows.other, null).cast("int64"),
        fraction=is_fraction.ifelse(rows.other, null).cast("float64"),
    )
    of_number = ibis.coalesce(_scaled(rows.integer, unit), _scaled(rows.fraction, unit))
    return rows.mutate(second=rows.date.notnull().ifelse(rows.local_s - rows.offset_s, of_number))


def _respelled(text: Any) -> Any:
    """Dates in other spellings as ISO 8601; null for what is none of them."""
    import ibis

    null = ibis.null()
    text = text.replace("[", "").replace("]", "").strip()
    named = text.re_search(_NAMED).ifelse(text, null)
    name = (ibis.literal(_MONTHS).find(named.re_extract(_NAMED, 4)) / 3 + 1).floor().cast("int64").cast("string")
    of_named = (
        named.re_extract(_NAMED, 5)
        + "-"
        + name.lpad(2, "0")
        + "-"
        + named.re_extract(_NAMED, 3).lpad(2, "0")
        + "T"
        + named.re_extract(_NAMED, 6)
        + _seconds_or_zero(named.re_extract(_NAMED, 7))
        + named.re_extract(_NAMED, 9).fill_null("")
    )
    halves = text.re_search(_HALVES).ifelse(text, null)
    hour = halves.re_extract(_HALVES, 4).nullif("").cast("int64") % 12
    is_late = halves.re_extract(_HALVES, 8).lower() == "p"
    of_halves = (
        halves.re_extract(_HALVES, 3)
        + "-"
        + halves.re_extract(_HALVES, 1).lpad(2, "0")
        + "-"
        + halves.re_extract(_HALVES, 2).lpad(2, "0")
        + "T"
        + is_late.ifelse(hour + 12, hour).cast("string").lpad(2, "0")
        + halves.re_extract(_HALVES, 5)
        + _seconds_or_zero(halves.re_extract(_HALVES, 6))
    )
    unpadded = text.re_search(_UNPADDED).ifelse(text, null)
    month, day, *clock = (unpadded.re_extract(_UNPADDED, part).lpad(2, "0") for part in (2, 3, 5, 6, 7))
    of_unpadded = (
        unpadded.substr(0, 5)
        + (month + "-" + day + "T" + clock[0] + ":" + clock[1] + ":" + clock[2])
        + unpadded.re_extract(_UNPADDED, 8)
        + unpadded.re_extract(_UNPADDED, 9)
    )
    dashed = text.re_search(_SLASHES).ifelse(text.replace("/", "-"), text)
    short = dashed.re_search(_NO_SECONDS).ifelse(dashed, null)
    of_short = short.substr(0, 16) + ":00" + short.substr(16)
    return ibis.coalesce(of_named, of_halves, of_unpadded, of_short, dashed)


def _seconds_or_zero(text: Any) -> Any:
    return text.nullif("").fill_null(":00")


def _with_offset(rows: ir.Table) -> ir.Table:
    """Adds `offset_s`, seconds east of UTC, and `no_zone`. Tails end in nothing, `Z`, `+hh`, `+hhmm` or `+hh:mm`."""
    import ibis

    sign = ibis.cases((rows.tail.contains("+"), 1), (rows.tail.contains("-"), -1), else_=0).cast("int64")
    is_named = rows.tail.endswith("Z") | rows.tail.endswith("z") | rows.tail.endswith("C") | rows.tail.endswith("T")
    rows = rows.mutate(sign=sign, is_named=is_named)
    # Only signed tails are taken apart; the fraction before the sign has any number of digits.
    signed = (rows.sign != 0).ifelse(rows.tail, ibis.null()).replace("-", "+").replace(":", "")
    rows = rows.mutate(zone=signed.substr(signed.find("+") + 1))
    minutes = (rows.zone.length() == 4).ifelse(rows.zone.substr(2, 2), "00")
    offset = rows.sign * (rows.zone.substr(0, 2).cast("int64") * 3600 + minutes.cast("int64") * 60)
    no_zone = rows.date.notnull() & (rows.sign == 0) & ~rows.is_named.fill_null(False)
    no_zone = no_zone.ifelse(ibis.literal(1, "int8"), ibis.literal(0, "int8"))
    return rows.mutate(offset_s=ibis.coalesce(offset, 0), no_zone=no_zone)


def _code(rejection: Rejection) -> Any:
    import ibis

    return ibis.literal(CODES[rejection], "int8")
