"""`sky-melange workload`."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sky_melange.cli import workload_own
from sky_melange.cli.atomic_file import refuse_device, write_atomically, write_new
from sky_melange.cli.options import format_option, reading_options, trace_options, use_color
from sky_melange.cli.sketch import config_option, path_from
from sky_melange.domain.buckets import BucketSize
from sky_melange.domain.hours import DAY, WEEK, HourCount
from sky_melange.domain.trace import MUCH_LARGER, TraceOptions
from sky_melange.errors import InputError, Mistake
from sky_melange.render.workload_yaml import Frame

if TYPE_CHECKING:
    from sky_melange.domain.trace import HourSizes, TraceSummary
    from sky_melange.traces import Progress

_MOST_WORKLOADS: Final = 100
_FUTURE_S: Final = 86_400
_OF_ONE_MODEL: Final = "is measured for the files of one model; leave out --split-by (see --where) and --connect"
_MODEL_ID: Final = re.compile(r"(?!.*(^|/)\.+(/|$))[\w.:@+-]+(/[\w.:@+-]+)*")
"""A name, after folders or providers that are names, too."""


@click.group(name="workload", epilog="Example: sky-melange workload from-trace requests.csv.gz -o workload.yaml")
def command() -> None:
    """Make a workload.yaml from what you have."""


command.add_command(workload_own.command)


@command.command(
    name="from-trace",
    short_help="Count request logs into a workload.yaml.",
    epilog="Example: sky-melange workload from-trace 'logs/*.parquet' --buckets auto:40 -o workload.yaml",
)
@click.argument("files", nargs=-1)
@click.option(
    "--output-file", "-o", type=click.Path(path_type=Path), help="Write the workload here; without it, to stdout."
)
@click.option("--force", is_flag=True, help="Replace an --output-file that says something else.")
@reading_options
@click.option(
    "--buckets",
    default=TraceOptions().buckets,
    show_default=True,
    help="melange, extend (doubled on as far as needed), auto:K (best K), or your own edges: 100,1000x50,500.",
)
@click.option(
    "--window", "window_s", type=int, default=TraceOptions().window_s, show_default=True, help="Seconds of a window."
)
@click.option(
    "--percentile",
    type=float,
    default=TraceOptions().rate_percentile,
    show_default=True,
    help="Percentile of windows to plan for.",
)
@click.option(
    "--hours",
    type=click.Choice(["day", "week"]),
    help="Count the percentile within each hour of the day or week, too; the log must cover each of them.",
)
@click.option(
    "--sizes-by-hour",
    is_flag=True,
    help="With --hours: write the sizes of hours whose requests are larger or smaller than others, in up to 4 sets.",
)
@click.option("--time-zone", default="UTC", show_default=True, help="By whose clocks --hours are, as Europe/Berlin.")
@click.option(
    "--request-rate",
    type=float,
    help="Plan for this rate, requests/s (with --hours, in the busiest one); needed for logs without times.",
)
@click.option(
    "--bucket-size",
    type=click.Choice([size.value for size in BucketSize]),
    default=BucketSize.MEAN.value,
    show_default=True,
    help="Plan a bucket at its largest request or at the mean of them.",
)
@click.option(
    "--prefix-cache",
    metavar="TOKENS[xREPLICAS]",
    help="Measure what prompts share: in a KV cache of so many tokens, or in those of replicas that get requests in "
    "turn. For logs with hash_ids.",
)
@click.option(
    "--split-by", type=click.Choice(["model"]), help="Write a workload for each model of the log into the folder -o."
)
@click.option("--connect", "url", help="Count in a database instead: an Ibis URL such as postgres://host/db.")
@click.option("--table", help="The table to count, with --connect.")
@click.option("--name", default="chat", show_default=True, help="Name of the workload.")
@click.option("--model", default="meta-llama/Llama-3.1-8B-Instruct", show_default=True, help="Hugging Face model id.")
@click.option("--dtype", default="bfloat16", show_default=True, help="Type of the weights.")
@config_option
@click.option("--tpot-ms", type=float, default=40.0, show_default=True, help="Target: time per output token.")
@click.option("--ttft-ms", type=float, default=2000.0, show_default=True, help="Target: time to first token.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the report as an HTML page, too.")
@format_option
def from_trace(
    *,
    files: tuple[str, ...],
    output_file: Path | None,
    force: bool,
    buckets: str,
    window_s: int,
    percentile: float,
    hours: str | None,
    sizes_by_hour: bool,
    time_zone: str,
    request_rate: float | None,
    bucket_size: str,
    url: str | None,
    table: str | None,
    name: str,
    model: str,
    dtype: str,
    config: Path | None,
    tpot_ms: float,
    ttft_ms: float,
    report: Path | None,
    prefix_cache: str | None,
    split_by: str | None,
    output_format: str,
    **reading: Any,
) -> None:
    """Count request logs into a workload: sizes, rate, and what was left out.

    FILES are CSV, JSON, JSONL or Parquet, plain, gzip or zstd: paths, folders, globs, s3:// and gs:// addresses, or -
    for stdin.

    Known formats are recognised by their columns: logs of LiteLLM, Helicone, Langfuse, SGLang and OpenTelemetry, the
    traces of Azure, BurstGPT, Mooncake, Qwen-Bailian, ServeGen and vidur, vLLM's histograms, OpenAI's usage.
    With --output-file the report goes to stdout; without it the workload does, and the report to stderr.
    """
    from sky_melange.render import trace_html, trace_report

    _check_source(files, url, table)
    if split_by is not None:
        _check_split(output_file, url, prefix_cache, config)
    elif prefix_cache is not None and url is not None:
        raise InputError([Mistake(source="--prefix-cache", message=_OF_ONE_MODEL)])
    _check_targets(None if split_by is not None else output_file, report)
    options = replace(
        trace_options(**reading),
        buckets=buckets,
        window_s=window_s,
        rate_percentile=percentile,
        hours=_hour_count(hours, time_zone),
        by_hour=sizes_by_hour,
    )
    if sizes_by_hour and (hours is None or url is not None or split_by is not None):
        message = "needs --hours and the files of one model: leave out --connect and --split-by (see --where)"
        raise InputError([Mistake(source="--sizes-by-hour", message=message)])
    if prefix_cache is not None:
        from sky_melange.traces.request_log import parse_prefix_cache

        options = replace(options, prefix_cache=parse_prefix_cache(prefix_cache))
    frame = Frame(
        name=name,
        model=model,
        dtype=dtype,
        config=None if config is None else path_from(output_file.parent if output_file else Path(), config),
        tpot_ms=tpot_ms,
        ttft_ms=ttft_ms,
        bucket_size=BucketSize(bucket_size),
    )
    with _on_disk(files) as paths:
        if split_by is not None and output_file is not None:
            _split(paths, options, frame, request_rate, output_file, force=force)
            return
        summary = _scan(paths, options, url, table)
        sizes = _sizes_by_hour(paths, options, summary) if sizes_by_hour else ()
    shown = trace_report.to_json(summary) if output_format == "json" else trace_report.text(summary, color=use_color())
    if output_file is not None:
        write_new(output_file, _workload(summary, frame, request_rate, sizes), force=force)
        click.echo(shown, nl=False)
        click.echo(f"Wrote {output_file}. Next:\n  sky-melange plan {output_file}", err=True)
    elif output_format == "json":
        click.echo(shown, nl=False)
    else:
        click.echo(_workload(summary, frame, request_rate, sizes), nl=False)
        click.echo(shown, nl=False, err=True)
    if report is not None:
        write_atomically(report, trace_html.page(summary))
    _warn(summary)


def _check_split(output_file: Path | None, url: str | None, prefix_cache: str | None, config: Path | None) -> None:
    if output_file is None or url is not None:
        message = "writes a workload for each model: give the folder with -o, and files instead of --connect"
        raise InputError([Mistake(source="--split-by", message=message)])
    if prefix_cache is not None:
        raise InputError([Mistake(source="--prefix-cache", message=_OF_ONE_MODEL)])
    if config is not None:
        raise InputError([Mistake(source="--config", message="is of one model; leave out --split-by (see --where)")])


def _warn(summary: TraceSummary) -> None:
    rate = summary.rate
    if rate is not None and rate.has_calendar and rate.last_s > time.time() + _FUTURE_S:
        last = datetime.fromtimestamp(rate.last_s, tz=UTC)
        message = f"The log goes on to {last:%Y-%m-%d %H:%M UTC}, in the future: a clock, a zone or a unit is wrong."
        click.echo(f"Warning: {message}", err=True)
    for note in summary.notes:
        click.echo(f"Warning: {note}", err=True)


def _hour_count(hours: str | None, time_zone: str) -> HourCount | None:
    """Raises InputError for a time zone that is none, or that nothing is counted by."""
    from sky_melange import resources

    fault = ""
    if hours is None and time_zone != HourCount().time_zone:
        fault = "only valid together with --hours"
    try:
        resources.time_zone(time_zone)
    except ValueError as error:
        fault = str(error)
    if fault:
        raise InputError([Mistake(source="--time-zone", message=fault)])
    return None if hours is None else HourCount(time_zone=time_zone, cycle=DAY if hours == "day" else WEEK)


def _check_source(files: tuple[str, ...], url: str | None, table: str | None) -> None:
    message = None
    if url is None and table is None:
        message = None if files else "give the files of a log, or --connect and --table"
    elif files:
        message = "give either files or --connect and --table"
    elif url is None or table is None:
        message = "--connect and --table go together"
    if message is not None:
        raise InputError([Mistake(source="workload from-trace", message=message)])


def _check_targets(*targets: Path | None) -> None:
    """Before a scan that may take hours: can the results be written?"""
    mistakes = [
        Mistake(source=str(target), message="cannot be written: there is no such folder, or no permission")
        for target in targets
        if target is not None and (target.is_dir() or not os.access(target.absolute().parent, os.W_OK | os.X_OK))
    ]
    if mistakes:
        raise InputError(mistakes)
    for target in targets:
        if target is not None:
            refuse_device(target)


@contextmanager
def _on_disk(files: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The files, with what stdin says in one of its own: a log is read more than once."""
    if "-" not in files:
        yield files
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stdin"
        try:
            with path.open("wb") as stream:
                shutil.copyfileobj(sys.stdin.buffer, stream, 1 << 20)
        except OSError as error:
            raise InputError([Mistake(source="stdin", message=f"cannot be kept: {error.strerror}")]) from error
        yield tuple(str(path) if file == "-" else file for file in files)


