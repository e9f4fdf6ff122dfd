"""Every package has its tests. Style, types and the direction of imports are steps of `.ci/run` and of pre-commit."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_package_has_a_folder_of_tests() -> None:
    parts = {
        path.name for path in (ROOT / "sky_melange").iterdir() if path.is_dir() and (path / "__init__.py").exists()
    }
    tested = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert parts - {"domain"} <= tested
