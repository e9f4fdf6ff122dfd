"""A plan folder to spoil in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from plan_folders import launch_config, planned_group, write_plan


@pytest.fixture
def plan_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes one aws group in serve mode with changes to its plan entry; returns the folder."""

    def write(*, entry: Mapping[str, Any] | None = None, text: str | None = None, **changes: Any) -> Path:
        group = planned_group("aws", "chat-aws")
        files = {} if text is None else {"chat-aws.yaml": text}
        default = {"chat-aws.yaml": launch_config(group, "serve")}
        return write_plan(tmp_path / "plan", [{**group, **(entry or {})}], files or default, **changes)

    return write
