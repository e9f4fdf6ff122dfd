"""Nothing but the answer is on stdout, whatever libraries print: every command with `--format json`, as a process."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import pytest
from click.testing import CliRunner
from kept_between_runs import with_compiled_simulator

from sky_melange.cli import cli

pytestmark = pytest.mark.smoke

ROOT: Final = Path(__file__).resolve().parents[2]
QUICKSTART: Final = ROOT / "examples" / "means" / "workload.yaml"
LOGS: Final = ROOT / "examples" / "from-logs" / "requests.csv.gz"
MELANGE: Final = ROOT / "examples" / "melange" / "melange.json"
HOURS: Final = ROOT / "examples" / "hours" / "workload.yaml"
MODEL: Final = "meta-llama/Llama-3.1-8B-Instruct"

ARGUMENTS: Final[dict[str, list[str | Path]]] = {
    "plan": ["plan", QUICKSTART, "--offline", "--explain", "--out", "new"],
    "explain": ["explain", "plan", "--again"],
    "solve": ["solve", MELANGE],
    "prices": ["prices", "--offline"],
    "profiles list": ["profiles", "list"],
    "profiles show": ["profiles", "show", MODEL, "H100"],
    "profiles estimate": ["profiles", "estimate", "Qwen/Qwen3-32B", "H100"],
    "check": ["check", "plan/plan.json", "--offline", "--max-drift", "50"],
    "diff": ["diff", "plan", "plan"],
    "validate": ["validate", "plan"],
    "up": ["up", "plan", "--yes", "--offline"],
    "simulate": ["simulate", "plan", "--requests", "2000"],
    "status": ["status", "plan"],
    "scale": ["scale", "hourly", "--dry-run"],
    "down": ["down", "plan", "--yes"],
    "workload from-trace": ["workload", "from-trace", LOGS, "-o", "from-logs.yaml"],
    "schema": ["schema"],
}
"""By command; those whose answer is JSON without being asked for it are `solve` and `schema`."""

NOISE: Final = textwrap.dedent(
    """
    import ctypes, os, sys
    sys.path[:0] = sys.argv[1].split(os.pathsep)

    libc = ctypes.CDLL(None)

    def shout(text):
        libc.printf(text + b"\\n")
        libc.fflush(None)

    # C code of an import, of a solver and of whatever else, at the descriptor and through C's own stream.
    def noisy(solver, lp, solve):
        shout(b"a solver's banner")
        return solve(solver, lp)

    def import_noise(event, arguments):
        if event == "import" and arguments[0] in ("duckdb", "highspy", "pulp", "yaml"):
            shout(b"a library's greeting")
            os.write(1, b"and a word past C's stream\\n")

    import sky_melange.cli as program
    real = program._keep_stdout_for_answers

    def then_noise():
        real()
        sys.addaudithook(import_noise)
        import pulp
        solve = pulp.HiGHS.actualSolve
        pulp.HiGHS.actualSolve = lambda solver, lp: noisy(solver, lp, solve)
        if sys.argv[1] in ("up", "status", "down"):
            from fake_cloud import FakeCloud
            from sky_melange.cli import down, launch_folder, status, up
            cloud = FakeCloud()
            cloud.replicas = dict.fromkeys(("chat-h100", "chat-b200", "chat-l40s"), 100)
            for module in (down, launch_folder, status, up):
                module.connect = lambda *_: cloud

    program._keep_stdout_for_answers = then_noise
    del sys.argv[1]
    program.main()
    """
)


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its name after `sky-melange`."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from commands(inner, (*path, name))


def format_option(command: click.Command) -> click.Parameter | None:
    return next((option for option in command.params if "--format" in option.opts), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plan folders: `plan`, of the quickstart, and `hourly`, with a schedule."""
    folder = tmp_path_factory.mktemp("answers")
    done = answer(folder, ["plan", QUICKSTART, "--offline", "--out", "plan", "--format", "json"])
    assert done.returncode == 0, done.stderr
    done = answer(folder, ["plan", HOURS, "--offline", "--no-simulate", "--out", "hourly"])
    assert done.returncode == 0, done.stderr
    return folder


