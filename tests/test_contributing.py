"""CONTRIBUTING.md, carried out to the letter in a copy of the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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


STEP: Final = re.compile(
    r"^\d+\. (?P<words>(?:.|\n(?!\d+\. ))*?)\n\n( *)```(?:python|text)\n(?P<code>.*?)^\2```$", re.M | re.S
)
FILE: Final = re.compile(r"`((?:sky_melange/)[\w/]+\.py)`")
BELOW: Final = re.compile(r"below `([^`]+)`")
IMPORTS: Final = {
    "sky_melange/optimizer/limits/__init__.py": "from sky_melange.optimizer.limits.offers import MaxPerOffer\n",
    "sky_melange/profiles/__init__.py": "from sky_melange.profiles import fine_tunes\n",
    "sky_melange/render/__init__.py": "from sky_melange.render import notes\n",
}
"""Where the text says "with its import"."""


@dataclass(frozen=True)
class Step:
    """A numbered step of a section that has code: a new file, or lines below a line of a file that is there."""

    path: str
    below: str | None
    code: str


def _steps(title: str) -> list[Step]:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.partition(f"## {title}\n")[2], flags=re.MULTILINE)[0]
    steps = []
    for found in STEP.finditer(section):
        words = " ".join(found["words"].split())
        file, below = FILE.search(words), BELOW.search(words)
        assert file is not None, words
        assert ("new file" in words) == (below is None), words
        assert ("with its import" in words) == (file[1] in IMPORTS), words
        code = re.sub(rf"^{found[2]}", "", found["code"], flags=re.MULTILINE)
        steps.append(Step(path=file[1], below=None if below is None else below[1], code=code))
    return steps


def _carry_out(step: Step, copied: Path) -> None:
    path = copied / step.path
    if step.below is None:
        assert not path.exists()
        path.write_text(step.code, encoding="utf-8")
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (at,) = (number for number, line in enumerate(lines) if line.strip() == step.below)
    at += 2 if lines[at + 1].strip() == "{" else 1
    text = "".join([*lines[:at], step.code, *lines[at:]])
    import_line = "from __future__ import annotations\n"
    path.write_text(text.replace(import_line, import_line + IMPORTS.get(step.path, ""), 1), encoding="utf-8")


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the package needs to run, with everything done to it that CONTRIBUTING says."""
    copied = tmp_path_factory.mktemp("contributing") / "copy"
    for name in ("sky_melange", "catalogs", "templates"):
        shutil.copytree(ROOT / name, copied / name, ignore=shutil.ignore_patterns("__pycache__"))
    for title in TOUCHED:
        for step in _steps(title):
            _carry_out(step, copied)
    return copied


