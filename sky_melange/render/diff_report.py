"""What changed between two plans, in every format."""

from __future__ import annotations

import dataclasses
import json
from typing import Final

from rich.table import Table
from rich.text import Text

from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.plan_diff import GroupChange, PlanDiff, RouteChange
from sky_melange.render import diff_words as words
from sky_melange.render.foreign_text import annotation, escape, fenced, folded, plain, within, xml_attribute, xml_text
from sky_melange.render.foreign_text import table as markdown_table
from sky_melange.render.money import LOWER_BOUND_NOTE, at_least, unit_line, unit_rows
from sky_melange.render.text import Breakable, new_table, to_text

_TABLE_MOST_ROUTES: Final = 10
_SCHEMA_VERSION: Final = 1
_MOST_CHARACTERS: Final = 60_000
"""A comment takes 65,536."""


def render_table(diff: PlanDiff, *, color: bool = False) -> str:
    """For people at a terminal, 100 columns."""
    head = Text(words.verdict_line(diff), style="bold")
    inputs = [Text(line) for line in words.input_lines(diff)]
    if diff.is_empty:
        return to_text(head, *inputs, color=color)
    routes = [Text(f"  {words.route_line(item)}") for item in diff.routes[:_TABLE_MOST_ROUTES]]
    more = len(diff.routes) - len(routes)
    return to_text(
        head,
        Text(f"Before: {unit_line(diff.old_units)}"),
        Text(f"After:  {unit_line(diff.new_units)}"),
        "",
        _table_groups(diff),
        "",
        _table_costs(diff),
        "",
        Text(words.routing_line(diff)),
        *routes,
        *([Text(f"  … and {more} more (--format json lists all)")] if more > 0 else []),
        *([Text("")] if inputs else []),
        *inputs,
        color=color,
    )


def render_json(diff: PlanDiff) -> str:
    """For programs: every figure as it is, unrounded. Schema version 1, described in docs/check.md."""
    return json.dumps(document(diff), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(diff: PlanDiff) -> dict[str, object]:
    """The same as plain JSON values."""
    return {
        "schema_version": _SCHEMA_VERSION,
        "old": diff.old_name,
        "new": diff.new_name,
        "changed": not diff.is_empty,
        "summary": words.verdict_line(diff),
        "cost": {"old": dataclasses.asdict(diff.old_cost), "new": dataclasses.asdict(diff.new_cost)},
        "mean_usd_per_hour": {"old": diff.old_mean_usd_per_hour, "new": diff.new_mean_usd_per_hour},
        "unit_costs": {"old": dataclasses.asdict(diff.old_units), "new": dataclasses.asdict(diff.new_units)},
        "effects": {
            "price_usd_per_hour": diff.price_effect_usd_per_hour,
            "count_usd_per_hour": diff.count_effect_usd_per_hour,
            "overhead_usd_per_hour": diff.overhead_effect_usd_per_hour,
        },
        "groups": [_json_group(item) for item in diff.groups],
        "routing": {"moved_fraction": diff.moved_fraction, "buckets": [_json_route(item) for item in diff.routes]},
        "workload": [dataclasses.asdict(item) for item in diff.workload],
        "profiles": [dataclasses.asdict(item) for item in diff.profiles],
        "inputs_changed": {
            "workload": diff.workload_file_changed,
            "profiles": diff.profiles_changed,
            "prices": diff.prices_changed,
        },
    }


def render_markdown(diff: PlanDiff) -> str:
    """For a pull request: one line, the groups, details folded."""
    lines = [f"**{escape(words.verdict_line(diff))}**"]
    inputs = words.input_lines(diff)
    if not diff.is_empty:
        lines += ["", *markdown_table(words.GROUP_HEAD, words.group_rows(diff), right=words.NUMBERS)]
        lines += ["", *folded("Costs", _markdown_costs(diff))]
        lines += ["", escape(words.routing_line(diff))]
        if diff.routes:
            lines += ["", *folded("Routing by bucket", fenced(words.route_line(item) for item in diff.routes))]
    if inputs:
        lines += ["", *folded("What it was made from", fenced(inputs))]
    return within(lines, _MOST_CHARACTERS)


def render_junit(diff: PlanDiff) -> str:
    """JUnit XML: one test case that passes, with the differences as its output. A difference is no failure."""
    output = [words.verdict_line(diff)]
    if not diff.is_empty:
        output += ["  ".join(filter(None, row)) for row in words.group_rows(diff)]
        output += [words.routing_line(diff), *(words.route_line(item) for item in diff.routes)]
    output += words.input_lines(diff)
    counts = 'tests="1" failures="0" errors="0" skipped="0"'
    name = xml_attribute(f"sky-melange diff {diff.new_name}")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<testsuites {counts}>\n"
        f"  <testsuite name={name} {counts}>\n"
        f'    <testcase name="diff" classname={xml_attribute(f"sky-melange.{diff.new_name}")}>\n'
        f"      <system-out>{xml_text(chr(10).join(output))}</system-out>\n"
        "    </testcase>\n"
        "  </testsuite>\n"
        "</testsuites>\n"
    )


