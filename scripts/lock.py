"""The lock, `constraints.txt`: exact versions for pip and uv, those that the tests run with.

python scripts/lock.py              does it satisfy pyproject.toml?
python scripts/lock.py --installed  and is everything in this environment in it, at its version?
python scripts/lock.py --write      resolve anew; needs `uv`
python scripts/lock.py --lowest     print the lowest versions that pyproject.toml allows, as constraints
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[1]
EXTRAS: Final = ("dev", "docs", "gpuhunt", "mcp", "plot", "postgres", "spark", "traces")
"""Those that CI installs. The other engines of Ibis would hold back versions that everybody else takes."""

HEADER: Final = f"""\
# Exact versions that the tests run with: pip install -c constraints.txt .
# Of the extras {", ".join(EXTRAS)}. Written by `python scripts/lock.py --write`.
"""

_NOT_LOCKED: Final = frozenset({"pip", "setuptools", "wheel", "sky-melange", "uv"})
"""What makes an environment, and the package itself."""


def read_lock(text: str) -> tuple[dict[str, str], list[str]]:
    """Versions by name, and what is wrong with the lines."""
    versions: dict[str, str] = {}
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            entry = Requirement(line)
        except InvalidRequirement as error:
            faults.append(f"constraints.txt:{number}: {error}")
            continue
        pins = list(entry.specifier)
        name = canonicalize_name(entry.name)
        if len(pins) != 1 or pins[0].operator != "==" or pins[0].version.endswith("*"):
            faults.append(f"constraints.txt:{number}: {line}: write {entry.name}==VERSION")
        elif name in versions:
            faults.append(f"constraints.txt:{number}: {entry.name} is listed twice")
        else:
            versions[name] = pins[0].version
    return versions, faults


def requirements(project: dict[str, object], extras: Iterable[str] = EXTRAS) -> Iterator[Requirement]:
    """Of the project and of its extras."""
    table = project["project"]
    assert isinstance(table, dict)
    for text in (*table["dependencies"], *(line for extra in extras for line in table["optional-dependencies"][extra])):
        yield Requirement(text)


def lowest(wanted: Iterable[Requirement]) -> Iterator[str]:
    """`name==version` of every requirement that has a lower bound: what `uv pip --resolution lowest-direct` takes."""
    bounds = {
        canonicalize_name(requirement.name): pin.version
        for requirement in wanted
        for pin in requirement.specifier
        if pin.operator == ">="
    }
    for name, version in sorted(bounds.items()):
        yield f"{name}=={version}"


def against_project(versions: dict[str, str], wanted: Iterable[Requirement]) -> list[str]:
    """Requirements that the lock lacks or contradicts."""
    faults = []
    for requirement in wanted:
        version = versions.get(canonicalize_name(requirement.name))
        if version is None:
            faults.append(f"pyproject.toml: {requirement} is not in constraints.txt")
        elif not requirement.specifier.contains(version, prereleases=True):
            faults.append(f"pyproject.toml: {requirement} excludes {requirement.name}=={version} of constraints.txt")
    return faults


def against_installed(versions: dict[str, str], installed: Iterable[tuple[str, str]]) -> list[str]:
    """Installed packages that the lock lacks, or has at another version."""
    faults = []
    for name, version in sorted((canonicalize_name(name), version) for name, version in installed):
        if name not in _NOT_LOCKED and versions.get(name) != version:
            faults.append(f"installed: {name}=={version}, in constraints.txt: {versions.get(name, 'nothing')}")
    return faults


def main() -> int:
    """Exit code 3 when the lock does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--installed", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--lowest", action="store_true")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    lock, project = options.root / "constraints.txt", options.root / "pyproject.toml"
    if options.lowest:
        print(*lowest(requirements(tomllib.loads(project.read_text(encoding="utf-8")), ("dev",))), sep="\n")
        return 0
    if options.write:
        command = ["uv", "pip", "compile", "--quiet", "--upgrade", "--universal", "--python-version", "3.11"]
        command += ["--fork-strategy", "fewest", "--no-annotate", "--no-header"]
        command += [part for extra in EXTRAS for part in ("--extra", extra)]
        done = subprocess.run([*command, str(project)], check=True, capture_output=True, text=True)
        lock.write_text(HEADER + done.stdout, encoding="utf-8")
    versions, faults = read_lock(lock.read_text(encoding="utf-8"))
    faults += against_project(versions, requirements(tomllib.loads(project.read_text(encoding="utf-8"))))
    if options.installed:
        found = importlib.metadata.distributions()
        faults += against_installed(versions, [(dist.metadata["Name"], dist.version) for dist in found])
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        print("run `python scripts/lock.py --write`", file=sys.stderr)
    return 3 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
