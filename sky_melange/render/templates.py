"""The environment that templates are rendered in."""

from __future__ import annotations

import json
import shlex
from functools import cache, partial
from typing import TYPE_CHECKING

from sky_melange.resources import data_path

if TYPE_CHECKING:
    import jinja2


@cache
def template_environment(*, is_html: bool = False, is_launch_file: bool = False) -> jinja2.Environment:
    """`is_html` escapes every value. Launch files hold the characters of names as they are.

    Filters: `yaml` quotes a value for YAML (one line; of ASCII), `shell` for a shell; `variable` makes a name one.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_path("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not is_launch_file,
        autoescape=is_html,  # noqa: S701 - what is no HTML has names that are checked, and values that pass a filter
    )
    environment.filters["yaml"] = partial(json.dumps, ensure_ascii=not is_launch_file)
    environment.filters["shell"] = shlex.quote
    environment.filters["variable"] = lambda name: name.replace("-", "_")
    return environment