def render_github(diff: PlanDiff) -> str:
    """GitHub workflow annotations: one notice with the costs, the groups and inputs in the log."""
    lines = [annotation("notice", "sky-melange diff", words.verdict_line(diff))]
    if not diff.is_empty:
        lines += [plain("  ".join(filter(None, row))) for row in words.group_rows(diff)]
        lines.append(plain(words.routing_line(diff)))
    lines += [plain(line) for line in words.input_lines(diff)]
    return "\n".join(lines) + "\n"


def _table_groups(diff: PlanDiff) -> Table:
    table = new_table()
    for index, name in enumerate(words.GROUP_HEAD):
        folded = name in {"Group", "Machine"}
        table.add_column(
            name,
            justify="right" if index in words.NUMBERS else "left",
            overflow="fold",
            ratio=(2 if name == "Machine" else 1) if folded else None,
        )
    for row in words.group_rows(diff):
        table.add_row(*(Breakable(cell.replace(" → ", "\n→ ")) for cell in row))
    return table


def _table_costs(diff: PlanDiff) -> Table:
    table = new_table(expand=False)
    table.add_column("Change")
    table.add_column("USD/h", justify="right")
    table.add_column("USD/month", justify="right")
    for row in words.cost_rows(diff):
        table.add_row(*row)
    return table


def _json_group(item: GroupChange) -> dict[str, object]:
    return {
        "change": item.kind.value,
        "old": _json_side(item.old, item.old_request_fraction),
        "new": _json_side(item.new, item.new_request_fraction),
        "price_effect_usd_per_hour": item.price_effect_usd_per_hour,
        "count_effect_usd_per_hour": item.count_effect_usd_per_hour,
    }


def _json_side(group: ReplicaGroup | None, request_fraction: float) -> dict[str, object] | None:
    if group is None:
        return None
    return {
        "name": group.name,
        "cloud": group.cloud,
        "region": group.region,
        "zone": group.zone,
        "instance_type": group.instance_type,
        "accelerator": group.accelerator,
        "accelerators_per_instance": group.accelerators_per_instance,
        "tensor_parallel": group.tensor_parallel,
        "layout": group.layout,
        "engine": group.engine,
        "use_spot": group.use_spot,
        "instances": group.instances,
        "price_usd_per_hour": group.price_usd_per_hour,
        "cost_usd_per_hour": group.cost_usd_per_hour,
        "request_fraction": request_fraction,
    }


def _json_route(item: RouteChange) -> dict[str, object]:
    return {**dataclasses.asdict(item), "old_shares": dict(item.old_shares), "new_shares": dict(item.new_shares)}


def _markdown_costs(diff: PlanDiff) -> list[str]:
    lines = markdown_table(("Change", "USD/h", "USD/month"), words.cost_rows(diff), right=(1, 2))
    before = dict(unit_rows(diff.old_units))
    rows = ((name, before[name], after) for name, after in unit_rows(diff.new_units))
    lines += ["", *markdown_table(("USD", "Before", "After"), rows, right=(1, 2))]
    bounds = at_least(diff.old_units) or at_least(diff.new_units)
    return [*lines, "", LOWER_BOUND_NOTE] if bounds else lines
