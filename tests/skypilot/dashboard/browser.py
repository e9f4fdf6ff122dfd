"""Headless Chromium from Debian's packages, without a network beyond this machine."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

TIMEOUT_S: Final = 90.0
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1440,1000",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# SkyPilot greets a new visitor with a tour that stops every click.
NO_TOUR: Final = (
    "if (location.protocol === 'http:') for (const key of ['first-visit', 'tour-completed'])"
    " localStorage.setItem(`skypilot-dashboard-${key}`, 'true');"
)

_MISSING: Final = "not installed (Debian: chromium, chromium-driver; PyPI: selenium)"
FOOT: Final = "return Math.ceil(document.querySelector(arguments[0]).getBoundingClientRect().bottom + scrollY)"
_AXE: Final = """
const [within, done] = arguments;
axe.run(within).then(({violations}) => done(violations.filter(({impact}) => ["serious", "critical"].includes(impact))
  .map(({id, nodes}) => `${id}: ${nodes.map(({html}) => html).join(" ")}`)));
"""
# Chromium asks for it by itself; SkyPilot has one below /dashboard/ only.
_FAVICON: Final = re.compile(r"http://127\.0\.0\.1:\d+/favicon\.ico - Failed to load resource: .* 404 ")


def programs() -> tuple[str, str]:
    """Chromium and its driver. Skips where they are missing, fails where SKY_MELANGE_REQUIRE_BROWSER asks for them."""
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if importlib.util.find_spec("selenium") is None:
        found["selenium"] = None
    missing = [name for name, path in found.items() if path is None]
    if missing and os.environ.get("SKY_MELANGE_REQUIRE_BROWSER"):
        pytest.fail(f"{_MISSING}: {' '.join(missing)}")
    if missing:
        pytest.skip(f"{_MISSING}: {' '.join(missing)}")
    return str(found["chromium"]), str(found["chromedriver"])


class Browser:
    """A page, waited for by what it shows."""

    def __init__(self, driver: Chrome, shots: Path) -> None:
        self.driver = driver
        self.shots = shots

    def open(self, url: str) -> None:
        """The page, at the window's own width: a test may end while it emulates another."""
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.driver.get(url)

    def wait(self, what: Callable[[], Any]) -> Any:
        from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        ignored = (NoSuchElementException, StaleElementReferenceException)
        return WebDriverWait(self.driver, TIMEOUT_S, 0.1, ignored).until(lambda _: what())

    def find(self, selector: str) -> WebElement:
        found: WebElement = self.wait(lambda: self.driver.find_element("css selector", selector))
        return found

    def find_all(self, selector: str) -> list[WebElement]:
        return list(self.driver.find_elements("css selector", selector))

    def link(self, text: str) -> WebElement:
        found: WebElement = self.wait(lambda: self.driver.find_element("link text", text))
        return found

    def button(self, label: str, within: str = ".melange") -> WebElement:
        """The button that is called so, by what it says or by its accessible name."""

        def named() -> WebElement | None:
            buttons = self.find_all(f"{within} button")
            return next((b for b in buttons if label in (b.text, b.get_attribute("aria-label"))), None)

        found: WebElement = self.wait(named)
        return found

    def press(self, element: WebElement) -> None:
        """A click, away from the navigation bar that lies over the top of the page."""
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def says(self, text: str, within: str = ".melange") -> None:
        from selenium.common.exceptions import TimeoutException

        try:
            self.wait(lambda: text in self.text(within))
        except TimeoutException:
            raise AssertionError(f"the page does not say {text!r} but: {self.text(within)}") from None

    def text(self, within: str = ".melange") -> str:
        return str(self.driver.find_element("css selector", within).text)

    def rows(self, caption: str) -> list[list[str]]:
        """The cells' texts of the body of the table of this caption."""
        self.find(f".scroll[aria-label='{caption}'] tbody tr")
        return list(
            self.driver.execute_script(
                "return [...document.querySelectorAll(`.scroll[aria-label='${arguments[0]}'] tbody tr`)]"
                ".map((row) => [...row.children].map((cell) => cell.innerText))",
                caption,
            )
        )

    def scheme(self, name: str) -> None:
        """What the system prefers: light or dark."""
        preference = {"features": [{"name": "prefers-color-scheme", "value": name}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", preference)

    def shot(self, name: str, *, end: str | None = None) -> Path:
        """The page as a picture: all of it, or down to the foot of the element that `end` selects."""
        height = self.driver.execute_script("return document.documentElement.scrollHeight")
        self.driver.set_window_size(1280, height + 200)
        try:
            foot = self.driver.execute_script(FOOT, end or ".melange .page")
            area = {"x": 0, "y": 0, "width": 1280, "height": foot + 24, "scale": 1}
            data = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": area})["data"]
        finally:
            self.driver.set_window_size(1440, 1000)
        path = self.shots / f"{name}.png"
        path.write_bytes(base64.b64decode(data))
        return path

    def first_screens(self, name: str) -> Iterator[tuple[str, int]]:
        """(scheme, width) of a desk and a phone in light and dark, each while it is shown; pictures are kept."""
        for scheme in ("light", "dark"):
            self.scheme(scheme)
            for width in (1280, 390):
                metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
                self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
                self.driver.execute_script("scrollTo(0, 0)")
                self.driver.save_screenshot(str(self.shots / f"{name}-{scheme}-{width}.png"))
                yield scheme, width
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def accessibility_faults(self, within: str) -> list[str]:
        """What axe-core calls serious or critical there; skips without SKY_MELANGE_AXE, the path of its axe.min.js."""
        path = os.environ.get("SKY_MELANGE_AXE")
        if path is None:
            pytest.skip("SKY_MELANGE_AXE is not set (npm: axe-core)")
        self.driver.execute_script(Path(path).read_text(encoding="utf-8"))
        return list(self.driver.execute_async_script(_AXE, within))

    def errors(self) -> list[str]:
        """Severe entries of the console since the last call, less SkyPilot's missing /favicon.ico."""
        entries = self.driver.get_log("browser")
        severe = [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
        return [message for message in severe if not _FAVICON.match(message)]

    def hosts(self) -> set[str]:
        """Hosts that the page loaded anything from."""
        script = "return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).host)"
        return set(self.driver.execute_script(script))


@contextmanager
def chromium(profile: Path, shots: Path) -> Iterator[Browser]:
    """A browser with an empty profile."""
    binary, chromedriver = programs()
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    try:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": NO_TOUR})
        yield Browser(driver, shots)
    finally:
        driver.quit()
