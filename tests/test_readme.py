"""What the README and its pages show is real; `UPDATE_README=1 pytest tests/test_readme.py` writes it anew."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from sky_melange.cli import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
TRANSCRIPTS = (README, ROOT / "docs" / "optimizer.md")
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def transcript(block: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """Runs every `$ command` of a block in the checkout, writing plans elsewhere; returns commands and answers."""
    monkeypatch.chdir(ROOT)
    lines = []
    for command in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
        program, *arguments = shlex.split(command)
        assert program == "sky-melange"
        extra = ["--out", str(folder / "plan")] if arguments[0] == "plan" else []
        result = CliRunner(mix_stderr=False).invoke(cli, [*arguments, *extra])
        assert result.exit_code == 0, result.stderr
        lines.append(f"$ {command}\n{result.stdout}")
    return "".join(lines)


@pytest.mark.parametrize("document", TRANSCRIPTS, ids=lambda path: path.name)
def test_transcripts_are_real(document: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = document.read_text(encoding="utf-8")
    real = BLOCK.sub(lambda match: f"```console\n{transcript(match.group(1), monkeypatch, tmp_path)}```", text)
    if os.environ.get("UPDATE_README"):
        document.write_text(real, encoding="utf-8")
    assert BLOCK.search(text)
    assert document.read_text(encoding="utf-8") == real


def test_it_is_read_in_a_few_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 900


def test_links_lead_somewhere() -> None:
    for document in [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document}: {target}"


def test_commands_that_the_readme_names_exist() -> None:
    named = set(re.findall(r"`sky-melange (\w+)", README.read_text(encoding="utf-8")))
    assert named <= set(COMMANDS)


def test_the_two_commands_are_what_ci_runs() -> None:
    text = README.read_text(encoding="utf-8")
    assert "pip install -c constraints.txt . && sky-melange plan examples/quickstart/workload.yaml" in text
    assert "pip install -c constraints.txt '.[dev]' && pytest" in text
    steps = (ROOT / ".ci" / "run").read_text().splitlines()
    tests = [number for number, step in enumerate(steps) if step.startswith("pytest ")]
    assert steps.index("pip install -q -c constraints.txt '.[dev]'") < tests[0]
    # What the README's pytest leaves out, CI runs as well.
    ran = " ".join(step for step in steps if "pytest " in step)
    assert all(
        f" -m {chosen}" in ran for chosen in ("'not engines and not server'", "'server and not engines'", "engines")
    )
