"""What whoever reads a plan learns of prices that may be wrong, from the command line and over HTTP."""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from server import CatalogServer, cut

from sky_melange.cli import cli
from sky_melange.resources import data_path

EXTRACTS = Path(__file__).resolve().parents[1] / "data" / "prices"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CatalogServer]:
    with CatalogServer() as server:
        for cloud in ("aws", "azure", "lambda", "nebius"):
            server.put(cloud, data_path("catalogs", "prices", f"{cloud}.csv").read_bytes())
        monkeypatch.setenv("SKY_MELANGE_CATALOG_URL", server.url)
        monkeypatch.setenv("SKY_MELANGE_CACHE_DIR", str(tmp_path / "cache"))
        yield server


def planned(
    tmp_path: Path, clouds: str | list[str], accelerators: list[str], spot: str = "never"
) -> tuple[str, dict[str, Any]]:
    """What is printed, and plan.json."""
    workload = {
        "version": 1,
        "name": "chat",
        "model": {"id": "meta-llama/Llama-3.1-8B-Instruct", "dtype": "bfloat16", "max_model_len": 4096},
        "slo": {"attainment": "mean", "tpot_ms": 60, "ttft_ms": 3000},
        "traffic": {
            "request_rate": 5,
            "histogram": {"source": "t", "input_tokens": [1000], "output_tokens": [250], "weights": [[1]]},
        },
        "candidates": {
            "clouds": [clouds] if isinstance(clouds, str) else clouds,
            "accelerators": accelerators,
            "spot": spot,
        },
        "profiles": {"estimate": True},
        "router": {"kind": "none"},
    }
    path = tmp_path / "workload.yaml"
    path.write_text(yaml.safe_dump(workload))
    result = CliRunner(mix_stderr=False).invoke(cli, ["plan", str(path), "--out", str(tmp_path / "plan")])
    assert result.exit_code == 0, result.stderr
    return result.stdout, json.loads((tmp_path / "plan" / "plan.json").read_text())


def bought(plan: dict[str, Any]) -> list[tuple[str, float, int]]:
    return [(group["instance_type"], group["price_usd_per_hour"], group["instances"]) for group in plan["groups"]]


@pytest.mark.parametrize("accelerator", ["H100-NVL", "A100-80GB-PCIE", "A100-80GB", "H100"])
def test_windows_prices_change_no_plan(mirror: CatalogServer, tmp_path: Path, accelerator: str) -> None:
    _, clean = planned(tmp_path, "azure", [accelerator])
    mirror.put("azure", gzip.decompress((EXTRACTS / "azure-windows.csv.gz").read_bytes()))
    _, windows = planned(tmp_path, "azure", [accelerator])
    assert bought(windows) == bought(clean)


def test_a_tenth_of_every_price_is_reported_on_stdout_and_in_the_plan(mirror: CatalogServer, tmp_path: Path) -> None:
    _, truth = planned(tmp_path, "lambda", ["A10", "H100"])
    header, *rows = data_path("catalogs", "prices", "lambda.csv").read_text().splitlines()
    at = header.split(",").index("Price")
    cells = [row.split(",") for row in rows]
    for row in cells:
        row[at] = repr(round(float(row[at]) / 10, 4)) if row[at] else ""
    mirror.put("lambda", "".join(f"{line}\n" for line in (header, *(",".join(row) for row in cells))).encode())
    for _ in range(2):  # the second time the copy at hand holds the fault
        stdout, plan = planned(tmp_path, "lambda", ["A10", "H100"])
        text = " ".join(stdout.split())
        assert plan["cost"]["replicas_usd_per_hour"] == pytest.approx(truth["cost"]["replicas_usd_per_hour"])
        assert "Prices in doubt (lambda): " in text
        assert any("the earlier price is used" in warning for warning in plan["warnings"])
        assert any("is not believed" in warning and "lambda/" in warning for warning in plan["warnings"])


def test_a_mirror_of_two_clouds_plans_nebius(mirror: CatalogServer, tmp_path: Path) -> None:
    mirror.fail("lambda", lambda handler, _: handler.answer(404, b""))
    mirror.fail("azure", lambda handler, _: handler.answer(404, b""))
    stdout, plan = planned(tmp_path, ["aws", "nebius"], ["H100"])
    assert [price for _, price, _ in bought(plan)] == [2.95]
    assert "Prices in doubt" not in stdout


