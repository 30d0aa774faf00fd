from __future__ import annotations

import io
import json
import logging
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InputError
from edge.locate import cells_of
from edge.preprocess import Preprocessing, Region, prepared
from edge.station.alarm import Alarm, AlarmRules
from edge.station.channel import (
    Blind,
    Pictures,
    Ready,
    Scored,
    decode_word,
    encode_word,
    receive_pictures,
    receive_words,
    send_pictures,
    send_word,
)
from edge.station.commands import Acknowledge, CommandQueue
from edge.station.decision import DecisionRules, Vote
from edge.station.events import EventRecord
from edge.station.evidence import Sight, live, overlay
from edge.station.judge import Fault, FaultKind, FaultSource, Judge
from edge.station.sinks import QueuedSink, SinkContext, open_sink
from edge.station.snapshot import Around, Counters, Identity, station_status
from edge.station.status import StationStatus
from edge.station.terminal import JsonLines, StatusLine
from tests.edge.tiny_bundle import scene

RECORD = EventRecord(id="A1", kind="alarm", number=1, began_at=1.0, score=9.0, threshold=6.0, frame=4, latency_ms=2.0)


def a_status(*, score: float | None = 1.0, fault: bool = False) -> StationStatus:
    judge = Judge(Vote(DecisionRules(6.0, 1.0)), Alarm(AlarmRules()), 0.8)
    if score is not None:
        judge.observe(score, (0, 0), 0.0, 0.0)
    if fault:
        judge.fault(Fault(FaultSource.CAMERA, FaultKind.CAMERA_LOST, "unplugged\x1b[2J"), 0.0)
    ready = None if score is None else Ready("engine", "fp32", "cam", "tiny", "0" * 64, "1" * 64, 6.0, 1.0, "typed")
    return station_status(Identity("s", "cam", "v"), judge, Counters(0.0), ready, Around(0, 0.0, "note", {}))


def context(tmp_path: Path) -> SinkContext:
    return SinkContext("s", {}, CommandQueue(), tmp_path, a_status)


class Recorder:
    def __init__(self) -> None:
        self.told: list[object] = []
        self.gate = threading.Event()
        self.closed = False

    def publish(self, status: StationStatus) -> None:
        self.gate.wait(5)
        self.told.append(status)

    def event(self, record: EventRecord, change: str) -> None:
        self.gate.wait(5)
        self.told.append((record.id, change))

    def close(self) -> None:
        self.closed = True


def test_a_slow_sink_holds_nobody_up_and_misses_no_event() -> None:
    slow = Recorder()
    sink = QueuedSink("slow", slow)
    began_s = time.monotonic()
    for n in range(500):
        sink.publish(a_status(score=float(n)))
        sink.event(RECORD, str(n))
    assert time.monotonic() - began_s < 4.5, "one wait for the sink alone takes five seconds"
    slow.gate.set()
    sink.close()
    events = [told for told in slow.told if isinstance(told, tuple)]
    assert [change for _, change in events] == [str(n) for n in range(500)]
    statuses = [told for told in slow.told if isinstance(told, StationStatus)]
    assert statuses[-1].score == 499.0 and len(statuses) < 10 and slow.closed


def test_a_broken_sink_is_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Recorder):
        def event(self, record: EventRecord, change: str) -> None:
            raise RuntimeError("no network")

    sink = QueuedSink("broken", Broken())
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            sink.event(RECORD, "raised")
        sink.close()
    assert sink.failures == 5 and len(caplog.records) == 1


def test_an_unknown_sink_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sink smoke"):
        open_sink("smoke", "-", context(tmp_path))


def test_plain_lines_where_nobody_looks(tmp_path: Path) -> None:
    out = io.StringIO()
    line = StatusLine("-", context(tmp_path), out)
    for status in (a_status(score=None), a_status(), a_status(), a_status(fault=True)):
        line.publish(status)
    line.event(RECORD, "raised")
    line.close()
    said = out.getvalue().splitlines()
    assert said[0] == "STARTING note" and said[1].startswith("bundle tiny") and said[2].startswith("camera cam; note")
    assert said[3].startswith("OK score 1 of 6") and said[4].startswith("FAULT camera lost: unplugged")
    assert said[5] == "A1 raised: score 9 over 6, frame 4, 2.0 ms" and "\x1b" not in out.getvalue()


