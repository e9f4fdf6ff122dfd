"""Log files as DuckDB tables: read where they lie, streamed, larger than memory.

SQL is put together from paths and column names that `quoted`, `literal` and `identifier` have quoted.
"""
# ruff: noqa: S608

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import LogColumns, Rejection, TimeUnit, TraceOptions
from sky_melange.errors import InputError, Mistake
from sky_melange.traces import duckdb_sql as sql
from sky_melange.traces import files, where
from sky_melange.traces.columns import asides, column_named, find_columns, has_details, names_of_asides, parent_of
from sky_melange.traces.duckdb_sql import (
    BLOCKS,
    BYTES,
    DOUBLE,
    INPUT,
    OUTPUT,
    TEXT,
    TIME,
    UNUSUAL,
    WITH_ZONE,
    WITH_ZONE_NS,
    plain_rows,
)
from sky_melange.traces.edges import MAX_TOKENS
from sky_melange.traces.engine import (
    MOST_SEEN,
    Clock,
    Counted,
    Example,
    KeyCount,
    Progress,
    Seen,
    Sizes,
    Survey,
    unfused,
)
from sky_melange.traces.files import LogFile
from sky_melange.traces.numbers import CODES
from sky_melange.traces.request_log import MOST_REQUESTS, QUERY_COLUMNS, RequestLog, request_log
from sky_melange.untrusted import one_line

if TYPE_CHECKING:
    from sky_melange.traces.expression import Log

_ASIDE: Final = "log_aside"
_MODEL: Final = "log_model"
_ELSEWHERE: Final = "log_ids"
"""Ids in files of more than one view, and the first of those."""

_STEPS: Final = "log_steps"
"""Ids of rows that are steps of requests which are counted."""

_DEEPEST_SPAN: Final = 16

