"""catalogs/clouds.csv says of each cloud what the installed SkyPilot says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_table_is_what_the_script_writes(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "SKY_RUNTIME_DIR": str(tmp_path)}
    command = [sys.executable, str(ROOT / "scripts" / "build_clouds.py"), str(tmp_path / "clouds.csv")]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    assert (tmp_path / "clouds.csv").read_text() == (ROOT / "catalogs" / "clouds.csv").read_text()
