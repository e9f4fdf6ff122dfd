"""`solve`, `prices`, `schema`, and the group itself."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from sky_melange.cli import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "means" / "workload.yaml"

MELANGE = {
    "gpu_info": {
        "A10G": {"cost": 1.01, "tputs": [[2, 1], [5, 2]]},
        "A100-80GB": {"cost": 3.67, "tputs": [[20, 20], [40, 20]]},
    },
    "workload_distribution": [[0.2, 0.1], [0.5, 0.2]],
    "total_request_rate": 30.0,
    "slice_factor": 1,
}


def run(*arguments: str | Path) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def melange(tmp_path: Path) -> Path:
    path = tmp_path / "melange.json"
    path.write_text(json.dumps(MELANGE))
    return path


def test_solve_sliced_answers_as_the_released_solver(melange: Path) -> None:
    result = run("solve", melange, "--formulation", "sliced")
    assert json.loads(result.stdout) == {"A10G": 3, "A100-80GB": 1, "cost": pytest.approx(6.7)}


def test_solve_exact_is_never_dearer(melange: Path) -> None:
    assert json.loads(run("solve", melange).stdout) == {"A10G": 1, "A100-80GB": 1, "cost": pytest.approx(4.68)}


def test_solve_says_when_a_bucket_has_no_gpu(tmp_path: Path) -> None:
    gpus = {name: {**gpu, "tputs": [[0, 1], [5, 2]]} for name, gpu in MELANGE["gpu_info"].items()}  # type: ignore[attr-defined]
    path = tmp_path / "melange.json"
    path.write_text(json.dumps({**MELANGE, "gpu_info": gpus}))
    result = run("solve", path)
    assert result.exit_code == 4
    assert "bucket [0][0]" in result.stderr


def test_prices_lists_the_cheapest_first() -> None:
    result = run("prices", "--accelerator", "H100", "--on-demand", "--all", "--format", "json")
    offers = json.loads(result.stdout)["offers"]
    each = [offer["price_usd_per_accelerator_hour"] for offer in offers]
    assert offers
    assert each == sorted(each)
    assert {offer["accelerator"] for offer in offers} == {"H100"}
    assert all(offer["provenance"]["source"] for offer in offers)


def test_prices_quarantine_names_reasons() -> None:
    items = json.loads(run("prices", "--quarantined", "--format", "json").stdout)["quarantined"]
    assert items
    assert all(item["rule"] and item["reason"] for item in items)


def test_prices_csv_is_readable() -> None:
    rows = list(csv.DictReader(io.StringIO(run("prices", "--cloud", "lambda", "--format", "csv").stdout)))
    assert rows
    assert all(float(row["price_usd_per_hour"]) > 0 for row in rows)


@pytest.mark.parametrize("arguments", [("prices",), ("prices", "--quarantined", "--cloud", "gcp")])
def test_price_tables_fit_100_columns(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= 100


def test_prices_names_all_mistakes_at_once() -> None:
    result = run("prices", "--accelerator", "h100", "--cloud", "amazon")
    assert result.exit_code == 2
    assert "did you mean H100?" in result.stderr
    assert "amazon" in result.stderr


def test_schema_accepts_the_quickstart_and_refuses_a_typo() -> None:
    schema = json.loads(run("schema").stdout)
    document = yaml.safe_load(QUICKSTART.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "sloo": 1}, schema)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"sky-melange {command}" in result.stdout


def test_help_lists_commands_and_exit_codes() -> None:
    result = run("--help")
    assert all(command in result.stdout for command in COMMANDS)
    assert "Exit codes" in result.stdout


def test_unknown_command_is_bad_usage() -> None:
    assert run("plam").exit_code == 2


def test_no_command_is_listed_with_its_sentence_cut_off() -> None:
    for group in ((), ("profiles",), ("workload",)):
        _, head, listed = run(*group, "--help").stdout.partition("Commands:")
        assert head
        assert "..." not in listed
