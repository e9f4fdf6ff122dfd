"""Parameters in plugins.yaml."""

from __future__ import annotations

from typing import Any

import pytest

from sky_melange.errors import InputError
from sky_melange.skypilot.plugin.service import Settings, read_settings


def test_defaults_and_values() -> None:
    assert read_settings({}) == Settings()
    given = {"offline": True, "workers": 4, "max_body_mib": 1, "database_url": "postgresql://h/d"}
    assert read_settings(given) == Settings(**given)
    assert read_settings(given).max_body_bytes == 1024 * 1024


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workers", 0),
        ("workers", True),
        ("workers", 1.5),
        ("workers", "2"),
        ("workers", None),
        ("max_seconds", -1),
        ("max_body_mib", 10**9),
        ("offline", "yes"),
        ("offline", 1),
        ("database_url", 5),
        ("databse_url", "x"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"plugins.yaml: MelangePlugin: parameters.{name}: "):
        read_settings({name: value})


def test_every_mistake_at_once_and_no_secret() -> None:
    with pytest.raises(InputError) as caught:
        read_settings({"workers": 0, "database_url": ["postgresql://u:hunter2@h/d"], "x": 1})
    assert len(caught.value.mistakes) == 3
    assert "hunter2" not in str(caught.value)
