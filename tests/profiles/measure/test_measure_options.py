"""The command line of `profiles measure`: every mistake at once, nothing touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from measuring import Measure
from stub_server import Behaviour, Law, serving

NO_SERVER = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--grid", "5", "want INPUTSxOUTPUTS"),
        ("--grid", "5x1", "want numbers from 2"),
        ("--grid", "5,5x2", "strictly rising"),
        ("--grid", "0x2", "from 1"),
        ("--grid", "a,bx2", "whole numbers"),
        ("--grid", ",".join(map(str, range(1, 80))) + "x2", "at most 64"),
        ("--grid", "9" * 30 + "x2", "whole numbers"),
        ("--grid", "٣x2", "whole numbers"),
        ("--concurrency", "1,99999", "from 1 to 16384"),
        ("--concurrency", "4,2", "strictly rising"),
        ("--tpot-ms", "nan", "want milliseconds"),
        ("--ttft-ms", "-1", "want milliseconds"),
        ("--ntpot-ms", "inf", "want milliseconds"),
        ("--engine-arg", "seed", "want NAME=VALUE"),
        ("--engine-arg", "a=\x1b[31m", "want NAME=VALUE"),
        ("--endpoint", "host:8000", "want a URL"),
        ("--endpoint", "http://u:p@127.0.0.1", "may not hold a password"),
        ("--api-key-env", "NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE is not set"),
        ("--out", "/no/such/folder/x.json", "there is no folder"),
    ],
)
def test_bad_option(measure: Measure, tmp_path: Path, option: str, value: str, says: str) -> None:
    found = measure(NO_SERVER, option, value)
    assert found.exit_code == 2
    assert f"{option}: " in found.stderr
    assert says in found.stderr
    assert "\x1b" not in found.stderr
    assert not list(tmp_path.iterdir())


def test_all_mistakes_at_once(measure: Measure) -> None:
    found = measure(NO_SERVER, "--grid", "x", "--concurrency", "0", "--tpot-ms", "0", "--engine-arg", "x")
    assert all(option in found.stderr for option in ("--grid", "--concurrency", "--tpot-ms", "--engine-arg"))


def test_key_that_no_header_may_have(measure: Measure) -> None:
    found = measure(NO_SERVER, "--api-key-env", "K", K="abc\r\nX-Evil: 1")
    assert found.exit_code == 2
    assert "abc" not in found.stderr


def test_file_of_something_else_is_not_overwritten(measure: Measure, tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text("mine")
    found = measure(NO_SERVER)
    assert found.exit_code == 2
    assert (tmp_path / "profile.json").read_text() == "mine"


def test_restart_discards_the_journal(measure: Measure, tmp_path: Path) -> None:
    with serving(Behaviour(law=Law(ttft_base_ms=1, tpot_base_ms=0.5, tpot_each_ms=0.1))) as server:
        measure(server.url, "--grid", "20x4", "--concurrency", "1")
        other = measure(server.url, "--grid", "20x4", "--concurrency", "2")
        assert other.exit_code == 2
        assert "--restart" in other.stderr
        again = measure(server.url, "--grid", "20x4", "--concurrency", "2", "--restart")
    assert again.exit_code == 0, again.stderr
    assert [row[2] for row in again.content["points"]["rows"]] == [2]


def test_unknown_accelerator_is_named(measure: Measure) -> None:
    with serving(Behaviour(law=Law(ttft_base_ms=1, tpot_base_ms=0.5, tpot_each_ms=0.1))) as server:
        found = measure(server.url, "--grid", "20x4", "--concurrency", "1", "--accelerator", "a100-80g")
    assert found.exit_code == 0
    assert "did you mean A100-80GB?" in found.stderr
