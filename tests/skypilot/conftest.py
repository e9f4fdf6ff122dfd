"""A plan folder to spoil in one place; and which tests start servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plan_folders import launch_config, planned_group, write_plan

from sky_melange.plan_file import PlanDocument

_HERE = Path(__file__).resolve().parent
_WITH_SERVERS = ("budget", "dashboard", "plugin", "test_api_server.py", "test_project_config.py")
_SLOW = ("launch/test_killed.py", "launch/test_real_api_server.py", "launch/test_scaled_week.py")
"""These start servers or processes too, but are indifferent to what runs beside them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    markers = dict.fromkeys(_WITH_SERVERS, pytest.mark.server) | dict.fromkeys(_SLOW, pytest.mark.slow)
    for item in items:
        for name, marker in markers.items():
            if item.path.is_relative_to(_HERE / name) and item.get_closest_marker("smoke") is None:
                item.add_marker(marker)


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., PlanDocument]:
    """The plan of one aws group in serve mode, its launch file beside it (`text` instead)."""

    def write(*, text: str | None = None, **changes: Any) -> PlanDocument:
        group = planned_group("aws", "chat-aws", **changes)
        return write_plan(tmp_path / "plan", [group], {"chat-aws.yaml": text or launch_config(group, "serve")})

    return write
