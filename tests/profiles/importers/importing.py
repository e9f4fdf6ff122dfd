"""Runs `profiles import` as a user does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from sky_melange.cli.profiles_import import command
from sky_melange.domain.profile import Profile
from sky_melange.errors import SkyMelangeError
from sky_melange.profiles.profile_json import read_profile

DATA = Path(__file__).resolve().parents[2] / "data" / "profiles"

OPTIONS = {
    "--accelerator": "L4",
    "--model": "org/model",
    "--engine": "vllm",
    "--engine-version": "0.24.0",
    "--date": "2026-05-01",
}


@dataclass(frozen=True)
class Import:
    """What one run of the command left behind."""

    exit_code: int
    stderr: str
    out: Path

    @property
    def profile(self) -> Profile:
        return read_profile(self.out)

    @property
    def details(self) -> dict[str, Any]:
        details: dict[str, Any] = json.loads(self.out.read_text())["provenance"]["details"]
        return details


def import_profile(out: Path, file_format: str, *arguments: str | Path, **changes: str | None) -> Import:
    """`changes`: option names without `--` and with `_`; None leaves an option of OPTIONS out."""
    options = {**OPTIONS, **{f"--{name.replace('_', '-')}": value for name, value in changes.items()}}
    given = [part for name, value in options.items() if value is not None for part in (name, value)]
    words = [file_format, *map(str, arguments), *given, "--out", str(out)]
    result = CliRunner(mix_stderr=False).invoke(command, words)
    if isinstance(result.exception, SkyMelangeError):
        return Import(result.exception.exit_code, f"{result.stderr}Error: {result.exception}", out)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Import(result.exit_code, result.stderr, out)
