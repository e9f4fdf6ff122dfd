"""The budget gate, composed: a committed plan, today's prices and profiles -> a report. Reads and writes nothing.

repricing.py   the plan's machines at other prices, without solving
reverify.py    the plan's shares and loads under today's workload and profiles
lock.py        the workload file that the plan was made from, and what was edited since
report.py      every check, in order
plan_file.py   the same over files, with the prices of this moment
"""

from __future__ import annotations

from sky_melange.gate.report import Asked, Files, Limits, Today, check_plan, files_of

__all__ = ["Asked", "Files", "Limits", "Today", "check_plan", "files_of"]
