"""`sky-melange schema`."""

from __future__ import annotations

import json

import click

from sky_melange.workload_file import budgets_schema, fleet_schema, json_schema

_SCHEMAS = {"workload": json_schema, "budgets": budgets_schema, "fleet": fleet_schema}


@click.command(name="schema", epilog="Example: sky-melange schema > workload.schema.json")
@click.argument("file", type=click.Choice(list(_SCHEMAS)), default="workload")
def command(*, file: str) -> None:
    """Print the JSON Schema of workload.yaml, of fleet.yaml, or of the budget guard's budgets.yaml.

    Editors with a YAML language server read it from a first line
    `# yaml-language-server: $schema=workload.schema.json`.
    """
    click.echo(json.dumps(_SCHEMAS[file](), indent=2, ensure_ascii=False))
