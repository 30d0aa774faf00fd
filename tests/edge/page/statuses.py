"""Statuses, events and pictures as a station would make them, for tests of those who are told."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from edge.station.alarm import AlarmState
from edge.station.commands import Command, CommandQueue
from edge.station.events import EventRecord, EventStore
from edge.station.evidence import Sight, live, lossless, overlay
from edge.station.judge import Verdict
from edge.station.sinks import SinkContext
from edge.station.status import LivePicture, StageTimes, StationStatus
from tests.edge.tiny_bundle import scene

STAGES = {
    "wait": StageTimes(0.2, 0.6, 1.1),
    "preprocess": StageTimes(0.9, 1.4, 2.2),
    "health": StageTimes(0.8, 1.2, 1.9),
    "engine": StageTimes(6.4, 7.1, 9.8),
    "decide": StageTimes(0.2, 0.5, 0.9),
}


def a_status(verdict: Verdict = Verdict.OK, **more: object) -> StationStatus:
    """A station that has run for an hour."""
    base = StationStatus(
        station="line-4",
        at_s=time.monotonic(),
        wall_s=time.time(),
        verdict=verdict,
        alarm=AlarmState.UNACKNOWLEDGED_ACTIVE if verdict is Verdict.ALARM else AlarmState.NORMAL,
        occurrence=17,
        acknowledged=verdict is not Verdict.ALARM,
        latched=False,
        shelved=False,
        flooded=False,
        faults={"camera": "camera lost: no picture for 1.2 s"} if verdict is Verdict.FAULT else {},
        score=11.5 if verdict is Verdict.ALARM else 2.3,
        threshold=6.0,
        clear_level=5.5,
        fps=29.8,
        frames=107_280,
        frames_left_out=12,
        restarts=0,
        memory_mb=312.0,
        stages=STAGES,
        engine="TensorRT 10.3, fp16",
        camera="USB camera 640x480 at 30/s",
        bundle="tiles",
        bundle_identity="4f" * 32,
        model_hash="a7" * 32,
        config_version="0123456789ab",
        uptime_s=3600.0,
        note="threshold 6 fitted on 400 normal frames",
        outputs={"serial": "/dev/ttyTHS1 cobs: port open, receiver answers, 0 queued, 8121 sent"},
    )
    return replace(base, **more)  # type: ignore[arg-type]


def a_picture(sequence: int, *, defect: bool = False, size: int = 480) -> LivePicture:
    """A live picture whose heat map is warm at the defect."""
    image = np.asarray(cv2.resize(scene(sequence, defect=defect), (size * 4 // 3, size)), np.uint8)
    heat = np.zeros((64, 64), np.float32)
    heat[32:42, 21:31] = 1.0
    sight = Sight(sequence, image, cv2.GaussianBlur(heat, (9, 9), 3).astype(np.float32), 1.3 if defect else 0.1)
    return LivePicture(sequence, *live(sight))


def add_alarm(store: EventStore, number: int, *, ago_s: float = 60.0, lasted_s: float | None = 4.0) -> EventRecord:
    """An alarm with its pictures in the store."""
    began = time.time() - ago_s
    record = EventRecord(
        id=f"A{number}",
        kind="alarm",
        number=number,
        began_at=began,
        ended_at=None if lasted_s is None else began + lasted_s,
        score=9.0 + number % 5,
        threshold=6.0,
        frame=1000 + number,
        latency_ms=8.4,
        bundle="tiles",
    )
    store.add(record)
    image = np.asarray(cv2.resize(scene(number, defect=True), (320, 240)), np.uint8)
    heat = np.zeros((64, 64), np.float32)
    heat[32:42, 21:31] = 1.0
    sight = Sight(number, image, heat, 1.3)
    from edge.station.channel import Pictures

    store.save_pictures(Pictures(record.id, number, lossless(image), overlay(sight), ""))
    return record


def add_fault(store: EventStore, number: int, *, ago_s: float = 300.0, lasted_s: float | None = 20.0) -> EventRecord:
    """A fault in the store."""
    began = time.time() - ago_s
    record = EventRecord(
        id=f"F{number}",
        kind="fault",
        number=number,
        began_at=began,
        ended_at=None if lasted_s is None else began + lasted_s,
        source="camera",
        reason="camera lost: no picture for 1.2 s",
    )
    store.add(record)
    return record


class PretendStation:
    """The loop of a station as listeners see it: tells its status again and again, and notes what is asked of it."""

    def __init__(self, folder: Path, **options: str | float | bool) -> None:
        self.status = a_status()
        self.commands = CommandQueue()
        self.asked: list[Command] = []
        self.context = SinkContext("line-4", options, self.commands, folder, lambda: self.status)
        self._stop = threading.Event()

    def change(self, verdict: Verdict, **more: object) -> None:
        """From now on this is so."""
        self.status = a_status(verdict, **more)

    def tell(self, sink: object, period_s: float = 0.1) -> None:
        """Publish to `sink` until `stop`."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(sink, period_s), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Be silent, as a station that hangs."""
        self._stop.set()
        self._thread.join()

    def take(self, kind: type[Command]) -> list[Command]:
        """Commands of this kind that were asked for so far."""
        self.asked += self.commands.take()
        return [command for command in self.asked if isinstance(command, kind)]

    def _run(self, sink: object, period_s: float) -> None:
        while not self._stop.wait(period_s):
            now_s = time.monotonic()
            uptime_s = self.status.uptime_s + period_s
            trend = ((0.0, self.status.score or 0.0),)
            self.status = replace(self.status, at_s=now_s, wall_s=time.time(), uptime_s=uptime_s, trend=trend)
            sink.publish(self.status)  # type: ignore[attr-defined]
