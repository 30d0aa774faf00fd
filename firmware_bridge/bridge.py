"""The thread that owns the port: a station's end of the wire.

    with SerialBridge("/dev/ttyTHS1") as bridge:
        bridge.publish(StationState(verdict=Verdict.OK, ...))   # as often as you like; the wire says it each second
        bridge.raise_alarm(AlarmRaised(event=17, ...))          # said until the receiver acknowledges it
        for command in bridge.commands(): ...

A port that is not there at the start is an error. A port that is lost later is opened again, for ever, by the name
that was given, after 0.2 to 5 s; the state and every unacknowledged event are then said again.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol

from firmware_bridge.address import PortAddress, parse_port
from firmware_bridge.codec import encode
from firmware_bridge.errors import BridgeError, MissingDevice
from firmware_bridge.link import Link, LinkCounters, LinkEvent, LinkSettings
from firmware_bridge.messages import (
    COMMANDS,
    AlarmCleared,
    AlarmRaised,
    Command,
    Fault,
    Message,
    Role,
    StationState,
    TriggerResult,
    Verdict,
)
from firmware_bridge.port import Port, open_port
from firmware_bridge.turnaround import Turnaround
from firmware_bridge.wire import wire_named

BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.2, 5.0
LAST_WORDS_S = 0.5
EVENTS_KEPT = 256


class Dialect(Protocol):
    """A conversation without a port: `Link` (cobs, ascii) or `ModbusSlave`. Times are monotonic seconds."""

    counters: LinkCounters
    is_up: bool

    @property
    def session(self) -> int:
        """Names this run of the program and this connection."""

    @property
    def queued(self) -> int:
        """Events that the peer has not taken yet."""

    def connected(self, now: float) -> None:
        """The port is open."""

    def disconnected(self, now: float) -> None:
        """The port is gone."""

    def publish(self, state: StationState) -> None:
        """The newest state."""

    def offer(self, message: Message, now: float) -> bool:
        """Queue an event; False when the queue is full."""

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        """Bytes from the port."""

    def poll(self, now: float) -> tuple[list[bytes], list[LinkEvent]]:
        """Bytes for the port."""

    def last_words(self, state: StationState) -> bytes:
        """What to write before the port is closed."""

    def take(self) -> list[Message]:
        """Messages of the peer."""


@dataclass(frozen=True, slots=True)
class BridgeStatus:
    """How the wire is now. `link_up`: the receiver answers; always False on a one-way wire."""

    url: str
    wire: str
    port_open: bool
    link_up: bool
    session: int
    queued: int
    refused: int
    sent: int
    received: int
    bad_frames: int
    duplicates: int
    reconnections: int
    last_error: str = ""


@dataclass(slots=True)
class _Shared:
    """What the thread and its callers both touch, under `lock`."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    events: list[LinkEvent] = field(default_factory=list)
    last_error: str = ""
    reconnections: int = 0