_OBJECTS: Final = ("STRUCT", "MAP", "JSON")
_POLL_S: Final = 0.2
_FIRST_ROWS: Final = 20_000
_QUICK: Final = 0.4
"""Share of the work that the quick way is where the thorough one may follow."""
_CSV_LINE: Final = re.compile(r"CSV Error on Line: (\d+)")
_CSV_FILE: Final = re.compile(r"^\s*file = (.+)$", re.MULTILINE)
_JSON_FILE: Final = re.compile(r'in file "([^"]+)"')
_ADVICE: Final = re.compile(r"Possible fixes:|Possible Solution|Try setting|\n\nLINE \d+:")
_NO_PARQUET: Final = re.compile("No magic bytes|Footer length|too small to be a Parquet file")
_EXTENSION: Final = re.compile(r"[Ee]xtension \"?'?(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Files that are alike, as a view `name` of columns INPUT, OUTPUT and, where there are times, TIME.

    `columns` are those of the log, in its own names; `types` of input, output and time as DuckDB names them.
    `is_mixed`: columns say what a row is, and a second view has them. `typed`: another has sizes as numbers, and fails
    where one is none.
    """

    name: str
    columns: LogColumns
    types: tuple[str, str, str | None]
    bytes_type: str | None
    is_mixed: bool
    typed: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """What a view will be: expressions of DuckDB by alias, `aside` (0, or why a row is not the traffic), and `rows`.

    `typed_rows`: the same with sizes as numbers, where nothing else reads them.
    """

    name: str
    path: str
    columns: LogColumns
    types: tuple[str, str, str | None]
    bytes_type: str | None
    values: Mapping[str, str]
    aside: str
    id: str | None
    parent: str | None
    rows: str
    typed_rows: str | None


class DuckDbFiles:
    """Files of a log, opened. Raises InputError on construction for every file that cannot be read as one."""

    def __init__(self, paths: Sequence[str], options: TraceOptions, progress: Progress | None = None) -> None:
        import duckdb

        self._connection = duckdb.connect()
        self._options = options
        self._progress = progress
        self._done, self._share = 0.0, 0.0
        self._files: list[LogFile] = []
        self.source = _named(paths)
        # Text is cast in UTC whatever the machine's zone; the result is sorted by us, so order costs nothing.
        self._connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        self._files = self._inspect(paths)
        self._views = self._open()
        self.columns = [view.columns for view in self._views]

    def count(self, grid: TokenGrid) -> Counted:
        """Counts by key and by second, in one scan where every row is plain, otherwise in a second one.

        The checksums of compressed files are verified meanwhile.
        """
        found = self._scanned(grid, _BY_KEY + (_BY_SECOND if self.columns[0].time is not None else ""))
        is_key = found["of"] == _OF_KEY
        names = ("value", "requests", "input_tokens", "output_tokens", "zoneless")
        keys = sorted(zip(*(found[name][is_key].tolist() for name in names), strict=True))
        counts = [dict(zip(("key", *names[1:]), key, strict=True)) for key in keys]
        seconds, *sums = _sorted(found, _OF_SECOND, *names[1:4])
        by_second = dict(zip(names[1:4], sums, strict=True))
        return Counted(keys=tuple(KeyCount(**count) for count in counts), seconds=seconds, **by_second)

    def sizes(self) -> tuple[Sizes, Sizes]:
        """In one scan, or two."""
        found = self._scanned(TokenGrid(input_edges=(MAX_TOKENS,), output_edges=(MAX_TOKENS,)), _BY_KEY + _BY_SIZE)
        (inputs, of_inputs), (outputs, of_outputs) = (_sorted(found, of, "requests") for of in (_OF_INPUT, _OF_OUTPUT))
        return Sizes(tokens=inputs, requests=of_inputs), Sizes(tokens=outputs, requests=of_outputs)

    def survey(self) -> Survey:
        """In a scan of its own, of the columns that say what a row is."""
        mixed = [view for view in self._views if view.is_mixed]
        if not mixed:
            return Survey()
        tokens = " + ".join(f"coalesce(TRY_CAST({column} AS BIGINT), 0)" for column in (INPUT, OUTPUT))
        rows = " UNION ALL ".join(
            f"SELECT CAST({_MODEL} AS VARCHAR) AS model, {_ASIDE} AS aside, {tokens} AS tokens "
            f"FROM {view.name}_{_ASIDE}"
            for view in mixed
        )
        # There may be millions of models.
        self._sql(
            "CREATE OR REPLACE TEMP TABLE seen AS SELECT model, aside, count(*) AS requests, "
            f"CAST(sum(tokens) AS BIGINT) AS tokens FROM ({rows}) GROUP BY ALL"
        )
        of_all = "count(*), count(*) FILTER (aside = 0)"
        kinds, models = self._sql(f"SELECT {of_all} FROM seen").fetchone()
        aside = self._sql("SELECT aside, sum(requests) FROM seen WHERE aside > 0 GROUP BY aside").fetchall()
        most = self._sql(f"FROM seen ORDER BY requests DESC, model, aside LIMIT {MOST_SEEN}").fetchall()
        self._sql("DROP TABLE seen")
        return Survey(
            rows=tuple(Seen(model=row[0], aside=row[1], requests=row[2], tokens=row[3]) for row in most),
            models=models,
            kinds=kinds,
            aside={code: int(count) for code, count in aside},
        )

    def clock(self) -> Clock:
        """In a scan of one column."""
        number = f"TRY_CAST(CAST({TIME} AS VARCHAR) AS DOUBLE)"
        rows = " UNION ALL ".join(f"SELECT {number} AS x FROM {view.name}" for view in self._views)
        low, high, count, fractions = self._sql(
            f"SELECT min(x), max(x), count(x), count(*) FILTER (x <> floor(x)) FROM ({rows}) WHERE isfinite(x)"
        ).fetchone()
        return Clock(lowest=low or 0.0, highest=high or 0.0, requests=count, fractions=fractions)

    def size_sums(self) -> dict[str, float]:
        """Scans the files once more."""
        import ibis
        from ibis.backends.sql.datatypes import DuckDBType

        from sky_melange.traces import expression
        from sky_melange.traces.expression import Log

        logs = []
        for view in self._views:
            types = {INPUT: view.types[0], BYTES: view.bytes_type or TEXT}
            schema = {name: DuckDBType.from_string(kind) for name, kind in types.items()}
            columns = LogColumns(input=INPUT, output=OUTPUT, bytes=BYTES)
            logs.append(Log(table=ibis.table(schema, name=view.name), columns=columns))
        with unfused():
            query = str(ibis.duckdb.compile(expression.size_sums(logs)))
        found = self._sql(query)
        names = [column[0] for column in found.description]
        return {name: float(value or 0) for name, value in zip(names, found.fetchone(), strict=True)}

    def examples(self, codes: Mapping[int, str]) -> list[Example]:
        """In one more scan, and a search for the lines."""
        import ibis

        from sky_melange.traces import expression

        with unfused():
            query = str(ibis.duckdb.compile(expression.least_rejected(self._logs())))
        found = self._sql(query)
        names = [column[0] for column in found.description]
        rows = {row[names.index("status")]: dict(zip(names, row, strict=True)) for row in found.fetchall()}
        texts = {code: rows[code][axis] for code, axis in codes.items() if code in rows}
        return [self._placed(code, text, codes[code]) for code, text in texts.items() if text is not None]

    def _placed(self, code: int, text: str, axis: str) -> Example:
        for file in self._files:
            line = files.line_of(file, text, str(getattr(self.columns[0], axis)))
            if line is not None:
                return Example(code=code, text=text, path=file.path, line=line)
        return Example(code=code, text=text)

    def first_seconds(self) -> Any:
        """Of the first file that is read, in a query of its own."""
        import numpy as np

        view = replace(self._views[0], typed=None)
        rows = self._plain_rows(view, TokenGrid(input_edges=(MAX_TOKENS,), output_edges=(MAX_TOKENS,)))
        if rows is None:
            return np.array([], dtype=np.int64)
        self._sql("SET preserve_insertion_order = true")
        found = self._sql(f"SELECT second FROM (SELECT * FROM ({rows}) LIMIT {_FIRST_ROWS}) WHERE key <> {UNUSUAL}")
        seconds = found.fetchnumpy()["second"]
        self._sql("SET preserve_insertion_order = false")
        return seconds

    def set_unit(self, unit: TimeUnit) -> None:
        """Of all files."""
        self._views = [replace(view, columns=replace(view.columns, time_unit=unit)) for view in self._views]
        self.columns = [view.columns for view in self._views]

    def _scanned(self, grid: TokenGrid, groups: str) -> Any:
        with ThreadPoolExecutor(max_workers=2) as pool:
            compressed = [file for file in self._files if file.compression != "none" and not file.is_remote]
            stop = threading.Event()
            verified = pool.submit(_verify_all, compressed, stop)
            scanned = pool.submit(self._grouped, grid, groups, stop)
            self._watch(scanned, stop)
            # A cut-off file explains whatever else the engine said about it.
            verified.result()
            return scanned.result()

    def _grouped(self, grid: TokenGrid, groups: str, stop: threading.Event) -> Any:
        plain = [self._plain_rows(view, grid) for view in self._views]
        if None not in plain:
            self._done, self._share = 0.0, _QUICK
            found = self._plain(" UNION ALL ".join(f"({rows})" for rows in plain), groups, stop)
            if found is not None:
                return found
        self._done, self._share = self._share, 1.0
        return self._run(self._thorough_rows(grid), groups)

    def _plain(self, rows: str, groups: str, stop: threading.Event) -> Any:
        """None where a row is unusual, or a size is no number; whatever else is wrong, the thorough way says too."""
        try:
            found = self._run(rows, groups)
        except InputError:
            if stop.is_set() or all(view.typed is None for view in self._views):
                raise
            return None
        is_usual = stop.is_set() or not (found["value"][found["of"] == _OF_KEY] == UNUSUAL).any()
        return found if is_usual else None

    def requests(self, *, with_blocks: bool = False) -> RequestLog:
        """The valid requests one by one. Raises InputError when there are none, or too many to hold.

        `with_blocks`: with the blocks of their prompts. Raises InputError, too, where a file has none.
        """
        import ibis

        from sky_melange.traces import expression

        with unfused():
            logs = self._logs(with_blocks=with_blocks)
            query = str(ibis.duckdb.compile(expression.valid_requests(logs, self._options, MOST_REQUESTS + 1)))
        with ThreadPoolExecutor(max_workers=1) as pool:
            compressed = [file for file in self._files if file.compression != "none" and not file.is_remote]
            verified = pool.submit(_verify_all, compressed, threading.Event())
            found = self._sql(query)
            names = [column[0] for column in found.description]
            rows = found.fetchall()
            verified.result()
        wanted = (*QUERY_COLUMNS, BLOCKS) if with_blocks else QUERY_COLUMNS
        columns = {name: [row[names.index(name)] for row in rows] for name in wanted}
        log = request_log(self.source, columns, has_times=self.columns[0].time is not None)
        return replace(log, block_tokens=self.columns[0].block_tokens)

    def _plain_rows(self, view: View, grid: TokenGrid) -> str | None:
        first = None
        if view.types[2] == TEXT:
            first = self._sql(f"SELECT {TIME} FROM {view.name} WHERE {TIME} IS NOT NULL LIMIT 1").fetchone()
        first_time = None if first is None else first[0]
        if view.typed is None:
            return plain_rows(view.name, view.types, view.columns.time_unit, first_time, grid)
        return plain_rows(view.typed, (DOUBLE, DOUBLE, view.types[2]), view.columns.time_unit, first_time, grid)

    def _thorough_rows(self, grid: TokenGrid) -> str:
        import ibis

        from sky_melange.traces import expression

        with unfused():
            return str(ibis.duckdb.compile(expression.keyed_rows(self._logs(), grid)))

    def _logs(self, *, with_blocks: bool = False) -> list[Log]:
        """The views as Ibis knows them. Raises InputError where a column's type is of no use, or blocks are missing."""
        import ibis
        from ibis.backends.sql.datatypes import DuckDBType

        from sky_melange.traces import expression
        from sky_melange.traces.expression import Log

        logs = []
        for view in self._views:
            is_utc = view.types[2] == WITH_ZONE
            types = dict(zip((INPUT, OUTPUT, TIME), view.types, strict=True)) | ({TIME: "TIMESTAMP"} if is_utc else {})
            schema = {name: DuckDBType.from_string(kind) for name, kind in types.items() if kind is not None}
            time = None if view.types[2] is None else TIME
            if with_blocks and view.columns.blocks is None:
                message = (
                    "names no blocks of prompts (hash_ids, as Mooncake's and Qwen-Bailian's), so nothing is measured"
                )
                raise InputError([Mistake(source=self.source, message=f"{message}; leave out --prefix-cache")])
            blocks = BLOCKS if with_blocks else None
            schema |= {BLOCKS: DuckDBType.from_string(TEXT)} if with_blocks else {}
            columns = LogColumns(input=INPUT, output=OUTPUT, time=time, time_unit=view.columns.time_unit, blocks=blocks)
            logs.append(Log(table=ibis.table(schema, name=view.name), columns=columns, is_utc=is_utc))
        expression.check_types(self.source, logs, self.columns)
        return logs

    def _run(self, rows: str, groups: str) -> Any:
        """The result of `groups` over `rows`, by column. One query: DuckDB feeds all of them from one scan."""
        import duckdb

        if within := self._within():
            key = f"CASE WHEN key >= 0 AND NOT ({within}) THEN -{CODES[Rejection.OUTSIDE_PERIOD]} ELSE key END"
            rows = f"SELECT * REPLACE ({key} AS key) FROM ({rows})"
        try:
            return self._connection.execute(f"WITH rows AS ({rows}) {groups}").fetchnumpy()
        except duckdb.Error as error:
            raise self._explained(error) from error

    def _within(self) -> str:
        """The condition of the period that is asked for; empty without one."""
        bounds = ((">=", self._options.since_s), ("<", self._options.until_s))
        return " AND ".join(f"second {sign} {bound}" for sign, bound in bounds if bound is not None)

    def _watch(self, scanned: Any, stop: threading.Event) -> None:
        done = threading.Event()
        scanned.add_done_callback(lambda _: done.set())
        share = 0.0
        try:
            while not done.wait(_POLL_S):
                if self._progress is not None:
                    # Never back, when a query after the first begins.
                    of_query = self._connection.query_progress() / 100
                    share = max(share, self._done + (self._share - self._done) * of_query)
                    self._progress(share)
        except BaseException:
            # Ctrl-C must not wait for a scan of hours.
            stop.set()
            self._connection.interrupt()
            raise

    def _inspect(self, paths: Sequence[str]) -> list[LogFile]:
        found: list[LogFile] = []
        mistakes: list[Mistake] = []
        for path in paths:
            try:
                found.append(self._inspect_remote(path) if files.is_remote(path) else files.inspect_file(path))
            except InputError as error:
                mistakes.extend(error.mistakes)
        if mistakes:
            raise InputError(mistakes)
        return found

    def _inspect_remote(self, path: str) -> LogFile:
        """By its suffixes; the header of CSV and the keys of JSONL are read by DuckDB."""
        bare = path.split("?", 1)[0].lower()
        compression: files.Compression = "gzip" if bare.endswith(".gz") else "zstd" if bare.endswith(".zst") else "none"
        bare = bare.removesuffix(".gz").removesuffix(".zst")
        if bare.endswith((".parquet", ".pq")):
            return LogFile(path=path, format="parquet")
        if bare.endswith((".jsonl", ".ndjson", ".json")):
            query = f"SELECT * FROM read_ndjson({sql.quoted(path)}, compression = '{compression}') LIMIT 0"
            names = tuple(column[0] for column in self._sql(query, path).description)
            return LogFile(path=path, format="jsonl", compression=compression, columns=names)
        if not bare.endswith((".csv", ".tsv", ".txt")):
            message = "name the format with a suffix: .csv, .jsonl or .parquet, and .gz or .zst after it"
            raise InputError([Mistake(source=one_line(path), message=message)])
        lines = sql.lines(sql.quoted(path), LogFile(path=path, format="csv", compression=compression))
        first = self._sql(f"SELECT line FROM {lines} LIMIT 1", path).fetchone()
        if first is None:
            raise InputError([Mistake(source=one_line(path), message="is empty")])
        columns, delimiter = files.header_columns(str(first[0]))
        return LogFile(path=path, format="csv", compression=compression, columns=columns, delimiter=delimiter)

    def _open(self) -> list[View]:
        """One view for all files that are alike."""
        alike: dict[tuple[object, ...], list[LogFile]] = {}
        for file in self._files:
            shape: object = self._parquet_shape(file) if file.format == "parquet" else file.columns
            alike.setdefault((file.format, file.compression, file.delimiter, file.rows, file.nested, shape), []).append(
                file
            )
        drafts = []
        mistakes: list[Mistake] = []
        for number, group in enumerate(alike.values()):
            try:
                drafts.append(self._draft(f"log_{number}", group))
            except InputError as error:
                mistakes.extend(error.mistakes)
        if mistakes:
            raise InputError(mistakes)
        is_repeated = self._has_repeated(drafts)
        is_repeated = self._has_steps(drafts) or is_repeated
        return [self._view(number, draft, is_repeated=is_repeated) for number, draft in enumerate(drafts)]

    def _has_repeated(self, drafts: Sequence[_Draft]) -> bool:
        """Whether ids are there more than once, in whatever files; those in several views are kept in a table."""
        self._sql(f"CREATE TEMP TABLE {_ELSEWHERE} (id VARCHAR, view INTEGER)")
        parts = [
            f"SELECT CAST({draft.id} AS VARCHAR) AS id, {number} AS view, {draft.aside} = 0 AS counts FROM {draft.rows}"
            for number, draft in enumerate(drafts)
            if draft.id is not None
        ]
        if not parts:
            return False
        ids = " UNION ALL ".join(parts)
        path = drafts[0].path
        if not self._sql(f"SELECT count(id) - count(DISTINCT hash(id)) FROM ({ids})", path).fetchone()[0]:
            return False
        self._sql(
            f"INSERT INTO {_ELSEWHERE} SELECT id, min(view) AS view FROM ({ids}) WHERE counts AND id IS NOT "
            "NULL GROUP BY id HAVING min(view) < max(view)",
            path,
        )
        return True

    def _has_steps(self, drafts: Sequence[_Draft]) -> bool:
        """Whether rows that count are steps of others that count, with the same sizes: they are kept in a table.

        A client's span over that of the library which it calls is one request.
        """
        parts = [
            f"SELECT CAST({draft.id} AS VARCHAR) AS id, CAST({draft.parent} AS VARCHAR) AS parent, "
            f"CAST({draft.values[INPUT]} AS VARCHAR) AS input, CAST({draft.values[OUTPUT]} AS VARCHAR) AS output, "
            f"{draft.aside} = 0 AS counts FROM {draft.rows}"
            for draft in drafts
            if draft.id is not None and draft.parent is not None
        ]
        self._sql(f"CREATE TEMP TABLE {_STEPS} (id VARCHAR)")
        if not parts:
            return False
        self._sql(f"CREATE TEMP TABLE spans AS {' UNION ALL '.join(parts)}", drafts[0].path)
        self._sql(
            f"INSERT INTO {_STEPS} WITH RECURSIVE up AS (SELECT id, parent AS above, input, output, 1 AS depth "
            "FROM spans WHERE counts AND parent <> '' UNION SELECT up.id, spans.parent, up.input, up.output, depth + 1 "
            f"FROM up JOIN spans ON spans.id = up.above WHERE depth < {_DEEPEST_SPAN} AND spans.parent <> '') "
            "SELECT DISTINCT up.id FROM up JOIN spans ON spans.id = up.above WHERE counts AND spans.id <> up.id AND "
            "spans.input = up.input AND spans.output = up.output"
        )
        self._sql("DROP TABLE spans")
        return bool(self._sql(f"SELECT count(*) FROM {_STEPS}").fetchone()[0])

    def _parquet_shape(self, file: LogFile) -> tuple[tuple[str, str], ...]:
        described = self._sql(f"DESCRIBE SELECT * FROM read_parquet({sql.quoted(file.path)})", file.path).fetchall()
        return tuple((str(row[0]), str(row[1])) for row in described)

    def _draft(self, name: str, group: Sequence[LogFile]) -> _Draft:
        options = self._options
        file = group[0]
        paths = [member.path for member in group]
        if file.format == "parquet":
            # A name that is there twice is refused below.
            have, types = zip(*self._parquet_shape(file), strict=True)
        else:
            have, types = file.columns, (TEXT,) * len(file.columns)
        if file.format != "parquet":
            nested = dict(file.nested)
        else:
            nested = self._nested(paths[0], have, types) if any(kind.startswith(_OBJECTS) for kind in types) else {}
        # Text, whatever is in it.
        kinds = dict.fromkeys(nested, TEXT) | dict(zip(have, types, strict=True))
        columns = find_columns(options, (*have, *nested), source=file.path)
        if file.format in ("json", "jsonl"):
            # Objects may get such a key after the first hundred.
            nested |= {name: _path(name, have) for name in names_of_asides(columns) if name not in (*have, *nested)}
        _check_unique(columns, have, file.path)
        chosen = where.parse_where("TRUE" if options.where is None else options.where)
        set_aside = asides(columns, (*have, *nested))
        wanted = [(columns.input, INPUT), (columns.output, OUTPUT)]
        wanted += [] if columns.time is None else [(columns.time, TIME)]
        wanted += [] if columns.bytes is None else [(columns.bytes, BYTES)]
        read = Counter[str]()

        def named(name: str) -> str:
            name = column_named(name, (*have, *nested), "where", source=file.path)
            column, *keys = nested.get(name, (name,))
            read[column] += 1
            if file.format == "json" and file.rows != files.ARRAY:
                return sql.inside_row(file, [column, *keys])
            own = f"c{have.index(column)}" if file.format == "csv" else where.identifier(column)
            is_object = kinds.get(column, TEXT).startswith(_OBJECTS)
            return sql.inside(f"to_json({own})" if is_object else own, keys) if keys else own

        values = {alias: sql.value(named(column), kinds[column]) for column, alias in wanted}
        if columns.blocks is not None:
            values[BLOCKS] = f"CAST({named(columns.blocks)} AS VARCHAR)"
        if has_details(columns) and {columns.input, columns.output} <= nested.keys():
            whole = named(columns.input.rpartition(".")[0])
            values |= {word: sql.with_details(whole, columns, word) for word in (INPUT, OUTPUT)}
        branches = "".join(f"WHEN {where.to_sql(which, named)} THEN {CODES[why]} " for why, which in set_aside)
        values[_MODEL] = "NULL" if columns.model is None else named(columns.model)
        condition = where.to_sql(chosen, named)
        of_id = None if columns.id is None else named(columns.id)
        parent = parent_of(columns, (*have, *nested))
        of_parent = None if parent is None else named(parent)
        listed = "[" + ", ".join(sql.quoted(path) for path in paths) + "]"
        sizes = {columns.input, columns.output}
        is_typed = file.format == "csv" and len(sizes) == 2 and all(read[name] == 1 for name in sizes)
        of_time = None if columns.time is None else kinds[columns.time].replace(WITH_ZONE_NS, WITH_ZONE)
        return _Draft(
            name=name,
            path=file.path,
            columns=columns,
            types=(kinds[columns.input], kinds[columns.output], of_time),
            bytes_type=None if columns.bytes is None else kinds[columns.bytes],
            values=values,
            aside=f"CASE {branches}ELSE 0 END" if branches else "0",
            id=of_id,
            parent=of_parent,
            rows=f"{sql.reader(listed, file, list(read))} WHERE {condition}",
            typed_rows=f"{sql.reader(listed, file, list(read), sizes)} WHERE {condition}" if is_typed else None,
        )

    def _view(self, number: int, draft: _Draft, *, is_repeated: bool) -> View:
        """The view, of rows that are the traffic, and another of all rows, with why they are not."""
        name, columns = draft.name, draft.columns
        values = ", ".join(f"{value} AS {alias}" for alias, value in draft.values.items())
        query = f"SELECT {values}, {draft.aside} AS {_ASIDE} FROM {draft.rows}"
        if is_repeated and draft.id is not None:
            order = ", ".join(alias for alias in (TIME, OUTPUT, INPUT) if alias in draft.values)
            again = f"row_number() OVER (PARTITION BY id, {_ASIDE} = 0 ORDER BY {order}) > 1"
            before = f"id IN (SELECT id FROM {_ELSEWHERE} WHERE view < {number}) OR id IN (FROM {_STEPS})"
            is_again = f"{_ASIDE} = 0 AND id IS NOT NULL AND ({again} OR {before})"
            why = f"CASE WHEN {is_again} THEN {CODES[Rejection.REPEATED]} ELSE {_ASIDE} END"
            query = (
                f"SELECT * REPLACE ({why} AS {_ASIDE}) FROM (SELECT {values}, {draft.aside} AS {_ASIDE}, "
                f"CAST({draft.id} AS VARCHAR) AS id FROM {draft.rows})"
            )
        self._sql(f"CREATE TEMP VIEW {name}_{_ASIDE} AS {query}", draft.path)
        names = ", ".join(alias for alias in draft.values if alias != _MODEL)
        is_partial = is_repeated or draft.aside != "0"
        only = f" WHERE {_ASIDE} = 0" if is_partial else ""
        self._sql(f"CREATE TEMP VIEW {name} AS SELECT {names} FROM {name}_{_ASIDE}{only}", draft.path)
        typed = None
        if draft.typed_rows is not None and not is_repeated:
            typed = f"{name}_typed"
            values = ", ".join(f"{draft.values[alias]} AS {alias}" for alias in draft.values if alias != _MODEL)
            only = f" AND ({draft.aside}) = 0" if is_partial else ""
            self._sql(f"CREATE TEMP VIEW {typed} AS SELECT {values} FROM {draft.typed_rows}{only}", draft.path)
        return View(
            name=name,
            columns=columns,
            types=draft.types,
            bytes_type=draft.bytes_type,
            is_mixed=is_partial or columns.model is not None,
            typed=typed,
        )

    def _nested(self, path: str, have: Sequence[str], types: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The values inside the objects of a Parquet file."""
        names = [name for name, kind in zip(have, types, strict=True) if kind.startswith(_OBJECTS)]
        objects = ", ".join(f"to_json({where.identifier(name)})" for name in names)
        sample = self._sql(f"SELECT {objects} FROM read_parquet({sql.quoted(path)}) LIMIT 100", path).fetchall()
        return dict(files.names_inside(dict(zip(names, row, strict=True)) for row in sample)[1])

    def _sql(self, query: str, path: str = "") -> Any:
        import duckdb

        try:
            return self._connection.execute(query)
        except duckdb.Error as error:
            raise self._explained(error, path) from error

    def _explained(self, error: Exception, path: str = "") -> InputError:
        """DuckDB's message as ours: file, line, what is wrong."""
        text = str(error)
        by_path = {file.path: file for file in self._files}
        line = _CSV_LINE.search(text)
        named = _CSV_FILE.search(text) or _JSON_FILE.search(text)
        source = named.group(1).strip() if named else path or self.source
        if "httpfs" in text or ("xtension" in text and files.is_remote(source)):
            return _no_extension(text, source)
        number = int(line.group(1)) if line else None
        if source in by_path and by_path[source].format == "jsonl":
            number = files.bad_json_line(by_path[source])
        return InputError([Mistake(source=one_line(source), line=number, message=_reason(text))])


_OF_KEY, _OF_SECOND, _OF_INPUT, _OF_OUTPUT = range(4)
_BY_KEY: Final = (
    f"SELECT {_OF_KEY} AS of, CAST(key AS BIGINT) AS value, count(*) AS requests, "
    # Sums of rejected rows could overflow, and are of no use.
    "CAST(CASE WHEN key >= 0 THEN sum(input) ELSE 0 END AS BIGINT) AS input_tokens, "
    "CAST(CASE WHEN key >= 0 THEN sum(output) ELSE 0 END AS BIGINT) AS output_tokens, "
    "CAST(sum(no_zone) AS BIGINT) AS zoneless FROM rows GROUP BY key"
)


def _by(of: int, column: str, tokens: str = "0, 0") -> str:
    return (
        f" UNION ALL SELECT {of}, CAST({column} AS BIGINT), count(*), {tokens}, 0 FROM rows "
        f"WHERE key >= 0 GROUP BY {column}"
    )


_BY_SECOND: Final = _by(_OF_SECOND, "second", "CAST(sum(input) AS BIGINT), CAST(sum(output) AS BIGINT)")
_BY_SIZE: Final = _by(_OF_INPUT, "input") + _by(_OF_OUTPUT, "output")


def _sorted(found: Any, of: int, *names: str) -> tuple[Any, ...]:
    """The values of one group, rising, and these columns of them."""
    is_of = found["of"] == of
    order = found["value"][is_of].argsort()
    return tuple(found[name][is_of][order] for name in ("value", *names))


def _verify_all(compressed: Sequence[LogFile], stop: threading.Event) -> None:
    for file in compressed:
        files.verify(file, stop)


def _reason(text: str) -> str:
    """The sentences of DuckDB's message that are not advice on its own options."""
    body = _ADVICE.split(text, maxsplit=1)[0]
    body = re.sub(r"^.*?Error: (CSV Error on Line: \d+)?", "", body, count=1)
    why = "it is cut off, or no Parquet file: " if _NO_PARQUET.search(body) else ""
    return "cannot be read: " + why + one_line(body.replace("Original Line:", "the line reads"))


def _no_extension(text: str, source: str) -> InputError:
    extension = "httpfs" if "httpfs" in text else (_EXTENSION.search(text) or ["", "an extension"])[1]
    message = (
        f"needs DuckDB's extension {extension}, which is not installed and could not be downloaded: with network "
        f"access run `python -c \"import duckdb; duckdb.sql('INSTALL {extension}')\"` once, or copy the file here"
    )
    return InputError([Mistake(source=one_line(source), message=message)])


def _path(name: str, have: Sequence[str]) -> tuple[str, ...]:
    """Where a value would be that no object has so far."""
    return ("attributes", name) if name.startswith("gen_ai.") and "attributes" in have else tuple(name.split("."))


def _check_unique(columns: LogColumns, have: Sequence[str], path: str) -> None:
    names = (columns.input, columns.output, columns.time, columns.bytes)
    repeated = [name for name in names if name and have.count(name) > 1]
    if repeated:
        raise InputError([Mistake(source=path, line=1, message=f"has the column {name!r} twice") for name in repeated])


def _named(paths: Sequence[str]) -> str:
    names = [one_line(path.rsplit("/", 1)[-1]) for path in paths[:3]]
    return ", ".join(names) + (f" and {len(paths) - 3} more files" if len(paths) > 3 else "")
