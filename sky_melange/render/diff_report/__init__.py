"""What changed between two plans, in every format. Adding one is a module and a line in `DIFF_FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sky_melange.domain.plan_diff import PlanDiff
from sky_melange.render.diff_report import github, json_text, junit, markdown, table

DIFF_FORMATS: Final[dict[str, Callable[[PlanDiff], str]]] = {
    "table": table.render,
    "json": json_text.render,
    "markdown": markdown.render,
    "junit": junit.render,
    "github": github.render,
}
"""Format name -> renderer; every renderer gives text that ends with a line break."""
