"""`sky-melange explain`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from sky_melange import pipeline
from sky_melange.cli.options import format_option, say_readings, terminal_width, use_color
from sky_melange.cli.price_book import price_book, refresh_option
from sky_melange.domain.explanation import Explanation
from sky_melange.errors import InputError, Mistake, SkyMelangeError
from sky_melange.plan_file import PlanDocument, read_plan
from sky_melange.plan_file.fleet import is_fleet_folder, read_fleet_plan, read_member_plans
from sky_melange.render import explain_table, fleet_json, fleet_table, plan_json


@click.command(name="explain", epilog="Example: sky-melange explain plan/plan.json --again --format json")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--again", is_flag=True, help="Solve again on today's prices, even where the plan holds an explanation.")
@click.option("--workload", type=click.Path(path_type=Path), help="The workload file, where it names files beside it.")
@refresh_option
@format_option
def command(*, plan: Path, again: bool, workload: Path | None, refresh: bool, output_format: str) -> None:
    """Say why PLAN (a plan.json, or its folder, or that of a fleet) is what it is.

    What each constraint costs, the prices at which groups leave and others enter, the best plan when one is sold out,
    and the request rates at which other types become best. A plan made with `plan --explain` holds all that; for
    others, or with --again, it is found by solving the plan's own workload again. Of a fleet: what one more of each
    shared quota saves, what sharing costs each workload, and what each priority costs.
    """
    if is_fleet_folder(plan):
        if again or workload is not None:
            raise InputError([Mistake(source=str(plan), message="is a fleet: --again and --workload are of one plan")])
        _explain_fleet(plan, output_format)
        return
    if plan.suffix in {".yaml", ".yml"}:
        message = f"is not a plan: run `sky-melange plan {shlex.quote(str(plan))} --out FOLDER`, then explain FOLDER"
        raise InputError([Mistake(source=str(plan), message=message)])
    document = read_plan(plan)
    explanation = None if again else document.plan.explanation
    explanation = explanation or _solved_again(document, workload, refresh=refresh)
    if explanation is None:
        raise SkyMelangeError("a plan that was solved to be explained has no explanation")
    if output_format == "json":
        found = plan_json.explanation_document(explanation)
        click.echo(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        click.echo(explain_table.render(explanation, color=use_color()), nl=False)


def _explain_fleet(path: Path, output_format: str) -> None:
    """What its file holds: nothing is solved again."""
    document = read_fleet_plan(path)
    plans = [(plan.plan, plan.workload) for plan in read_member_plans(document)]
    if output_format == "json":
        click.echo(json.dumps(fleet_json.explanation(document.plan), indent=2, ensure_ascii=False, allow_nan=False))
        return
    click.echo(fleet_table.explained(document.plan, plans, color=use_color(), width=terminal_width()), nl=False)
    say = f"Of one plan, as if it had no fleet: `sky-melange explain {shlex.quote(str(document.path.parent))}/NAME`."
    click.echo(say, err=True)


def _solved_again(document: PlanDocument, path: Path | None, *, refresh: bool) -> Explanation | None:
    """Of today's best plan for the same workload; says so where that is another one."""
    workload = document.workload
    if path is not None:
        read = pipeline.read(path, tell=say_readings, dtype=workload.model.dtype)
        workload = pipeline.with_clouds_of(read, workload)
    beside = [*workload.profiles.files, *([] if workload.prices.overrides is None else [workload.prices.overrides])]
    if path is None and beside:
        message = f"was made with files beside its workload ({', '.join(map(str, beside))}); give --workload"
        raise InputError([Mistake(source=str(document.path), message=message)])
    book = price_book(workload.prices, refresh=refresh, needed=workload.candidates.clouds)
    profiles = pipeline.profiles_for(workload, book, (path or document.path).parent)
    digest = document.plan.inputs.workload
    log = None
    if workload.slo.attainment is not None:
        log = pipeline.arrivals_log(workload, path or pipeline.workload_file_of(document))
    planned = pipeline.make_plan(
        workload,
        book,
        profiles,
        workload_digest=digest,
        is_explained=True,
        simulator=pipeline.simulator(lambda text: click.echo(text, err=True)),
        log=log,
    )
    if _bought(planned.plan.groups) != _bought(document.plan.groups):
        was, now = document.plan.cost.total_usd_per_hour, planned.plan.cost.total_usd_per_hour
        click.echo(
            f"Warning: today's best plan is another one: USD {now:.4f} per hour in total, {was:.4f} in "
            f"{document.path}. What follows explains today's.",
            err=True,
        )
    return planned.plan.explanation


def _bought(groups: tuple[object, ...]) -> set[tuple[object, ...]]:
    """What tells plans apart: machines, layouts and counts."""
    names = ("cloud", "region", "zone", "instance_type", "use_spot", "tensor_parallel", "instances")
    return {tuple(getattr(group, name) for name in names) for group in groups}
