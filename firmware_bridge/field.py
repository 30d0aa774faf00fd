"""What a technician does at the wire: watch it, say something, try the plug. The receiver's end, in a loop."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from firmware_bridge.address import parse_port
from firmware_bridge.codec import BadFrame
from firmware_bridge.errors import BridgeError, MissingDevice, NotProven
from firmware_bridge.link import Delivered, Link, LinkDown, LinkSettings, LinkUp, Refused
from firmware_bridge.messages import (
    Acknowledge,
    AlarmRaised,
    Command,
    Message,
    Role,
    StationState,
    Trigger,
    TriggerResult,
)
from firmware_bridge.port import Port, open_port
from firmware_bridge.show import clock_of, json_of, line_of
from firmware_bridge.wire import wire_named


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """`count` messages or `seconds`, 0: without end. `listen`: never send a byte. `acknowledge`: as an operator."""

    as_json: bool = False
    count: int = 0
    seconds: float = 0.0
    listen: bool = False
    acknowledge: bool = False
    changes: bool = False


class FieldLink:
    """A receiver on a real port: one loop, no thread. `stop` ends it from a signal handler."""

    def __init__(self, url: str, wire: str, *, listen: bool = False) -> None:
        address = parse_port(url)
        settings = LinkSettings(Role.RECEIVER, "edge-bridge", address.heartbeat_s, one_way=listen)
        self.link = Link(wire_named(wire), settings, secrets.randbits(24))
        self._listen = listen
        self._port: Port = open_port(address)
        self.link.connected(time.monotonic())
        self.stopped = False

    def stop(self) -> None:
        """End the loop soon."""
        self.stopped = True
        self._port.wake()

    def close(self) -> None:
        """Give the port back."""
        self._port.close()

    def turn(self) -> tuple[list[Message], list[object]]:
        """Read once, answer, and return what came: messages and link events."""
        data = self._port.read()
        now = time.monotonic()
        events: list[object] = list(self.link.receive(data, now))
        if not self._listen:
            frames, more = self.link.poll(now)
            events += more
            for frame in frames:
                self._port.write(frame)
        return self.link.take(), events


def watch(field: FieldLink, options: WatchOptions, say: Callable[[str], None]) -> int:
    """Print each message as it comes, until the end that `options` name or the wire's. Returns how many there were."""
    until = time.monotonic() + options.seconds if options.seconds else float("inf")
    shown, last, complaints = 0, None, _Complaints(say)
    while not field.stopped and time.monotonic() < until and not 0 < options.count <= shown:
        try:
            messages, events = field.turn()
        except MissingDevice as error:
            complaints.tell(f"the wire has ended: {error.why}")
            break
        for message in messages:
            repeated = options.changes and isinstance(message, StationState) and _same_state(message, last)
            last = message if isinstance(message, StationState) else last
            if not repeated and not 0 < options.count <= shown:
                say((json_of if options.as_json else line_of)(message, datetime.now()))
                shown += 1
            if options.acknowledge and isinstance(message, AlarmRaised):
                field.link.offer(Acknowledge(message.event), time.monotonic())
        if not options.as_json:
            complaints.look(field.link, events)
    _answer_last(field)
    return shown


def send(field: FieldLink, command: Command, seconds: float, say: Callable[[str], None]) -> None:
    """Say `command` until the station acknowledges it (a trigger: until its answer). Raises MissingDevice."""
    until = time.monotonic() + seconds
    field.link.offer(command, time.monotonic())
    while not field.stopped and time.monotonic() < until:
        messages, events = field.turn()
        for event in events:
            if isinstance(event, Refused):
                raise MissingDevice("the station", f"refused {command}: {event.reason.name}", "update the older end")
            if isinstance(event, Delivered) and not isinstance(command, Trigger):
                return say(f"the station has taken {command}")
        for message in messages:
            if isinstance(message, TriggerResult) and isinstance(command, Trigger):
                _answer_last(field)
                return say(line_of(message, datetime.now()))
    raise MissingDevice("the station", f"no answer within {seconds:g} s", "check the wires (TX to RX) and the speed")


def loopback(port: Port, frames: int, size: int) -> tuple[float, float]:
    """Send `frames` blocks that must come back through a TX-RX plug. Returns mean and greatest time in ms."""
    times = []
    for number in range(frames):
        block, started = os.urandom(size), time.monotonic()
        port.write(block)
        back = b"".join(_until(port, size, started + 2.0))
        if back != block:
            found = f"{len(back)} of {size} bytes came back" if len(back) < size else "other bytes came back"
            raise NotProven(f"block {number + 1}", found, "join TX and RX of the port, and stop other users of it")
        times.append(1000 * (time.monotonic() - started))
    return sum(times) / len(times), max(times)


def _until(port: Port, size: int, deadline: float) -> Iterator[bytes]:
    got = 0
    while got < size and time.monotonic() < deadline:
        data = port.read()
        got += len(data)
        yield data


def _answer_last(field: FieldLink) -> None:
    """The acknowledgement of the last message leaves before the port is closed."""
    try:
        field.turn()
    except BridgeError:
        return  # the wire has ended; nobody waits for an answer


def _same_state(state: StationState, last: Message | None) -> bool:
    if not isinstance(last, StationState):
        return False
    return (state.verdict, state.flags, state.fault) == (last.verdict, last.flags, last.fault)


class _Complaints:
    """Lines about the wire itself, at most one per second for rubbish."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._bad, self._next = say, 0, 0.0

    def tell(self, text: str) -> None:
        self._say(f"{clock_of(datetime.now())} -- {text}")

    def look(self, link: Link, events: list[object]) -> None:
        for event in events:
            if isinstance(event, LinkUp | LinkDown):
                self.tell("the station is heard" if isinstance(event, LinkUp) else "the station is silent")
        bad = sum(link.counters.bad.values())
        if bad > self._bad and time.monotonic() >= self._next:
            kinds = ", ".join(f"{count} {kind}" for kind, count in link.counters.bad.items())
            self.tell(f"unreadable frames so far: {kinds}")
            self._bad, self._next = bad, time.monotonic() + 1.0


def frames_of(data: bytes, wire: str) -> list[Message | BadFrame]:
    """All that a recording holds, in order, repetitions included."""
    dialect = wire_named(wire)
    items = dialect.decoder().feed(data + dialect.idle)
    return [item if isinstance(item, BadFrame) else item.message for item in items]
