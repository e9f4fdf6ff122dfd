"""The report of `check` in every format. Adding one is a module and a line in `CHECK_FORMATS`.

All take their figures and words from `words.py`, so that no figure is shown in two ways.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sky_melange.domain.check import CheckReport
from sky_melange.render.check_report import github, json_text, junit, markdown, table

CHECK_FORMATS: Final[dict[str, Callable[[CheckReport], str]]] = {
    "table": table.render,
    "json": json_text.render,
    "markdown": markdown.render,
    "junit": junit.render,
    "github": github.render,
}
"""Format name -> renderer; every renderer gives text that ends with a line break."""
