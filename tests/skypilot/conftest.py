"""A plan folder to spoil in one place; and which tests start servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plan_folders import launch_config, planned_group, write_plan

from sky_melange.plan_file import PlanDocument

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
def planned(tmp_path: Path) -> Callable[..., PlanDocument]:
    """The plan of one aws group in serve mode, its launch file beside it (`text` instead)."""

    def write(*, text: str | None = None, **changes: Any) -> PlanDocument:
        group = planned_group("aws", "chat-aws", **changes)
        return write_plan(tmp_path / "plan", [group], {"chat-aws.yaml": text or launch_config(group, "serve")})

    return write
