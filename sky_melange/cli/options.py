"""Options that several commands share."""

from __future__ import annotations

import os
import sys

import click

format_option = click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Table for people, JSON for programs.",
)


def use_color() -> bool:
    """Colour only on a terminal, and never with NO_COLOR set (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def is_ci() -> bool:
    """Whether this is a CI job: GitHub, GitLab and others set CI=true."""
    return os.environ.get("CI", "").strip().lower() in ("true", "1")
