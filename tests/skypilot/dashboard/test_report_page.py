"""`sky-melange report` in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Browser
from click.testing import CliRunner

from sky_melange.cli import cli

EXAMPLE = Path(__file__).parents[3] / "examples" / "means" / "workload.yaml"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    planning = ("plan", EXAMPLE, "--offline", "-o", folder / "plan")
    for arguments in (planning, ("report", folder / "plan", "-o", folder / "r.html")):
        assert CliRunner().invoke(cli, [str(argument) for argument in arguments]).exit_code == 0
    return folder / "r.html"


def test_it_reads_on_a_desk_and_a_phone_in_light_and_dark(browser: Browser, report: Path) -> None:
    browser.open(report.as_uri())
    assert "per month" in browser.text(".bill")
    seen = set()
    for _, width in browser.first_screens("report"):
        seen.add(browser.driver.execute_script("return getComputedStyle(document.body).backgroundColor"))
        # Wide tables scroll in themselves.
        assert browser.driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert len(seen) == 2
    assert browser.hosts() == set()


def test_axe_finds_no_serious_fault(browser: Browser, report: Path) -> None:
    browser.driver.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    try:
        browser.open(report.as_uri())
        for seen in browser.first_screens("report"):
            assert browser.accessibility_faults("body") == [], seen
    finally:
        browser.driver.execute_cdp_cmd("Page.setBypassCSP", {"enabled": False})
