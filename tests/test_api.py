"""The public API: what the command line says, as values; and `sky.melange`, as SkyPilot itself loads it."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import fleet_files
import pytest
from click.testing import CliRunner

from sky_melange import api
from sky_melange.cli import cli
from sky_melange.errors import CheckFailedError, InputError

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "examples" / "means" / "workload.yaml"


def command(*arguments: str) -> str:
    result = CliRunner(mix_stderr=False).invoke(cli, list(arguments))
    assert result.exit_code == 0, result.stderr
    return str(result.stdout)


@pytest.fixture(scope="module")
def planned() -> api.PlanResult:
    return api.plan(QUICKSTART, offline=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in api.plan(QUICKSTART, offline=True, out=tmp_path).files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_plan_is_that_of_the_command_line(planned: api.PlanResult) -> None:
    printed = command("plan", str(QUICKSTART), "--no-files", "--offline", "--format", "json")
    assert planned.json == printed
    assert planned.files["plan.json"] == printed
    assert planned.plan.explanation is None


def without_ages(value: typing.Any) -> typing.Any:
    """Ages are those of the moment."""
    if isinstance(value, dict):
        aged = value.get("name") == "prices-fresh"
        return {key: without_ages(item) for key, item in value.items() if key != "age_hours" and not aged}
    return [without_ages(item) for item in value] if isinstance(value, list) else value


def test_a_check_is_that_of_the_command_line(folder: Path) -> None:
    from sky_melange.extensions import CHECK_FORMATS

    report = api.check(folder / "plan.json", offline=True)
    assert not report.failed
    printed = json.loads(command("check", str(folder / "plan.json"), "--offline", "--format", "json"))
    assert without_ages(json.loads(CHECK_FORMATS["json"](report))) == without_ages(printed)
    over = api.check(str(folder), max_usd_per_hour=0.01, offline=True)
    assert "budget-total" in {check.name for check in over.failed}


def test_a_difference_is_that_of_the_command_line(folder: Path) -> None:
    from sky_melange.extensions import DIFF_FORMATS

    changes = api.diff(folder, folder / "plan.json")
    printed = command("diff", str(folder), str(folder), "--format", "json")
    assert DIFF_FORMATS["json"](changes) == printed


def test_prices_are_those_of_the_command_line() -> None:
    found = api.prices(accelerator="H100", cloud="gcp", spot=False, offline=True)
    arguments = ("--accelerator", "H100", "--cloud", "gcp", "--on-demand", "--all", "--offline", "--format", "json")
    printed = json.loads(command("prices", *arguments))["offers"]
    assert [offer.price_usd_per_hour for offer in found.offers] == [entry["price_usd_per_hour"] for entry in printed]
    assert found.offers
    assert {state.cloud for state in found.states} >= {"gcp"}
    quarantined = api.prices(offline=True).quarantined
    assert quarantined
    assert all(item.reason for item in quarantined)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: api.plan("no/such/file.yaml"), "there is no such file"),
        (lambda: api.plan(QUICKSTART, formulation="exakt"), "formulation: must be one of exact, sliced"),
        (lambda: api.plan(QUICKSTART, objective="fame"), "objective: must be one of"),
        (lambda: api.check("no/such/plan.json"), "there is no such file; check the path"),
        (lambda: api.check("plan", max_usd_per_hour=math.nan, max_age_hours=-1), "max_usd_per_hour: must be a number"),
        (lambda: api.diff("no/a.json", "no/b.json"), "b.json"),
        (lambda: api.prices(accelerator="H10O", cloud="awz"), "did you mean H100?"),
    ],
)
def test_mistakes_are_input_errors(call: typing.Callable[[], object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert said in str(caught.value)


def test_every_mistake_in_the_keywords_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        api.prices(accelerator="H10O", cloud="awz")
    assert [mistake.source for mistake in caught.value.mistakes] == ["accelerator", "cloud"]


def test_a_plan_over_budget_is_refused_as_the_command_line_does(tmp_path: Path) -> None:
    text = QUICKSTART.read_text(encoding="utf-8")
    text = re.sub(r"^budget:.*\n(  .*\n)*", "", text, flags=re.MULTILINE) + "\nbudget: {usd_per_hour: 0.01}\n"
    (tmp_path / "workload.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(CheckFailedError, match="over budget"):
        api.plan(tmp_path / "workload.yaml", offline=True)


def test_everything_public_is_typed_and_documented() -> None:
    functions = [api.plan, api.check, api.diff, api.prices]
    assert {function.__name__ for function in functions} < set(api.__all__)
    for function in functions:
        assert function.__doc__
        signature = inspect.signature(function)
        assert all(parameter.annotation is not parameter.empty for parameter in signature.parameters.values())
        assert signature.return_annotation is not signature.empty
    assert all(dataclasses.is_dataclass(getattr(api, name)) for name in ("FleetResult", "PlanResult", "PriceList"))
    public = {name for name, value in vars(api).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert public - {"dataclass"} <= set(api.__all__)


def in_child(script: str, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HOME": str(home), "SKY_RUNTIME_DIR": str(home), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_skypilot_shows_it_as_sky_melange(tmp_path: Path) -> None:
    """SkyPilot finds the entry point of the installed package and hands out the module itself."""
    script = """
