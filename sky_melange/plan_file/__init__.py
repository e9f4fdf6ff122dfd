"""plan.json -> `Plan` and the `Workload` that it was made for, strictly.

decode.py   JSON values -> frozen dataclasses, driven by their own annotations
rules.py    what spans several fields: counts and prices must add up to the stated costs; the workload's own rules
reader.py   bytes of a file -> JSON values -> these; every mistake is reported at once
"""

from __future__ import annotations

from sky_melange.plan_file.folder import read_files_beside
from sky_melange.plan_file.reader import PlanDocument, read_document, read_plan
from sky_melange.plan_file.rules import MAX_INSTANCES

__all__ = ["MAX_INSTANCES", "PlanDocument", "read_document", "read_files_beside", "read_plan"]