def _split(
    files: tuple[str, ...],
    options: TraceOptions,
    frame: Frame,
    request_rate: float | None,
    folder: Path,
    *,
    force: bool,
) -> None:
    """One workload for each model that has requests; all are made before the first is written."""
    from sky_melange.traces import models_of
    from sky_melange.traces.where import identifier, literal
    from sky_melange.untrusted import one_line

    column, models, nameless = models_of(files, options)
    if len(models) > _MOST_WORKLOADS:
        message = f"the log has {len(models):,} models; choose at most {_MOST_WORKLOADS} with --where"
        raise InputError([Mistake(source="--split-by", message=message)])
    if nameless:
        message = f"{nameless:,} requests name no model and are in no workload; choose them with --where"
        click.echo(f"Warning: {message} '{identifier(column)} IS NULL'", err=True)
    texts: dict[str, str] = {}
    for model in models:
        if not _MODEL_ID.fullmatch(model):
            shown = one_line(model)
            message = (
                f"no workload for {shown!r}, which is not a model id: choose its rows with --where, and set --model"
            )
            click.echo(f"Warning: {message}", err=True)
            continue
        chosen = f"{identifier(column)} = {literal(model)}"
        where = chosen if options.where is None else f"({options.where}) AND {chosen}"
        name = re.sub(r"[^a-z0-9]+", "-", model.rsplit("/", 1)[-1].lower()).strip("-")[:40].strip("-") or "model"
        while name in texts:
            name += "-2"
        # Gateways put the provider before the name.
        own = replace(frame, name=name, model="/".join(model.split("/")[-2:]))
        try:
            summary = _scan(files, replace(options, where=where), None, None)
            texts[name] = _workload(summary, own, request_rate)
        except InputError as error:
            click.echo(f"Warning: no workload for {model}: {error}", err=True)
            continue
        click.echo(f"{name}.yaml: {summary.requests:,} requests of {model}")
    if not texts:
        raise InputError([Mistake(source="--split-by", message="no model has requests to plan for")])
    folder.mkdir(exist_ok=True, parents=True)
    for name, text in texts.items():
        write_new(folder / f"{name}.yaml", text, force=force)


