"""Files that are no YAML, no text, no file; and files made to exhaust the reader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from sky_melange.errors import InputError
from sky_melange.workload_file import read_workload, yaml_source

pytestmark = pytest.mark.smoke

MistakesIn = Callable[..., list[str]]


def _error(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_workload(path)
    assert len(caught.value.mistakes) == 1
    return str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    assert _error(path) == f"{path}: there is no such file; check the path"


def test_a_folder(tmp_path: Path) -> None:
    assert _error(tmp_path) == f"{tmp_path}: is a folder; give the path of the file in it"


def test_a_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot be read: Not a directory" in _error(tmp_path / "file" / "workload.yaml")


def test_a_path_with_nul() -> None:
    assert "is not a valid path" in _error(Path("a\0b"))


def test_an_endless_device_is_not_read_to_its_end() -> None:
    device = Path("/dev/zero")
    if not device.exists():
        pytest.skip("this system has no such device")
    assert "is larger than 1 MiB" in _error(device)


def test_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    assert _error(path) == f"{path}: is larger than 1 MiB, the most that is read; is it the right file?"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "workload.yaml:1: is empty; a workload starts with `version: 1`"),
        (b"# only a comment\n", "workload.yaml:1: is empty; a workload starts with `version: 1`"),
        (b"- 1\n- 2\n", "workload.yaml:1: want a mapping of keys such as `version: 1`, found a list"),
        (b"\n\nhello\n", "workload.yaml:3: want a mapping of keys such as `version: 1`, found a single value"),
        (b"version: 1\nname: \xff\n", "workload.yaml:2: is not UTF-8 text (byte 0xff at offset 17); save it with the"),
        (b"\xff\xfev\x00e\x00", "workload.yaml:1: is not UTF-8 text (byte 0xff at offset 0); save it with the"),
        (b"version: 1\nname: a\x00b\n", "workload.yaml:2: holds the control character U+0000; remove it"),
        (b'a: "\\UFFFFFFFF"\n', "workload.yaml:1: is not valid YAML: "),
        (b"a: *nothing\n", "workload.yaml:1: aliases (`*name`) are not supported: write the value out"),
        (b"a: [1\nb: 2\n", "workload.yaml:2: is not valid YAML: "),
    ],
)
@pytest.mark.parametrize("loader", ["SafeLoader", "CSafeLoader"])
def test_content_that_is_no_workload(
    mistakes_in: MistakesIn, monkeypatch: pytest.MonkeyPatch, content: bytes, expected: str, loader: str
) -> None:
    monkeypatch.setattr(yaml_source, "_LOADER", getattr(yaml, loader, yaml.SafeLoader))
    assert mistakes_in(content)[0].startswith(expected)


@pytest.mark.parametrize("loader", ["SafeLoader", "CSafeLoader"])
@pytest.mark.parametrize(
    ("content", "is_a_tab"),
    [(b"\ta: 1\n", True), (b"a:\n\t- b\n", True), (b"a: @b\n", False), (b"'a\tb\n", False)],
)
def test_tabs_are_recognised_by_their_place_not_by_words_of_pyyaml(
    mistakes_in: MistakesIn, monkeypatch: pytest.MonkeyPatch, content: bytes, is_a_tab: bool, loader: str
) -> None:
    parse = yaml.parse

    def reworded(*arguments: object, **options: object) -> Iterator[object]:
        try:
            yield from parse(*arguments, **options)  # type: ignore[arg-type]
        except yaml.MarkedYAMLError as error:
            error.problem, error.context = "worded anew", None
            raise

    monkeypatch.setattr(yaml_source, "_LOADER", getattr(yaml, loader, yaml.SafeLoader))
    monkeypatch.setattr(yaml, "parse", reworded)
    said = mistakes_in(content)[0]
    assert "is not valid YAML: worded anew" in said
    assert said.endswith("; indent with spaces, not with tabs") == is_a_tab


@pytest.mark.parametrize("loader", ["SafeLoader", "CSafeLoader"])
def test_both_parsers_of_pyyaml_read_the_same(
    tmp_path: Path, good: str, monkeypatch: pytest.MonkeyPatch, loader: str
) -> None:
    monkeypatch.setattr(yaml_source, "_LOADER", getattr(yaml, loader, yaml.SafeLoader))
    path = tmp_path / "workload.yaml"
    path.write_text(good)
    assert read_workload(path).traffic.request_rate_rps == 32.0


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{this}: &{this} [{', '.join([f'*{before}'] * 9)}]\n" for before, this in zip("abcdefgh", "bcdefghi", strict=True)
)

EXHAUSTING = {
    "billion laughs": BOMB,
    "a loop": "a: &a [*a, *a]\n",
    "deep lists": "a: " + "[" * 500_000,
    "deep mappings": "{a: " * 200_000,
    "deep blocks": "".join(" " * depth + "a:\n" for depth in range(1000)),
    "many nodes": "a: [" + "1," * 500_000 + "]",
    "many unknown keys": "".join(f"key{number}: 1\n" for number in range(40_000)),
    "many bad weights": "traffic: {histogram: {weights: [" + "[x,-1]," * 30_000 + "]}}",
    "many unknown accelerators": "candidates: {accelerators: [" + "".join(f"G{n}," for n in range(90_000)) + "]}",
    "many repeated keys": "a: 1\n" * 40_000,
    "a long key": "x" * 1_000_000 + ": 1\n",
    "a long number": "version: " + "9" * 1_000_000 + "\n",
    "long digits and colons": "version: " + "1:1" * 300_000 + "\n",
    "many anchors": "".join(f"a{n}: &a{n} 1\n" for n in range(40_000)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXHAUSTING)
def test_exhausting_files_fail_fast_and_briefly(mistakes_in: MistakesIn, kind: str) -> None:
    start = time.process_time()
    found = mistakes_in(EXHAUSTING[kind], known_accelerators=[f"GPU-{number}" for number in range(60)])
    seconds = time.process_time() - start

    assert len(found) <= 101
    assert all(len(mistake) < 1000 for mistake in found)
    assert seconds < (1 if kind == "billion laughs" else 5)


@pytest.mark.slow
def test_the_end_of_a_long_list_of_mistakes_is_said(mistakes_in: MistakesIn) -> None:
    found = mistakes_in(EXHAUSTING["many unknown keys"])
    assert len(found) == 101
    assert found[-1] == "workload.yaml: and more mistakes, not shown: mend these first"


@pytest.mark.slow
def test_what_precedes_a_syntax_error_is_reported_too(mistakes_in: MistakesIn, good: str) -> None:
    found = mistakes_in(good + "slo: {}\nname: &x y\nlaunch: [\n")
    assert [mistake.split(": ")[0] for mistake in found] == [f"workload.yaml:{line}" for line in (14, 15, 15, 16)]
