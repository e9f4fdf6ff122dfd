"""A log in a database: the same expression, run where the log lies; only the counts travel."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import LogColumns, Rejection, TimeUnit, TraceOptions
from sky_melange.errors import InputError, Mistake
from sky_melange.traces import expression, numbers, where
from sky_melange.traces.columns import asides, column_named, find_columns
from sky_melange.traces.edges import MAX_TOKENS
from sky_melange.traces.engine import MOST_SEEN, Clock, Counted, Example, KeyCount, Seen, Sizes, Survey, unfused
from sky_melange.traces.expression import Log
from sky_melange.untrusted import one_line

if TYPE_CHECKING:
    import ibis.expr.types as ir

_EXTRAS: Final = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "pyspark": "pyspark",
    "spark": "pyspark",
    "bigquery": "bigquery",
    "snowflake": "snowflake",
    "trino": "trino",
}
_DRIVERS: Final = frozenset(
    {"psycopg", "psycopg2", "pyspark", "py4j", "google", "snowflake", "trino", "duckdb", "ibis", "sqlglot", "sqlite3"}
    | {"adbc_driver_manager", "pyarrow", "requests", "urllib3", "clickhouse_connect", "pymysql", "MySQLdb", "oracledb"}
)
"""Packages whose exceptions are the connection's or the table's fault, not ours."""

_COPIES_STEPS: Final = frozenset({"postgres", "risingwave", "materialize"})


class DatabaseTable:
    """One table of a database that Ibis connects to by URL, such as `postgres://user@host/database`."""

    def __init__(self, url: str, table: str, options: TraceOptions) -> None:
        self._url = one_line(url)
        self._connection = self._connect(url)
        self._options = options
        self.source = one_line(f"table {table}")
        self._table, columns = self._open(table)
        self.columns = [columns]

    def count(self, grid: TokenGrid) -> Counted:
        """One query by key and one by second: in a union, databases would write out every row that both read."""
        rows = self._keyed_rows(grid)
        keys = sorted(self._fetched(expression.by_key(rows)), key=lambda row: row["key"])
        names = ("second", "requests", "input_tokens", "output_tokens")
        found = [] if self.columns[0].time is None else self._fetched(expression.by_second(rows))
        table = np.array(sorted(tuple(row[name] for name in names) for row in found), dtype=np.int64)
        columns = dict(zip(("seconds", *names[1:]), table.reshape(-1, len(names)).T, strict=True))
        return Counted(keys=tuple(KeyCount(**row) for row in keys), **columns)

    def sizes(self) -> tuple[Sizes, Sizes]:
        """A query for each."""
        rows = self._keyed_rows(TokenGrid(input_edges=(MAX_TOKENS,), output_edges=(MAX_TOKENS,)))
        return self._by_value(rows, "input"), self._by_value(rows, "output")

    def _keyed_rows(self, grid: TokenGrid) -> ir.Table:
        logs = [self._traffic]
        expression.check_types(self.source, logs, self.columns)
        rows = expression.keyed_rows(logs, grid)
        if self._options.since_s is None and self._options.until_s is None:
            return rows
        is_outside = (rows.key >= 0) & ~expression.within(rows.second, self._options)
        return rows.mutate(key=is_outside.ifelse(-numbers.CODES[Rejection.OUTSIDE_PERIOD], rows.key))

    def _by_value(self, rows: ir.Table, column: str) -> Sizes:
        found = self._fetched(expression.by_value(rows, column))
        pairs = np.array(sorted((row["value"], row["requests"]) for row in found), dtype=np.int64).reshape(-1, 2)
        return Sizes(tokens=pairs[:, 0], requests=pairs[:, 1])

    def _fetched(self, query: ir.Table) -> list[dict[str, int]]:
        # Sums come as decimals from some databases; all of them are whole numbers.
        return [{name: int(value) for name, value in row.items()} for row in self._run(query)]

    def _run(self, query: ir.Table) -> list[dict[str, Any]]:
        try:
            with unfused():
                return self._fenced_rows(query) if self._needs_fence else self._plain_rows(query)
        except Exception as error:
            raise self._explained(error, self.source) from error

    def size_sums(self) -> dict[str, float]:
        """In one query."""
        (row,) = self._run(expression.size_sums([self._traffic]))
        return {name: float(value or 0) for name, value in row.items()}

    def examples(self, codes: Mapping[int, str]) -> list[Example]:
        """In one query; a table has no lines."""
        found = {int(row["status"]): row for row in self._run(expression.least_rejected([self._traffic]))}
        return [
            Example(code=code, text=found[code][axis])
            for code, axis in codes.items()
            if code in found and found[code][axis] is not None
        ]

    @property
    def _traffic(self) -> Log:
        table = self._table.filter(self._aside == 0) if self._asides else self._table
        # Spark copies each step into every use of it, and would plan for minutes.
        respells = self._connection.name != "pyspark"
        return Log(table=table, columns=self.columns[0], respells=respells, tries_casts=False)

    @property
    def _needs_fence(self) -> bool:
        """PostgreSQL copies each step into every use of it: for text, minutes instead of a second."""
        columns = self.columns[0]
        used = [column for column in (columns.input, columns.output, columns.time) if column is not None]
        return self._connection.name in _COPIES_STEPS and any(self._table[column].type().is_string() for column in used)

    def _plain_rows(self, part: ir.Table) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._connection.to_pyarrow(part).to_pylist()
        return rows

    def _fenced_rows(self, part: ir.Table) -> list[dict[str, Any]]:
        """The same query, each step behind `OFFSET 0`, which PostgreSQL does not merge and which changes nothing."""
        import sqlglot
        from sqlglot import expressions

        tree = sqlglot.parse_one(self._connection.compile(part), dialect="postgres")
        for subquery in tree.find_all(expressions.Subquery):
            if isinstance(subquery.this, expressions.Select):
                subquery.this.offset(0, copy=False)
        with closing(self._connection.raw_sql(tree.sql(dialect="postgres"))) as cursor:
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _connect(self, url: str) -> Any:
        import ibis

        scheme = url.split(":", 1)[0].lower()
        try:
            return ibis.connect(url)
        except ImportError as error:
            how = f"pip install 'ibis-framework[{_EXTRAS.get(scheme, scheme)}]'"
            raise self._mistake(self._url, f"needs a driver that is not installed: {how}") from error
        except Exception as error:
            raise self._explained(error, self._url) from error

    def _open(self, name: str) -> tuple[ir.Table, LogColumns]:
        import ibis

        options = self._options
        *path, table = name.split(".")
        try:
            found = self._connection.table(table, database=tuple(path) if len(path) > 1 else path[0] if path else None)
        except Exception as error:
            raise self._explained(error, self.source) from error
        have = found.columns
        columns = find_columns(options, have, source=self.source)

        def named(name: str) -> str:
            return column_named(name, have, "where", source=self.source)

        if options.where is not None:
            found = found.filter(where.to_ibis(where.parse_where(options.where), found, named))
        apart = asides(columns, have)
        self._asides = [(why, where.to_ibis(which, found, named)) for why, which in apart]
        if columns.id is not None and self._has_repeated(found[columns.id]):
            order = [found[name] for name in (columns.time, columns.input, columns.output) if name is not None]
            window = ibis.window(group_by=[found[columns.id], self._aside == 0], order_by=order)
            found = found.mutate(log_again=ibis.row_number().over(window))
            self._asides = [(why, where.to_ibis(which, found, named)) for why, which in apart]
            self._asides.append((Rejection.REPEATED, found[columns.id].notnull() & (found.log_again > 0)))
        return found, columns

    def _has_repeated(self, column: Any) -> bool:
        found = column.as_table().aggregate(rows=column.count(), different=column.nunique())
        row = self._run(found)[0]
        return int(row["rows"]) > int(row["different"])

    def survey(self) -> Survey:
        """A query by model and by why rows are set aside, one of how many there are, and one of the latter alone."""
        import ibis

        columns = self.columns[0]
        if not self._asides and columns.model is None:
            return Survey()
        rows = self._table.select(
            model=ibis.null("string") if columns.model is None else self._table[columns.model].cast("string"),
            aside=self._aside,
            tokens=sum(numbers.number(self._table[name]).fill_null(0) for name in (columns.input, columns.output)),
        )
        seen = rows.group_by("model", "aside").aggregate(requests=rows.count(), tokens=rows.tokens.sum())
        most = self._run(seen.order_by(ibis.desc("requests"), "model", "aside").limit(MOST_SEEN))
        survey = Survey.of(
            Seen(model=row["model"], aside=int(row["aside"]), requests=int(row["requests"]), tokens=int(row["tokens"]))
            for row in most
        )
        if len(most) < MOST_SEEN:
            return survey
        kinds = self._run(seen.aggregate(kinds=seen.count(), models=(seen.aside == 0).sum()))[0]
        aside = self._run(rows.filter(rows.aside > 0).group_by("aside").aggregate(requests=rows.count()))
        return replace(
            survey,
            kinds=int(kinds["kinds"]),
            models=int(kinds["models"]),
            aside={int(row["aside"]): int(row["requests"]) for row in aside},
        )

    def clock(self) -> Clock:
        """One query of one column."""
        column = self._table[str(self.columns[0].time)]
        rows = self._table.select(x=numbers.number(column).cast("float64"))
        found = self._run(
            rows.aggregate(
                low=rows.x.min(), high=rows.x.max(), count=rows.x.count(), parts=(rows.x != rows.x.floor()).sum()
            )
        )[0]
        return Clock(
            lowest=found["low"] or 0.0,
            highest=found["high"] or 0.0,
            requests=int(found["count"]),
            fractions=int(found["parts"] or 0),
        )

    def first_seconds(self) -> Any:
        """A table has no order."""
        return np.array([], dtype=np.int64)

    def set_unit(self, unit: TimeUnit) -> None:
        """Of the table."""
        self.columns = [replace(columns, time_unit=unit) for columns in self.columns]

    @property
    def _aside(self) -> Any:
        import ibis

        branches = [(which, ibis.literal(numbers.CODES[why], "int8")) for why, which in self._asides]
        none = ibis.literal(0, "int8")
        return ibis.cases(*branches, else_=none) if branches else none

    def _explained(self, error: Exception, source: str) -> Exception:
        """Our error for one of a driver; any other is a bug and stays what it is."""
        package = type(error).__module__.split(".")[0]
        if package not in _DRIVERS and not isinstance(error, OSError | ValueError):
            return error
        return self._mistake(source, f"{type(error).__name__}: {one_line(str(error))}")

    def _mistake(self, source: str, message: str) -> InputError:
        return InputError([Mistake(source=source, message=message)])
