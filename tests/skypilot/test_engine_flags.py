"""`validate` holds the engine's arguments against the recorded flags of its version."""

from __future__ import annotations

from pathlib import Path

import pytest

from sky_melange.domain.engine import ENGINES
from sky_melange.skypilot.validate import engine_checks, faults_of, recorded_flags

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "yaml").glob("*.sky.yaml"))
VLLM, SGLANG = (recorded_flags()[name, ENGINES[name].version] for name in ("vllm", "sglang"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_every_kind_of_launch_file_has_flags_of_its_engine(path: Path) -> None:
    checks = engine_checks(path.read_text(encoding="utf-8"))
    assert len(checks) == (2 if path.name == "shared-machine.sky.yaml" else 1)
    for check in checks:
        assert check.name == "engine_flags"
        assert check.passed, check.detail


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("--max-num-seqs 24", "--max-num-seq 24", None),  # an unambiguous beginning, as the parser takes it
        ("--max-num-seqs 24", "--max_num_seqs 24", None),
        (
            "--max-num-seqs 24",
            "--max-num-seqz 24",
            "'--max-num-seqz' is not a flag of vllm 0.33.0; near is --max-num-seqs",
        ),
        ("--max-num-seqs 24", "--max-num-seqs", "--max-num-seqs needs a value"),
        ("--max-num-seqs 24", "--enforce-eager 24", "'24' is the value of no flag"),
        ("--max-num-seqs 24", "--enforce-eager=1", "--enforce-eager takes no value"),
        ("--max-num-seqs 24", "--tp-size 24", "'--tp-size' is not a flag of vllm 0.33.0"),
        ("--max-num-seqs 24", "-O3 --compilation-config.mode 3 -tp 2", None),
        ("vllm==0.33.0", "vllm==0.1.0", "the flags of vllm 0.1.0 are not recorded"),
    ],
)
def test_a_flag_is_refused_as_the_engine_would(old: str, new: str, fault: str | None) -> None:
    text = (GOLDEN[0].parent / "serve.sky.yaml").read_text(encoding="utf-8")
    assert old in text
    (check,) = engine_checks(text.replace(old, new))
    assert check.passed == (fault is None), check.detail
    assert fault is None or fault in check.detail


def test_files_that_start_no_engine_of_ours_are_left_alone() -> None:
    for text in ("setup: pip install vllm==0.33.0\nrun: echo\n", "run: sleep 1\n", "a: [", "- 1\n", ""):
        assert engine_checks(text) == ()


def test_flags_are_recorded_of_what_is_launched() -> None:
    assert set(recorded_flags()) == {(engine.name, engine.version) for engine in ENGINES.values()}
    assert VLLM["--enable-expert-parallel"] == VLLM["--no-enable-expert-parallel"] == "none"
    assert SGLANG["--attn-dp-size"] == "value"
    assert list(faults_of(["--api-key"], SGLANG, "sglang")) == ["--api-key needs a value"]
    assert list(faults_of(["--model-checksum"], SGLANG, "sglang")) == []
