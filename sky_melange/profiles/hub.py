"""The config.json of a model's page at huggingface.co: from huggingface_hub's cache, or fetched on request.

The only module here that looks at the environment and the network; its callers are commands.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sky_melange.errors import InputError, MissingDataError, Mistake
from sky_melange.profiles.loading import HUB_TOKEN
from sky_melange.profiles.model_config import config_object, parse_object

ENDPOINT_VARIABLE: Final = "HF_ENDPOINT"

_ENDPOINT: Final = "https://huggingface.co"
_MAX_BYTES: Final = 4 * 1024**2
_TIMEOUT_S: Final = 15.0
_REVISION: Final = re.compile(r"[0-9a-f]{40}")


def cached_config(model: str) -> Mapping[str, Any] | None:
    """The config.json that huggingface_hub has kept of a model, at its main revision; None where it has none."""
    repository = _cache() / f"models--{model.replace('/', '--')}"
    try:
        revision = (repository / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    path = repository / "snapshots" / revision / "config.json"
    if not _REVISION.fullmatch(revision) or not path.exists():
        return None
    return config_object(path)


def fetched_config(model: str) -> Mapping[str, Any]:
    """The config.json of a model's page, asked for now.

    Raises MissingDataError where there is no network or the model is gated, InputError where there is no such model.
    """
    import requests

    endpoint = os.environ.get(ENDPOINT_VARIABLE, "").strip().rstrip("/") or _ENDPOINT
    token = os.environ.get(HUB_TOKEN, "").strip()
    address = f"{endpoint}/{model}/resolve/main/config.json"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with requests.get(address, headers=headers, timeout=_TIMEOUT_S, stream=True) as answer:
            content = answer.raw.read(_MAX_BYTES + 1, decode_content=True) if answer.status_code == 200 else b""
            status = answer.status_code
    except (requests.RequestException, OSError) as error:
        raise MissingDataError(
            f"write `model.config: config.json` with the model's configuration: {endpoint} cannot be reached "
            f"({type(error).__name__})"
        ) from None
    if status in (401, 403):
        has = f"{HUB_TOKEN} is not let in" if token else f"there is no {HUB_TOKEN}"
        raise MissingDataError(
            f"{model} is gated, private or does not exist, and {has}: accept its licence at {endpoint}/{model} and set "
            f"{HUB_TOKEN}, or write `model.config: config.json` with its configuration"
        )
    if status == 404:
        message = f"{endpoint} has no config.json of {model}; check the id (a repository of GGUF files has none)"
        raise InputError([Mistake(source="--fetch-config", key="model.id", message=message)])
    if status != 200:
        raise MissingDataError(f"{endpoint} answers {status}; try again, or write `model.config: config.json`")
    if len(content) > _MAX_BYTES:
        raise MissingDataError(
            f"{address} is larger than {_MAX_BYTES // 1024**2} MiB; write `model.config: config.json`"
        )
    return parse_object(content, address)


def _cache() -> Path:
    """Where huggingface_hub keeps repositories, by its own variables."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(named).expanduser()
    home = os.environ.get("HF_HOME")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(home) if home else Path(base) / "huggingface").expanduser() / "hub"
