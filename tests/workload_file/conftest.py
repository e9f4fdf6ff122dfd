"""Reads a text as workload.yaml, and hands back what was wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sky_melange.errors import InputError
from sky_melange.workload_file import read_workload

GOOD = """\
version: 1
name: chat
model: {id: meta-llama/Llama-3.1-8B-Instruct, dtype: bfloat16}
slo:
  tpot_ms: 40
traffic:
  request_rate: 32
  histogram:
    input_tokens: [100, 500]
    output_tokens: [50, 100, 200]
    weights:
      - [1, 2, 1]
      - [2, 1, 1]
"""


@pytest.fixture
def good() -> str:
    return GOOD


@pytest.fixture
def mistakes_in(tmp_path: Path) -> Callable[..., list[str]]:
    """`mistakes_in(text, known_clouds=…)` -> lines such as `workload.yaml:5: slo.tpot_ms: must be …`."""

    def read(text: str | bytes, **known: Any) -> list[str]:
        path = tmp_path / "workload.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(InputError) as caught:
            read_workload(path, **known)
        assert caught.value.exit_code == 2
        return [str(mistake).removeprefix(f"{tmp_path}/") for mistake in caught.value.mistakes]

    return read
