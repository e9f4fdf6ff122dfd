"""Runs docs/tutorial.md as a new user would, and writes into it how long that took.

python scripts/time_tutorial.py

In a fresh folder, with a fresh virtual environment and an empty cache, from this checkout. Installing needs a
network.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
TUTORIAL: Final = ROOT / "docs" / "tutorial.md"
MARK: Final = "<!-- times: `python scripts/time_tutorial.py` writes this table -->\n"
COMMAND: Final = re.compile(r"^(?:\$ (sky-melange .*)|(pip install .*))$", re.MULTILINE)


def commands(text: str) -> list[str]:
    """The tutorial's, in order."""
    return [ours or install for ours, install in COMMAND.findall(text)]


def main() -> None:
    """The table takes the place of the old one; a command that fails ends the run."""
    before, _, _ = TUTORIAL.read_text(encoding="utf-8").partition(MARK)
    rows, total = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
        shutil.copytree(ROOT / "examples", home / "work" / "examples")
        environment = os.environ | {
            "PATH": f"{home / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "SKY_MELANGE_CACHE_DIR": str(home / "cache"),
        }
        for command in commands(before):
            where = ROOT if command.startswith("pip ") else home / "work"
            begun = time.monotonic()
            subprocess.run(["bash", "-c", command], cwd=where, env=environment, check=True, stdout=subprocess.DEVNULL)
            took = time.monotonic() - begun
            total += took
            rows.append(f"| `{' '.join(command.split()[:3])}` | {took:.0f} s |")
    table = "\n".join(["| command | took |", "| --- | ---: |", *rows, f"| all | {total:.0f} s |"])
    machine = f"Measured on {datetime.now(UTC):%Y-%m-%d} with {os.cpu_count()} processors by `scripts/time_tutorial.py`"
    note = f"{machine}, in a fresh environment with empty caches."
    TUTORIAL.write_text(f"{before}{MARK}\n{note}\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
