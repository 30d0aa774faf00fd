"""The station inside this process: commands from people, live pictures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.images import write_png
from edge.station.alarm import AlarmState
from edge.station.commands import Acknowledge, MarkEvent, ResetAlarm, ShelveAlarm, Stop, WantPictures
from edge.station.config import load_config
from edge.station.judge import Verdict
from edge.station.station import Station
from tests.edge.tiny_bundle import scene


def until(true: Callable[[], bool], timeout_s: float = 60.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def station(tiny: Path, tmp_path: Path) -> Iterator[Station]:
    """A station whose camera shows a defect in the first half second of every three seconds."""
    camera = tmp_path / "camera"
    camera.mkdir()
    for n in range(60):
        write_png(camera / f"{n:04}.png", scene(n, defect=n < 10))
    typed = {
        "engine.bundle": tiny,
        "engine.backend": "onnxruntime",
        "engine.threads": 1,
        "camera.url": str(camera),
        "camera.realtime": True,
        "camera.loop": True,
        "camera.fps": 20,
        "alarm.latch": "reset",
        "events.folder": tmp_path / "events",
    }
    made = Station(load_config(None, typed))
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.parts.commands.put(Stop("the test is over"))
    thread.join(15)
    assert not thread.is_alive()


def test_people_shelve_acknowledge_reset_and_mark(station: Station, tmp_path: Path) -> None:
    ask = station.parts.commands.put
    until(lambda: station.status.verdict is Verdict.ALARM)
    ask(ShelveAlarm("me", 60.0))
    until(lambda: station.status.alarm is AlarmState.SHELVED)
    assert station.status.verdict is Verdict.OK and station.status.shelved
    ask(ShelveAlarm("me", 0.0))
    until(lambda: station.status.verdict is Verdict.ALARM)
    ask(ResetAlarm("me"))  # refused: nobody has acknowledged it
    ask(Acknowledge("me"))
    until(lambda: station.status.alarm is AlarmState.LATCHED_ACKNOWLEDGED)
    assert station.status.verdict is Verdict.ALARM
    ask(ResetAlarm("me"))
    until(lambda: station.status.verdict is Verdict.OK)
    ask(MarkEvent("me", "A1", "false-alarm"))
    until(lambda: any((tmp_path / "events" / "normal").iterdir()))
    ask(MarkEvent("me", "A99", "false-alarm"))  # logged, and nothing else happens
    until(lambda: station.parts.writer.waiting == 0)
    assert station.parts.writer.trouble is None


def test_who_watches_gets_live_pictures(station: Station) -> None:
    until(lambda: station.status.verdict is not Verdict.STARTING)
    assert station.status.picture is None
    station.parts.commands.put(WantPictures(time.monotonic() + 10))
    until(lambda: station.status.picture is not None)
    first = station.status.picture
    assert first is not None
    frame, heat = (cv2.imdecode(np.frombuffer(data, np.uint8), 1) for data in (first.frame_jpeg, first.heatmap_jpeg))
    assert frame.shape == heat.shape == (64, 64, 3)
    until(lambda: station.status.picture is not None and station.status.picture.sequence > first.sequence)