class SerialBridge:
    """A station's end of the wire. All methods may be called from any thread; none waits for the port but `close`.

    Raises AddressError, MissingDevice, BusyDevice or DeniedDevice when the port cannot be opened at the start.
    """

    def __init__(
        self, url: str, wire: str = "cobs", clock: Callable[[], float] = time.monotonic, name: str = ""
    ) -> None:
        self._address, self._wire_name, self._clock = parse_port(url), wire, clock
        self._link = open_dialect(wire, self._address, name)
        self._shared = _Shared()
        self._stopping = threading.Event()
        self._closed = False
        self._last_state = StationState()
        self._air = Turnaround(self._address, answers_only=wire == "modbus")
        self._port: Port | None = open_port(self._address)
        self._link.connected(clock())
        self._thread = threading.Thread(target=self._run, name=f"wire {url}", daemon=True)
        self._thread.start()

    def publish(self, state: StationState) -> None:
        """The newest state. A changed verdict, fault or alarm goes out at once, all else with the next heartbeat."""
        encode(state, 0)
        with self._shared.lock:
            self._last_state = state
            self._link.publish(state)
        self._wake()

    def raise_alarm(self, alarm: AlarmRaised) -> bool:
        """Say `alarm` until it is acknowledged. False: 256 alarms wait already; the heartbeat counts it as unsent."""
        return self._offer(alarm)

    def clear_alarm(self, cleared: AlarmCleared) -> bool:
        """Say that an alarm is over, after the alarm itself arrived."""
        return self._offer(cleared)

    def answer_trigger(self, result: TriggerResult) -> bool:
        """Answer one trigger."""
        return self._offer(result)

    def commands(self) -> list[Command]:
        """What the receiver asked for since the last call, each once, in order."""
        with self._shared.lock:
            return [message for message in self._link.take() if isinstance(message, COMMANDS)]

    def events(self) -> list[LinkEvent]:
        """LinkUp, LinkDown, Delivered, Refused since the last call (the newest 256)."""
        with self._shared.lock:
            taken, self._shared.events = self._shared.events, []
        return taken

    @property
    def status(self) -> BridgeStatus:
        """A snapshot."""
        with self._shared.lock:
            counters = self._link.counters
            return BridgeStatus(
                self._address.asked,
                self._wire_name,
                self._port is not None,
                self._link.is_up,
                self._link.session,
                self._link.queued,
                counters.overflows,
                counters.sent,
                counters.received,
                sum(counters.bad.values()),
                counters.duplicates,
                self._shared.reconnections,
                self._shared.last_error,
            )

    def close(self) -> None:
        """Say FAULT (stopping) and give the port back. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._stopping.set()
        self._wake()
        self._thread.join(timeout=LAST_WORDS_S + self._address.write_timeout_s + 5)
        if self._thread.is_alive():
            raise BridgeError(f"the wire {self._address.asked}", "its thread does not end", "restart the program")

    def __enter__(self) -> SerialBridge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _offer(self, message: Message) -> bool:
        encode(message, 0)
        with self._shared.lock:
            taken = self._link.offer(message, self._clock())
        self._wake()
        return taken

    def _wake(self) -> None:
        port = self._port
        if port is not None:
            port.wake()

    def _run(self) -> None:
        pause_s = BACKOFF_FIRST_S
        while not self._stopping.is_set():
            port = self._port
            if port is None:
                pause_s = self._try_again(pause_s)
            else:
                pause_s = BACKOFF_FIRST_S
                self._guarded(port, self._turn)
        if self._port is not None:
            self._guarded(self._port, self._last_words)
        self._drop_port("closed")

    def _guarded(self, port: Port, step: Callable[[Port], None]) -> None:
        """One step at the port; when the port is gone it is opened again later."""
        try:
            step(port)
        except MissingDevice as error:
            self._drop_port(error.why)

    def _turn(self, port: Port) -> None:
        self._write(port)
        data = port.read()
        if data:
            now = self._clock()
            self._air.heard(now)
            with self._shared.lock:
                self._note(self._link.receive(data, now))

    def _write(self, port: Port) -> None:
        silence_s = self._air.silence_s(self._clock())
        if silence_s > self._address.turnaround_s:
            return  # the other end's turn to speak; read on
        if silence_s > 0:
            time.sleep(silence_s)
        with self._shared.lock:
            frames, events = self._link.poll(self._clock())
            self._note(events)
        for frame in frames:
            port.write(frame)
        if frames:
            self._air.spoke(self._clock(), sum(map(len, frames)))

    def _note(self, events: list[LinkEvent]) -> None:
        self._shared.events = (self._shared.events + events)[-EVENTS_KEPT:]

    def _last_words(self, port: Port) -> None:
        """Give what is queued half a second to arrive, then say that the station stops."""
        until = self._clock() + LAST_WORDS_S
        while self._link.queued and self._link.is_up and self._clock() < until:
            self._turn(port)
        stopping = replace(self._last_state, verdict=Verdict.FAULT, fault=Fault.STOPPING)
        with self._shared.lock:
            data = self._link.last_words(stopping)
        port.write(data)

    def _drop_port(self, why: str) -> None:
        port, self._port = self._port, None
        if port is None:
            return
        with self._shared.lock:
            self._shared.last_error = why
            self._link.disconnected(self._clock())
            self._note(self._link.poll(self._clock())[1])
        port.close()

    def _try_again(self, pause_s: float) -> float:
        """Open the lost port; on failure return the next, longer pause."""
        if self._stopping.wait(pause_s):
            return pause_s
        try:
            port = open_port(self._address)
        except BridgeError as error:
            self._shared.last_error = str(error)
            return min(2 * pause_s, BACKOFF_LAST_S)
        with self._shared.lock:
            self._link.connected(self._clock())
            self._shared.reconnections += 1
        self._port = port
        return BACKOFF_FIRST_S


def open_dialect(wire: str, address: PortAddress, name: str) -> Dialect:
    """The conversation that `wire` names: cobs, ascii or modbus. Raises AddressError or MissingDevice."""
    if wire == "modbus":
        from firmware_bridge.modbus import ModbusSlave

        return ModbusSlave(address.unit)
    settings = LinkSettings(Role.STATION, name, address.heartbeat_s, one_way=address.one_way)
    return Link(wire_named(wire), settings, secrets.randbits(24))
