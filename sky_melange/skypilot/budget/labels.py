"""The planned price as a label on what is launched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

LABEL: Final = "sky-melange-micro-usd-per-hour"
"""Per machine. Digits alone, since Google Cloud allows no point in a label, hence the unit."""

_MICRO: Final = 1e6


def label_with_prices(task: Any, per_candidate: Sequence[float | None]) -> None:
    """Writes the price of one machine on each candidate of a `sky.Task`, in its order; None: none is known."""
    labelled = [
        candidate if price is None else _with_label(candidate, str(round(price * _MICRO)))
        for candidate, price in zip(task.resources, per_candidate, strict=True)
    ]
    task.set_resources(type(task.resources)(labelled))


def label_like(task: Any, text: str | None) -> None:
    """Writes the label that a running service's YAML has, or takes it away.

    SkyServe keeps the replicas that run only when nothing outside `service:` changes: a label that followed the price
    would restart them all with every update.
    """
    value = _label_in(text)
    task.set_resources(type(task.resources)([_with_label(candidate, value) for candidate in task.resources]))


def _with_label(candidate: Any, value: str | None) -> Any:
    kept = {key: text for key, text in (candidate.labels or {}).items() if key != LABEL}
    wanted = kept if value is None else {**kept, LABEL: value}
    return candidate if wanted == (candidate.labels or {}) else candidate.copy(labels=wanted or None)


def _label_in(text: str | None) -> str | None:
    from sky.utils import yaml_utils

    for config in yaml_utils.read_yaml_all_str(text) if text else ():
        found = _find(config)
        if found is not None:
            return found
    return None


def _find(value: Any) -> str | None:
    if isinstance(value, dict):
        labels = value.get("labels")
        if isinstance(labels, dict) and LABEL in labels:
            return str(labels[LABEL])
        value = list(value.values())
    if isinstance(value, list):
        return next((found for found in map(_find, value) if found is not None), None)
    return None
