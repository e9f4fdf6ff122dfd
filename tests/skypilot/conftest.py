"""A plan folder to spoil in one place; and which tests start servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from plan_folders import launch_config, planned_group, write_plan

_HERE = Path(__file__).resolve().parent
_WITH_SERVERS = (
    "budget", "dashboard", "plugin", "launch/test_killed.py", "launch/test_real_api_server.py",
    "launch/test_scaled_week.py", "test_api_server.py", "test_project_config.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = tuple(_HERE / name for name in _WITH_SERVERS)
    for item in items:
        if any(item.path.is_relative_to(place) for place in places) and item.get_closest_marker("smoke") is None:
            item.add_marker(pytest.mark.server)


@pytest.fixture
def plan_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes one aws group in serve mode with changes to its plan entry; returns the folder."""

    def write(*, entry: Mapping[str, Any] | None = None, text: str | None = None, **changes: Any) -> Path:
        group = planned_group("aws", "chat-aws")
        files = {} if text is None else {"chat-aws.yaml": text}
        default = {"chat-aws.yaml": launch_config(group, "serve")}
        return write_plan(tmp_path / "plan", [{**group, **(entry or {})}], files or default, **changes)

    return write
