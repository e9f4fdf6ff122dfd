"""Style, types and the direction of imports are part of the test command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports", "--no-cache")],
    ids=["ruff check", "ruff format", "mypy", "import-linter"],
)
def test_tool_finds_nothing(command: tuple[str, ...]) -> None:
    program = BIN / command[0]
    if not program.exists():
        pytest.fail(f"{command[0]} is not installed beside this Python: pip install '.[dev]'")
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_has_a_test_folder() -> None:
    parts = {
        path.name for path in (ROOT / "sky_melange").iterdir() if path.is_dir() and (path / "__init__.py").exists()
    }
    tested = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert parts - {"domain"} <= tested
