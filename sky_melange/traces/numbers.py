"""Token counts of any column type, as Ibis expressions: a whole number, or the reason why it is none.

Every cast is fed only values that it takes (`guard.ifelse(value, null).cast(...)`): no engine may then fail on a bad
row, whatever order it evaluates branches in. Patterns hold no backslash, because engines quote them differently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.trace import Rejection
from sky_melange.traces.edges import MAX_TOKENS

if TYPE_CHECKING:
    import ibis.expr.types as ir

CODES: Final = {rejection: code for code, rejection in enumerate(Rejection, start=1)}
"""Rejections as the small numbers that travel; 0 is an accepted row."""

NUMBER: Final = "^ *[+-]?[0-9]{1,15}([.][0-9]{0,18})?([eE][+-]?[0-9]{1,2})? *$"
_GROUPED: Final = "^ *[0-9]{1,3}([,_][0-9]{3}){1,4} *$"
"""As spreadsheets and programs write thousands; no count of tokens has a decimal comma."""

BLANK: Final = "^ *$"
_NOT_FINITE: Final = "^ *[+-]?(nan|inf|infinity) *$"


def is_readable(column: ir.Value) -> bool:
    """Whether a column of this type can hold token counts."""
    kind = column.type()
    return bool(kind.is_integer() or kind.is_floating() or kind.is_decimal() or kind.is_string())


def number(column: Any, *, takes_thousands: bool = False, tries_casts: bool = False) -> Any:
    """The number in a column, whatever its type; null where there is none that is finite.

    `takes_thousands`: text may be `1,234`. `tries_casts`: the engine says what in a text is a number, not NUMBER.
    """
    import ibis

    kind = column.type()
    if kind.is_integer():
        return column
    if kind.is_string():
        plain = [] if tries_casts else [(column.re_search(NUMBER), column)]
        grouped = [(column.re_search(_GROUPED), column.replace(",", "").replace("_", ""))] if takes_thousands else []
        column = ibis.cases(*plain, *grouped, else_=column if tries_casts else ibis.null("string"))
    value = column.try_cast("float64") if tries_casts and kind.is_string() else column.cast("float64")
    return (~(value.isnan() | value.isinf())).ifelse(value, ibis.null())


def is_count(value: Any) -> Any:
    """Whether a number is a token count; null, that is no, where there is no number."""
    inside = value.between(1, MAX_TOKENS)
    return inside if value.type().is_integer() else inside & (value == value.floor())


def fault(column: Any, value: Any, axis: str) -> Any:
    """The code of why `value`, the number in `column`, is no token count; 0 where it is one."""
    import ibis

    not_whole = [] if value.type().is_integer() else [(value != value.floor(), _code(axis, "not_whole"))]
    return ibis.cases(
        (value.isnull(), _no_number(column, axis)),
        (value < 0, _code(axis, "negative")),
        (value > MAX_TOKENS, _code(axis, "too_large")),
        *not_whole,
        (value == 0, _code(axis, "zero")),
        else_=ibis.literal(0, "int8"),
    )


def _no_number(column: Any, axis: str) -> Any:
    import ibis

    missing = _code(axis, "missing")
    if column.type().is_integer():
        return missing
    if not column.type().is_string():
        return ibis.cases((column.isnull(), missing), else_=_code(axis, "not_finite"))
    return ibis.cases(
        (column.isnull(), missing),
        (column.re_search(BLANK), missing),
        (column.lower().re_search(_NOT_FINITE), _code(axis, "not_finite")),
        else_=_code(axis, "not_a_number"),
    )


def _code(axis: str, problem: str) -> Any:
    import ibis

    return ibis.literal(CODES[Rejection(f"{axis}_{problem}")], "int8")
