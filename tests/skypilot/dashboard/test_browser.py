"""What happens to these tests where there is no browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import programs


def test_without_a_browser_they_are_skipped_unless_it_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SKY_MELANGE_REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="chromium chromedriver"):
        programs()
    monkeypatch.setenv("SKY_MELANGE_REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="chromium chromedriver"):
        programs()
