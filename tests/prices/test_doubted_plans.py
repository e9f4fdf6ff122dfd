"""What whoever reads a plan learns of prices that may be wrong, from the command line and over HTTP."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from server import CatalogServer

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


def planned(tmp_path: Path, cloud: str, accelerators: list[str]) -> tuple[str, dict[str, Any]]:
    workload = {
        "version": 1,
        "name": "chat",
        "model": {"id": "meta-llama/Llama-3.1-8B-Instruct", "dtype": "bfloat16", "max_model_len": 4096},
        "slo": {"tpot_ms": 60, "ttft_ms": 3000},
        "traffic": {
            "request_rate": 5,
            "histogram": {"source": "t", "input_tokens": [1000], "output_tokens": [250], "weights": [[1]]},
        },
        "candidates": {"clouds": [cloud], "accelerators": accelerators},
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
        assert "Prices in doubt:" in text
        assert "the earlier price is used" in text
        assert any("is not believed" in warning and "lambda/" in warning for warning in plan["warnings"])


def test_a_mirror_of_two_clouds_plans_nebius(mirror: CatalogServer, tmp_path: Path) -> None:
    mirror.fail("lambda", lambda handler, _: handler.answer(404, b""))
    mirror.fail("azure", lambda handler, _: handler.answer(404, b""))
    _, plan = planned(tmp_path, "nebius", ["H100"])
    assert [group["price_usd_per_hour"] for group in plan["groups"]] == [2.95]
