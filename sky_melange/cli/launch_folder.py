"""What `up`, `scale`, `status` and `down` share: the plan folder, its record, SkyPilot."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sky_melange.errors import InputError, Mistake

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sky_melange.plan_file import PlanDocument
    from sky_melange.skypilot.launch.cloud import Cloud
    from sky_melange.skypilot.launch.launch import Launch


def read_launch(folder: Path) -> Launch:
    """A plan folder and what was started from it. Raises InputError for either when it is broken."""
    from sky_melange.check.report import files_of
    from sky_melange.cli.plan_folder import recover
    from sky_melange.plan_file import read_files_beside, read_plan
    from sky_melange.skypilot.launch.launch import Launch
    from sky_melange.skypilot.launch.record import read_record

    recover(folder)
    if not folder.is_dir():
        message = "is not a plan folder; `sky-melange plan WORKLOAD --out FOLDER` writes one"
        raise InputError([Mistake(source=str(folder), message=message)])
    document: PlanDocument = read_plan(folder)
    found = read_files_beside(document.path, files_of(document))
    return Launch(
        plan=document.plan,
        workload=document.workload,
        folder=folder,
        files={name: text or "" for name, text in found.items()},
        record=read_record(folder, document.plan.name),
        secrets={},
        say=say,
    )


def connect(project_config: str = "") -> Cloud:
    """SkyPilot, as the user has set it up, with a plan folder's `.sky.yaml` on top."""
    from sky_melange.skypilot.launch.sdk import SkyPilot

    return SkyPilot(project_config=project_config)


_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750, `b64token`: what a client can send as it is, and no shell or configuration reads as anything else."""


def secret_values(launch: Launch, *, with_router: bool = True) -> dict[str, str]:
    """The values of the launch files' secrets, from the environment. Raises InputError naming all that are missing."""
    from sky_melange.domain.front_door import needs_router
    from sky_melange.render.router_sky_yaml import router_secrets

    wanted = list(launch.workload.launch.all_secrets)
    if with_router and needs_router(launch.plan.groups, launch.workload):
        wanted += router_secrets(launch.workload)
    return environment_secrets(wanted, [launch.workload.launch.api_key_secret])


def environment_secrets(wanted: Sequence[str], keys: Collection[str | None]) -> dict[str, str]:
    """The values of secrets from the environment; `keys` are those of APIs. Raises InputError as `secret_values`."""
    mistakes = [
        Mistake(source="environment", key=name, message=_not_set(name, is_key=name in keys))
        for name in dict.fromkeys(wanted)
        if not os.environ.get(name)
    ]
    message = "is not a bearer token: use only letters, digits and . _ ~ + / = - (the value is not shown)"
    mistakes += [
        Mistake(source="environment", key=key, message=message)
        for key in dict.fromkeys(wanted)
        if key in keys and os.environ.get(key) and _TOKEN.fullmatch(os.environ[key]) is None
    ]
    if mistakes:
        raise InputError(mistakes)
    return {name: os.environ[name] for name in wanted}


def _not_set(name: str, *, is_key: bool) -> str:
    message = "is not set; the launch files ask for this secret"
    if not is_key:
        return message
    advice = f"clients and replicas share it: for example `export {name}=$(openssl rand -hex 32)`"
    return f"{message} ({advice}; `launch: {{api_key_secret: none}}` leaves replicas open to the world)"


def is_answerable(*, yes: bool) -> bool:
    """Whether `confirm` gets an answer: there is a terminal, or none is needed."""
    return yes or click.get_text_stream("stdin").isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Asks, unless told not to. Raises InputError where nobody can answer; a no ends the command with exit code 2."""
    if not is_answerable(yes=yes):
        raise InputError("not a terminal, cannot ask before money is spent or machines end: pass --yes")
    if not yes and not click.confirm(question, err=True):
        raise InputError("nothing was changed")


def say(line: str) -> None:
    """Progress, on stderr."""
    click.echo(line, err=True)
