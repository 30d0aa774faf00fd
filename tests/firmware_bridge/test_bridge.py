"""The thread that owns the port, on the kernel's pseudo-terminal: order, reconnection, last words, rubbish."""

from __future__ import annotations

import os
import select
import threading
import time
import tty
from pathlib import Path

import pytest

from firmware_bridge.bridge import SerialBridge
from firmware_bridge.codec import Received
from firmware_bridge.errors import AddressError, MissingDevice
from firmware_bridge.link import Delivered, Link, LinkDown, LinkSettings, LinkUp
from firmware_bridge.messages import (
    Acknowledge,
    AlarmCleared,
    AlarmRaised,
    Fault,
    Hello,
    Role,
    StationState,
    Trigger,
    TriggerResult,
    Verdict,
)
from firmware_bridge.wire import WIRES


class Far:
    """The receiver's end of a pseudo-terminal, under a stable path; may be unplugged and plugged in again."""

    def __init__(self, path: Path, wire: str = "cobs") -> None:
        self.path, self.wire = path, wire
        self.link = Link(WIRES[wire], LinkSettings(Role.RECEIVER), 0x42)
        self.decoder = WIRES[wire].decoder()
        self.items: list[Received] = []
        self.got: list = []
        self.plug()

    def plug(self) -> None:
        self.near, far = os.openpty()
        tty.setraw(far)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(far))
        os.close(far)
        self.link.connected(time.monotonic())

    def unplug(self) -> None:
        self.path.unlink()
        os.close(self.near)
        self.link.disconnected(time.monotonic())

    def turn(self, *, answer: bool = True, seconds: float = 0.02) -> None:
        data = self._read(seconds)
        if data:
            self.items += [i for i in self.decoder.feed(data) if isinstance(i, Received)]
            self.link.receive(data, time.monotonic())
        self.got += self.link.take()
        frames = self.link.poll(time.monotonic())[0]
        if answer and frames:
            os.write(self.near, b"".join(frames))

    def _read(self, seconds: float) -> bytes:
        if not select.select([self.near], [], [], seconds)[0]:
            return b""
        try:
            return os.read(self.near, 65536)
        except OSError:
            time.sleep(seconds)  # the bridge has not opened its end yet
            return b""

    def until(self, condition, seconds: float = 60.0, *, answer: bool = True) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.got
            self.turn(answer=answer)

    def last_words(self) -> list:
        """What still stands in the terminal's buffer after the bridge has closed it."""
        try:
            while select.select([self.near], [], [], 0.1)[0]:
                self.items += self.decoder.feed(os.read(self.near, 65536))
        except OSError:
            pass  # hung up, all read
        return [item.message for item in self.items]


@pytest.fixture(params=["cobs", "ascii"])
def far(request, tmp_path):
    end = Far(tmp_path / "wire", request.param)
    yield end
    os.close(end.near)


def alarms(far: Far) -> list[int]:
    return [m.event for m in far.got if isinstance(m, AlarmRaised)]


def test_state_alarm_clear_and_answer_arrive_and_commands_come_back(far) -> None:
    with SerialBridge(str(far.path), far.wire, name="line 4") as bridge:
        bridge.publish(StationState(Verdict.OK, score=0.5, threshold=2.5, frame=8))
        bridge.raise_alarm(AlarmRaised(1, 4.25, 2.5, 9))
        bridge.clear_alarm(AlarmCleared(1))
        bridge.answer_trigger(TriggerResult(5, Verdict.OK))
        far.link.offer(Acknowledge(1), time.monotonic())
        far.until(lambda: bridge.status.queued == 0 and far.link.queued == 0)
        kinds = [type(m) for m in far.got if not isinstance(m, Hello | StationState)]
        assert sorted(k.__name__ for k in kinds) == ["AlarmCleared", "AlarmRaised", "TriggerResult"]
        assert kinds.index(AlarmRaised) < kinds.index(AlarmCleared)
        assert bridge.commands() == [Acknowledge(1)]
        assert bridge.commands() == []
        events = bridge.events()
        assert events[0] == LinkUp()
        assert len([e for e in events if isinstance(e, Delivered)]) == 3
        assert bridge.status.link_up


def test_an_alarm_is_on_the_wire_at_once(far) -> None:
    with SerialBridge(str(far.path), far.wire) as bridge:
        far.until(lambda: far.got)
        times = []
        for event in range(1, 21):
            started = time.monotonic()
            bridge.raise_alarm(AlarmRaised(event, 4.25, 2.5, 9))
            far.until(lambda event=event: event in alarms(far))
            times.append(time.monotonic() - started)
        assert sorted(times)[5] < 0.05, "not with the next heartbeat, up to a second later"