def answer(folder: Path, arguments: list[str | Path]) -> subprocess.CompletedProcess[str]:
    """What a noisy process answers."""
    helpers = f"{ROOT}:{ROOT / 'tests' / 'skypilot' / 'launch'}"
    command: list[Any] = [sys.executable, "-c", NOISE, helpers, *arguments]
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={
            "HOME": str(folder),
            "SKY_MELANGE_CACHE_DIR": str(with_compiled_simulator(folder / "cache")),
            "PATH": "/usr/bin:/bin",
            "HF_TOKEN": "hf_x",
            "VLLM_API_KEY": "key_x",
            "NO_COLOR": "1",
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_every_command_with_json_is_tried() -> None:
    by_name = dict(commands(cli))
    with_json = {name for name, command in by_name.items() if format_option(command) is not None}
    # `workload own` asks a cluster: tests/skypilot/test_own_nodes.py.
    assert with_json | {"solve", "schema"} == set(ARGUMENTS) | {"workload own"}
    assert all("json" in getattr(format_option(by_name[name]).type, "choices", ()) for name in with_json)  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize("name", ARGUMENTS)
def test_stdout_is_one_json_document(name: str, folder: Path) -> None:
    asks = [] if name in ("solve", "schema") else ["--format", "json"]
    done = answer(folder, [*ARGUMENTS[name], *asks])
    # Nothing runs in a process of its own, which these answer and fail for.
    assert done.returncode == 0 or name in ("status", "scale"), done.stderr
    assert isinstance(json.loads(done.stdout), dict | list)
    assert "banner" not in done.stderr
    assert "greeting" not in done.stderr


def test_a_library_user_keeps_a_quiet_and_whole_stdout(tmp_path: Path) -> None:
    """Other threads go on printing while a solver's C code prints; theirs arrives, and nothing else does."""
    program = textwrap.dedent(
        f"""
        import ctypes, os, sys, threading
        from pathlib import Path
        import pulp
        from sky_melange.domain.workload import SolverSettings
        from sky_melange.pipeline import solve_melange

        libc = ctypes.CDLL(None)
        real = pulp.HiGHS.actualSolve

        def noisy(solver, lp):
            libc.printf(b"a solver's banner\\n")
            libc.fflush(None)
            return real(solver, lp)

        pulp.HiGHS.actualSolve = noisy
        solved = threading.Event()
        sent = 0

        def talk():
            global sent
            while not solved.is_set() or sent == 0:
                os.write(1, b"tick\\n")
                sent += 1

        def solve():
            for _ in range(5):
                solve_melange(Path({str(MELANGE)!r}), SolverSettings())

        talker = threading.Thread(target=talk)
        solvers = [threading.Thread(target=solve) for _ in range(3)]
        for thread in (talker, *solvers):
            thread.start()
        for thread in solvers:
            thread.join()
        solved.set()
        talker.join()
        libc.printf(b"C prints again\\n")
        libc.fflush(None)
        sys.stderr.write(str(sent))
        """
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "tick\n" * int(done.stderr) + "C prints again\n"


def test_without_a_stdout_the_exit_code_stays() -> None:
    program = f"exec {sys.executable} -m sky_melange solve {MELANGE} >&-"
    assert subprocess.run(["sh", "-c", program], cwd=ROOT, check=False).returncode == 0


def test_planning_imports_nothing_that_reads_logs() -> None:
    """They are an extra, and each takes longer to import than a plan without simulation takes."""
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from sky_melange.cli import cli\n"
        "done = CliRunner().invoke(cli, ['plan', 'examples/means/workload.yaml', '--offline', '--no-files'])\n"
        "assert done.exit_code == 0, done.output\n"
        "print([name for name in ('duckdb', 'ibis', 'pandas', 'pyarrow', 'sky') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_reading_logs_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "duckdb" else found(name, *a))
    log = tmp_path / "log.csv"
    log.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-01 00:00:00,100,10\n")
    result = CliRunner(mix_stderr=False).invoke(cli, ["workload", "from-trace", str(log)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "install sky-melange with its extra `traces`" in result.stderr
