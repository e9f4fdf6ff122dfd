"""The journal: half-written, foreign, damaged, in use."""

from __future__ import annotations

import dataclasses
import fcntl
from pathlib import Path

import pytest

from sky_melange.domain.profile import ProfileKey
from sky_melange.domain.workload import Slo
from sky_melange.errors import InputError
from sky_melange.profiles.measure import Api, Effort, EndKind, Journal, LevelResult, MeasureSpec, Shape, ShapeEnd
from sky_melange.profiles.measure.results import ServerFacts, Spread

SHAPE = Shape(input_tokens=20, output_tokens=4)
SPEC = MeasureSpec(
    key=ProfileKey(model="m", accelerator="L4", tensor_parallel=1, dtype="bfloat16", engine="vllm"),
    served_model="m",
    api=Api.COMPLETIONS,
    shapes=(SHAPE,),
    concurrencies=(1, 2),
    slo=Slo(tpot_s=0.04),
)
SPREAD = Spread(mean=0.1, p50=0.1, p99=0.2, standard_error=None)


def level(concurrency: int = 1) -> LevelResult:
    return LevelResult(
        shape=SHAPE,
        concurrency=concurrency,
        input_tokens=20.5,
        requests=12,
        completed=14,
        window_s=1.5,
        elapsed_s=2.0,
        ttft_s=SPREAD,
        tpot_s=SPREAD,
        errors={"stalled": 1},
        client_lag_s=0.0,
    )


END = ShapeEnd(shape=SHAPE, kind=EndKind.SLO, reason="TPOT")
FACTS = ServerFacts(engine_version="1", kv_cache_tokens=None)


def written(path: Path) -> bytes:
    with Journal(path, SPEC, started_on="2026-05-01") as journal:
        for record in (FACTS, level(2), level(1), END):
            journal.add(record)
    return path.read_bytes()


def test_everything_comes_back_and_the_first_date_stays(tmp_path: Path) -> None:
    written(tmp_path / "j")
    with Journal(tmp_path / "j", SPEC, started_on="2027-01-01") as journal:
        assert journal.levels(SHAPE) == (level(1), level(2))
        assert journal.ends == {SHAPE: END}
        assert journal.server == FACTS
        assert journal.started_on == "2026-05-01"
        assert journal.resumed


def test_cut_off_anywhere_it_still_opens_and_goes_on(tmp_path: Path) -> None:
    """Power fails in the middle of a write: around every line's end, and every 97 bytes."""
    path = tmp_path / "j"
    whole = written(path)
    ends = [index for index, byte in enumerate(whole) if byte == ord("\n")]
    near = {end + offset for end in ends for offset in (-1, 0, 1, 2)}
    for length in sorted(near | set(range(0, len(whole), 97))):
        path.write_bytes(whole[:length])
        with Journal(path, SPEC, started_on="2026-05-01") as journal:
            lines = whole[:length].count(b"\n")
            assert (journal.server is not None) == (lines >= 2)
            assert len(journal.levels(SHAPE)) == max(0, min(lines, 4) - 2)
            journal.add(level(1))
        with Journal(path, SPEC, started_on="2026-05-01") as journal:
            assert level(1) in journal.levels(SHAPE)


@pytest.mark.parametrize(
    "change",
    [
        {"concurrencies": (1, 2, 4)},
        {"slo": None},
        {"engine_version": "2"},
        {"effort": Effort(seed=1)},
        {"key": dataclasses.replace(SPEC.key, accelerator="A10G")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_measurement_is_refused_and_named(tmp_path: Path, change: dict[str, object]) -> None:
    written(tmp_path / "j")
    with (
        pytest.raises(InputError, match=f"of another measurement .*{next(iter(change))}"),
        Journal(tmp_path / "j", dataclasses.replace(SPEC, **change), started_on="2026-05-01"),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a text of mine", "is no journal"),
        (b"a text of mine\n", "j:1: is no JSON object"),
        (b'{"type": "header"}\n', "j:1: is no journal"),
        (b"\xff\xfe\n", "j:1: is no JSON object"),
        (b"[" * 100_000 + b"\n", "j:1: is no JSON object"),
    ],
    ids=["text", "line", "other header", "binary", "deep"],
)
def test_foreign_file_is_refused_and_left_as_it_was(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "j"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says), Journal(path, SPEC, started_on="2026-05-01"):
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b'"type": "level"', b'"type": "levle"', "j:3: is no line of a journal"),
        (b'"mean": 0.1', b'"mean": "x"', "j:3: ttft_s.mean"),
        (b'"kind": "slo"', b'"kind": "oops"', "j:5: kind"),
    ],
)
def test_damaged_line_is_named(tmp_path: Path, old: bytes, new: bytes, says: str) -> None:
    path = tmp_path / "j"
    path.write_bytes(written(path).replace(old, new, 1))
    with pytest.raises(InputError, match=says), Journal(path, SPEC, started_on="2026-05-01"):
        pass


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path)
    with (
        Journal(path, SPEC, started_on="2026-05-01"),
        pytest.raises(InputError, match="is in use"),
        Journal(path, SPEC, started_on="2026-05-01"),
    ):
        pass
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_nothing_measured_leaves_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", SPEC, started_on="2026-05-01") as journal:
        journal.add(FACTS)
        assert (tmp_path / "j").exists()
    assert not (tmp_path / "j").exists()


def test_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"), Journal(tmp_path, SPEC, started_on="2026-05-01"):
        pass
