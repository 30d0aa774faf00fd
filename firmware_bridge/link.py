"""The conversation, pure: heartbeats, acknowledgement, repetition, sessions. Time comes in, bytes go out.

Both ends use it: a station says `publish` and `offer`, a receiver says `offer` for its commands; either reads `take`.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from firmware_bridge.codec import VERSION, BadFrame, Reason, Received
from firmware_bridge.messages import RELIABLE, Ack, Hello, Message, Nak, NakReason, Role, StationState
from firmware_bridge.outbox import Heard, Outbox, RetrySettings
from firmware_bridge.wire import Wire

_RUN_BITS = 8
_NAK_FOR = {
    Reason.VERSION: NakReason.VERSION,
    Reason.UNKNOWN_TYPE: NakReason.UNKNOWN_TYPE,
    Reason.MALFORMED: NakReason.MALFORMED,
}


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Timing and limits of one end. `one_way`: nobody answers; every event is said three times and forgotten."""

    role: Role = Role.STATION
    name: str = ""
    heartbeat_s: float = 1.0
    state_gap_s: float = 0.1
    down_after_s: float = 3.0
    inbox_limit: int = 64
    one_way: bool = False
    retry: RetrySettings = field(default_factory=RetrySettings)


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The peer is heard."""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The peer was not heard for `down_after_s`, or the port is gone."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The peer acknowledged `message`."""

    message: Message


@dataclass(frozen=True, slots=True)
class Refused:
    """The peer took `message` for something it cannot use."""

    message: Message
    reason: NakReason


LinkEvent: TypeAlias = LinkUp | LinkDown | Delivered | Refused


@dataclass(slots=True)
class LinkCounters:
    """What happened on this link since it was made."""

    sent: int = 0
    received: int = 0
    duplicates: int = 0
    echoes: int = 0
    refused: int = 0
    overflows: int = 0
    bad: Counter[str] = field(default_factory=Counter)


