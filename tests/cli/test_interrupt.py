"""Ctrl-C while the solver's packages are loaded ends the command; it is no missing solver."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

INTERRUPTED_IMPORT = """
import sys

class Interrupt:
    is_due = True

    def find_spec(self, name, path=None, target=None):
        if name.startswith("highspy.") and self.is_due:
            self.is_due = False
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
from sky_melange.cli import main
main()
"""


def test_ctrl_c_while_the_solver_is_loaded(tmp_path: Path) -> None:
    workload = ROOT / "examples" / "means" / "workload.yaml"
    command = ["plan", str(workload), "--offline", "--out", str(tmp_path / "plan")]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.rstrip().endswith("Aborted!")
    assert "bug" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
