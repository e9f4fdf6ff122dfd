"""The part `matrix` of a profile file: what is wrong is named by its field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sky_melange.domain.profile import MatrixForm, Profile, ProfileKey, ProfileKind, ProfileProvenance, StatedTarget
from sky_melange.errors import InputError
from sky_melange.profiles.profile_json import profile_text, read_profile

PROFILE = Profile(
    key=ProfileKey(model="m", accelerator="L4", tensor_parallel=1, dtype="bfloat16", engine="vllm"),
    engine_version="1",
    engine_args={},
    kv_cache_tokens=None,
    form=MatrixForm(
        input_edges=(25, 100),
        output_edges=(10, 20, 30),
        request_rates_rps=((3.0, 2.0, 1.0), (2.0, None, None)),
        target=StatedTarget(ttft_s=0.5, tpot_s=0.04),
    ),
    provenance=ProfileProvenance(kind=ProfileKind.PUBLISHED, source="s", fetched_at="2026-01-01", error=None),
)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(profile_text(PROFILE))
    assert read_profile(path) == PROFILE


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("target", {}, "no target is stated"),
        ("target", {"tpot_ms": 40}, "matrix.target.tpot_ms"),
        ("target", {"tpot_s": -1}, "matrix.target.tpot_s"),
        ("target", {"e2e_s": 1.0, "percentile": 42}, "matrix.target.percentile"),
        ("input_edges", [100, 25], "input_edges must rise strictly"),
        ("input_edges", [], "matrix.input_edges"),
        ("output_edges", [10, 20], "must have 2 rows of 2"),
        ("request_rates_rps", [[1, 2, 3]], "must have 2 rows of 3"),
        ("request_rates_rps", [[1, 2, 3], [1, 2, 0]], "matrix.request_rates_rps.1.2"),
        ("request_rates_rps", [[1, 2, 3], [1, 2, "x"]], "matrix.request_rates_rps.1.2"),
        ("request_latencies_s", [[1]], "request_latencies_s must have 2 rows of 3"),
    ],
)
def test_mistakes(tmp_path: Path, field: str, value: Any, says: str) -> None:
    content = json.loads(profile_text(PROFILE))
    content["matrix"][field] = value
    path = tmp_path / "p.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        read_profile(path)
    assert says in str(caught.value)
