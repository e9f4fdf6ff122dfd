"""Request logs -> histogram of sizes and request rate, in this process or where the log lies."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sky_melange.domain.buckets import Arrivals, Traffic
from sky_melange.domain.hours import Hours
from sky_melange.domain.trace import HourSizes, HoursReference, TraceOptions, TraceReference, TraceSummary
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.engine import Progress
from sky_melange.traces.presets import preset_names

if TYPE_CHECKING:
    from sky_melange.traces.request_log import RequestLog

__all__ = [
    "Progress",
    "models_of",
    "preset_names",
    "read_hours",
    "read_requests",
    "resolve_traffic",
    "scan_files",
    "scan_table",
    "sizes_by_hour",
]


def _require_reader() -> None:
    """Raises InputError where this installation plans only, without what reads logs."""
    if importlib.util.find_spec("duckdb") is None or importlib.util.find_spec("ibis") is None:
        message = (
            "this installation cannot read logs: install sky-melange with its extra `traces`, as docs/traces.md says"
        )
        raise InputError([Mistake(source="traces", message=message)])


def scan_files(
    patterns: Sequence[str],
    options: TraceOptions,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> TraceSummary:
    """Counts the files that paths, globs and `s3://` or `gs://` addresses name, by DuckDB in this process.

    Raises InputError for every file that is missing, empty, damaged or no log, by file and line.
    """
    # Ibis and DuckDB take a second to import.
    from sky_melange.traces.aggregates import summarize_aggregates
    from sky_melange.traces.duckdb_files import DuckDbFiles
    from sky_melange.traces.files import expand
    from sky_melange.traces.scan import check_options, summarize_log

    check_options(options)
    paths = expand(patterns, folder)
    aggregates = summarize_aggregates(paths, options)
    if aggregates:
        return aggregates
    _require_reader()
    log = DuckDbFiles(paths, options, progress)
    summary = summarize_log(log, options)
    if options.prefix_cache is None:
        return summary
    from sky_melange.traces.request_log import prefix_hits

    hits = prefix_hits(log.requests(with_blocks=True), options.prefix_cache)
    return dataclasses.replace(summary, prefix_hits=hits)


def read_requests(patterns: Sequence[str], options: TraceOptions, *, folder: Path | None = None) -> RequestLog:
    """The valid requests of the files, one by one. Raises InputError as `scan_files` does."""
    from sky_melange.traces.aggregates import summarize_aggregates
    from sky_melange.traces.duckdb_files import DuckDbFiles
    from sky_melange.traces.files import expand
    from sky_melange.traces.scan import check_options, settle

    check_options(options)
    paths = expand(patterns, folder)
    if aggregates := summarize_aggregates(paths, options):
        message = f"holds no single requests, but {aggregates.columns.layout}; give a log"
        raise InputError([Mistake(source=aggregates.source, message=message)])
    _require_reader()
    log = DuckDbFiles(paths, options)
    settle(log, options)
    return log.requests()


def sizes_by_hour(patterns: Sequence[str], options: TraceOptions, summary: TraceSummary) -> tuple[HourSizes, ...]:
    """The sets of hours of the files that differ in sizes, over the buckets of their `summary`, which has hours."""
    from sky_melange.traces.hour_sizes import sizes_by_hour as found

    hours = None if summary.rate is None else summary.rate.hours
    if hours is None:
        raise InputError([Mistake(source=summary.source, message="has no hours to count the sizes by")])
    return found(read_requests(patterns, options), summary.grid, len(hours.rates_rps), hours.time_zone)


def models_of(patterns: Sequence[str], options: TraceOptions) -> tuple[str, list[str], int]:
    """(the column that names the model, the models with requests, the most frequent first, the requests without one).

    Raises InputError as `scan_files` does, and where no column names a model.
    """
    from sky_melange.traces.duckdb_files import DuckDbFiles
    from sky_melange.traces.files import expand
    from sky_melange.traces.scan import check_options

    check_options(options)
    _require_reader()
    log = DuckDbFiles(expand(patterns), options)
    column = log.columns[0].model
    if column is None:
        raise InputError([Mistake(source=log.source, message="no column is known to name the model: --model-column")])
    rows = log.survey().rows
    models = dict.fromkeys(each.model for each in rows if not each.aside and each.model is not None)
    nameless = sum(each.requests for each in rows if not each.aside and each.model is None)
    return column, list(models), nameless


def scan_table(url: str, table: str, options: TraceOptions) -> TraceSummary:
    """Counts a table where it lies, in the database that an Ibis connection URL names.

    Raises InputError when there is no connection, no such table, or no such column.
    """
    from sky_melange.traces.database import DatabaseTable
    from sky_melange.traces.scan import check_options, summarize_log

    check_options(options)
    return summarize_log(DatabaseTable(url, table, options), options)


def read_hours(reference: HoursReference, folder: Path) -> tuple[Hours, tuple[str, ...]]:
    """The hours that a file says which a workload in `folder` names, and notes on them. Raises InputError."""
    from sky_melange.traces.hours_file import read_hours as read

    return read(reference, folder)


def resolve_traffic(reference: TraceReference, folder: Path) -> Traffic:
    """The traffic of a log or preset that a workload in `folder` names. Raises InputError as `scan_files` does."""
    from sky_melange.traces.presets import has_requests, load_preset
    from sky_melange.traces.rates import to_traffic

    arrivals = Arrivals()
    if reference.preset is not None:
        summary = load_preset(reference.preset)
        arrivals = Arrivals(log=reference.preset) if has_requests(reference.preset) else arrivals
    else:
        summary = scan_files(reference.files, reference.options, folder=folder)
    traffic = to_traffic(summary, request_rate_rps=reference.request_rate_rps, bucket_size=reference.bucket_size)
    return dataclasses.replace(traffic, arrivals=arrivals)
