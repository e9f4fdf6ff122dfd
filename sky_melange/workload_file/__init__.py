"""workload.yaml (and the released Mélange solver's JSON) -> validated, frozen values in base units.

nodes.py         the tree of nodes that know their line; plain scalars (YAML 1.1 traps)
yaml_source.py   text -> that tree; no anchors, no tags, no duplicate keys
field_types.py   kinds of value: patterns of text, ranges of numbers
understood.py    other spellings whose meaning is clear -> the schema's
schema.py        version 1 of the file as pydantic models
schema_lookup.py what the schema says about a place: valid keys, an example
schema_export.py the JSON Schema that editors show
messages.py      what pydantic found, in any of the files -> mistakes in words, with lines and examples
checks.py        rules that span several fields, or need to know what accelerators there are
hours.py         `traffic.hours`: its rules, the assumed shapes, its values
convert.py       the models -> `domain.Workload`
embedded.py      the same rules for the workload that a plan.json holds
reader.py        composes these; every mistake is reported at once
report.py        how mistakes are ordered and spelled
melange.py       the released solver's JSON -> `MelangeInput`
policy.py        policy.yaml -> `Policy`
budgets*.py      budgets.yaml -> `Budgets`: reader and schema
fleet*.py        fleet.yaml -> `Fleet`: reader and schema
"""

from __future__ import annotations

from sky_melange.domain.spelling import did_you_mean
from sky_melange.workload_file.budgets import budgets_schema, read_budgets
from sky_melange.workload_file.fleet import fleet_schema, is_fleet, read_fleet
from sky_melange.workload_file.melange import MelangeInput, read_melange
from sky_melange.workload_file.policy import read_policy
from sky_melange.workload_file.reader import file_text, file_values, read_workload
from sky_melange.workload_file.report import Reading
from sky_melange.workload_file.schema_export import json_schema

__all__ = [
    "MelangeInput",
    "Reading",
    "budgets_schema",
    "did_you_mean",
    "file_text",
    "file_values",
    "fleet_schema",
    "is_fleet",
    "json_schema",
    "read_budgets",
    "read_fleet",
    "read_melange",
    "read_policy",
    "read_workload",
]
