"""The page in a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.station.alarm import AlarmState
from edge.station.commands import Acknowledge, MarkEvent, ShelveAlarm
from edge.station.events import EventStore
from edge.station.judge import Verdict
from tests.edge.page.browser import chromium, screenshot, size
from tests.edge.page.conftest import TOKEN, Served
from tests.edge.page.statuses import a_picture

Serve = Callable[..., Served]


def until(browser: Any, script: str, wanted: object, timeout_s: float = 60.0) -> None:
    """Wait until a JavaScript expression has this value."""
    end_s = time.monotonic() + timeout_s
    while (found := browser.execute_script(f"return {script}")) != wanted:
        assert time.monotonic() < end_s, f"{script} is {found!r}, not {wanted!r}"
        time.sleep(0.03)


def text_of(name: str) -> str:
    return f"document.getElementById('{name}').textContent"


def seen(browser: Any) -> NDArray[np.uint8]:
    """The picture of the page."""
    return np.asarray(cv2.imdecode(np.frombuffer(screenshot(browser), np.uint8), cv2.IMREAD_COLOR), np.uint8)


def click(browser: Any, name: str) -> None:
    browser.find_element("id", name).click()


def test_what_an_operator_does_and_sees(serve: Serve, store: EventStore, tmp_path: Path) -> None:
    """State changes, acknowledge round trip, silence, and the way back after a restart, in one browser."""
    served = serve()
    station = served.station
    with chromium(tmp_path / "profile") as browser:
        size(browser, 1280, 800)
        browser.get(served.url)
        until(browser, text_of("word"), "OK")
        until(browser, "document.querySelectorAll('#events li').length", 4)
        assert colour_of_verdict(browser) == "rgb(31, 122, 77)"

        station.change(Verdict.ALARM, picture=a_picture(3, defect=True))
        until(browser, text_of("word"), "ALARM")
        assert colour_of_verdict(browser) == "rgb(195, 32, 43)"
        until(browser, "document.getElementById('acknowledge').disabled", False)
        browser.execute_script("document.getElementById('who').value = 'Ada'")
        click(browser, "acknowledge")
        until(browser, text_of("answer"), "Acknowledged up to A17")
        assert station.take(Acknowledge) == [Acknowledge("Ada", 17)]
        store.acknowledge(17, time.time(), "Ada")
        station.change(Verdict.ALARM, acknowledged=True, alarm=AlarmState.ACKNOWLEDGED_ACTIVE)
        until(browser, "document.getElementById('acknowledge').disabled", True)
        until(browser, "document.querySelectorAll('.badge.waits').length", 0)

        station.change(Verdict.FAULT)
        until(browser, text_of("word"), "FAULT")
        assert colour_of_verdict(browser) == "rgb(240, 180, 0)"
        assert "camera lost" in browser.execute_script(f"return {text_of('reason')}")

        served.station.stop()
        served.sink.close()
        until(browser, text_of("word"), "NO CONTACT")
        station.change(Verdict.OK)
        served.restart()
        until(browser, text_of("word"), "OK")
        errors = [e for e in browser.get_log("browser") if e["level"] == "SEVERE" and "ERR_" not in e["message"]]
        assert not errors


def colour_of_verdict(browser: Any) -> str:
    return str(browser.execute_script("return getComputedStyle(document.getElementById('verdict')).backgroundColor"))


@pytest.mark.slow
def test_the_keyboard_the_slider_and_the_marks(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    with chromium(tmp_path / "profile") as browser:
        from selenium.webdriver.common.keys import Keys

        browser.get(served.url)
        until(browser, "document.querySelectorAll('#events li').length", 4)
        served.station.change(Verdict.ALARM, picture=a_picture(3, defect=True))
        until(browser, "document.getElementById('no-picture').hidden", True)
        body = browser.find_element("tag name", "body")
        reached = []
        for _ in range(14):
            body.send_keys(Keys.TAB)
            reached.append(
                browser.execute_script("return document.activeElement.id || document.activeElement.className")
            )
        for name in ("skip", "opacity", "acknowledge", "minutes", "shelve", "who", "thumb", "mark"):
            assert name in reached, reached
        slider = browser.find_element("id", "opacity")
        slider.send_keys(Keys.HOME)
        until(browser, "document.getElementById('heat').style.opacity", "0")
        slider.send_keys(Keys.END)
        until(browser, text_of("opacity-said"), "100 %")
        click(browser, "shelve")
        until(browser, text_of("answer"), "Shelved for 15 min")
        assert served.station.take(ShelveAlarm)[0].seconds == 900.0  # type: ignore[attr-defined]
        browser.find_element("css selector", "#events li[data-id=A16] .mark").click()
        until(browser, text_of("answer"), "A16 is being marked")
        assert MarkEvent("page", "A16", "false-alarm") in served.station.take(MarkEvent)
        browser.find_element("css selector", "#events li[data-id=A16] .thumb").click()
        until(browser, "document.getElementById('large-picture').naturalWidth", 320)
        assert browser.execute_script("return document.getElementById('spoken').textContent").startswith("ALARM.")


@pytest.mark.slow
def test_the_token_is_asked_once(serve: Serve, tmp_path: Path) -> None:
    served = serve(token=TOKEN)
    with chromium(tmp_path / "profile") as browser:
        browser.get(served.url)
        until(browser, "document.getElementById('login').open", True)
        browser.find_element("id", "token").send_keys("wrong token\n")
        until(browser, text_of("login-answer"), "wrong token\n")
        browser.find_element("id", "token").send_keys(TOKEN + "\n")
        until(browser, text_of("word"), "OK")
        assert browser.execute_script("return document.cookie") == "", "no script can read the cookie"
        browser.refresh()
        until(browser, text_of("word"), "OK")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1280, 1010), (390, 1180)], ids=["desktop", "phone"])
def test_it_fits_and_can_be_read(serve: Serve, tmp_path: Path, width: int, height: int) -> None:
    """Nothing sticks out sideways, the word is large, and the verdict's colour fills a good part of the screen."""
    served = serve()
    fill_trend(served)
    with chromium(tmp_path / "profile") as browser:
        size(browser, width, height)
        browser.get(served.url)
        for verdict, defect in ((Verdict.OK, False), (Verdict.ALARM, True), (Verdict.FAULT, False)):
            more = {} if verdict is Verdict.FAULT else {"picture": metal_picture(int(defect), defect=defect)}
            served.station.change(verdict, **more)
            until(browser, text_of("word"), verdict.name)
            if more:
                until(browser, "document.getElementById('no-picture').hidden", True)
                until(browser, "state.shown", int(defect))
            image = seen(browser)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            word_height = browser.execute_script(
                "return document.getElementById('word').getBoundingClientRect().height"
            )
            assert word_height >= width / 8
            assert image.shape[:2] == (height, width)


