from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.station.commands import Acknowledge, CommandQueue, InspectPart, ResetAlarm, ShelveAlarm
from edge.station.config import OutputsSection
from edge.station.judge import FaultKind, Verdict
from edge.station.outputs import FIRST_GPIO_TRIGGER, Outputs
from edge.station.status import OutputState
from firmware_bridge import messages as wire
from firmware_bridge.lines import fake
from tests.edge.station.plc import Plc


@pytest.fixture(autouse=True)
def fresh_wires() -> Iterator[None]:
    fake.forget_all()
    yield
    fake.forget_all()


def state(verdict: Verdict, fault: FaultKind | None = None, **more: bool) -> OutputState:
    flags = {"active": False, "acknowledged": True, "latched": False, "shelved": False, "flooded": False, **more}
    return OutputState(
        verdict=verdict,
        **flags,
        fault=fault,
        score=2.0,
        threshold=6.0,
        frame=5,
        uptime_ms=1000,
        event=3,
        alarms=1,
        faults=1,
        dropped_frames=0,
    )


def test_every_word_of_ours_is_a_word_of_the_wire() -> None:
    assert {kind.name for kind in FaultKind} <= set(wire.Fault.__members__)
    assert {verdict.name for verdict in Verdict} == set(wire.Verdict.__members__)


def test_relay_holds_only_while_ok() -> None:
    outputs = Outputs(OutputsSection(gpio="fake://relay", min_pulse_s=0.0), "s", CommandQueue())
    for verdict in (Verdict.OK, Verdict.ALARM, Verdict.OK, Verdict.FAULT, Verdict.STARTING):
        outputs.show(state(verdict))
        assert fake.wire("relay").level is (verdict is Verdict.OK)
    outputs.show(state(Verdict.OK))
    outputs.close()
    outputs.close()
    assert fake.wire("relay").level is False


def test_relay_drops_when_the_station_falls_silent() -> None:
    outputs = Outputs(OutputsSection(gpio="fake://relay"), "s", CommandQueue())
    outputs.show(state(Verdict.OK))
    time.sleep(1.1)
    assert fake.wire("relay").level is False
    outputs.close()


def test_a_line_that_announces_parts() -> None:
    commands = CommandQueue()
    outputs = Outputs(OutputsSection(trigger_gpio="fake://eye"), "s", commands)
    for level in (True, False, True):
        fake.wire("eye").drive(level, time.monotonic())
        time.sleep(0.05)
    outputs.close()
    parts = [c.trigger for c in commands.take() if isinstance(c, InspectPart)]
    assert parts == [FIRST_GPIO_TRIGGER, FIRST_GPIO_TRIGGER + 1]


def test_words_to_and_from_the_wire(tmp_path: Path) -> None:
    plc = Plc(tmp_path / "port")
    outputs = Outputs(OutputsSection(serial=str(plc.path)), "line 4", CommandQueue())
    outputs.show(state(Verdict.FAULT, FaultKind.OUT_OF_FOCUS, active=True, acknowledged=False, latched=True))
    plc.wait(wire.Verdict.FAULT, fault=wire.Fault.OUT_OF_FOCUS)
    said = plc.states()[-1][1]
    assert said.flags == wire.AlarmFlags.ACTIVE | wire.AlarmFlags.LATCHED and (said.event, said.frame) == (3, 5)
    for command in (wire.Acknowledge(0), wire.Acknowledge(3), wire.Shelve(60), wire.Reset(), wire.Trigger(9)):
        plc.send(command)
    asked: list[object] = []
    end_s = time.monotonic() + 5
    while len(asked) < 5 and time.monotonic() < end_s:
        asked += outputs.take_commands(1.5)
        time.sleep(0.01)
    assert asked == [
        Acknowledge("serial", None),
        Acknowledge("serial", 3),
        ShelveAlarm("serial", 60.0),
        ResetAlarm("serial"),
        InspectPart(9, 1.5),
    ]
    assert "receiver answers" in outputs.describe()["serial"] and outputs.trouble is None
    plc.unplug()
    end_s = time.monotonic() + 5
    while outputs.trouble is None and time.monotonic() < end_s:
        time.sleep(0.01)
    assert outputs.trouble is not None and "lost" in outputs.trouble
    outputs.close()
    plc.close()
