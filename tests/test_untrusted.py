"""What is read from any path is bounded, and hostile characters and numbers are mistakes with a place."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sky_melange.cli import cli
from sky_melange.errors import InputError
from sky_melange.untrusted import INVISIBLE, invisible_fault, parse_integer, read_bytes

DATA = Path(__file__).parent / "data" / "profiles"
GOOD = {
    "vllm-bench": DATA / "vllm-bench" / "65-in-16-out-4-at-once.json",
    "guidellm": DATA / "guidellm" / "report-64-in-16-out.json",
    "melange": DATA / "melange" / "example-config.json",
    "aibrix-profile": DATA / "aibrix" / "simulator-llama2-7b-a40.json",
}
OPTIONS = ["-a", "L4", "--model", "org/model", "--engine", "vllm", "--engine-version", "1", "--date", "2026-05-01"]
EDGES = ["--input-edges", "25,100", "--output-edges", "25,100", "--ntpot-ms", "50"]
MANY = "1" * 400


def run(*arguments: object) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


def imported(file_format: str, path: Path, out: Path) -> Result:
    edges = EDGES if file_format in ("melange", "aibrix-profile") else []
    return run("profiles", "import", file_format, path, *OPTIONS, *edges, "--out", out)


def workload(repository: Path, path: Path, addition: str = "") -> Path:
    text = (repository / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8")
    own = [line for line in text.splitlines(keepends=True) if not line.startswith("profiles:")]
    path.write_text("".join(own) + addition, encoding="utf-8")
    return path


def readers(repository: Path, tmp_path: Path) -> dict[str, Callable[[Path], Result]]:
    """What reads a file that the user names, each as a command."""

    def named_in_workload(key: str) -> Callable[[Path], Result]:
        def read(path: Path) -> Result:
            file = workload(repository, tmp_path / "w.yaml", key.format(json.dumps(str(path))))
            return run("plan", file, "--offline", "--no-files")

        return read

    found: dict[str, Callable[[Path], Result]] = {
        name: lambda path, name=name: imported(name, path, tmp_path / "out.json")  # type: ignore[misc]
        for name in (*GOOD, "table")
    }
    return found | {
        "profiles.files": named_in_workload("profiles: {{files: [{}]}}\n"),
        "prices.overrides": named_in_workload("prices: {{overrides: {}}}\n"),
        "model config": lambda path: run("profiles", "estimate", "org/m", "L4", "--config", path),
        "traces": lambda path: run("workload", "from-trace", path, "--model", "org/m"),
    }


READERS = (*GOOD, "table", "profiles.files", "prices.overrides", "model config", "traces")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["endless device", "pipe", "folder", "missing"])
def test_what_is_not_a_file_is_refused(repository: Path, tmp_path: Path, reader: str, kind: str) -> None:
    path = tmp_path / ("in.csv" if reader == "prices.overrides" else "in.json")
    if kind == "endless device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    found = readers(repository, tmp_path)[reader](path)
    assert found.exit_code == 2, found.stderr
    assert path.name in found.stderr
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("kind", ["endless device", "pipe"])
def test_a_plan_folder_with_a_device_in_it(repository: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "plan"
    folder.mkdir()
    if kind == "pipe":
        os.mkfifo(folder / "plan.json")
    else:
        (folder / "plan.json").symlink_to("/dev/zero")
    made = run("plan", workload(repository, tmp_path / "w.yaml"), "--offline", "--out", folder)
    assert made.exit_code == 2
    assert "holds files that no plan wrote (plan.json" in made.stderr
    for command in (
        ("validate", folder),
        ("check", folder / "plan.json"),
        ("up", folder, "--dry-run"),
        ("diff", folder, folder),
    ):
        refused = run(*command)
        assert refused.exit_code == 2
        assert "plan.json: is not a regular file: it is a device or a pipe" in refused.stderr


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_bytes(path, limit_bytes=100) == b"x" * 100
    with pytest.raises(InputError, match="is larger than 99 bytes"):
        read_bytes(path, limit_bytes=99)
    with pytest.raises(InputError, match="is larger than 1 MiB"):
        read_bytes(Path("/dev/zero"), limit_bytes=1 << 20, allow_pipe=True)


def test_a_workload_may_come_through_a_pipe(repository: Path) -> None:
    text = (repository / "examples" / "means" / "workload.yaml").read_bytes()
    command = [sys.executable, "-c", "from sky_melange.workload_file import *; from pathlib import Path; import sys;"]
    command[-1] += "from sky_melange.untrusted import read_text;"
    command[-1] += "sys.stdout.write(read_text(Path('/dev/stdin'), limit_bytes=1 << 20, allow_pipe=True)[:10])"
    done = subprocess.run(command, input=text, capture_output=True, check=True)
    assert done.stdout == text[:10]


@pytest.mark.parametrize("reader", [*GOOD, "profiles.files", "model config", "solve", "plan.json"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"a": 1,\n "b": {"c": 1, "c": 2}}', "the key 'c' is repeated in one object; keep one of them"),
        ('{"a": 1,\n "b": ', "file.json:2: is not valid JSON: Expecting value (column 7); is the file truncated?"),
        (
            '{"a": 1,\n "b',
            "file.json:2: is not valid JSON: Unterminated string starting at (column 2); is the file ",
        ),
        ('{"a": 1,\n "b": }', "file.json:2: is not valid JSON: Expecting value (column 7)\n"),
        ("[" * 100_000, "is not usable JSON: it is nested too deeply"),
        ('{"a":\n "\udcff"}', "file.json:2: is not UTF-8 text (byte 0xff at offset 8); save it with"),
    ],
    ids=["repeated", "truncated", "truncated text", "broken", "deep", "bytes"],
)
def test_json_is_read_alike_everywhere(repository: Path, tmp_path: Path, reader: str, content: str, says: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    commands = readers(repository, tmp_path)
    commands |= {"solve": lambda path: run("solve", path), "plan.json": lambda path: run("diff", path, path)}
    refused = commands[reader](path)
    assert refused.exit_code == 2, refused.stderr
    assert says in refused.stderr


@pytest.mark.parametrize("file_format", GOOD)
def test_an_integer_of_400_digits_is_a_mistake_wherever_it_stands(tmp_path: Path, file_format: str) -> None:
    text = GOOD[file_format].read_text(encoding="utf-8")
    numbers = list(re.finditer(r"(?<=[\[:,\s])\d+(?:\.\d+)?(?=\s*[,\]}])", text))
    chosen = [n for n in numbers if text[: n.start()].endswith('"mean": ')] + numbers[:: max(1, len(numbers) // 40)]
    refused = 0
    for number in chosen:
        path = tmp_path / "in.json"
        path.write_text(text[: number.start()] + MANY + text[number.end() :], encoding="utf-8")
        (tmp_path / "out.json").unlink(missing_ok=True)
        found = imported(file_format, path, tmp_path / "out.json")
        assert found.exit_code in (0, 2), (found.exception, text[number.start() - 80 : number.end()])
        refused += found.exit_code == 2
        if found.exit_code == 0:
            assert MANY not in (tmp_path / "out.json").read_text(encoding="utf-8")
    assert refused


def test_an_integer_of_400_digits_in_a_profile_and_a_config(repository: Path, tmp_path: Path) -> None:
    profile = next((repository / "catalogs" / "profiles").glob("*/*.json"))
    text = profile.read_text(encoding="utf-8")
    numbers = list(re.finditer(r"(?<=[\[:,\s])\d+(?:\.\d+)?(?=\s*[,\]}])", text))
    read = readers(repository, tmp_path)["profiles.files"]
    for number in numbers[:: max(1, len(numbers) // 12)]:
        (tmp_path / "p.json").write_text(text[: number.start()] + MANY + text[number.end() :], encoding="utf-8")
        found = read(tmp_path / "p.json")
        assert found.exit_code == 2, found.exception
    config = {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert run("profiles", "estimate", "org/m", "H100", "--config", tmp_path / "config.json").exit_code == 0
    for key in [key for key in config if key != "model_type"]:
        (tmp_path / "config.json").write_text(json.dumps({**config, key: int(MANY)}), encoding="utf-8")
        found = run("profiles", "estimate", "org/m", "H100", "--config", tmp_path / "config.json")
        assert found.exit_code == 2, (key, found.exception, found.stderr)


def test_long_integers_name_their_length() -> None:
    assert parse_integer("1" * 100) == int("1" * 100)
    assert repr(parse_integer(MANY)) == "an integer of 400 digits"
    assert parse_integer(f"-{MANY}") == float("-inf")


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\u00ad", "\U000e0041"])
def test_invisible_characters_are_mistakes(repository: Path, tmp_path: Path, character: str) -> None:
    name = f"U+{ord(character):04X}"
    for addition in (f"# a{character}b\n", f'budget: {{"usd{character}_per_hour": 5}}\n'):
        found = run("plan", workload(repository, tmp_path / "w.yaml", addition), "--offline", "--no-files")
        assert found.exit_code == 2
        assert f"w.yaml:45: holds the invisible character {name}" in found.stderr
    (tmp_path / "in.json").write_text(
        GOOD["vllm-bench"].read_text(encoding="utf-8").replace('"model_id": "', f'"model_id": "a{character}'),
        encoding="utf-8",
    )
    found = run(
        "profiles", "import", "vllm-bench", tmp_path / "in.json", "-a", "L4", "--engine-version", "1", "--out", "o.json"
    )
    assert found.exit_code == 2
    assert name in found.stderr


def test_invisible_escapes_are_mistakes_too(repository: Path, tmp_path: Path) -> None:
    addition = 'launch: {engine_args: {chat-template: "a\\u202eb"}}\n'
    found = run("plan", workload(repository, tmp_path / "w.yaml", addition), "--offline", "--no-files")
    assert found.exit_code == 2
    assert "holds the invisible character U+202E" in found.stderr
    profile = next((repository / "catalogs" / "profiles").glob("*/*.json"))
    text = profile.read_text(encoding="utf-8").replace('"engine_version": "', '"engine_version": "\\u200b', 1)
    (tmp_path / "p.json").write_text(text, encoding="utf-8")
    found = readers(repository, tmp_path)["profiles.files"](tmp_path / "p.json")
    assert found.exit_code == 2
    assert "holds the invisible character U+200B" in found.stderr


def test_letters_of_every_script_are_not_invisible() -> None:
    assert invisible_fault("José Łukasz Зоя 山田 محمد שרה ไทย हिन्दी 👩 é") == ""
    assert not INVISIBLE.search("".join(map(chr, range(0x20, 0xAD))))


@pytest.mark.parametrize("address", ["http://*.x", "http://.x", f"http://{'a' * 64}.x", "http://x..y"])
def test_a_base_url_that_no_library_would_fetch(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("SKY_MELANGE_CATALOG_URL", address)
    found = run("prices")
    assert found.exit_code == 2, found.exception
    assert "SKY_MELANGE_CATALOG_URL: is not an address that can be fetched" in found.stderr
    monkeypatch.delenv("SKY_MELANGE_CATALOG_URL")
    found = run("plan", workload(repository, tmp_path / "w.yaml", f'prices: {{base_url: "{address}"}}\n'), "--no-files")
    assert found.exit_code == 2, found.exception
    assert "prices.base_url: is not an address that can be fetched" in found.stderr


def test_an_estimate_replaces_no_file_of_another_model(tmp_path: Path) -> None:
    models = ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-32B")
    for model in (*models, *models):
        done = run("profiles", "estimate", model, "H100", "-t", 1, "-t", 2, "--out", tmp_path)
        assert done.exit_code == 0, done.stderr
    files = sorted(tmp_path.iterdir())
    assert {json.loads(path.read_text(encoding="utf-8"))["model"] for path in files} == {*models}
    taken = next(path for path in files if "Llama" in path.name)
    other = next(path for path in files if "Qwen" in path.name)
    taken.write_bytes(other.read_bytes())
    before = {path: path.read_bytes() for path in files}
    refused = run("profiles", "estimate", models[0], "H100", "-t", 1, "-t", 2, "--out", tmp_path)
    assert refused.exit_code == 2
    assert f"{taken}: is there and is not an estimate of this model and layout" in refused.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
