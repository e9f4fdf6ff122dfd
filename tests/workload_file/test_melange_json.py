"""The released solver's JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from sky_melange.errors import InputError
from sky_melange.workload_file import MelangeInput, read_melange

pytestmark = pytest.mark.smoke

# The example that the released solver ships.
GOOD: dict[str, Any] = {
    "gpu_info": {
        "A10G": {"cost": 1.01, "tputs": [[2, 1], [5, 2]]},
        "A100-80GB": {"cost": 3.67, "tputs": [[20, 20], [40, 20]]},
    },
    "workload_distribution": [[0.2, 0.1], [0.5, 0.2]],
    "total_request_rate": 30.0,
    "slice_factor": 1,
}


def _write(folder: Path, content: object) -> Path:
    path = folder / "melange.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def _mistakes(folder: Path, content: object) -> list[str]:
    path = _write(folder, content)
    with pytest.raises(InputError) as caught:
        read_melange(path)
    return [str(mistake).removeprefix(f"{folder}/") for mistake in caught.value.mistakes]


def test_the_released_example(tmp_path: Path) -> None:
    assert read_melange(_write(tmp_path, GOOD)) == MelangeInput(
        gpu_names=("A10G", "A100-80GB"),
        cost_usd_per_hour=(1.01, 3.67),
        request_rates_rps=(((2.0, 1.0), (5.0, 2.0)), ((20.0, 20.0), (40.0, 20.0))),
        workload_distribution=((0.2, 0.1), (0.5, 0.2)),
        total_request_rate=30.0,
        slice_factor=1,
    )


def test_zero_and_null_mean_cannot_serve_and_the_slice_factor_is_optional(tmp_path: Path) -> None:
    content = GOOD | {"gpu_info": {"L4": {"cost": 1, "tputs": [[0, None], [0.0, 3]], "note": "ignored"}}}
    del content["slice_factor"]
    problem = read_melange(_write(tmp_path, content))

    assert problem.request_rates_rps == (((None, None), (None, 3.0)),)
    assert problem.slice_factor == 1


def test_a_distribution_in_percent_is_asked_about(tmp_path: Path) -> None:
    percent = GOOD | {"workload_distribution": [[20, 10], [50, 20]]}
    (said,) = _mistakes(tmp_path, percent)
    assert "workload_distribution: the shares sum to 100, not 1: divide each by 100, or give --normalize" in said
    problem = read_melange(_write(tmp_path, percent), normalize=True)
    assert problem.workload_distribution == ((0.2, 0.1), (0.5, 0.2))


@pytest.mark.parametrize("total", [0.5, 0.99, 1.01, 2.0])
def test_any_other_sum_is_asked_about(tmp_path: Path, total: float) -> None:
    (said,) = _mistakes(tmp_path, GOOD | {"workload_distribution": [[total, 0], [0, 0]]})
    assert f"sum to {total:.6g}, not 1" in said


def test_rounded_shares_pass(tmp_path: Path) -> None:
    problem = read_melange(_write(tmp_path, GOOD | {"workload_distribution": [[0.3333, 0.3333], [0.3333, 0]]}))
    assert problem.workload_distribution[0] == (0.3333, 0.3333)


def test_the_form_of_the_released_readme_is_the_same_problem(tmp_path: Path) -> None:
    listed = {
        "gpu_info": [{"name": name, **gpu} for name, gpu in GOOD["gpu_info"].items()],
        "workload_distribution": GOOD["workload_distribution"],
        "overall_rate": 30.0,
        "slice_factor": 1,
    }
    assert read_melange(_write(tmp_path, listed)) == read_melange(_write(tmp_path, GOOD))


LISTED: dict[str, Any] = {"name": "L4", "cost": 1, "tputs": [[2, 1], [5, 2]]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"gpu_info": []}, "gpu_info: want an object or a list with an entry per GPU, found an empty list"),
        ({"gpu_info": [LISTED, LISTED]}, "gpu_info[1].name: 'L4' is listed twice"),
        ({"gpu_info": [{**LISTED, "name": 4}]}, "gpu_info[0].name: want the name of the GPU, found 4"),
        ({"gpu_info": [{k: v for k, v in LISTED.items() if k != "name"}]}, "gpu_info[0].name: is missing"),
        ({"gpu_info": [7]}, "gpu_info[0]: want an object with cost and tputs, found 7"),
        ({"gpu_info": [{**LISTED, "name": "cost"}]}, "gpu_info[0]: a GPU may not be named 'cost'"),
        ({"gpu_info": [{**LISTED, "cost": -1}]}, "gpu_info[0].cost: must be greater than 0, found -1"),
        ({"overall_rate": 30.0}, "overall_rate: means the same as total_request_rate; keep one of them"),
    ],
)
def test_mistakes_in_the_form_of_the_readme(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    said = _mistakes(tmp_path, GOOD | change)
    assert any(expected in line for line in said), said


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"total_request_rate": -1}, "total_request_rate: must be greater than 0, found -1"),
        ({"total_request_rate": 0}, "total_request_rate: must be at least 1e-06, found 0"),
        ({"total_request_rate": "30"}, "total_request_rate: want a number, found the text '30'"),
        ({"total_request_rate": True}, "total_request_rate: want a number, found true"),
        ({"total_request_rate": float("nan")}, "total_request_rate: must be a finite number"),
        ({"total_request_rate": 10**400}, "total_request_rate: must be a finite number"),
        ({"total_request_rate": 10**20}, "total_request_rate: must be at most 1,000,000,000, found 1000"),
        ({"slice_factor": 0}, "slice_factor: want a whole number from 1 to 10,000, found 0"),
        ({"slice_factor": 1.5}, "slice_factor: want a whole number from 1 to 10,000, found 1.5"),
        ({"slices": 1}, "slices: unknown key; did you mean 'slice_factor'?"),
        ({"workload_distribution": []}, "workload_distribution: want a list of rows such as [[0.2, 0.1], [0.5, 0.2]]"),
        ({"workload_distribution": [[]]}, "workload_distribution[0]: want a list of numbers, found an empty list"),
        ({"workload_distribution": [[1, 2], [3]]}, "workload_distribution[1]: 1 column found, expected 2 as in the"),
        ({"workload_distribution": [[1, 2], 3]}, "workload_distribution[1]: want a list of numbers, found 3"),
        ({"workload_distribution": [[0, 0], [0, 0]]}, "workload_distribution: every share is 0; there is nothing to"),
        ({"workload_distribution": [[1, None], [1, 1]]}, "workload_distribution[0][1]: want a number, found null"),
        ({"workload_distribution": [[1, -1], [1, 1]]}, "workload_distribution[0][1]: must be 0 or at least 1e-12"),
        ({"gpu_info": {}}, "gpu_info: want an object or a list with an entry per GPU, found an empty object"),
        ({"gpu_info": [1]}, "gpu_info[0]: want an object with cost and tputs, found 1"),
        ({"gpu_info": {"L4": 3}}, "gpu_info.L4: want an object with cost and tputs, found 3"),
        ({"gpu_info": {"cost": GOOD["gpu_info"]["A10G"]}}, "gpu_info.cost: a GPU may not be named 'cost': the answer"),
        ({"gpu_info": {"": GOOD["gpu_info"]["A10G"]}}, "gpu_info.'': a GPU's name must be 1 to 64 printable"),
        ({"gpu_info": {"L4": {"cost": 1}}}, "gpu_info.L4.tputs: is missing"),
        ({"gpu_info": {"L4": {"tputs": [[1, 1], [1, 1]]}}}, "gpu_info.L4.cost: is missing"),
        ({"gpu_info": {"L4": {"cost": 0, "tputs": [[1, 1], [1, 1]]}}}, "gpu_info.L4.cost: must be at least 1e-06"),
        (
            {"gpu_info": {"L4": {"cost": 1, "tputs": [[1, 1]]}}},
            "gpu_info.L4.tputs: 1 row × 2 columns found, expected 2",
        ),
        ({"gpu_info": {"L4": {"cost": 1, "tputs": [[1, -1], [1, 1]]}}}, "gpu_info.L4.tputs[0][1]: must be 0 or at"),
    ],
)
def test_a_mistake(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    found = _mistakes(tmp_path, GOOD | change)
    assert len(found) == 1, found
    assert found[0].startswith(f"melange.json: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "melange.json:1: is not valid JSON: Expecting value (column 1)"),
        ('{"a": 1,\n "b": }', "melange.json:2: is not valid JSON: Expecting value (column 7)"),
        ("[1]", "melange.json: want an object with the keys gpu_info, workload_distribution, total_request_rate"),
        ("[" * 100_000, "melange.json: is not usable JSON: it is nested too deeply"),
        ('{"slice_factor": 1, "slice_factor": 2}', "melange.json: the key 'slice_factor' is repeated in one object"),
        ("9" * 10_000, "melange.json: want an object"),
    ],
)
def test_text_that_is_no_input(tmp_path: Path, text: str, expected: str) -> None:
    assert _mistakes(tmp_path, text)[0].startswith(expected)


def test_every_mistake_at_once(tmp_path: Path) -> None:
    content = {
        "gpu_info": {"cost": {"cost": -1, "tputs": [[1, "x"]]}, "L4": {"cost": 1}},
        "workload_distribution": [[0.5, 0.5], [1]],
        "slice_factor": 0,
        "slo": 40,
    }
    assert [mistake.split(": ")[1] for mistake in _mistakes(tmp_path, content)] == [
        "slo",
        "total_request_rate",
        "workload_distribution[1]",
        "gpu_info.cost",
        "gpu_info.cost.cost",
        "gpu_info.cost.tputs[0][1]",
        "gpu_info.L4.tputs",
        "slice_factor",
    ]


def test_a_large_file_of_bad_values_fails_fast_and_briefly(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD | {"workload_distribution": [["x"] * 1000] * 300})
    start = time.process_time()
    with pytest.raises(InputError) as caught:
        read_melange(path)
    assert len(caught.value.mistakes) == 101
    assert time.process_time() - start < 5