def fill_trend(served: Served) -> None:
    """Ten minutes of history."""
    rng = np.random.default_rng(0)
    scores = 2.0 + rng.random(1200) * 1.1
    scores[700:712] += 7
    now_s = time.monotonic()
    served.sink._hub._trend.take(now_s, [(600 - n / 2, float(score)) for n, score in enumerate(scores)])


def metal_picture(sequence: int, *, defect: bool) -> Any:
    """Brushed metal with a bore, and perhaps a scratch that the heat map shows."""
    from edge.station.evidence import Sight, live

    rng = np.random.default_rng(1)
    lines = cv2.GaussianBlur(rng.normal(0, 22, (480, 640)).astype(np.float32), (61, 1), 20)
    shade = 150 + 25 * np.cos(np.linspace(-1.4, 1.2, 640))[None] + lines
    image = np.clip(shade, 0, 255).astype(np.uint8)
    cv2.circle(image, (330, 235), 92, 38, -1, cv2.LINE_AA)
    cv2.circle(image, (330, 235), 104, 188, 7, cv2.LINE_AA)
    heat = np.zeros((64, 64), np.float32)
    if defect:
        cv2.polylines(image, [np.array([[452, 120], [486, 176], [500, 250]])], False, 235, 3, cv2.LINE_AA)
        cv2.line(heat, (46, 17), (50, 32), 1.0, 4)
    heat = cv2.GaussianBlur(heat, (11, 11), 3).astype(np.float32)
    pair = live(Sight(sequence, image, np.asarray(heat, np.float32), 1.3 if defect else 0.0))
    return replace(a_picture(sequence), frame_jpeg=pair[0], heatmap_jpeg=pair[1])
