"""Every package has its tests. Style, types and the direction of imports are steps of `.ci/run` and of pre-commit."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@cache
def _modules() -> tuple[tuple[Path, ast.Module], ...]:
    paths = sorted((ROOT / "sky_melange").rglob("*.py"))
    return tuple((path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths)


def test_every_package_has_a_folder_of_tests() -> None:
    parts = {
        path.name for path in (ROOT / "sky_melange").iterdir() if path.is_dir() and (path / "__init__.py").exists()
    }
    tested = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert parts - {"domain"} <= tested


def test_the_same_machine_is_defined_once() -> None:
    """No other tuple of instance type, accelerator and count: some left out the zone, or wrote "" for None."""
    homes = {
        "domain/machine.py": "the definition, and what one commitment covers: in whichever zone, by the canonical name",
        "domain/offer.py": "an order, with the price",
        "prices/source.py": "across sources, which name accelerators differently",
    }
    found = set()
    for path, tree in _modules():
        for node in ast.walk(tree):
            parts = node.elts if isinstance(node, ast.Tuple) else []
            names = {part.attr for part in parts if isinstance(part, ast.Attribute)}
            counted = names & {"accelerators_per_instance", "machine_accelerators"}
            if "instance_type" in names and counted and names & {"accelerator", "catalog_accelerator"}:
                found.add(path.relative_to(ROOT / "sky_melange").as_posix())
    assert found == set(homes)


_ALIKE = {
    (
        "domain/fleet.py:FleetPlan",
        "pipeline/fleet_search.py:Found",
    ): "what is told, and what it is told from",
    ("domain/plan.py:ReplicaGroup", "profiles/importers/request.py:ImportRequest"): "asked for, and so may be open",
    ("domain/profile.py:ProfileKey", "profiles/importers/request.py:ImportRequest"): "asked for, and so may be open",
    ("domain/profile.py:ProfileKey", "profiles/lookup.py:Wanted"): "asked for, and so may be open",
}


def _declared_fields() -> dict[str, dict[str, str]]:
    """Of each dataclass, `file:name`: its fields, inherited ones too, and which class declares each."""
    bodies: dict[str, tuple[list[str], set[str], bool]] = {}
    for path, tree in _modules():
        file = path.relative_to(ROOT / "sky_melange").as_posix()
        homes = {
            alias.name: f"{(node.module or '').removeprefix('sky_melange.').replace('.', '/')}.py"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            bases = [f"{homes.get(base.id, file)}:{base.id}" for base in node.bases if isinstance(base, ast.Name)]
            named = {
                item.target.id
                for item in node.body
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
            }
            made = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
            bodies[f"{file}:{node.name}"] = bases, named if made else set(), made

    def fields(name: str) -> dict[str, str]:
        bases, named, _ = bodies.get(name, ([], set(), False))
        inherited = [item for base in bases for item in fields(base).items()]
        return dict(inherited) | dict.fromkeys(named, name)

    return {name: fields(name) for name, (_, _, made) in bodies.items() if made}


def test_no_two_dataclasses_declare_the_same_five_fields() -> None:
    """What several have is declared by a base of both. The exceptions may only become fewer."""
    declared = _declared_fields()
    assert declared["domain/offer.py:Offer"]["region"] == "domain/machine.py:InRegion"
    found = {
        (one, other)
        for (one, left), (other, right) in itertools.combinations(sorted(declared.items()), 2)
        if sum(left[name] != right[name] for name in left.keys() & right.keys()) >= 5
    }
    assert found == set(_ALIKE)


_FORMATS = {"json": ("untrusted.py", "workload_file/", "skypilot/plugin/")}
_FORMATS["yaml"] = (*_FORMATS["json"], "skypilot/launch_files.py", "render/router_litellm.py")


def test_json_and_yaml_are_read_by_the_modules_of_formats() -> None:
    """And in the plugin of SkyPilot's server. YAML is written by the module of the file, too."""
    calls = {"json": {"JSONDecoder", "load", "loads"}, "yaml": None}
    found = set()
    for path, tree in _modules():
        for node in ast.walk(tree):
            of = node.value.id if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else ""
            if isinstance(node, ast.Attribute) and of in calls and node.attr in (calls[of] or {node.attr}):
                found.add((of, path.relative_to(ROOT / "sky_melange").as_posix()))
    assert {("json", "untrusted.py"), ("yaml", "workload_file/yaml_source.py")} <= found
    assert [each for each in sorted(found) if not each[1].startswith(_FORMATS[each[0]])] == []


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports a file by its name alone: it would leave the second out, with an error."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_nothing_lies_at_the_top_that_nobody_put_there() -> None:
    """A trial's `plan/` was committed twice: in a checkout, git keeps what a command run there has written."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {"benchmarks", "catalogs", "docs", "examples", "scripts", "sky_melange", "templates", "tests", ".ci"}
    files = {
        ".gitignore",
        ".pre-commit-config.yaml",
        ".pre-commit-hooks.yaml",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "README.md",
        "action.yml",
        "constraints.txt",
        "mkdocs.yml",
        "pyproject.toml",
    }
    assert {name.split("/")[0] for name in names} <= folders | files


def test_the_whole_check_leaves_no_test_out() -> None:
    """Each combination of the markers that `pytest` without options skips is run by one of the lines of `.ci/run`."""
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    chosen = re.findall(r"^pytest --hypothesis-profile ci .*-m '([^']+)'$", text, re.MULTILINE)
    chosen += re.findall(r"^\s*SKY_MELANGE_REQUIRE_ENGINES=1 pytest -n 2 -m (\w+)", text, re.MULTILINE)
    assert len(chosen) == 3
    for values in itertools.product((True, False), repeat=3):
        has = dict(zip(("engines", "server", "slow"), values, strict=True))
        assert any(eval(expression, {}, has) for expression in chosen), has  # noqa: S307 - of our own file


def _count_code() -> ModuleType:
    spec = importlib.util.spec_from_file_location("count_code", ROOT / "scripts" / "count_code.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["count_code"] = module
    spec.loader.exec_module(module)
    return module


def _figures(lines: list[str]) -> dict[str, list[float]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {name: [float(cell.replace(",", "")) for cell in cells] for name, *cells in rows}


def test_the_count_of_code_in_the_documentation_is_about_today_s() -> None:
    """Within a tenth: an exact one would change with every commit. `python scripts/count_code.py --write` renews it."""
    module = _count_code()
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    told = _figures(text[text.index("| part | modules |") :].partition("\n\n")[0].splitlines())
    counted = _figures(list(module.table(ROOT / "sky_melange")))
    assert list(told) == list(counted)
    for name, figures in counted.items():
        for one, other, least in zip(told[name], figures, (1, 10, 5, 1, 0.5), strict=True):
            assert abs(one - other) <= max(0.1 * other, least), name


def test_code_is_counted_as_the_script_says() -> None:
    text = '''"""Words."""

# one comment
@decorated
def outer():  # another
    """No # comment."""
    def inner():
        return "# no comment"
    return inner
'''
    counted = _count_code().count(text)
    assert (counted.lines, sorted(counted.function_lines), counted.comments) == (9, [2, 5], 2)
    empty = _count_code().count("")
    assert (empty.lines, empty.function_lines, empty.comments) == (0, (), 0)
    assert empty.row("x") == ("x", "1", "0", "0", "–", "–")
