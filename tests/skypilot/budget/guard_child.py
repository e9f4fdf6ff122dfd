"""A child process with SkyPilot in it, and what tests say to it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from api_server import ApiServer, catalogs_of


@dataclass(slots=True)
class SkyChild:
    """SkyPilot in a process of its own. `budgets` is the file that the guard reads."""

    home: Path
    process: subprocess.Popen[str]
    budgets: Path
    ledger: Path

    def call(self, op: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, (self.home / "child.log").read_text(encoding="utf-8")[-4000:]
        answer = json.loads(line)
        assert not (isinstance(answer, dict) and "error" in answer), answer["error"]
        return answer

    def ask(self, task: dict[str, Any], **asked: Any) -> dict[str, Any]:
        """How the guard answers for a task."""
        answer: dict[str, Any] = self.call("ask", text=yaml.safe_dump(task), **asked)
        return answer

    def write_budgets(self, **sections: Any) -> None:
        self.budgets.write_text(yaml.safe_dump({"version": 1, **sections}), encoding="utf-8")

    def catalog(self, cloud: str) -> str:
        return (self.home / ".sky" / "catalogs" / "v8" / cloud / "vms.csv").read_text(encoding="utf-8")


def start_child(home: Path) -> SkyChild:
    catalogs = catalogs_of(["A100", "L4", "H100"], clouds=("aws", "gcp"))
    catalogs["aws/vms.csv"] = with_priceless_machine(catalogs["aws/vms.csv"])
    setting = ApiServer(home=home, catalogs=catalogs, clouds=None)
    setting.write_settings()
    budgets = home / "budgets.yaml"
    with (home / "child.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("sky_child.py"))],
            env={**setting.variables(), "IS_SKYPILOT_SERVER": "true", "SKY_MELANGE_BUDGETS": str(budgets)},
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
        )
    return SkyChild(home, process, budgets, home / ".sky" / "melange" / "budget-ledger.db")


def with_priceless_machine(catalog: str) -> str:
    """With a machine that has a T4 and the price 0."""
    rows = list(csv.DictReader(io.StringIO(catalog)))
    model = next(row for row in rows if row["InstanceType"] == "p5.4xlarge")
    gpu = {"AcceleratorName": "T4", "AcceleratorCount": "1", "GpuInfo": model["GpuInfo"].replace("H100", "T4")}
    line = io.StringIO()
    csv.DictWriter(line, list(model), lineterminator="\n").writerow(
        {**model, **gpu, "InstanceType": "free.1x", "Price": "0", "SpotPrice": "0"}
    )
    return catalog + line.getvalue()


def end_child(child: SkyChild) -> None:
    try:
        child.process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.communicate(timeout=30)
