"""The Modbus dialect: the map, events in order, commands once; then pymodbus's own master over a pseudo-terminal."""

from __future__ import annotations

import os
import struct
import threading
import tty

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import ModbusSerialClient
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU
from pymodbus.pdu import register_message as pdu

from firmware_bridge.bridge import SerialBridge
from firmware_bridge.errors import AddressError
from firmware_bridge.link import Delivered, LinkDown, LinkUp
from firmware_bridge.messages import (
    Acknowledge,
    AlarmCleared,
    AlarmFlags,
    AlarmRaised,
    ClearReason,
    Reset,
    Shelve,
    StationState,
    Trigger,
    TriggerResult,
    Verdict,
)
from firmware_bridge.modbus import EVENT_AT, EVENT_LAYOUT, QUEUE_LIMIT, STATE_AT, STATE_LAYOUT, ModbusSlave

MASTER = FramerRTU(DecodePDU(False))
STATE_COUNT, EVENT_COUNT = struct.calcsize(STATE_LAYOUT) // 2, struct.calcsize(EVENT_LAYOUT) // 2


class Asker:
    """A master on a perfect wire; each question 0.1 s after the last."""

    def __init__(self, unit: int = 5) -> None:
        self.slave, self.now, self.unit = ModbusSlave(unit), 0.0, unit
        self.slave.connected(0.0)

    def ask(self, request, before: bytes = b""):
        self.now += 0.1
        request.dev_id = request.dev_id or self.unit
        self.slave.receive(before + MASTER.buildFrame(request), self.now)
        (answer,) = self.slave.poll(self.now)[0]
        return MASTER.handleFrame(answer, 0, 0)[1]

    def block(self, at: int, layout: str) -> tuple:
        registers = self.ask(pdu.ReadInputRegistersRequest(address=at, count=struct.calcsize(layout) // 2)).registers
        return struct.unpack(layout, struct.pack(f">{len(registers)}H", *registers))

    def write(self, at: int, *values: int):
        return self.ask(pdu.WriteMultipleRegistersRequest(address=at, registers=list(values)))


def test_the_state_block() -> None:
    asker = Asker()
    flags = AlarmFlags.ACTIVE | AlarmFlags.LATCHED
    asker.slave.publish(StationState(Verdict.ALARM, flags, 0, 4.25, 2.5, 70000, 2**40, 17, 3, 1, 9))
    state = asker.block(STATE_AT, STATE_LAYOUT)
    assert state == (1, 2, 5, 0, 4.25, 2.5, 70000, 2**40, 17, 3, 1, 9, 0, 0, 0)


def test_events_come_in_order_and_stay_until_they_are_taken() -> None:
    asker = Asker()
    said = [
        AlarmRaised(70000, 4.25, 2.5, 812, 3),
        AlarmCleared(70000, ClearReason.RESET, 900),
        TriggerResult(9, Verdict.OK),
    ]
    for message in said:
        asker.slave.offer(message, asker.now)
    assert asker.block(EVENT_AT, EVENT_LAYOUT) == (1, 1, 0, 70000, 0, 0, 4.25, 2.5, 812, 103)
    asker.write(0, 7)  # a number that is not in front changes nothing
    assert asker.block(EVENT_AT, EVENT_LAYOUT)[0] == 1
    asker.write(0, 1)
    asker.write(0, 1)  # a repeated write takes nothing more
    assert asker.block(EVENT_AT, EVENT_LAYOUT)[:6] == (2, 2, 0, 70000, 1, 0)
    asker.write(0, 2)
    assert asker.block(EVENT_AT, EVENT_LAYOUT)[:5] == (3, 3, 0, 9, 1)
    asker.write(0, 3)
    assert asker.block(EVENT_AT, EVENT_LAYOUT)[:2] == (0, 0)
    assert asker.slave.queued == 0


def test_commands_and_a_repeated_trigger_number_is_one_trigger() -> None:
    asker = Asker()
    asker.write(1, 1, 4464, 30, 0, 9, 1)
    asker.write(4, 0, 9)
    asker.ask(pdu.WriteSingleRegisterRequest(address=3, registers=[0]))
    asker.write(4, 1, 0)
    assert asker.slave.take() == [Acknowledge(70000), Shelve(30), Trigger(9), Reset(), Shelve(0), Trigger(65536)]
    assert asker.slave.take() == []
    holding = asker.ask(pdu.ReadHoldingRegistersRequest(address=0, count=8)).registers
    assert holding == [0, 1, 4464, 0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (pdu.ReadInputRegistersRequest(address=1000, count=2), 2),
        (pdu.ReadInputRegistersRequest(address=STATE_AT + STATE_COUNT, count=1), 2),
        (pdu.WriteSingleRegisterRequest(address=8, registers=[1]), 2),
        (pdu.MaskWriteRegisterRequest(dev_id=5, address=0), 1),
    ],
)
def test_what_the_map_does_not_have_is_refused(request_, code) -> None:
    assert Asker().ask(request_).exception_code == code


def test_too_many_commands_at_once_are_refused_not_lost() -> None:
    asker, refused = Asker(), 0
    for number in range(100):
        refused += asker.write(4, 0, number + 1).isError()
    assert refused + len(asker.slave.take()) == 100
    assert refused > 0
    assert not asker.write(4, 1, 1).isError()


def test_other_slaves_noise_and_broken_frames_do_not_disturb() -> None:
    asker = Asker()
    slave = asker.slave
    other = MASTER.buildFrame(pdu.ReadInputRegistersRequest(dev_id=6, address=0, count=2))
    slave.receive(other, 1.0)
    assert slave.poll(1.0)[0] == []
    answer = MASTER.buildFrame(pdu.ReadInputRegistersResponse(dev_id=6, registers=[5, 6, 7]))
    asker.now = 2.0
    read = pdu.ReadInputRegistersRequest(address=0, count=1)
    assert asker.ask(read, before=answer).registers == [1]
    assert asker.ask(read, before=b"\x05\x10\xff").registers == [1]
    broken = bytearray(MASTER.buildFrame(pdu.ReadInputRegistersRequest(dev_id=5, address=0, count=1)))
    broken[3] ^= 1
    slave.receive(bytes(broken), 9.0)
    assert slave.poll(9.0)[0] == []
    asker.now = 9.2
    assert asker.ask(read).registers == [1]
    assert slave.counters.bad["not ours or broken"] >= 1


def test_a_broadcast_acts_and_is_not_answered() -> None:
    asker = Asker()
    frame = MASTER.buildFrame(pdu.WriteSingleRegisterRequest(dev_id=0, address=6, registers=[1]))
    asker.slave.receive(frame, 1.0)
    assert asker.slave.poll(1.0)[0] == []
    assert asker.slave.take() == [Reset()]


def test_polling_is_the_sign_of_life() -> None:
    slave = ModbusSlave(1)
    slave.connected(0.0)
    frame = MASTER.buildFrame(pdu.ReadInputRegistersRequest(dev_id=1, address=0, count=1))
    assert slave.receive(frame, 1.0) == [LinkUp()]
    assert slave.poll(3.9)[1] == []
    assert slave.poll(4.1)[1] == [LinkDown()]


def test_a_full_queue_keeps_the_alarms() -> None:
    slave = ModbusSlave(1)
    slave.offer(TriggerResult(1, Verdict.OK), 0.0)
    for event in range(QUEUE_LIMIT):
        assert slave.offer(AlarmRaised(event, 1, 1, 1), 0.0)
    assert not slave.offer(AlarmRaised(999, 1, 1, 1), 0.0)
    assert slave.counters.overflows == 1


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_rubbish_never_harms(blocks) -> None:
    asker = Asker()
    for number, block in enumerate(blocks):
        asker.slave.receive(block, number * 0.01)
        asker.slave.poll(number * 0.01)
    asker.now = 100.0
    assert asker.ask(pdu.ReadInputRegistersRequest(address=0, count=1)).registers == [1]


@pytest.mark.parametrize("unit", [0, 248])
def test_no_slave_has_that_address(unit) -> None:
    with pytest.raises(AddressError, match="1 to 247"):
        ModbusSlave(unit)


def test_pymodbus_as_master_over_a_real_terminal() -> None:
    (near, far), (mine, other) = os.openpty(), os.openpty()
    for descriptor in (near, far, mine, other):
        tty.setraw(descriptor)
    stop = threading.Event()
    pumps = [
        threading.Thread(target=_pump, args=(near, mine, stop)),
        threading.Thread(target=_pump, args=(mine, near, stop)),
    ]
    for thread in pumps:
        thread.start()
    bridge = SerialBridge(f"{os.ttyname(far)}?unit=5", wire="modbus")
    client = ModbusSerialClient(os.ttyname(other), baudrate=115200, timeout=2)
    try:
        assert client.connect()
        bridge.publish(StationState(Verdict.OK, frame=8))
        bridge.raise_alarm(AlarmRaised(17, 4.25, 2.5, 9))
        registers = client.read_input_registers(0, count=STATE_COUNT, device_id=5).registers
        assert registers[1] == Verdict.OK
        event = client.read_input_registers(EVENT_AT, count=EVENT_COUNT, device_id=5).registers
        assert (event[0], event[1], event[3] << 16 | event[4]) == (1, 1, 17)
        client.write_registers(0, [event[0], 0, 17], device_id=5)
        assert bridge.commands() == [Acknowledge(17)]
        assert bridge.status.queued == 0
        assert Delivered(AlarmRaised(17, 4.25, 2.5, 9)) in bridge.events()
    finally:
        client.close()
        bridge.close()
        stop.set()
        for thread in pumps:
            thread.join(5)
        for descriptor in (near, far, mine, other):
            os.close(descriptor)


def _pump(source: int, sink: int, stop: threading.Event) -> None:
    import select

    while not stop.is_set():
        if select.select([source], [], [], 0.01)[0]:
            os.write(sink, os.read(source, 4096))