class Link:
    """State of one end of the wire. `run` (24 bits, drawn at random) tells this run of the program from the last."""

    def __init__(self, wire: Wire, settings: LinkSettings, run: int) -> None:
        self._wire, self.settings = wire, settings
        self._run, self._connections = run & 0xFFFFFF, -1
        self._outbox = Outbox(replace(settings.retry, one_way=settings.one_way))
        self._inbox: deque[Message] = deque()
        self._heard = Heard()
        self._peer_run: int | None = None
        self._decoder = wire.decoder()
        self._replies: list[Message] = []
        self._events: list[LinkEvent] = []
        self._word = 0  # numbers what is said without being repeated
        self._state: StationState | None = None
        self._state_news = False
        self._hello_due = False
        self._beat_at = -math.inf
        self._heard_at = -math.inf
        self._now = -math.inf
        self.is_connected = self.is_up = False
        self.peer: Hello | None = None
        self.counters = LinkCounters()

    @property
    def session(self) -> int:
        """Run in the upper 24 bits, number of the connection in the lower 8."""
        return self._run << _RUN_BITS | max(self._connections, 0) & 0xFF

    @property
    def queued(self) -> int:
        """Messages not yet acknowledged by the peer."""
        return len(self._outbox)

    def connected(self, now: float) -> None:
        """The port is open: a new session; says Hello, the whole state and all that is unacknowledged again."""
        self._at(now)
        self._connections += 1
        self.is_connected = self._hello_due = True
        self._decoder = self._wire.decoder()
        self._replies.clear()
        self._outbox.restart()
        self._beat_at = -math.inf

    def disconnected(self, now: float) -> None:
        """The port is gone."""
        self._at(now)
        self.is_connected = False
        self._go_down()

    def publish(self, state: StationState) -> None:
        """The state for the next heartbeat; a new verdict, flag, fault or alarm is said at once."""
        self._state_news |= self._state is None or _shown(state) != _shown(self._state)
        self._state = state

    def offer(self, message: Message, now: float) -> bool:
        """Queue a message that must arrive. False: refused, the queue is full (counted, and told in each heartbeat)."""
        taken = self._outbox.offer(message, self._at(now))
        self.counters.overflows += not taken
        return taken

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        """Bytes from the port. Returns what happened; messages wait in `take`."""
        self._at(now)
        for item in self._decoder.feed(data):
            if isinstance(item, BadFrame):
                self._bad(item)
            elif item.session >> _RUN_BITS == self._run:
                self.counters.echoes += 1
            else:
                self._good(item)
        return self._take_events()

    def poll(self, now: float) -> tuple[list[bytes], list[LinkEvent]]:
        """The frames to write now, in order, and what happened."""
        now = self._at(now)
        if self.is_up and now - self._heard_at > self.settings.down_after_s:
            self._go_down()
        frames = self._frames(now) if self.is_connected else []
        self.counters.sent += len(frames)
        return frames, self._take_events()

    def wake_at(self) -> float:
        """When `poll` may next have something to say."""
        if not self.is_connected:
            return math.inf
        return -math.inf if self._replies else min(self._next_beat(), self._outbox.wake_at())

    def last_words(self, state: StationState) -> bytes:
        """The closing state, for the port, now."""
        return self._say(replace(state, unsent=self.counters.overflows))

    def take(self) -> list[Message]:
        """The messages that arrived since the last call, each once."""
        messages = list(self._inbox)
        self._inbox.clear()
        return messages

    def _at(self, now: float) -> float:
        """Time never runs backwards in here."""
        self._now = max(self._now, now)
        return self._now

    def _frames(self, now: float) -> list[bytes]:
        frames = [self._say(reply) for reply in self._replies]
        self._replies.clear()
        if now >= self._next_beat():
            frames += self._beat(now)
        return frames + [self._wire.encode(m, sequence, self.session) for sequence, m in self._outbox.due(now)]

    def _next_beat(self) -> float:
        gap = self.settings.state_gap_s if self._state_news else self.settings.heartbeat_s
        return self._beat_at + gap

    def _beat(self, now: float) -> list[bytes]:
        first, self._beat_at, self._state_news = self._beat_at == -math.inf, now, False
        frames = [self._wire.idle] if first else []
        if self._hello_due:
            frames.append(self._say(self._hello()))
        if self.settings.role is Role.STATION:
            state = self._state or StationState()
            frames.append(self._say(replace(state, unsent=self.counters.overflows)))
        return frames

    def _hello(self) -> Hello:
        beat_ms = round(self.settings.heartbeat_s * 1000) if self.settings.role is Role.STATION else 0
        return Hello(self.settings.role, VERSION, VERSION, min(beat_ms, 0xFFFF), self.settings.name)

    def _say(self, message: Message) -> bytes:
        self._word = (self._word + 1) & 0xFFFF
        return self._wire.encode(message, self._word, self.session)

    def _bad(self, frame: BadFrame) -> None:
        self.counters.bad[frame.reason.value] += 1
        header, reason = frame.header, _NAK_FOR.get(frame.reason)
        if header and reason and header.type not in (Ack.TYPE, Nak.TYPE) and header.session >> _RUN_BITS != self._run:
            self._reply(Nak(header.session, header.type, header.sequence, reason))

    def _good(self, item: Received) -> None:
        self.counters.received += 1
        self._hear(item.session >> _RUN_BITS)
        message = item.message
        if isinstance(message, Ack | Nak):
            self._answered(message)
        elif isinstance(message, RELIABLE):
            self._deliver_once(item)
        else:
            self._deliver_level(item)

    def _hear(self, run: int) -> None:
        if run != self._peer_run:
            self._peer_run = run
            self._heard.forget()
        self._heard_at, self._hello_due = self._now, False
        if not self.is_up:
            self.is_up = True
            self._events.append(LinkUp())

    def _answered(self, answer: Ack | Nak) -> None:
        if answer.session >> _RUN_BITS != self._run or answer.type not in {cls.TYPE for cls in RELIABLE}:
            return
        if isinstance(answer, Ack):
            message = self._outbox.acked(answer.sequence)
            if message is not None:
                self._events.append(Delivered(message))
            return
        message = self._outbox.refused(answer.sequence, self._now, for_good=answer.reason is not NakReason.BUSY)
        if message is not None:
            self.counters.refused += 1
            self._events.append(Refused(message, answer.reason))

    def _deliver_once(self, item: Received) -> None:
        if self._heard.knows(item.sequence):
            self.counters.duplicates += 1
        elif len(self._inbox) >= self.settings.inbox_limit:
            self._reply(Nak(item.session, item.message.TYPE, item.sequence, NakReason.BUSY))
            return
        else:
            self._heard.note(item.sequence)
            self._inbox.append(item.message)
        self._reply(Ack(item.session, item.message.TYPE, item.sequence))

    def _deliver_level(self, item: Received) -> None:
        if isinstance(item.message, Hello):
            self.peer = item.message
        if self.settings.role is Role.RECEIVER:
            self._make_room()
            self._inbox.append(item.message)
        self._reply(Ack(item.session, item.message.TYPE, item.sequence))

    def _make_room(self) -> None:
        """An old level gives way to a new one; an event never does."""
        while len(self._inbox) >= self.settings.inbox_limit:
            old = next((m for m in self._inbox if isinstance(m, Hello | StationState)), None)
            if old is None:
                return
            self._inbox.remove(old)

    def _reply(self, answer: Ack | Nak) -> None:
        if not self.settings.one_way and len(self._replies) < 2 * self.settings.inbox_limit:
            self._replies.append(answer)

    def _go_down(self) -> None:
        if self.is_up:
            self.is_up = False
            self._events.append(LinkDown())

    def _take_events(self) -> list[LinkEvent]:
        events, self._events = self._events, []
        return events


def _shown(state: StationState) -> tuple[int, ...]:
    return (state.verdict, state.flags, state.fault, state.event)
