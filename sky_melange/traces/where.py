"""Which rows of a log are the traffic: a small language of comparisons, never SQL of the user's.

    model = 'llama' AND NOT (status = 'failure' OR spend > 0.5) AND region IN ('a', 'b') AND user LIKE 'team-%'

There are columns, texts, numbers, TRUE and FALSE, comparisons, IN, LIKE, IS NULL, AND, OR, NOT and brackets, and
nothing else: no function, no query, no file. It is parsed here, and written anew for the engine.

A value that is missing (NULL) is no value: it equals nothing and is in no list, so `<>` and NOT hold for it.
Comparisons have two answers here, on every engine, not the three of SQL.
"""

from __future__ import annotations

import json
import operator as op
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

from sky_melange.errors import InputError, Mistake

_LONGEST: Final = 10_000
_DEEPEST: Final = 50
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")+")|(?P<number>-?[0-9]+(?:\.[0-9]+)?(?![\w.]))"""
    r"""|(?P<word>[^\W\d][\w.]*)|(?P<sign><=|>=|<>|!=|[=<>(),]))"""
)
_NUMBER: Final = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]+)?\s*")
_COMPARISONS: Final = {"=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "<>": "<>", "!=": "<>"}
_OPERATORS: Final = {"=": op.eq, "<": op.lt, "<=": op.le, ">": op.gt, ">=": op.ge}
_WORDS: Final = frozenset({"AND", "OR", "NOT", "IN", "LIKE", "IS", "NULL", "TRUE", "FALSE"})

Literal = str | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A column held against literals: a comparison (one of `_COMPARISONS`), `IN`, `LIKE` or `IS NULL` (none)."""

    column: str
    operator: str
    literals: tuple[Literal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """`AND` or `OR` of parts, `NOT` of one; with no parts, `AND` is true and `OR` is false."""

    operator: str
    parts: tuple[Condition, ...]


Condition = Comparison | Both


def parse_where(text: str, *, source: str = "--where") -> Condition:
    """Raises InputError where the text is anything else."""
    return _Parser(text, source).whole()


def literal(text: str) -> str:
    """A SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def is_word(name: str) -> bool:
    """Whether a column can be written as it is, without quotes."""
    return name.upper() not in _WORDS and re.fullmatch(r"[^\W\d][\w.]*", name) is not None


def columns_of(condition: Condition) -> Iterator[str]:
    """The columns that it reads."""
    if isinstance(condition, Comparison):
        yield condition.column
    else:
        for part in condition.parts:
            yield from columns_of(part)


def to_sql(condition: Condition, column_of: Callable[[str], str]) -> str:
    """DuckDB's SQL; `column_of` gives the SQL of a column."""
    if isinstance(condition, Both):
        parts = [f"({to_sql(part, column_of)})" for part in condition.parts]
        if condition.operator == "NOT":
            return f"{parts[0]} IS NOT TRUE"
        return f" {condition.operator} ".join(parts) or ("true" if condition.operator == "AND" else "false")
    column = column_of(condition.column)
    if condition.operator == "IS NULL":
        return f"{column} IS NULL"
    if condition.operator == "IN":
        return " OR ".join(_sql_of(column, "=", literal) for literal in condition.literals)
    if condition.operator == "<>":
        return f"({_sql_of(column, '=', condition.literals[0])}) IS NOT TRUE"
    return _sql_of(column, condition.operator, condition.literals[0])


def to_ibis(condition: Condition, table: Any, column_of: Callable[[str], str]) -> Any:
    """The same for any engine, with the names of a table's columns."""
    import ibis

    if isinstance(condition, Both):
        parts = [to_ibis(part, table, column_of) for part in condition.parts]
        if condition.operator == "NOT":
            return ~parts[0].fill_null(False)
        if not parts:
            return ibis.literal(condition.operator == "AND")
        return reduce(lambda left, right: left & right if condition.operator == "AND" else left | right, parts)
    column = table[column_of(condition.column)]
    if condition.operator == "IS NULL":
        return column.isnull()
    if condition.operator == "IN":
        every = [_ibis_of(column, "=", literal) for literal in condition.literals]
        return reduce(lambda left, right: left | right, every)
    operator = "=" if condition.operator == "<>" else condition.operator
    found = _ibis_of(column, operator, condition.literals[0])
    return ~found.fill_null(False) if condition.operator == "<>" else found


def matches(condition: Condition, row: Mapping[str, object]) -> bool:
    """The same for one row in this process. Raises KeyError for a column it lacks."""
    if isinstance(condition, Both):
        parts = [matches(part, row) for part in condition.parts]
        if condition.operator == "NOT":
            return not parts[0]
        return any(parts) if condition.operator == "OR" else all(parts)
    names = {name.casefold(): name for name in row}
    value = row[names.get(condition.column.casefold(), condition.column)]
    if condition.operator == "IS NULL":
        return value is None
    if value is None:
        return condition.operator == "<>"
    if condition.operator == "<>":
        return not _compared(value, "=", condition.literals[0])
    operator = "=" if condition.operator == "IN" else condition.operator
    return any(_compared(value, operator, literal) for literal in condition.literals)


def _compared(value: object, operator: str, literal: Literal) -> bool:
    """False where a number is asked for and the value is none."""
    left: Any = value if isinstance(value, str) else json.dumps(value)
    right: Any = literal
    if isinstance(literal, bool):
        left, right = left.lower(), str(literal).lower()
    elif isinstance(literal, float):
        try:
            left = float(left)
        except ValueError:
            return False
    if operator == "LIKE":
        pattern = "".join({"%": ".*", "_": "."}.get(each, re.escape(each)) for each in str(literal))
        return re.fullmatch(pattern, left, re.DOTALL) is not None
    return bool(_OPERATORS[operator](left, right))


def _sql_of(column: str, operator: str, value: Literal) -> str:
    text = f"CAST({column} AS VARCHAR)"
    if isinstance(value, bool):
        return f"lower({text}) {operator} '{str(value).lower()}'"
    if isinstance(value, float):
        return f"TRY_CAST({text} AS DOUBLE) {operator} {value!r}"
    return f"{text} {operator} {literal(value)}"


def _ibis_of(column: Any, operator: str, literal: Literal) -> Any:
    from sky_melange.traces import numbers

    value = column
    if isinstance(literal, float):
        value = numbers.number(column if numbers.is_readable(column) else column.cast("string"))
    elif not column.type().is_string():
        value = column.cast("string")
    if isinstance(literal, bool):
        value, literal = value.lower(), str(literal).lower()
    if operator == "LIKE":
        return value.like(literal)
    compare = {"=": "__eq__", "<": "__lt__", ">": "__gt__", "<=": "__le__", ">=": "__ge__"}[operator]
    return getattr(value, compare)(literal)


class _Parser:
    """Recursive descent over the tokens; `at` is the next one."""

    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._text = text
        if len(text) > _LONGEST:
            raise self._mistake(f"is longer than {_LONGEST} characters")
        self._tokens = list(self._tokenized())
        self._at = 0
        self._depth = 0

    def whole(self) -> Condition:
        found = self._any()
        if self._at < len(self._tokens):
            raise self._wanted("AND, OR or the end")
        return found

    def _tokenized(self) -> Iterator[tuple[str, str]]:
        at = 0
        while self._text[at:].strip():
            match = _TOKEN.match(self._text, at)
            if match is None:
                raise self._mistake(f"cannot be read from {self._text[at:].strip()[:30]!r} on")
            at = match.end()
            kind = str(match.lastgroup)
            token = match[kind]
            yield ("key", token.upper()) if kind == "word" and token.upper() in _WORDS else (kind, token)

    def _take(self, *wanted: str) -> str | None:
        """The next token where it is one of these keywords or signs."""
        if self._at < len(self._tokens):
            kind, token = self._tokens[self._at]
            if kind in ("key", "sign") and token in wanted:
                self._at += 1
                return token
        return None

    def _any(self) -> Condition:
        return self._joined("OR", lambda: self._joined("AND", self._one))

    def _joined(self, operator: str, of: Callable[[], Condition]) -> Condition:
        parts = [of()]
        while self._take(operator):
            parts.append(of())
        return parts[0] if len(parts) == 1 else Both(operator=operator, parts=tuple(parts))

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._mistake(f"is nested deeper than {_DEEPEST} brackets")
        found: Condition
        if self._take("NOT"):
            found = Both(operator="NOT", parts=(self._one(),))
        elif self._take("("):
            found = self._any()
            self._need(")")
        elif constant := self._take("TRUE", "FALSE"):
            found = Both(operator="AND" if constant == "TRUE" else "OR", parts=())
        else:
            found = self._test()
        self._depth -= 1
        return found

    def _test(self) -> Condition:
        column = self._column()
        if self._take("IS"):
            is_not = self._take("NOT")
            self._need("NULL")
            return self._maybe_not(is_not, Comparison(column=column, operator="IS NULL", literals=()))
        is_not = self._take("NOT")
        if self._take("IN"):
            self._need("(")
            literals = [self._literal()]
            while self._take(","):
                literals.append(self._literal())
            self._need(")")
            return self._maybe_not(is_not, Comparison(column=column, operator="IN", literals=tuple(literals)))
        if self._take("LIKE"):
            pattern = self._literal()
            if not isinstance(pattern, str):
                raise self._mistake(f"{column} LIKE wants a text in single quotes")
            return self._maybe_not(is_not, Comparison(column=column, operator="LIKE", literals=(pattern,)))
        sign = None if is_not else self._take(*_COMPARISONS)
        if sign is None:
            raise self._wanted("=, <>, <, >, <=, >=, IN, LIKE or IS NULL")
        literal = self._literal()
        if sign in ("<", ">", "<=", ">=") and isinstance(literal, str) and _NUMBER.fullmatch(literal):
            raise self._mistake(f"compares text letter by letter ('9' > '10'): write {column} {sign} {literal.strip()}")
        return Comparison(column=column, operator=_COMPARISONS[sign], literals=(literal,))

    def _maybe_not(self, is_not: str | None, test: Comparison) -> Condition:
        return Both(operator="NOT", parts=(test,)) if is_not else test

    def _column(self) -> str:
        kind, token = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        if kind not in ("word", "quoted"):
            raise self._wanted("the name of a column")
        self._at += 1
        return token if kind == "word" else token[1:-1].replace('""', '"')

    def _literal(self) -> Literal:
        if constant := self._take("TRUE", "FALSE"):
            return constant == "TRUE"
        kind, token = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        if kind not in ("text", "number"):
            raise self._wanted("a text in single quotes, a number, TRUE or FALSE")
        self._at += 1
        return token[1:-1].replace("''", "'") if kind == "text" else float(token)

    def _need(self, sign: str) -> None:
        if self._take(sign) is None:
            raise self._wanted(sign)

    def _wanted(self, what: str) -> InputError:
        found = repr(self._tokens[self._at][1][:40]) if self._at < len(self._tokens) else "the end"
        return self._mistake(f"want {what}, found {found}")

    def _mistake(self, message: str) -> InputError:
        shown = " ".join(self._text[:100].split())
        return InputError([Mistake(source=self._source, message=f"{message} (in {shown!r}); {EXAMPLE}")])


EXAMPLE: Final = "for example: model = 'llama' AND status <> 'failure'"
