"""The figures of a shift, from the events that held in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edge.station.events import ALARM, FAULT, EventRecord


@dataclass(frozen=True, slots=True)
class Shift:
    """Events of [first_s, last_s] (Unix time), oldest first, and what they add up to."""

    first_s: float
    last_s: float
    alarms: tuple[EventRecord, ...]
    faults: tuple[EventRecord, ...]

    @property
    def seconds(self) -> float:
        """Length of the shift."""
        return self.last_s - self.first_s

    @property
    def blind_s(self) -> float:
        """Seconds in which at least one fault held; faults that overlap count once."""
        return union_s(self._span(fault) for fault in self.faults)

    @property
    def availability(self) -> float:
        """Part of the shift in which no fault held, 0 to 1."""
        return 1.0 - self.blind_s / self.seconds

    @property
    def unacknowledged(self) -> int:
        """Alarms that nobody has acknowledged."""
        return sum(alarm.acknowledged_at is None for alarm in self.alarms)

    @property
    def false_alarms(self) -> int:
        """Alarms that were marked as false."""
        return sum(alarm.mark == "false-alarm" for alarm in self.alarms)

    def lasted_s(self, event: EventRecord) -> float:
        """How long an event held within the shift."""
        first, last = self._span(event)
        return last - first

    def per_slot(self, slot_s: float) -> list[tuple[float, int]]:
        """(start, alarms raised) of each slot of the shift."""
        count = max(1, -int(-self.seconds // slot_s))
        starts = [self.first_s + n * slot_s for n in range(count)]
        raised = [0] * count
        for alarm in self.alarms:
            if self.first_s <= alarm.began_at <= self.last_s:
                raised[min(count - 1, int((alarm.began_at - self.first_s) // slot_s))] += 1
        return list(zip(starts, raised, strict=True))

    def by_reason(self) -> list[tuple[str, int, float]]:
        """(reason, how often, seconds) of faults, the longest first."""
        reasons: dict[str, list[float]] = {}
        for fault in self.faults:
            reasons.setdefault(fault.reason.partition(":")[0], []).append(self.lasted_s(fault))
        return sorted(((r, len(times), sum(times)) for r, times in reasons.items()), key=lambda row: -row[2])

    def _span(self, event: EventRecord) -> tuple[float, float]:
        ended_s = self.last_s if event.ended_at is None else min(event.ended_at, self.last_s)
        began_s = max(event.began_at, self.first_s)
        return began_s, max(began_s, ended_s)


def shift_of(events: Sequence[EventRecord], first_s: float, last_s: float) -> Shift:
    """The shift made of these events, which all held at some moment of [first_s, last_s]."""
    alarms = tuple(event for event in events if event.kind == ALARM)
    return Shift(first_s, last_s, alarms, tuple(event for event in events if event.kind == FAULT))


def settled(events: Iterable[EventRecord], started_s: float) -> list[EventRecord]:
    """Events without an end that an earlier run left behind get one: they count for a moment, not for ever.

    `started_s`: when the station was started last (Unix time). What goes on in that run keeps its open end.
    """
    return [
        replace(event, ended_at=event.began_at, note=f"{event.note} its end was not recorded".strip())
        if event.ended_at is None and event.began_at < started_s
        else event
        for event in events
    ]


def union_s(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds covered by at least one span."""
    covered, up_to = 0.0, float("-inf")
    for first, last in sorted(spans):
        covered += max(0.0, last - max(first, up_to))
        up_to = max(up_to, last)
    return covered
