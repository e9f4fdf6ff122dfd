"""examples/budget-guard does what its README says."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from guard_child import SkyChild
from tasks import gcp_price

from sky_melange.cli import cli
from sky_melange.workload_file import read_budgets

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "budget-guard"
DOCS = Path(__file__).resolve().parents[3] / "docs" / "budget-guard.md"


def test_the_rejection_is_the_one_in_the_readme(sky: SkyChild) -> None:
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^Rejected by .*$", text, re.MULTILINE)
    sky.budgets.write_text((EXAMPLE / "budgets.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    task = yaml.safe_load((EXAMPLE / "three-a100.yaml").read_text(encoding="utf-8"))
    assert sky.ask(task, user="bob")["message"] == shown
    assert f"{3 * gcp_price(sky.catalog('gcp'), 'a2-highgpu-1g', 'A100'):.4f}" in shown
    assert sky.ask(task, user="alice")["passed"] is True


@pytest.mark.parametrize("name", ["budgets.yaml", "broken"])
def test_the_schema_of_budgets(name: str, tmp_path: Path) -> None:
    schema = json.loads(CliRunner().invoke(cli, ["schema", "budgets"]).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    document = yaml.safe_load((EXAMPLE / "budgets.yaml").read_text(encoding="utf-8"))
    if name == "broken":
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**document, "user": {}}, schema)
    else:
        jsonschema.validate(document, schema)
        assert len(read_budgets(EXAMPLE / name).limits) == 5


def test_the_classes_in_the_example_and_the_documentation_exist() -> None:
    """By their modules' files: SkyPilot itself is not imported here."""
    config = yaml.safe_load((EXAMPLE / "config.yaml").read_text(encoding="utf-8"))
    plugins = yaml.safe_load((EXAMPLE / "plugins.yaml").read_text(encoding="utf-8"))
    named = {config["admin_policy"], *(plugin["class"] for plugin in plugins["plugins"])}
    for name in named:
        module, _, class_name = name.rpartition(".")
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        assert f"class {class_name}(" in Path(spec.origin).read_text(encoding="utf-8")
        assert name in DOCS.read_text(encoding="utf-8")


def test_every_key_of_the_file_is_documented() -> None:
    schema = json.loads(CliRunner().invoke(cli, ["schema", "budgets"]).stdout)
    text = DOCS.read_text(encoding="utf-8")
    assert all(f"| `{key}` |" in text for key in schema["properties"])
