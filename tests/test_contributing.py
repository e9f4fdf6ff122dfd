"""CONTRIBUTING.md, carried out to the letter in a copy of the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]

PRICES = """\
cloud,region,instance_type,accelerator,accelerators,vcpus,memory_gib,price_usd_per_hour
lambda,us-east-1,cheap,H100,1,26,200,1.0
lambda,us-east-1,dearer,H100,1,26,200,1.5
lambda,us-east-1,double,H100,2,52,400,3.0
"""
"""Two of the first carry the traffic for USD 2.00; the second does the same for more, so that dominance drops it."""


def _section(title: str) -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.split(r"^## ", text.partition(f"## {title}\n")[2], flags=re.MULTILINE)[0]


def _blocks(title: str) -> list[str]:
    """The code blocks of a section, without their indentation under a list."""
    found = re.findall(r"^( *)```python\n(.*?)^ *```$", _section(title), flags=re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of what the package needs to run."""
    for name in ("sky_melange", "catalogs", "templates"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"


def _insert(path: Path, before: str, text: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert content.count(before) == 1
    path.write_text(content.replace(before, text + before), encoding="utf-8")


def _run(copied: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(copied), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copied.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _sky_melange(copied: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _run(copied, "-m", "sky_melange", *arguments)


def _workload(folder: Path, **constraints: object) -> Path:
    text = (ROOT / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8")
    workload = yaml.safe_load(text)
    workload["traffic"]["request_rate"] = 16
    workload["candidates"] = {"clouds": ["lambda"], "regions": {"lambda": ["us-east-1"]}, "accelerators": ["H100"]}
    workload["constraints"] = {"max_utilization": 0.9, **constraints}
    workload["prices"] = {"overrides": "prices.csv"}
    workload["router"] = {"kind": "none"}
    workload["launch"]["controller"] = "consolidated"
    (folder / "prices.csv").write_text(PRICES, encoding="utf-8")
    path = folder / "workload.yaml"
    path.write_text(yaml.safe_dump(workload), encoding="utf-8")
    return path


@pytest.fixture
def with_limit(copied: Path) -> Path:
    """The copy with the limit of CONTRIBUTING: two files, and its entry in `LIMITS`."""
    limit, key = _blocks("A limit")
    package = copied / "sky_melange"
    (package / "optimizer" / "limits" / "offers.py").write_text(limit, encoding="utf-8")
    _insert(package / "domain" / "workload.py", "\n\nclass Objective(", key)
    registry = package / "optimizer" / "limits" / "__init__.py"
    entry = re.search(r"`(\"\w+\": \w+)`", _section("A limit"))
    assert entry is not None
    _insert(registry, "from sky_melange.optimizer.limits.replicas import", _import("offers", "MaxPerOffer"))
    _insert(registry, '    "switching": KeepRunning,', f"    {entry[1]},\n")
    return copied


def _import(module: str, name: str) -> str:
    return f"from sky_melange.optimizer.limits.{module} import {name}\n"


def _planned(copied: Path, workload: Path) -> dict[str, object]:
    found = _sky_melange(copied, "plan", str(workload), "--offline", "--out", str(copied.parent / "plan"))
    assert found.returncode == 0, found.stderr
    text = (copied.parent / "plan" / "plan.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _total(plan: dict[str, object]) -> float:
    cost = plan["cost"]
    assert isinstance(cost, dict)
    return float(cost["total_usd_per_hour"])


def test_a_limit_makes_a_right_plan_and_says_so(with_limit: Path, tmp_path: Path) -> None:
    assert _total(_planned(with_limit, _workload(tmp_path))) == 2.0
    workload = _workload(tmp_path, max_per_offer=1)
    plan = _planned(with_limit, workload)
    assert plan["status"] == "optimal"
    assert _total(plan) == 2.5
    # Twice into one folder: everything in it is known to be a plan's own.
    assert _planned(with_limit, workload) == plan
    checked = _sky_melange(with_limit, "check", str(tmp_path / "plan"), "--offline")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_limit_is_explained_and_named_where_it_is_in_the_way(with_limit: Path, tmp_path: Path) -> None:
    explained = _sky_melange(with_limit, "plan", str(_workload(tmp_path, max_per_offer=1)), "--offline", "--explain")
    assert explained.returncode == 0, explained.stderr
    assert re.search(r"constraints\.max_per_offer +1\b.*2\.00", explained.stdout), explained.stdout
    refused = _sky_melange(
        with_limit, "plan", str(_workload(tmp_path, max_per_offer=1, max_accelerators={"H100": 1})), "--offline"
    )
    assert refused.returncode == 4
    assert "constraints.max_per_offer = 1" in refused.stderr


def test_a_limit_is_verified_without_the_solver(with_limit: Path, tmp_path: Path) -> None:
    _planned(with_limit, _workload(tmp_path, max_per_offer=2))
    found = _run(
        with_limit,
        "-c",
        textwrap.dedent(
            """
            import dataclasses, sys
            from pathlib import Path
            from sky_melange.plan_file import read_plan
            from sky_melange.optimizer.limits import LIMITS

            read = read_plan(Path(sys.argv[1]))
            constraints = dataclasses.replace(read.workload.constraints, max_per_offer=1)
            workload = dataclasses.replace(read.workload, constraints=constraints)
            print(*LIMITS["offers"].violations(read.plan, workload, {}))
            assert "pulp" not in sys.modules
            """
        ),
        str(tmp_path / "plan"),
    )
    assert found.returncode == 0, found.stderr
    assert "2 × chat-h100 are planned, constraints.max_per_offer is 1" in found.stdout


def test_the_key_of_a_limit_is_checked_as_every_other(with_limit: Path, tmp_path: Path) -> None:
    refused = _sky_melange(with_limit, "plan", str(_workload(tmp_path, max_per_offer=0)), "--offline")
    assert refused.returncode == 2
    assert "constraints.max_per_offer: must be at least 1" in refused.stderr
    assert "max_per_offer" in _sky_melange(with_limit, "schema").stdout


def test_mypy_refuses_a_limit_that_lacks_a_method(with_limit: Path) -> None:
    path = with_limit / "sky_melange" / "optimizer" / "limits" / "offers.py"
    text = path.read_text(encoding="utf-8")
    start = text.index("    def restricted_to")
    path.write_text(text[:start] + text[text.index("    def rows") :], encoding="utf-8")
    found = _run(
        with_limit,
        *("-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")),
        *("--cache-dir", str(with_limit.parent / "mypy"), "--follow-imports", "silent"),
        str(path.with_name("__init__.py")),
    )
    assert found.returncode == 1, found.stdout
    assert "restricted_to" in found.stdout or "type[Limit]" in found.stdout, found.stdout
