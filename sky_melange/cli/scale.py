"""`sky-melange scale`."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sky_melange.cli.fleet import of_each_plan
from sky_melange.cli.launch_folder import connect, read_launch, secret_values
from sky_melange.cli.options import format_option
from sky_melange.cli.plan_folder import held
from sky_melange.errors import CheckFailedError, InputError, Mistake

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sky_melange.domain.hours import Schedule
    from sky_melange.domain.scaling import Wanted
    from sky_melange.plan_file import PlanDocument
    from sky_melange.skypilot.launch.launch import Launch
    from sky_melange.skypilot.launch.scale import Scale

_YEARS: Final = range(1971, 9999)


def _is_scaled(document: PlanDocument) -> bool:
    from sky_melange.domain.hours import Scaling
    from sky_melange.domain.scaling import scaling_of

    return scaling_of(document.plan, document.workload) is Scaling.SCHEDULE


@click.command(name="scale", epilog="Example: sky-melange scale plan --at 2026-03-02T08:30 --dry-run")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--at", metavar="TIME", help="Of this moment instead of now: ISO 8601, in the plan's time zone or its own."
)
@click.option(
    "--every-minutes",
    type=click.FloatRange(min=0.0, max=1440),
    default=5.0,
    show_default=True,
    help="How often this is run: instances that take long to start are started that much sooner.",
)
@click.option("--dry-run", is_flag=True, help="Print what would change; ask SkyPilot nothing, change nothing.")
@format_option
@of_each_plan("folder", only=_is_scaled, nothing="has no plan with a schedule to follow (see `traffic.hours`)")
def command(*, folder: Path, at: str | None, every_minutes: float, dry_run: bool, output_format: str) -> None:
    """Bring what runs of the plan in FOLDER to the instances that its schedule wants now. For a timer.

    Instances that an hour needs are started `startup_minutes` before it; those that no hour needs any more are drained
    and stopped by SkyServe. Only what `up` started is changed, and running replicas stay. Run again it changes nothing.
    Exit code 3 when a service is not as the schedule wants it, and this run did not just ask for it (it was never
    started, say); the next run tries again.
    """
    from sky_melange.domain.launch_files import PROJECT_CONFIG_FILE
    from sky_melange.domain.scaling import wanted_at, zone_of
    from sky_melange.skypilot.launch.scale import bring_to, planned_scales

    with held(folder, is_needed=not dry_run):
        launch = read_launch(folder)
        schedule = _schedule(launch)
        moment = datetime.now(UTC) if at is None else _moment(at, schedule)
        wanted = wanted_at(schedule, moment, every_minutes=every_minutes)
        scales: Sequence[Scale]
        if dry_run or not launch.record.started:
            scales = planned_scales(launch, None, wanted)
        else:
            secrets = secret_values(launch, with_router=False)
            cloud = connect(launch.files.get(PROJECT_CONFIG_FILE, ""))
            launch = replace(launch, secrets=secrets)
            scales = bring_to(launch, cloud, planned_scales(launch, cloud, wanted))
    local = moment.astimezone(zone_of(schedule.time_zone))
    if output_format == "json":
        click.echo(json.dumps(_json(local, wanted, scales, dry_run=dry_run), indent=2))
    else:
        click.echo(f"{wanted.hour} ({schedule.time_zone}, {local.isoformat(timespec='minutes')})")
        for scale in scales:
            click.echo(scale.line())
    problems = [scale.unit.name for scale in scales if scale.problem is not None]
    if problems:
        raise CheckFailedError(f"not as the schedule wants it: {', '.join(problems)}")


def _schedule(launch: Launch) -> Schedule:
    """The schedule to follow. Raises InputError where the plan has none, or something else scales it."""
    from sky_melange.domain.hours import Scaling
    from sky_melange.domain.scaling import scaling_of
    from sky_melange.domain.workload import LaunchMode

    schedule = launch.plan.schedule
    if schedule is not None and scaling_of(launch.plan, launch.workload) is Scaling.SCHEDULE:
        _check_floor(launch, schedule)
        return schedule
    if schedule is None:
        key, message = "schedule", "is not there: the plan runs as many instances in every hour (see `traffic.hours`)"
    elif launch.workload.launch.mode is LaunchMode.CLUSTER:
        key, message = "launch_mode", "is cluster, whose nodes SkyPilot cannot change; plan with `launch.mode: serve`"
    elif launch.workload.launch.scaling is Scaling.AUTOSCALE:
        key, message = "workload.launch.scaling", "is autoscale: SkyServe itself starts and stops the instances"
    else:
        key, message = "workload.launch.scaling", "is fixed; plan with `launch.scaling: schedule`"
    raise InputError([Mistake(source=str(launch.folder / "plan.json"), key=key, message=message)])


def _check_floor(launch: Launch, schedule: Schedule) -> None:
    """Raises InputError where an hour would have fewer replicas than `constraints.min_replicas`."""
    from sky_melange.domain.scaling import counts_by_hour, hour_words

    least = launch.workload.constraints.min_replicas
    replicas = [
        sum(group.replicas_per_instance * count for group, count in zip(launch.plan.groups, counts, strict=True))
        for counts in counts_by_hour(schedule)
    ]
    hour = min(range(len(replicas)), key=lambda each: replicas[each])
    if replicas[hour] < least:
        found = f"has {replicas[hour]} replicas at {hour_words(schedule, hour)}"
        message = f"{found}, and constraints.min_replicas is {least}: plan again"
        raise InputError([Mistake(source=str(launch.folder / "plan.json"), key="schedule", message=message)])


def _moment(text: str, schedule: Schedule) -> datetime:
    """A moment as written. Raises InputError for what is not one, or not exactly one by the clocks of the schedule."""
    from sky_melange.domain.scaling import zone_of

    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        found = None
    if found is None or found.year not in _YEARS:
        raise InputError([Mistake(source="--at", message=f"{text[:60]!r} is not a time: write 2026-03-02T08:30")])
    if found.tzinfo is not None:
        return found
    zone = zone_of(schedule.time_zone)
    local = found.replace(tzinfo=zone)
    if local.utcoffset() == local.replace(fold=1).utcoffset():
        return local
    is_skipped = local.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != found
    how = "does not come" if is_skipped else "comes twice"
    message = f"{text[:60]} {how} in {schedule.time_zone}, where clocks change then: add its offset, such as +01:00"
    raise InputError([Mistake(source="--at", message=message)])


def _json(local: datetime, wanted: Wanted, scales: Sequence[Scale], *, dry_run: bool) -> dict[str, object]:
    return {
        "at": local.isoformat(),
        "hour": wanted.hour,
        "dry_run": dry_run,
        "services": [scale.as_json() for scale in scales],
    }
