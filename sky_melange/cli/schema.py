"""`sky-melange schema`."""

from __future__ import annotations

import json

import click

from sky_melange.workload_file import json_schema


@click.command(name="schema", epilog="Example: sky-melange schema > workload.schema.json")
def command() -> None:
    """Print the JSON Schema of workload.yaml.

    Editors with a YAML language server read it from a first line
    `# yaml-language-server: $schema=workload.schema.json`.
    """
    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
