"""What the documents show is real; `UPDATE_README=1 pytest tests/test_readme.py` writes it anew.

Blocks of each document run in order, in a fresh folder that has `examples/`, without a network. Of a `console` block
the answers are compared, of a `bash` block the exit code. A block that begins with `# needs …` says what a reader needs
for it; it is not run, and its commands and options must exist.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from property_examples import mostly_slow

from sky_melange.cli import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCUMENTS = (README, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").glob("*/README.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(?:\$ |sky-melange |pip |git |curl |sky |jq |python |docker )", re.MULTILINE)
NEEDS = re.compile(r"(?:\$ )?# needs .+\n")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands_of(language: str, block: str) -> list[str]:
    """As they stand, continued lines with their continuations."""
    lines = block.replace("\\\n", "\\\0").splitlines()
    if language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line.replace("\0", "\n") for line in lines if line.strip() and not line.startswith("#")]


def run(command: str) -> str:
    """What a command prints on stdout; ours run in this process, which imports once."""
    words = shlex.split(command, comments=True)
    if words[0] == "sky-melange" and not set("|<>;&") & set(words):
        result = CliRunner(mix_stderr=False).invoke(cli, words[1:])
        assert result.exit_code == 0, f"{command}\n{result.stderr}"
        return result.stdout
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def rerun(match: re.Match[str]) -> str:
    language, block = match.groups()
    if language not in ("console", "bash") or NEEDS.match(block):
        return match.group(0)
    answers = [(command, run(command)) for command in commands_of(language, block)]
    if language == "bash":
        return match.group(0)
    return "```console\n" + "".join(f"$ {command}\n{answer}" for command, answer in answers) + "```"


@pytest.mark.parametrize(
    "document",
    mostly_slow(
        DOCUMENTS, *(path for path in DOCUMENTS if path.parent != ROOT / "docs" and not path.match("examples/*/*"))
    ),
    ids=name_of,
)
def test_blocks_are_real(document: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = document.read_text(encoding="utf-8")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    real = FENCE.sub(rerun, text)
    if os.environ.get("UPDATE_README"):
        document.write_text(real, encoding="utf-8")
    assert document.read_text(encoding="utf-8") == real


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_block_of_commands_is_run_or_says_what_it_needs(document: Path) -> None:
    """A block without a language is shown and not run, so it has no commands."""
    for language, block in FENCE.findall(document.read_text(encoding="utf-8")):
        if language not in ("console", "bash"):
            assert language in ("yaml", "json", "python") or not COMMAND.search(block), block


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_that_are_not_run_exist(document: Path) -> None:
    for language, block in FENCE.findall(document.read_text(encoding="utf-8")):
        if language in ("console", "bash") and NEEDS.match(block):
            for command in commands_of(language, block):
                if command.startswith("sky-melange "):
                    check_options(shlex.split(re.sub(r"<\(.*?\)", "FILE", command), comments=True)[1:])


def check_options(words: list[str]) -> None:
    """Every name of a command and of an option is one that there is."""
    group: click.Command = cli
    context = click.Context(cli)
    while isinstance(group, click.Group):
        name = words.pop(0)
        found = group.get_command(context, name)
        assert found is not None, name
        group = found
    known = {option for parameter in group.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= known


def test_what_is_wrong_with_blocks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError):
        check_options(["plan", "workload.yaml", "--no-such-option"])
    with pytest.raises(AssertionError, match="no such file"):
        FENCE.sub(rerun, "```bash\nsky-melange plan missing.yaml\n```")
    shown = FENCE.sub(rerun, "```console\n$ echo one && echo two\nthree\n```")
    assert shown == "```console\n$ echo one && echo two\none\ntwo\n```"
    kept = "```bash\n# needs a cloud account\nsky-melange up plan\n```"
    assert FENCE.sub(rerun, kept) == kept


def test_the_tutorial_is_at_most_six_commands_and_minutes() -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    commands = [one for language, block in FENCE.findall(text) for one in commands_of(language, block)]
    assert len(commands) <= 6
    took = {name: int(seconds) for name, seconds in re.findall(r"^\| (.+) \| (\d+) s \|$", text, re.MULTILINE)}
    assert [f"`{' '.join(command.split()[:3])}`" for command in commands] == list(took)[:-1]
    assert took["all"] < 600


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
