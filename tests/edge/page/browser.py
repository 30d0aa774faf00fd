"""A real headless Chromium."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking --no-first-run --disable-sync "
    "--disable-component-update --disable-dev-shm-usage --hide-scrollbars --lang=en-GB"
).split()


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A browser with a fresh profile; ends with the block. Skips where Chromium or its driver are absent."""
    driver, binary = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or binary is None:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install selenium")
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def size(browser: Any, width: int, height: int) -> None:
    """Make the window look `width` by `height` pixels large."""
    values = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", values)


def screenshot(browser: Any) -> bytes:
    """What the window shows, as PNG."""
    return base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {})["data"])