def _days_of_the_cut() -> list[float]:
    with (EXTRACTS / "aws-p5-2025-06.csv").open() as file:
        return [float(row["price_usd"]) for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize("instance_type", ["p5.48xlarge", "p9.48xlarge"], ids=["embedded", "new"])
def test_the_cut_of_aws_in_2025_passes_day_by_day(mirror: CatalogServer, tmp_path: Path, instance_type: str) -> None:
    """98.32 to 55.04 in a night: of a machine that this release knows (by as much), and of one that it does not."""
    header, *rows = data_path("catalogs", "prices", "aws.csv").read_text().splitlines()
    at = header.split(",").index("Price")
    machines = [row.split(",") for row in rows if row.startswith("p5.48xlarge,")]
    others = [row for row in rows if not row.startswith("p5.")]
    days = _days_of_the_cut()
    assert (days[0], days[-1]) == (98.32, 55.04)
    for day in days:
        quotient = day / days[0]
        today = [
            ",".join([instance_type, *row[1:at], repr(float(row[at]) * quotient) if row[at] else "", *row[at + 1 :]])
            for row in machines
        ]
        mirror.put("aws", "".join(f"{line}\n" for line in (header, *others, *today)).encode())
        stdout, plan = planned(tmp_path, "aws", ["H100"])
        text = " ".join(stdout.split())
        assert bought(plan) == [(instance_type, pytest.approx(55.04 * quotient), 1)]
        assert ("aws asks 44% less than before" in text) == (quotient < 1)
        assert any("44% less" in warning for warning in plan["warnings"]) == (quotient < 1)


@pytest.fixture
def counts(mirror: CatalogServer) -> CatalogServer:
    """Small catalogs of a stranger with wrong counts, and nothing else."""
    for cloud in ("azure", "nebius"):
        mirror.fail(cloud, lambda handler, _: handler.answer(404, b""))
    for cloud in ("aws", "lambda", "mithril", "runpod"):
        mirror.put(cloud, (EXTRACTS / f"{cloud}-counts.csv").read_bytes())
    return mirror


@pytest.mark.usefixtures("counts")
@pytest.mark.parametrize(
    ("accelerator", "spot", "machine"),
    [
        ("L40S", "never", ("1x_L40S_SECURE", 0.86)),
        ("L40S", "only", ("1x_L40S_SECURE", 0.5)),
        ("RTXA6000", "never", ("1x_RTXA6000_SECURE", 0.79)),
        ("H100", "allow", ("gpu_1x_h100_sxm5", 4.29)),
        ("H200", "never", ("p5en.48xlarge", 63.296)),
    ],
)
def test_no_plan_buys_n_gpus_for_the_price_of_one(
    tmp_path: Path, accelerator: str, spot: str, machine: tuple[str, float]
) -> None:
    stdout, plan = planned(tmp_path, ["aws", "lambda", "mithril", "runpod"], [accelerator], spot)
    assert {(instance_type, price) for instance_type, price, _ in bought(plan)} == {machine}
    if accelerator in ("L40S", "RTXA6000"):
        assert "! Prices in doubt (" in stdout
        assert any("below_smaller_machines" in warning for warning in plan["warnings"])


def test_a_part_of_gcps_h100_machine_is_sold_as_spot_only(mirror: CatalogServer, tmp_path: Path) -> None:
    mirror.put("gcp", data_path("catalogs", "prices", "gcp.csv").read_bytes())
    stdout, plan = planned(tmp_path, "gcp", ["H100"])
    assert [instance_type for instance_type, _, _ in bought(plan)] == ["a3-highgpu-8g"]
    assert "not_sold_on_demand" in stdout
    _, plan = planned(tmp_path, "gcp", ["H100"], "only")
    assert [instance_type for instance_type, _, _ in bought(plan)] == ["a3-highgpu-1g"]
    _, plan = planned(tmp_path, "gcp", ["B200"], "only")
    assert [instance_type for instance_type, _, _ in bought(plan)] == ["a4-highgpu-8g"]


@pytest.mark.parametrize("kind", ["of another cloud", "in another currency", "of unknown GPUs"])
def test_a_catalog_that_is_none_is_named_first(mirror: CatalogServer, tmp_path: Path, kind: str) -> None:
    header, *rows = data_path("catalogs", "prices", "lambda.csv").read_text().splitlines()
    content, said = {
        "of another cloud": (data_path("catalogs", "prices", "aws.csv").read_text(), "serves the catalog of aws"),
        "in another currency": (
            "\n".join([f"{header},Currency", *(f"{row},EUR" for row in rows)]) + "\n",
            "priced in EUR, not in USD",
        ),
        "of unknown GPUs": (
            "\n".join([header, *(re.sub(r"^([^,]*),[^,]+,", r"\1,Z900,", row) for row in rows)]) + "\n",
            "does not know the accelerator Z900",
        ),
    }[kind]
    mirror.put("lambda", content.encode())
    stdout, plan = planned(tmp_path, ["aws", "lambda"], ["A10", "A10G"])
    assert stdout.startswith("NO PRICES of lambda")
    assert said in " ".join(stdout.split())
    assert [entry["cloud"] for entry in plan["prices"]["missing_clouds"]] == ["lambda"]
    assert {group["cloud"] for group in plan["groups"]} == {"aws"}


def test_a_catalog_that_lacks_many_machines_is_reported_without_an_earlier_copy(
    mirror: CatalogServer, tmp_path: Path
) -> None:
    """Cut between two rows, with a length of its own: only what this release knows tells."""
    mirror.put("lambda", cut(data_path("catalogs", "prices", "lambda.csv").read_bytes(), 0.6, rows=True))
    stdout, plan = planned(tmp_path, ["aws", "lambda"], ["A10", "A10G"])
    said = "Prices of lambda: the catalog lacks 9 of the 23 kinds of GPU machine that this release knows"
    assert said in " ".join(stdout.split())
    assert any(warning.startswith(said) for warning in plan["warnings"])
    _, elsewhere = planned(tmp_path, "aws", ["A10G"])
    assert not any("lambda" in warning for warning in elsewhere["warnings"])