import sys
import sky
assert "sky_melange" not in sys.modules
assert sky.melange.plan
from sky import melange
import sky.melange
import sky_melange.api
assert melange is sky.melange is sky_melange.api
assert sky_melange.api.__spec__.name == "sky_melange.api"
heavy = {"sky_melange.pipeline", "sky_melange.optimizer", "pulp"} & set(sys.modules)
result = sky.melange.plan("examples/quickstart/workload.yaml", offline=True)
print(sorted(heavy), result.plan.name, len(result.plan.groups) > 0)
"""
    assert in_child(script, tmp_path).splitlines()[-1] == "[] chat True"


def test_the_package_imports_nothing_until_it_is_asked(tmp_path: Path) -> None:
    script = """
import sys
import sky_melange
assert "sky_melange.api" not in sys.modules
assert callable(sky_melange.api.plan)
try:
    sky_melange.no_such_thing
except AttributeError as error:
    print(error)
"""
    assert in_child(script, tmp_path).strip() == "module 'sky_melange' has no attribute 'no_such_thing'"


def test_the_example_in_the_documentation_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/sdk.md, without SkyPilot's namespace around it."""
    text = (ROOT / "docs" / "sdk.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(# A check in a pipeline.*?)```", text, re.DOTALL)
    (folder / "workload.yaml").write_text(QUICKSTART.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(folder)
    said: list[str] = []
    program = example.replace("import sky\n", "").replace("sky.melange.", "api.")
    exec(compile(program, "docs/sdk.md", "exec"), {"api": api, "print": lambda *words: said.append(" ".join(words))})  # noqa: S102
    assert any("USD/h" in line for line in said)
    assert (folder / "plan" / "plan.json").exists()


def test_a_fleet_is_planned_as_at_the_command_line(tmp_path: Path) -> None:
    files = [fleet_files.workload(tmp_path, name, rate=10) for name in ("chat", "talk")]
    path = fleet_files.fleet(tmp_path, *files)
    result = api.plan_fleet(path, offline=True, out=tmp_path / "out")
    done = CliRunner().invoke(cli, ["plan", str(path), "--offline", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert result.json == (tmp_path / "out" / "fleet.json").read_text(encoding="utf-8")
    for member in result.members:
        written = (tmp_path / "out" / member.plan.name / "plan.json").read_text(encoding="utf-8")
        assert member.json == written
    with pytest.raises(InputError, match="is a fleet, not a workload"):
        api.plan(path, offline=True)