def test_unplugged_and_back_nothing_lost_nothing_twice(far) -> None:
    with SerialBridge(str(far.path), far.wire) as bridge:
        bridge.publish(StationState(Verdict.ALARM))
        bridge.raise_alarm(AlarmRaised(1, 4.25, 2.5, 9))
        far.until(lambda: alarms(far) == [1] and bridge.status.queued == 0)
        session = bridge.status.session
        bridge.raise_alarm(AlarmRaised(2, 4.25, 2.5, 9))
        far.until(lambda: alarms(far) == [1, 2], answer=False)  # heard, the answer is lost with the cable
        far.unplug()
        deadline = time.monotonic() + 5
        while bridge.status.port_open and time.monotonic() < deadline:
            time.sleep(0.01)
        bridge.raise_alarm(AlarmRaised(3, 4.25, 2.5, 9))
        assert not bridge.status.port_open
        time.sleep(0.3)  # at least one failed attempt
        assert "no such device" in bridge.status.last_error or bridge.status.last_error
        before = len(far.items)
        far.plug()
        far.until(lambda: bridge.status.port_open and bridge.status.queued == 0)
        assert alarms(far) == [1, 2, 3]
        assert bridge.status.session == session + 1
        assert bridge.status.reconnections == 1
        assert [type(i.message) for i in far.items[before:]][:2] == [Hello, StationState]
        assert LinkDown() in bridge.events()


def test_the_last_words_are_fault_stopping(far) -> None:
    bridge = SerialBridge(str(far.path), far.wire)
    bridge.publish(StationState(Verdict.OK, frame=77))
    far.until(lambda: any(isinstance(m, StationState) and m.frame == 77 for m in far.got))
    bridge.close()
    bridge.close()
    last = far.last_words()[-1]
    assert (last.verdict, last.fault, last.frame) == (Verdict.FAULT, Fault.STOPPING, 77)
    assert threading.active_count() == 1 or not any("wire" in t.name for t in threading.enumerate())


def test_a_peer_that_never_answers_hears_the_alarm_again_and_again(far) -> None:
    with SerialBridge(str(far.path), far.wire) as bridge:
        bridge.raise_alarm(AlarmRaised(1, 4.25, 2.5, 9))
        far.until(lambda: len([i for i in far.items if isinstance(i.message, AlarmRaised)]) >= 5, answer=False)
        assert bridge.status.queued == 1
        assert not bridge.status.link_up
        assert alarms(far) == [1]


def test_a_peer_that_talks_rubbish_changes_nothing(far) -> None:
    with SerialBridge(str(far.path), far.wire) as bridge:
        for _ in range(50):
            os.write(far.near, os.urandom(500))
            far.turn()
        os.write(far.near, b"\r\n\0")
        bridge.raise_alarm(AlarmRaised(1, 4.25, 2.5, 9))
        far.until(lambda: bridge.status.queued == 0)
        assert alarms(far) == [1]
        assert bridge.status.bad_frames > 10
        assert bridge.commands() == []


def test_a_repeated_trigger_frame_is_one_trigger(far) -> None:
    with SerialBridge(str(far.path), far.wire) as bridge:
        frame = WIRES[far.wire].encode(Trigger(9), 0, 0x4200)
        os.write(far.near, frame * 3)
        far.until(lambda: bridge.status.duplicates == 2)
        assert bridge.commands() == [Trigger(9)]


def test_what_does_not_fit_the_wire_is_the_callers_error(far) -> None:
    with SerialBridge(str(far.path), far.wire) as bridge:
        with pytest.raises(ValueError, match="fit"):
            bridge.raise_alarm(AlarmRaised(2**32, 1, 1, 1))
        with pytest.raises(ValueError, match="fit"):
            bridge.publish(StationState(frame=-1))
        assert bridge.status.queued == 0


def test_a_port_that_is_not_there_at_the_start_is_an_error() -> None:
    with pytest.raises(MissingDevice):
        SerialBridge("/dev/ttyUSB9")
    with pytest.raises(AddressError, match="cobs, ascii, modbus"):
        SerialBridge("loop://", wire="morse")
    assert not [t for t in threading.enumerate() if "wire" in t.name]


def test_on_loop_back_our_own_words_are_no_peer() -> None:
    with SerialBridge("loop://") as bridge:
        bridge.raise_alarm(AlarmRaised(1, 1, 1, 1))
        time.sleep(0.2)
        assert not bridge.status.link_up
        assert bridge.status.received == 0


def test_half_duplex_leaves_the_other_end_its_turn(tmp_path) -> None:
    far = Far(tmp_path / "wire")
    with SerialBridge(f"{far.path}?rs485=adapter&baudrate=9600", "cobs") as bridge:
        for event in range(1, 6):
            bridge.raise_alarm(AlarmRaised(event, 4.25, 2.5, 9))
        far.until(lambda: bridge.status.queued == 0)
        assert sorted(alarms(far)) == [1, 2, 3, 4, 5]
    os.close(far.near)
