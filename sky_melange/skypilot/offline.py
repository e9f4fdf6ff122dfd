"""Runs SkyPilot in a child process that has its own home, seeded catalogs, no credentials and no network."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sky_melange.errors import CheckFailedError, MissingDataError, SkyMelangeError
from sky_melange.untrusted import json_or_none


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One part of SkyPilot that the file went through: `schema`, `task`, `service` or `optimizer`."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Resources that a file asks for (None where it leaves the choice to SkyPilot) or that SkyPilot picked.

    `place`: cloud, region and zone. `is_sized`: vCPUs and memory are named.
    """

    place: tuple[str | None, str | None, str | None]
    instance_type: str | None
    accelerators: Mapping[str, float] | None
    use_spot: bool
    is_sized: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One file. `replicas` is (least, most) of a service, None for a cluster; `price_usd_per_hour` of one machine.

    `multi_node` is False where the cloud launches single machines only.
    """

    steps: tuple[Step, ...]
    asked: tuple[Resources, ...]
    num_nodes: int
    multi_node: bool
    replicas: tuple[int, int | None] | None
    picked: Resources | None
    price_usd_per_hour: float | None


_WORKER: Final = "sky_melange.skypilot.offline_worker"
_CATALOG_FOLDER: Final = Path(".sky", "catalogs", "v8")
_KEPT_VARIABLES: Final = (
    "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"
)  # fmt: skip
_INSTALL_HINT: Final = "install it with `pip install 'skypilot>=0.14.1,<0.15'`"


def observe_offline(
    *, catalogs: Mapping[str, str], yamls: Sequence[str], timeout_s: float, own: Sequence[tuple[str, str]] = ()
) -> tuple[Observation, ...]:
    """What SkyPilot makes of each YAML text when `catalogs` (CSV text by path below v8/) are all that it knows.

    `own` are the Kubernetes contexts and SSH node pools that there are, as (cloud, name), with room for everything.

    Raises MissingDataError when SkyPilot is not installed or cannot be imported, CheckFailedError when it takes
    longer than `timeout_s`, SkyMelangeError when it dies.
    """
    if importlib.util.find_spec("sky") is None:
        raise MissingDataError(f"SkyPilot is not installed, so nothing can be validated; {_INSTALL_HINT}")
    clouds = sorted({path.split("/")[0] for path in catalogs} - {"common"})
    with tempfile.TemporaryDirectory(prefix="sky-melange-validate-") as home:
        for path, text in catalogs.items():
            target = Path(home) / _CATALOG_FOLDER / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        request = json.dumps({"clouds": clouds, "own": list(own), "yamls": list(yamls)})
        response = _run(Path(home), request, timeout_s)
    if "import_error" in response:
        raise MissingDataError(f"SkyPilot cannot be imported ({response['import_error']}); {_INSTALL_HINT}")
    return tuple(_observation_from_json(entry) for entry in response["files"])


def _run(home: Path, request: str, timeout_s: float) -> Mapping[str, Any]:
    command = [sys.executable, "-m", _WORKER]
    try:
        child = subprocess.run(
            command,
            input=request,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            cwd=home,
            env=_environment(home),
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"SkyPilot did not finish reading the launch files within {timeout_s:g} s; nothing was validated"
        raise CheckFailedError(message) from error
    response = json_or_none(child.stdout) if child.returncode == 0 else None
    if not isinstance(response, dict):
        last_lines = " | ".join(child.stderr.strip().splitlines()[-3:])
        raise SkyMelangeError(f"SkyPilot stopped (exit {child.returncode}) while reading launch files: {last_lines}")
    return response


def _environment(home: Path) -> dict[str, str]:
    """A fresh environment: the user's credentials, proxies and SkyPilot settings must not reach the child.

    Nor do programs: SkyPilot would ask `aws`, `gcloud` or `git` on the path, which have their own way to the network.
    """
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {
        **kept,
        "PATH": str(home / "no-programs"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(home),
        "SKY_RUNTIME_DIR": str(home),
        "USER": "sky-melange",
        "PYTHONPATH": os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path),
        "PYTHONUTF8": "1",
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
    }


def _observation_from_json(data: Mapping[str, Any]) -> Observation:
    """Read one entry of the child's response."""
    picked, service = data["picked"], data.get("service")
    return Observation(
        steps=tuple(Step(name=name, passed=passed, detail=detail) for name, passed, detail in data["steps"]),
        asked=tuple(_resources(entry) for entry in data["asked"]),
        num_nodes=data.get("num_nodes", 1),
        multi_node=data.get("multi_node", True),
        replicas=None if service is None else (service["min"], service["max"]),
        picked=None if picked is None else _resources(picked),
        price_usd_per_hour=None if picked is None else picked["price_usd_per_hour"],
    )


def _resources(data: Mapping[str, Any]) -> Resources:
    return Resources(
        place=(data["cloud"], data["region"], data["zone"]),
        instance_type=data["instance_type"],
        accelerators=data["accelerators"],
        use_spot=data["use_spot"],
        is_sized=data.get("is_sized", False),
    )
