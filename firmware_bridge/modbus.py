"""The station as a Modbus RTU slave, pure: a register map instead of messages. docs/protocol.md holds the map.

pymodbus reads and writes the frames; the registers, the event queue and the commands are ours. Silence on the line
ends a frame, so bytes meant for other slaves and noise never pile up.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from dataclasses import dataclass
from typing import Any

from firmware_bridge.errors import AddressError, MissingDevice
from firmware_bridge.link import Delivered, LinkCounters, LinkDown, LinkEvent, LinkUp
from firmware_bridge.messages import (
    Acknowledge,
    AlarmCleared,
    AlarmRaised,
    Command,
    Message,
    Reset,
    Shelve,
    StationState,
    Trigger,
    TriggerResult,
)

MAP_VERSION = 1
STATE_AT, STATE_LAYOUT = 0, ">HHHHffIQIIIIIHH"
EVENT_AT, EVENT_LAYOUT = 64, ">HHHIHHffII"
COMMAND_AT, COMMAND_COUNT = 0, 8
QUEUE_LIMIT, INBOX_LIMIT = 256, 64
DOWN_AFTER_S, FRAME_GAP_S = 3.0, 0.05
READ_HOLDING, READ_INPUT, WRITE_ONE, WRITE_MANY = 3, 4, 6, 16
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, SLAVE_BUSY = 1, 2, 3, 6
LONGEST_FRAME = 256
NOTHING, ALARM, CLEARED, RESULT = range(4)


@dataclass(frozen=True, slots=True)
class _Library:
    """The parts of pymodbus in use."""

    framer: Any
    read_holding: Any
    read_input: Any
    write_one: Any
    write_many: Any
    refusal: Any


@dataclass(slots=True)
class _Waiting:
    number: int
    message: AlarmRaised | AlarmCleared | TriggerResult
    queued_at: float


class _Refused(Exception):
    """The request gets a Modbus exception answer with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ModbusSlave:
    """One slave, `unit` 1 to 247. The master polls the state, takes events in order, and writes commands."""

    def __init__(self, unit: int) -> None:
        if not 1 <= unit <= 247:
            raise AddressError(f"unit={unit}", "no Modbus slave address", "choose 1 to 247")
        self._library, self._unit = _pymodbus(), unit
        self._state = StationState()
        self._queue: deque[_Waiting] = deque()
        self._next_number = 1
        self._inbox: list[Message] = []
        self._holding = [0] * COMMAND_COUNT
        self._last_trigger = 0
        self._buffer = b""
        self._answers: list[bytes] = []
        self._last_byte_at = self._heard_at = self._now = -math.inf
        self._events: list[LinkEvent] = []
        self._connections = -1
        self.is_up = False
        self.counters = LinkCounters()

    @property
    def session(self) -> int:
        """Number of the connection; a Modbus master needs none."""
        return max(self._connections, 0)

    @property
    def queued(self) -> int:
        """Events that the master has not taken yet."""
        return len(self._queue)

    def connected(self, now: float) -> None:
        """The port is open."""
        self._now = max(self._now, now)
        self._connections += 1
        self._buffer = b""
        self._answers.clear()

    def disconnected(self, now: float) -> None:
        """The port is gone."""
        self._now = max(self._now, now)
        self._go_down()

    def publish(self, state: StationState) -> None:
        """The registers that the next poll reads."""
        self._state = state

    def last_words(self, state: StationState) -> bytes:
        """A slave cannot speak unasked: its silence is the master's time-out."""
        self._state = state
        return b""

    def offer(self, message: Message, now: float) -> bool:
        """Queue an event; an alarm displaces the oldest other event when 256 wait. False: refused, and counted."""
        self._now = max(self._now, now)
        if not isinstance(message, AlarmRaised | AlarmCleared | TriggerResult):
            raise ValueError(f"{message} is nothing that a station says")
        if len(self._queue) >= QUEUE_LIMIT and not self._make_room(message):
            self.counters.overflows += 1
            return False
        self._queue.append(_Waiting(self._next_number, message, self._now))
        self._next_number = self._next_number % 0xFFFF + 1
        return True

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        """Bytes from the port. A gap of 50 ms starts a new frame (USB adapters cannot keep 1.5 characters)."""
        self._now = max(self._now, now)
        if self._now - self._last_byte_at > FRAME_GAP_S and self._buffer:
            self.counters.bad["not ours or broken"] += 1
            self._buffer = b""
        self._last_byte_at = self._now
        self._buffer = (self._buffer + data)[-2 * LONGEST_FRAME :]
        found = self._find_request()
        if found is not None:
            self._buffer = b""
            self._answer(*found)
        return self._take_events()

    def _find_request(self) -> tuple[int, bytes] | None:
        """A whole request to us, wherever it starts: answers of other slaves may stand before it."""
        for start, unit in enumerate(self._buffer):
            if unit not in (0, self._unit):
                continue
            _, heard, _, request = self._library.framer.decode(self._buffer[start:])
            if request and heard == unit:
                return unit, request
        return None

    def poll(self, now: float) -> tuple[list[bytes], list[LinkEvent]]:
        """The answer to the last request, if one is due."""
        self._now = max(self._now, now)
        if self.is_up and self._now - self._heard_at > DOWN_AFTER_S:
            self._go_down()
        answers, self._answers = self._answers, []
        self.counters.sent += len(answers)
        return answers, self._take_events()

    def take(self) -> list[Message]:
        """Commands of the master, each once, in the order in which they were written."""
        taken, self._inbox = self._inbox, []
        return taken

    def _answer(self, unit: int, request: bytes) -> None:
        self._hear()
        try:
            reply = self._handled(request)
        except _Refused as refused:
            reply = self._library.refusal(request[0], refused.code)
        if unit:  # nobody answers a broadcast
            reply.dev_id = self._unit
            self._answers = [self._library.framer.buildFrame(reply)]

    def _handled(self, request: bytes) -> Any:
        code = request[0]
        if code in (READ_HOLDING, READ_INPUT) and len(request) == 5:
            return self._read(code, *struct.unpack(">HH", request[1:]))
        if code == WRITE_ONE and len(request) == 5:
            at, value = struct.unpack(">HH", request[1:])
            self._write(at, [value])
            return self._library.write_one(address=at, registers=[value])
        if code == WRITE_MANY and len(request) >= 8:
            at, count, size = struct.unpack(">HHB", request[1:6])
            if size != 2 * count or len(request) != 6 + size:
                raise _Refused(ILLEGAL_VALUE)
            self._write(at, list(struct.unpack(f">{count}H", request[6:])))
            return self._library.write_many(address=at, count=count)
        raise _Refused(ILLEGAL_FUNCTION)

    def _read(self, code: int, at: int, count: int) -> Any:
        if not 1 <= count <= 125:
            raise _Refused(ILLEGAL_VALUE)
        there = self._input_registers() if code == READ_INPUT else dict(enumerate(self._holding, COMMAND_AT))
        if not all(address in there for address in range(at, at + count)):
            raise _Refused(ILLEGAL_ADDRESS)
        answer = self._library.read_input if code == READ_INPUT else self._library.read_holding
        return answer(registers=[there[address] for address in range(at, at + count)])

    def _input_registers(self) -> dict[int, int]:
        """Both blocks; 32- and 64-bit values high word first."""
        s = self._state
        state: tuple[float, ...] = (
            MAP_VERSION,
            s.verdict,
            s.flags,
            s.fault,
            s.score,
            s.threshold,
            s.frame,
            s.uptime_ms,
            s.event,
        )
        state += (s.alarms, s.faults, s.dropped_frames, self.counters.overflows, len(self._queue), self._front_number())
        event = self._event_values()
        return _registers(STATE_AT, STATE_LAYOUT, state) | _registers(EVENT_AT, EVENT_LAYOUT, event)

    def _front_number(self) -> int:
        return self._queue[0].number if self._queue else 0

    def _event_values(self) -> tuple[float, ...]:
        if not self._queue:
            return (0, NOTHING, 0, 0, 0, 0, math.nan, math.nan, 0, 0)
        number, said = self._queue[0].number, self._queue[0].message
        if isinstance(said, AlarmRaised):
            age = min(said.age_ms + round((self._now - self._queue[0].queued_at) * 1000), 0xFFFFFFFF)
            return (number, ALARM, 0, said.event, 0, 0, said.score, said.threshold, said.frame, age)
        if isinstance(said, AlarmCleared):
            return (number, CLEARED, 0, said.event, said.reason, 0, math.nan, math.nan, said.frame, 0)
        scores = (said.score, said.threshold, said.frame, said.latency_ms)
        return (number, RESULT, 0, said.trigger, said.verdict, said.fault, *scores)

    def _write(self, at: int, values: list[int]) -> None:
        if not values or at < COMMAND_AT or at + len(values) > COMMAND_AT + COMMAND_COUNT:
            raise _Refused(ILLEGAL_ADDRESS)
        holding = list(self._holding)
        holding[at - COMMAND_AT : at - COMMAND_AT + len(values)] = values
        if len(self._inbox) + 4 > INBOX_LIMIT:
            raise _Refused(SLAVE_BUSY)
        commands = self._commands(range(at - COMMAND_AT, at - COMMAND_AT + len(values)), holding)
        self._holding, self._inbox = holding, [*self._inbox, *commands]
        if 0 in range(at - COMMAND_AT, at - COMMAND_AT + len(values)):
            self._taken(holding[0])

    def _commands(self, written: range, holding: list[int]) -> list[Command]:
        """A command acts when its last register is written."""
        commands: list[Command] = []
        if 2 in written:
            commands.append(Acknowledge(holding[1] << 16 | holding[2]))
        if 3 in written:
            commands.append(Shelve(holding[3]))
        trigger = holding[4] << 16 | holding[5]
        if 5 in written and trigger != self._last_trigger:  # the same number again is a repeated write
            self._last_trigger = trigger
            commands.append(Trigger(trigger))
        if 6 in written and holding[6]:
            commands.append(Reset())
        return commands

    def _taken(self, number: int) -> None:
        """The master has read the front event; a number that is not in front is a repetition and changes nothing."""
        if self._queue and self._queue[0].number == number:
            self._events.append(Delivered(self._queue.popleft().message))

    def _make_room(self, message: Message) -> bool:
        victim = next((w for w in self._queue if not isinstance(w.message, AlarmRaised)), None)
        if victim is None or not isinstance(message, AlarmRaised):
            return False
        self._queue.remove(victim)
        return True

    def _hear(self) -> None:
        self.counters.received += 1
        self._heard_at = self._now
        if not self.is_up:
            self.is_up = True
            self._events.append(LinkUp())

    def _go_down(self) -> None:
        if self.is_up:
            self.is_up = False
            self._events.append(LinkDown())

    def _take_events(self) -> list[LinkEvent]:
        events, self._events = self._events, []
        return events


def _registers(at: int, layout: str, values: tuple[float, ...]) -> dict[int, int]:
    data = struct.pack(layout, *values)
    return dict(enumerate(struct.unpack(f">{len(data) // 2}H", data), at))


def _pymodbus() -> _Library:
    try:
        from pymodbus.framer import FramerRTU
        from pymodbus.pdu import DecodePDU, ExceptionResponse
        from pymodbus.pdu import register_message as registers
    except ImportError as error:
        fix = 'pip install "edge-anomaly[modbus]"'
        raise MissingDevice("the Modbus wire", f"pymodbus does not import ({error})", fix) from error
    return _Library(
        FramerRTU(DecodePDU(True)),
        registers.ReadHoldingRegistersResponse,
        registers.ReadInputRegistersResponse,
        registers.WriteSingleRegisterResponse,
        registers.WriteMultipleRegistersResponse,
        ExceptionResponse,
    )
