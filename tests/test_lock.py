"""The lock holds against pyproject.toml, and a lock that does not fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "lock.py"


def check(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_lock_satisfies_the_project() -> None:
    done = check()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("pulp==3.3.2", "pulp==4.0", "excludes pulp==4.0"),
        ("pulp==3.3.2\n", "", "pulp<4,>=3.3.1 is not in constraints.txt"),
        ("pulp==3.3.2", "pulp>=3.3.2", "pulp>=3.3.2: write pulp==VERSION"),
        ("pulp==3.3.2", "pulp==3.3.2\nPuLP==3.3.2", "PuLP is listed twice"),
        ("pulp==3.3.2", "pulp=3", "constraints.txt:"),
    ],
)
def test_a_lock_that_does_not_match_fails(tmp_path: Path, old: str, new: str, says: str) -> None:
    lock = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert old in lock
    (tmp_path / "constraints.txt").write_text(lock.replace(old, new), encoding="utf-8")
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    done = check("--root", tmp_path)
    assert done.returncode == 3
    assert says in done.stderr


def test_what_is_installed_and_not_locked_fails(tmp_path: Path) -> None:
    lock = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    (tmp_path / "constraints.txt").write_text(lock.replace("mdurl==0.1.2\n", ""), encoding="utf-8")
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    done = check("--root", tmp_path, "--installed")
    assert done.returncode == 3
    assert "installed: mdurl==0.1.2, in constraints.txt: nothing" in done.stderr