def _scan(files: tuple[str, ...], options: TraceOptions, url: str | None, table: str | None) -> TraceSummary:
    from sky_melange.traces import scan_files, scan_table

    if url is not None and table is not None:
        return scan_table(url, table, options)
    with _progress_bar() as progress:
        return scan_files(files, options, progress=progress)


@contextmanager
def _progress_bar() -> Iterator[Progress | None]:
    """A bar on stderr, on a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Counting requests", total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _sizes_by_hour(files: tuple[str, ...], options: TraceOptions, summary: TraceSummary) -> tuple[HourSizes, ...]:
    """The sets, and what they leave out, on stderr."""
    from sky_melange.traces import sizes_by_hour

    sizes = sizes_by_hour(files, options, summary)
    untold = sum(each.untold for each in sizes)
    if len(sizes) == 1 and not untold:
        click.echo("Note: the requests of all hours are alike in size: none has sizes of its own.", err=True)
    if untold:
        few = f"{untold} hour{'s have' if untold > 1 else ' has'} too few requests to tell their sizes"
        click.echo(f"Note: {few}, and {'are' if untold > 1 else 'is'} planned with those of most hours.", err=True)
    for each in sizes:
        if each.worst >= MUCH_LARGER:
            larger = f"an hour among them has requests {each.worst:.1f} times as large"
            click.echo(f"Warning: {len(each.hours)} hours are planned as {each.name}, but {larger}.", err=True)
    return sizes


def _workload(
    summary: TraceSummary, frame: Frame, request_rate: float | None, sizes: tuple[HourSizes, ...] = ()
) -> str:
    """The text of the workload, read back: what an option spoils is reported, not written."""
    from sky_melange.render.workload_yaml import workload_yaml
    from sky_melange.traces.rates import describe, planned_rate, to_traffic
    from sky_melange.workload_file import read_workload

    rate_rps = planned_rate(summary) if request_rate is None else request_rate
    to_traffic(summary, request_rate_rps=rate_rps)
    origin = describe(summary, request_rate)
    text = workload_yaml(summary, frame, request_rate_rps=rate_rps, origin=origin, sizes=sizes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workload.yaml"
        path.write_text(text, encoding="utf-8", newline="\n")
        try:
            read_workload(path)
        except InputError as error:
            mistakes = [Mistake(source="options", key=item.key, message=item.message) for item in error.mistakes]
            raise InputError(mistakes) from error
    return text
