"""The example from logs to a plan is what its page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from sky_melange.cli import cli

pytestmark = pytest.mark.smoke


@pytest.mark.slow
def test_the_commands_of_the_example(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (repository / "examples" / "from-logs" / "README.md").read_text()
    count, plan = re.findall(r"^sky-melange (.+)$", page, re.MULTILINE)
    (tmp_path / "examples").symlink_to(repository / "examples")
    monkeypatch.chdir(tmp_path)
    counted = CliRunner(mix_stderr=False).invoke(cli, shlex.split(count), catch_exceptions=False)
    assert counted.exit_code == 0
    reported = re.search(r"\n\n```\n(.+?)```", page, re.DOTALL)
    assert reported is not None
    for line in reported[1].splitlines():
        assert line in counted.stdout
    planned = CliRunner(mix_stderr=False).invoke(cli, [*shlex.split(plan), "--offline"], catch_exceptions=False)
    assert planned.exit_code == 0
    assert (tmp_path / "plan" / "plan.json").exists()
