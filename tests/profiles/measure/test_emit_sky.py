"""--emit-sky: what is written, that SkyPilot and bash read it, and that the job's script does what it says."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from sky_melange.cli.profiles_measure import command
from sky_melange.errors import InputError

MODEL = "Qwen/Qwen3-32B"


def emit(folder: Path, *arguments: str) -> Result:
    return CliRunner(mix_stderr=False).invoke(command, ["--model", MODEL, "--emit-sky", str(folder), *arguments])


@pytest.fixture
def emitted(tmp_path: Path) -> Path:
    folder = tmp_path / "measure"
    options = "--candidate L40S:2 --candidate H100 --tpot-ms 40 --grid 25,500x25,100 --concurrency 1,8 --infra aws"
    more = ("--secret", "HF_TOKEN", "--engine-arg", "chat-template=a b;$(touch /nowhere)", "--seed", "7")
    result = emit(folder, *options.split(), *more)
    assert result.exit_code == 0, result.stderr
    return folder


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def test_files_and_bytes(emitted: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in emitted.iterdir())
    assert names == ["measure-qwen3-32b-h100-1.yaml", "measure-qwen3-32b-l40s-2.yaml", "measure.sh"]
    task = load(emitted / names[1])
    assert task["resources"] == {
        "infra": "aws",
        "accelerators": {"L40S": 2},
        "disk_size": 512,
        "autostop": {"idle_minutes": 60, "down": True},
    }
    assert task["secrets"] == {"HF_TOKEN": None}
    assert "--tensor-parallel-size 2" in task["run"]
    assert "--max-model-len 856" in task["run"]
    assert "--host 127.0.0.1" in task["run"]
    for path in emitted.iterdir():
        assert str(tmp_path) not in path.read_text()


def test_a_quantised_checkpoint_is_served_as_it_is(tmp_path: Path) -> None:
    grid = "--candidate H100 --tpot-ms 40 --grid 25x25 --concurrency 1 --dtype fp8"
    arguments = ["--model", "Qwen/Qwen3-32B-FP8", "--emit-sky", str(tmp_path / "measure"), *grid.split()]
    result = CliRunner(mix_stderr=False).invoke(command, arguments)
    assert result.exit_code == 0, result.stderr
    task = load(tmp_path / "measure" / "measure-qwen3-32b-fp8-h100-1.yaml")
    assert "--dtype auto" in task["run"]
    assert "--quantization" not in task["run"]
    refused = emit(tmp_path / "other", *grid.replace("fp8", "fp4").split())
    assert isinstance(refused.exception, InputError)
    assert "has bfloat16 weights" in str(refused.exception)


def test_the_jobs_command_is_one_that_measure_takes(emitted: Path) -> None:
    """The words after `profiles measure` are parsed by the command itself, up to the missing server."""
    run = load(emitted / "measure-qwen3-32b-l40s-2.yaml")["run"]
    words = shlex.split(run.split("profiles measure")[1].replace("\\\n", " "))
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options["--engine-arg"] == "chat-template=a b;$(touch /nowhere)"
    assert (options["--accelerator"], options["--tensor-parallel"], options["--seed"]) == ("L40S", "2", "7")
    parameters = {name for parameter in command.params for name in parameter.opts}
    assert set(options) <= parameters
    options["--out"] = str(emitted / "x.json")
    options["--endpoint"] = "http://127.0.0.1:9"
    result = CliRunner().invoke(command, [part for pair in options.items() for part in pair])
    assert getattr(result.exception, "exit_code", None) == 5 or result.exit_code == 5


@pytest.fixture
def fake_home(emitted: Path) -> Path:
    """A home with a vLLM that logs its arguments and a sky-melange that does too, and a bin with curl, sky, rsync."""
    home = emitted.parent / "home"
    programs = {
        "vllm-env/bin/vllm": 'printf "%s\\n" "$@" >"$HOME/vllm-arguments"; exec /bin/sleep 60',
        "sky-melange-env/bin/sky-melange": 'printf "%s\\n" "$@" >"$HOME/measure-arguments"; exit "${MEASURE_CODE:-0}"',
        "bin/sleep": "exec /bin/sleep 0.1",
        "bin/curl": 'exec test -s "$HOME/vllm-arguments"',
        "bin/sky": 'echo "sky $*" >>"$HOME/calls"',
        "bin/rsync": 'echo "rsync $*" >>"$HOME/calls"; exit "${RSYNC_CODE:-0}"',
    }
    for name, text in programs.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return home


def bash(home: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    variables = {"HOME": str(home), "PATH": path, **environment}
    return subprocess.run(["bash", "-c", text], env=variables, capture_output=True, text=True, check=False, timeout=20)


@pytest.mark.parametrize("code", [0, 5])
def test_run_section_starts_the_engine_measures_and_passes_the_code_on(
    emitted: Path, fake_home: Path, code: int
) -> None:
    run = load(emitted / "measure-qwen3-32b-l40s-2.yaml")["run"]
    done = bash(fake_home, run, MEASURE_CODE=str(code))
    assert done.returncode == code, done.stderr
    served = (fake_home / "vllm-arguments").read_text().splitlines()
    assert served[:2] == ["serve", MODEL]
    assert served[-2:] == ["--chat-template", "a b;$(touch /nowhere)"], "quoted for the shell"
    measured = (fake_home / "measure-arguments").read_text().splitlines()
    assert measured[:2] == ["profiles", "measure"]
    assert measured[-2:] == ["--out", "l40s-tp2-bfloat16-vllm.json"]


def test_run_section_stops_when_the_engine_does(emitted: Path, fake_home: Path) -> None:
    (fake_home / "vllm-env/bin/vllm").write_text("#!/bin/bash\necho out of memory >&2; exit 1\n")
    (fake_home / "bin/curl").write_text("#!/bin/bash\n/bin/sleep 0.2; exit 7\n")
    done = bash(fake_home, load(emitted / "measure-qwen3-32b-l40s-2.yaml")["run"])
    assert done.returncode == 1
    assert "out of memory" in done.stderr


@pytest.mark.parametrize("fetched", [True, False])
def test_script_launches_fetches_and_takes_down_what_it_fetched(emitted: Path, fake_home: Path, fetched: bool) -> None:
    done = bash(fake_home, f"bash {shlex.quote(str(emitted / 'measure.sh'))}", RSYNC_CODE="0" if fetched else "12")
    calls = (fake_home / "calls").read_text().splitlines()
    cluster = "measure-qwen3-32b-l40s-2"
    assert calls[0] == f"sky launch -y -c {cluster} {cluster}.yaml --secret HF_TOKEN"
    assert calls[1] == f"rsync -az {cluster}:sky-melange/ profiles/"
    assert (f"sky down -y {cluster}" in calls) == fetched
    assert (done.returncode == 0) == fetched
    assert fetched or f"sky down {cluster}" in done.stderr


@pytest.mark.slow
def test_skypilot_reads_every_job(emitted: Path, tmp_path: Path) -> None:
    """In a process of its own with an empty home: importing SkyPilot reads and writes the user's."""
    program = (
        "import sys, yaml, sky\n"
        "for path in sys.argv[1:]:\n"
        "    config = yaml.safe_load(open(path))\n"
        "    config['secrets'] = {name: 'x' for name in config['secrets']}\n"
        "    task = sky.Task.from_yaml_config(config)\n"
        "    resources = next(iter(task.resources))\n"
        "    print(resources.accelerators, resources.autostop_config.down, task.name)\n"
    )
    files = sorted(map(str, emitted.glob("*.yaml")))
    home = tmp_path / "sky-home"
    home.mkdir()
    variables = {**os.environ, "HOME": str(home), "SKY_RUNTIME_DIR": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", program, *files], env=variables, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[-2:]
    assert lines == ["{'H100': 1} True measure-qwen3-32b-h100-1", "{'L40S': 2} True measure-qwen3-32b-l40s-2"]


def test_wheel_travels_along(tmp_path: Path) -> None:
    wheel = tmp_path / "sky_melange-9.9-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    result = emit(tmp_path / "m", "--candidate", "H100", "--package", str(wheel))
    assert result.exit_code == 0, result.stderr
    task = load(tmp_path / "m" / "measure-qwen3-32b-h100-1.yaml")
    assert task["file_mounts"] == {f"~/sky-melange-wheel/{wheel.name}": f"./{wheel.name}"}
    assert (tmp_path / "m" / wheel.name).read_bytes() == b"a wheel"
    assert f'"$HOME"/sky-melange-wheel/{wheel.name}' in task["setup"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--candidate: is needed"),
        (["--candidate", "L40S:0"], "want GPU or GPU:COUNT"),
        (["--candidate", "l40s"], "did you mean L40S?"),
        (["--candidate", "H100", "--candidate", "H100:1"], "is given twice"),
        (["--candidate", "H100", "--dtype", "int3"], "--dtype: want one of"),
        (["--candidate", "H100", "--engine", "sglang"], "--engine: want vllm"),
        (["--candidate", "H100", "--infra", "aws; rm -rf"], "--infra"),
        (["--candidate", "H100", "--secret", "A B"], "--secret"),
        (["--candidate", "H100", "--model", "a\n b"], "--model"),
        (["--candidate", "H100", "--package", "no.whl"], "--package: there is no wheel"),
        (["--candidate", "H100", "--endpoint", "http://h"], "--endpoint: has no use with --emit-sky"),
        (["--candidate", "H100", "--grid", "x"], "--grid"),
    ],
)
def test_mistakes(tmp_path: Path, arguments: list[str], says: str) -> None:
    result = emit(tmp_path / "m", *arguments)
    assert getattr(result.exception, "exit_code", result.exit_code) == 2
    assert says in f"{result.exception}"
    assert not (tmp_path / "m").exists()
