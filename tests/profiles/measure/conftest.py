"""Runs the command as a user does."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from measuring import Measure, Measurement

from sky_melange.cli.profiles_measure import command
from sky_melange.errors import SkyMelangeError


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """`measure(url, "--grid", "50x8", …)`, with the options that every test needs already given."""

    def run(url: str, *arguments: str, out: Path = tmp_path / "profile.json", **environment: str) -> Measurement:
        given = {"--model": "stub-model", "--accelerator": "L4", "--out": str(out), "--endpoint": url}
        options = [part for name, value in given.items() if name not in arguments for part in (name, value)]
        result = CliRunner(mix_stderr=False).invoke(command, [*options, *arguments], env=environment)
        if isinstance(result.exception, SkyMelangeError):
            return Measurement(result.exception.exit_code, f"{result.stderr}Error: {result.exception}", out)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Measurement(result.exit_code, result.stderr, out)

    return run
