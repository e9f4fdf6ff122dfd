"""Compiles the query for the usual request logs, so that nobody waits for that.

    python scripts/build_trace_sql.py

Writes `sky_melange/traces/prepared_sql.json` from `sky_melange/traces/expression.py`. To be run when that, Ibis or
SQLGlot changes; `tests/traces/test_prepared.py` fails otherwise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT)]

from sky_melange.domain.trace import LogColumns, TraceOptions  # noqa: E402
from sky_melange.traces.duckdb_sql import View, compiled  # noqa: E402
from sky_melange.traces.edges import MELANGE  # noqa: E402
from sky_melange.traces.prepared import VIEW, key, usual  # noqa: E402

TARGET: Final = _ROOT / "sky_melange" / "traces" / "prepared_sql.json"


def prepared_text() -> str:
    """The content of the file."""
    queries = {}
    for types, unit in usual():
        columns = LogColumns(input="", output="", time=None if types[2] is None else "", time_unit=unit)
        view = View(name=VIEW, columns=columns, types=types)
        found = compiled("", [view], MELANGE, TraceOptions().window_s)
        queries[key(types, unit)] = [found.counting, *found.naming]
    return json.dumps(queries, indent=0, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(prepared_text(), encoding="utf-8")