def test_a_live_line_on_a_terminal(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    line = StatusLine("-", context(tmp_path), out)
    line.publish(a_status())
    line.publish(a_status())
    line.close()
    assert out.getvalue().count("\r") == 4 and out.getvalue().count("\n") == 3 and " OK " in out.getvalue()


def test_json_lines(tmp_path: Path) -> None:
    out = io.StringIO()
    lines = JsonLines("-", context(tmp_path), out)
    for status in (a_status(), a_status(), a_status(fault=True)):
        lines.publish(status)
    lines.event(RECORD, "raised")
    lines.close()
    said = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [s.get("verdict", s.get("change")) for s in said] == ["ok", "fault", "raised"]


def test_a_flood_of_commands_is_refused_not_kept() -> None:
    commands = CommandQueue()
    assert [commands.put(Acknowledge("x")) for _ in range(1001)] == [True] * 1000 + [False]
    assert len(commands.take()) == 1000 and commands.take() == []


@given(st.text(max_size=200), st.floats(allow_nan=False), st.integers(-1, 2**32 - 1))
def test_words_survive_the_channel(reason: str, score: float, part: int) -> None:
    for word in (
        Blind("CAMERA", "CAMERA_LOST", reason, part),
        Scored(3, 1.5, score, 0.1, part, 0, (0.1, 0.2, 0.3, 2.0)),
    ):
        assert decode_word(encode_word(word)) == word


@pytest.mark.parametrize(
    "packet", [b"", b"{}", b"[]", b'["Nothing",{}]', b'["Scored",{"x":1}]', b"\xff", b"S", b"S" * 200]
)
def test_what_is_no_word_is_refused(packet: bytes) -> None:
    with pytest.raises(ValueError):
        decode_word(packet)


def test_a_closed_channel_is_the_end_of_file() -> None:
    import socket

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    send_word(theirs, Blind("A", "B", "c"))
    theirs.close()
    assert receive_words(ours) == [Blind("A", "B", "c")]
    with pytest.raises(EOFError):
        receive_words(ours)
    with pytest.raises(EOFError):
        send_word(ours, Blind("A", "B", "c"))
    ours.close()


@pytest.mark.parametrize("cut", [0, 1, 30, 90])
def test_pictures_arrive_whole_or_not_at_all(cut: int) -> None:
    sent = io.BytesIO()
    send_pictures(sent, Pictures("A1", 3, b"frame" * 10, b"overlay"))
    whole = sent.getvalue()
    stream = io.BytesIO(whole + whole[:cut])
    assert receive_pictures(stream) == Pictures("A1", 3, b"frame" * 10, b"overlay")
    assert receive_pictures(stream) is None


@pytest.mark.parametrize("region", [None, Region(x=10, y=5, width=40, height=30)])
@pytest.mark.parametrize("grey", [False, True])
def test_overlay_paints_what_was_hot_where_it_lies(region: Region | None, grey: bool) -> None:
    image = scene(1)[:, :, 0] if grey else scene(1)
    spec = Preprocessing(height=32, width=32, colour="grey" if grey else "bgr", region=region)
    heat = np.zeros((16, 16), np.float32)
    heat[4, 12] = 3.0
    place = cells_of(prepared(image, spec).place, (32, 32), heat.shape)
    sight = Sight(1, image, heat, 1.0, place)
    assert overlay(Sight(1, image, None, 0.0)).startswith(b"\xff\xd8")
    changed = np.abs(_decoded(overlay(sight)).astype(int) - _decoded(overlay(Sight(1, image, 0 * heat, 1.0, place))))
    area = region or Region(x=0, y=0, width=image.shape[1], height=image.shape[0])
    y, x = np.unravel_index(int(changed.sum(2).argmax()), changed.shape[:2])
    assert abs((x - area.x) / area.width - 12.5 / 16) < 0.08 and abs((y - area.y) / area.height - 4.5 / 16) < 0.08
    frame, heatmap = (_decoded(picture) for picture in live(sight))
    assert frame.shape[:2] == image.shape[:2] and heatmap.shape[1] == min(320, image.shape[1])


def _decoded(jpeg: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture
