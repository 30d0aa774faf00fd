from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.station.alarm import Alarm, AlarmRules
from edge.station.announcer import Announcer, Seen
from edge.station.channel import Pictures
from edge.station.commands import Acknowledge
from edge.station.decision import DecisionRules, Vote
from edge.station.event_writer import Budget, EventWriter
from edge.station.events import EventStore
from edge.station.judge import Fault, FaultKind, FaultSource, Judge
from edge.station.snapshot import Counters, output_state
from edge.station.status import OutputState


class Wire:
    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    def alarm(self, event: int, state: OutputState, age_s: float) -> None:
        self.said.append(("alarm", event))

    def cleared(self, event: int, frame: int, *, reset: bool) -> None:
        self.said.append(("cleared", event, reset))


class Desk:
    """Judge and announcer with a real store, and time that stands still unless moved."""

    def __init__(self, folder: Path, rules: AlarmRules) -> None:
        self.store = EventStore(folder)
        self.writer = EventWriter(self.store, Budget(1e9, 1e9, 0.0))
        self.wire = Wire()
        self.announcer = Announcer(self.wire, self.writer, [], "v1")
        self.judge = Judge(Vote(DecisionRules(10.0, 1.0, k=1, n=1)), Alarm(rules), 1e9)
        self.now_s = time.monotonic()
        self.sequence = 0
        self.kept: list[str] = []

    def tell(self, events: list) -> None:  # type: ignore[type-arg]
        state = output_state(self.judge, Counters(self.now_s), self.now_s, 0, 0)
        told = [self.announcer.tell(event, state, Seen(self.sequence, self.now_s)) for event in events]
        self.kept += [event for event in told if event]

    def frame(self, score: float) -> None:
        self.sequence += 1
        self.tell(self.judge.observe(score, (0, self.sequence), self.now_s, self.now_s))

    def settle(self) -> None:
        end_s = time.monotonic() + 5
        while self.writer.waiting and time.monotonic() < end_s:
            time.sleep(0.005)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, AlarmRules(latch="acknowledge"))
    yield made
    made.writer.close()


def test_each_alarm_is_cleared_once(desk: Desk) -> None:
    desk.frame(11)
    desk.frame(1)
    desk.frame(11)
    desk.frame(1)
    assert desk.wire.said == [("alarm", 1), ("alarm", 2)]  # latched
    desk.tell(list(desk.judge.alarm.acknowledge(desk.now_s)))
    assert desk.wire.said[2:] == [("cleared", 1, True), ("cleared", 2, True)]
    desk.frame(11)
    desk.tell(list(desk.judge.alarm.acknowledge(desk.now_s)))
    desk.frame(1)
    assert [said[:2] for said in desk.wire.said[4:]] == [("alarm", 3), ("cleared", 3)]


def test_an_alarm_is_acknowledged_only_after_its_pictures_are_written(desk: Desk) -> None:
    desk.frame(11)
    desk.announcer.want_acknowledged(Acknowledge("me"), 1)
    desk.settle()
    assert desk.announcer.acknowledgeable(desk.now_s) == [] and desk.kept == ["A1"]
    desk.writer.save_pictures(Pictures("A1", 1, b"png", b"jpg"))
    desk.settle()
    assert [c.who for c in desk.announcer.acknowledgeable(desk.now_s)] == ["me"]
    desk.settle()
    assert desk.store.get("A1").acknowledged_by == "me"


def test_pictures_that_never_come_do_not_hold_the_operator_up_for_ever(desk: Desk) -> None:
    desk.frame(11)
    desk.announcer.want_acknowledged(Acknowledge("me"), 1)
    desk.settle()
    assert desk.announcer.acknowledgeable(desk.now_s + 2.9) == []
    assert desk.announcer.acknowledgeable(desk.now_s + 3.1) == []
    desk.settle()
    assert len(desk.announcer.acknowledgeable(desk.now_s + 3.2)) == 1
    assert desk.store.get("A1").note == "pictures did not arrive in time"


def test_faults_have_rows_with_begin_and_end(desk: Desk) -> None:
    fault = Fault(FaultSource.HEALTH, FaultKind.OUT_OF_FOCUS, "sharpness 3")
    desk.tell(desk.judge.fault(fault, desk.now_s))
    desk.frame(1)
    desk.settle()
    row = desk.store.get("F1")
    assert row.reason == "out of focus: sharpness 3" and row.ended_at is not None and desk.kept == ["F1"]
    assert row.threshold == 10.0 and row.config_version == "v1"