@pytest.fixture
def with_all(carried_out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The copy; commands run in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return carried_out


TOUCHED: Final = {
    "A price source": (1, 1),
    "A profile source": (1, 1),
    "An importer": (1, 1),
    "A limit": (1, 2),
    "A key of workload.yaml": (0, 2),
    "An output of the plan folder": (1, 1),
    "A format of `check`": (1, 1),
    "A command": (1, 1),
    "A log format": (0, 1),
}
"""The files that each change needs: how many new ones, and how many in which lines are added."""


@pytest.mark.parametrize("title", TOUCHED)
def test_a_change_touches_few_files(title: str) -> None:
    steps = _steps(title)
    new = {step.path for step in steps if step.below is None}
    changed = {step.path for step in steps if step.below is not None}
    assert (len(new), len(changed)) == TOUCHED[title]
    assert len(steps) == len(new | changed)
    row = next(line for line in _table_of_changes() if line.startswith(f"| {WORDS[title]} |"))
    assert all(path.removeprefix("sky_melange/") in row for path in changed), row
    assert all(f"`{path.rpartition('/')[0].removeprefix('sky_melange/')}/`" in row for path in new), row


WORDS: Final = {
    "A price source": "a price source",
    "A profile source": "a profile source",
    "An importer": "an importer of profiles",
    "A limit": "a limit of the plan",
    "A key of workload.yaml": "a key of workload.yaml",
    "An output of the plan folder": "an output of the plan folder",
    "A format of `check`": "a format of `check`'s report",
    "A command": "a command",
    "A log format": "a log format",
}
"""What docs/architecture.md calls them."""


def _table_of_changes() -> list[str]:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return text.partition("## What to open for a change\n")[2].partition("\n## ")[0].splitlines()


def _run(copied: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The copy's bytecode stays in it.
    beside = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": ""}
    environment = {**os.environ, **beside, "PYTHONPATH": str(copied), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _sky_melange(copied: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _run(copied, "-m", "sky_melange", *arguments)


def _workload(folder: Path, **constraints: object) -> Path:
    (folder / "prices.csv").write_text(PRICES, encoding="utf-8")
    return _written(folder, {"overrides": "prices.csv"}, {}, constraints)


def _written(folder: Path, prices: object, candidates: dict[str, object], constraints: dict[str, object]) -> Path:
    text = (ROOT / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8")
    workload = yaml.safe_load(text)
    workload["traffic"]["request_rate"] = 16
    places = {"clouds": ["lambda"], "regions": {"lambda": ["us-east-1"]}, "accelerators": ["H100"]}
    workload["candidates"] = {**places, **candidates}
    workload["constraints"] = {"max_utilization": 0.9, **constraints}
    workload["prices"] = prices
    workload["router"] = {"kind": "none"}
    workload["launch"]["controller"] = "consolidated"
    path = folder / "workload.yaml"
    path.write_text(yaml.safe_dump(workload), encoding="utf-8")
    return path


def _planned(copied: Path, workload: Path) -> dict[str, object]:
    found = _sky_melange(copied, "plan", str(workload), "--offline", "--out", str(workload.parent / "plan"))
    assert found.returncode == 0, found.stderr
    text = (workload.parent / "plan" / "plan.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _total(plan: dict[str, object]) -> float:
    cost = plan["cost"]
    assert isinstance(cost, dict)
    return float(cost["total_usd_per_hour"])


@pytest.mark.slow
def test_a_limit_makes_a_right_plan_and_says_so(with_all: Path, tmp_path: Path) -> None:
    assert _total(_planned(with_all, _workload(tmp_path))) == 2.0
    workload = _workload(tmp_path, max_per_offer=1)
    plan = _planned(with_all, workload)
    assert plan["status"] == "optimal"
    assert _total(plan) == 2.5
    # Twice into one folder: everything in it is known to be a plan's own.
    assert _planned(with_all, workload) == plan
    checked = _sky_melange(with_all, "check", str(tmp_path / "plan"), "--offline")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
def test_a_limit_is_explained_and_named_where_it_is_in_the_way(with_all: Path, tmp_path: Path) -> None:
    explained = _sky_melange(with_all, "plan", str(_workload(tmp_path, max_per_offer=1)), "--offline", "--explain")
    assert explained.returncode == 0, explained.stderr
    assert re.search(r"constraints\.max_per_offer +1\b.*2\.00", explained.stdout), explained.stdout
    refused = _sky_melange(
        with_all, "plan", str(_workload(tmp_path, max_per_offer=1, max_accelerators={"H100": 1})), "--offline"
    )
    assert refused.returncode == 4
    assert "constraints.max_per_offer = 1" in refused.stderr


@pytest.mark.slow
def test_a_limit_is_verified_without_the_solver(with_all: Path, tmp_path: Path) -> None:
    _planned(with_all, _workload(tmp_path, max_per_offer=2))
    found = _run(
        with_all,
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


def test_the_key_of_a_limit_is_checked_as_every_other(with_all: Path, tmp_path: Path) -> None:
    refused = _sky_melange(with_all, "plan", str(_workload(tmp_path, max_per_offer=0)), "--offline")
    assert refused.returncode == 2
    assert "constraints.max_per_offer: must be at least 1" in refused.stderr
    assert "max_per_offer" in _sky_melange(with_all, "schema").stdout


@pytest.mark.slow
def test_a_source_a_key_and_an_output_make_one_plan_folder(with_all: Path, tmp_path: Path) -> None:
    workload = _written(tmp_path, {"sources": ["reseller"]}, {"min_memory_gib": 400}, {})
    plan = _planned(with_all, workload)
    groups = plan["groups"]
    assert isinstance(groups, list)
    assert [(group["instance_type"], group["instances"]) for group in groups] == [("reseller-h100-8", 1)]
    assert _total(plan) == 34.32
    assert "1 × reseller-h100-8 in us-east-1" in (tmp_path / "plan" / "wiki" / "NOTES.md").read_text(encoding="utf-8")
    # Without the key the small machine is enough; the folder is replaced, with what the output wrote.
    assert _total(_planned(with_all, _written(tmp_path, {"sources": ["reseller"]}, {}, {}))) < 34.32
    text = (tmp_path / "plan" / "wiki" / "NOTES.md").read_text(encoding="utf-8")
    assert "reseller-h100-1 in us-east-1" in text
    assert _sky_melange(with_all, "regions", "plan").stdout == "lambda/us-east-1\n"
    checked = _sky_melange(with_all, "check", "plan", "--offline", "--format", "tsv", "--write", "tsv=report.tsv")
    assert checked.returncode == 0, checked.stderr
    assert (tmp_path / "report.tsv").read_text(encoding="utf-8") == checked.stdout
    assert re.search(r"^files\tpass\t", checked.stdout, re.MULTILINE), checked.stdout
    (tmp_path / "plan" / "wiki" / "NOTES.md").write_text(text + "- by hand\n", encoding="utf-8")
    assert re.search(
        r"^files\tfail\t", _sky_melange(with_all, "check", "plan", "--offline", "--format", "tsv").stdout, re.M
    )


@pytest.mark.slow
def test_plan_refuses_a_folder_with_a_file_that_no_output_names(with_all: Path, tmp_path: Path) -> None:
    workload = _workload(tmp_path)
    _planned(with_all, workload)
    (tmp_path / "plan" / "wiki" / "MINE.md").write_text("mine", encoding="utf-8")
    found = _sky_melange(with_all, "plan", str(workload), "--offline", "--out", "plan")
    assert found.returncode == 2
    assert "holds files that no plan wrote (wiki/MINE.md)" in found.stderr


def test_names_are_in_help_schema_and_messages(with_all: Path, tmp_path: Path) -> None:
    assert "step-times        our step times (JSON)" in _sky_melange(with_all, "profiles", "import", "--help").stdout
    assert "[tsv|table|" in re.sub(r"\s", "", _sky_melange(with_all, "check", "--help").stdout)
    assert re.search(r"regions +List the regions of a plan\.", _sky_melange(with_all, "--help").stdout)
    schema = json.loads(_sky_melange(with_all, "schema").stdout)
    (names, *_) = schema["$defs"]["PricesSection"]["properties"]["sources"]["items"]["anyOf"]
    assert "reseller" in names["enum"]
    assert schema["$defs"]["CandidatesSection"]["properties"]["min_memory_gib"]["examples"] == [64]
    refused = _sky_melange(
        with_all, "plan", str(_written(tmp_path, {"sources": ["resellr"]}, {"min_memory_gb": 1}, {})), "--offline"
    )
    assert refused.returncode == 2
    assert "reseller" in refused.stderr
    assert "min_memory_gib" in refused.stderr


def test_an_importer_writes_a_profile_and_reports_mistakes(with_all: Path, tmp_path: Path) -> None:
    command = ["profiles", "import", "step-times", "runs.json", "--accelerator", "H100", "--model", "org/model"]
    command += ["--engine", "vllm", "--engine-version", "0.24.0", "--date", "2026-06-01", "--out", "h100.json"]
    (tmp_path / "runs.json").write_text('{"runs": [[100, 100, 1, 0.1, 0.02], [100, 100, 8, 0.2, -1]]}')
    refused = _sky_melange(with_all, *command)
    assert refused.returncode == 2
    assert "runs.json: runs[1]: want five positive numbers" in refused.stderr
    (tmp_path / "runs.json").write_text('{"runs": [[100, 100, 1, 0.1, 0.02], [100, 100, 8, 0.2, 0.03]]}')
    assert _sky_melange(with_all, *command).returncode == 0
    shown = _sky_melange(with_all, "profiles", "show", "--file", "h100.json")
    assert shown.returncode == 0, shown.stderr
    assert "org/model on 1 × H100" in shown.stdout


def test_a_profile_source_is_asked_for_every_model(with_all: Path) -> None:
    code = (
        "from sky_melange.profiles import load_profiles\n"
        "ours, theirs = (load_profiles(f'{org}/Llama-3.1-8B-Instruct', 'bfloat16', 'vllm', {'H100'})"
        " for org in ('our-org', 'meta-llama'))\n"
        "print(len(ours), {profile.key.model for profile in ours}, len(ours) == len(theirs))"
    )
    found = _run(with_all, "-c", code)
    assert re.fullmatch(r"[1-9]\d* \{'our-org/Llama-3.1-8B-Instruct'\} True\n", found.stdout), (
        found.stdout + found.stderr
    )


def test_a_log_format_is_recognised(with_all: Path, tmp_path: Path) -> None:
    rows = "".join(f"{100 + n},{10 + n},2026-06-01T10:00:{n:02d}Z\n" for n in range(60))
    (tmp_path / "log.csv").write_text("tokens_in,tokens_out,received_at\n" + rows)
    found = _sky_melange(with_all, "workload", "from-trace", "log.csv", "--format", "json")
    assert found.returncode == 0, found.stderr
    assert "gateway log" in found.stdout


@pytest.mark.slow
def test_mypy_refuses_a_limit_that_lacks_a_method(with_all: Path, tmp_path: Path) -> None:
    shutil.copytree(with_all, tmp_path / "copy")
    path = tmp_path / "copy" / "sky_melange" / "optimizer" / "limits" / "offers.py"
    text = path.read_text(encoding="utf-8")
    start = text.index("    def restricted_to")
    path.write_text(text[:start] + text[text.index("    def rows") :], encoding="utf-8")
    found = _run(
        tmp_path / "copy",
        *("-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")),
        *("--cache-dir", str(tmp_path / "mypy"), "--follow-imports", "silent"),
        str(path.with_name("__init__.py")),
    )
    assert found.returncode == 1, found.stdout
    assert "restricted_to" in found.stdout or "type[Limit]" in found.stdout, found.stdout
