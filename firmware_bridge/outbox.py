"""Reliable delivery, pure: what to send again and when (Outbox), and what was heard before (Heard).

Selective repeat with a window of 32: the sender never runs more than 32 numbers ahead of the oldest unacknowledged
one, so a receiver that remembers 32 numbers can tell every repetition from every new message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from firmware_bridge.messages import AlarmCleared, AlarmRaised, Message

WINDOW = 32


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """Three quick tries, then for ever with growing pauses; `quick_limit` bounds what is in flight at once."""

    retry_s: float = 0.15
    quick_tries: int = 3
    slow_first_s: float = 0.3
    slow_last_s: float = 5.0
    slow_gap_s: float = 0.2
    quick_limit: int = 8
    queue_limit: int = 256
    one_way: bool = False


@dataclass(slots=True, eq=False)
class Entry:
    """A message on its way. `sequence` is None until the first transmission."""

    message: Message
    queued_at: float
    sequence: int | None = None
    tries: int = 0
    due: float = field(default=0.0)


class Outbox:
    """Queue of messages that must arrive. Alarms are never dropped; others give way to an alarm when it is full."""

    def __init__(self, settings: RetrySettings) -> None:
        self._settings = settings
        self._entries: list[Entry] = []
        self._next_sequence = 0
        self._slow_due = 0.0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._entries)

    def offer(self, message: Message, now: float) -> bool:
        """Queue `message`. False: the queue is full of messages that matter as much."""
        if len(self._entries) >= self._settings.queue_limit and not self._make_room(message):
            return False
        self._entries.append(Entry(message, now))
        return True

    def acked(self, sequence: int) -> Message | None:
        """Forget the message with this number and return it; None when it was not waiting."""
        for entry in self._entries:
            if entry.sequence == sequence:
                self._entries.remove(entry)
                return entry.message
        return None

    def refused(self, sequence: int, now: float, *, for_good: bool) -> Message | None:
        """The peer said no. Alarms wait and are tried again; others are dropped when the no is for good."""
        entry = next((e for e in self._entries if e.sequence == sequence), None)
        if entry is None:
            return None
        if for_good and not isinstance(entry.message, AlarmRaised):
            self._entries.remove(entry)
            self.dropped += 1
        else:
            entry.tries = max(entry.tries, self._settings.quick_tries)
            entry.due = now + self._pause_s(entry)
        return entry.message

    def restart(self) -> None:
        """After a reconnection: everything unacknowledged is said again at once, under its old number."""
        for entry in self._entries:
            entry.tries, entry.due = 0, 0.0

    def due(self, now: float) -> list[tuple[int, Message]]:
        """What to send now, oldest first; counts as one try each."""
        sending = []
        for entry in list(self._sendable(now)):
            sending.append((entry.sequence or 0, _aged(entry, now)))
            self._count_try(entry, now)
        return sending

    def wake_at(self) -> float:
        """When `due` may next have something to say; infinity when nothing waits."""
        return min((entry.due for entry in self._entries), default=float("inf"))

    def _sendable(self, now: float) -> Iterator[Entry]:
        in_flight = sum(self._is_quick(e, now) for e in self._entries)
        about: set[int] = set()
        for entry in self._entries:
            event = _event_of(entry.message)
            waits_for_its_alarm = event is not None and event in about
            if event is not None:
                about.add(event)
            if waits_for_its_alarm or entry.due > now or not self._may_go(entry, in_flight, now):
                continue
            in_flight += entry.tries == 0
            self._number(entry)
            yield entry

    def _may_go(self, entry: Entry, in_flight: int, now: float) -> bool:
        if entry.tries == 0:
            return in_flight < self._settings.quick_limit and self._in_window(entry)
        if entry.tries < self._settings.quick_tries:
            return True
        if now < self._slow_due:
            return False
        self._slow_due = now + self._settings.slow_gap_s
        return True

    def _is_quick(self, entry: Entry, now: float) -> bool:
        quick = 0 < entry.tries < self._settings.quick_tries
        return quick or (entry.tries == self._settings.quick_tries and entry.due > now)

    def _in_window(self, entry: Entry) -> bool:
        oldest = next((e.sequence for e in self._entries if e.sequence is not None), self._next_sequence)
        ahead = (self._next_sequence - oldest) & 0xFFFF
        return entry.sequence is not None or ahead < WINDOW

    def _number(self, entry: Entry) -> None:
        if entry.sequence is None:
            entry.sequence = self._next_sequence
            self._next_sequence = (self._next_sequence + 1) & 0xFFFF

    def _count_try(self, entry: Entry, now: float) -> None:
        entry.tries += 1
        entry.due = now + self._pause_s(entry)
        if self._settings.one_way and entry.tries >= self._settings.quick_tries:
            self._entries.remove(entry)

    def _pause_s(self, entry: Entry) -> float:
        beyond = entry.tries - self._settings.quick_tries
        if beyond <= 0:
            return self._settings.retry_s
        return float(min(self._settings.slow_first_s * 2 ** min(beyond - 1, 16), self._settings.slow_last_s))

    def _make_room(self, message: Message) -> bool:
        if not isinstance(message, AlarmRaised):
            return False
        victim = next((e for e in self._entries if not isinstance(e.message, AlarmRaised)), None)
        if victim is None:
            return False
        self._entries.remove(victim)
        self.dropped += 1
        return True


class Heard:
    """Which of the last 32 numbers were heard: tells a repetition from a new message, across the wrap at 65536."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self._bits = 0

    def knows(self, sequence: int) -> bool:
        """True for a repetition."""
        if self._newest is None:
            return False
        back = (self._newest - sequence) & 0xFFFF
        return back < WINDOW and bool(self._bits >> back & 1)

    def note(self, sequence: int) -> None:
        """Remember `sequence`. A number from before the window means that the peer began anew."""
        newest = sequence if self._newest is None else self._newest
        ahead, back = (sequence - newest) & 0xFFFF, (newest - sequence) & 0xFFFF
        if ahead < 0x8000:
            self._newest, self._bits = sequence, (self._bits << min(ahead, WINDOW) | 1) & 0xFFFFFFFF
        elif back < WINDOW:
            self._bits |= 1 << back
        else:
            self._newest, self._bits = sequence, 1

    def forget(self) -> None:
        """The peer is another run of its program: its numbers start again."""
        self._newest, self._bits = None, 0


def _event_of(message: Message) -> int | None:
    return message.event if isinstance(message, AlarmRaised | AlarmCleared) else None


def _aged(entry: Entry, now: float) -> Message:
    """An alarm tells its age at this transmission, the time in the queue included."""
    message = entry.message
    if not isinstance(message, AlarmRaised):
        return message
    waited_ms = max(0, round((now - entry.queued_at) * 1000))
    return replace(message, age_ms=min(message.age_ms + waited_ms, 0xFFFFFFFF))
