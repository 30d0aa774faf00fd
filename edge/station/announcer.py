"""From the judge's events to the outside: wire first, then store and sinks. Keeps the numbers of alarms and faults."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from edge.station.alarm import AlarmChange, AlarmEvent
from edge.station.channel import Pictures, Ready
from edge.station.commands import Acknowledge
from edge.station.event_writer import EventWriter
from edge.station.events import ALARM, FAULT, EventRecord
from edge.station.judge import Event, FaultEvent, FaultSource
from edge.station.sinks import QueuedSink
from edge.station.status import OutputState

PICTURES_WITHIN_S = 3.0
RECENT = 200


class Speaks(Protocol):
    """The part of edge.station.outputs.Outputs that is needed here."""

    def alarm(self, event: int, state: OutputState, age_s: float) -> None:
        """Say one alarm."""
        ...

    def cleared(self, event: int, frame: int, *, reset: bool) -> None:
        """Say that it is over."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """The frame that an event is about. `latency_s`: from its arrival to the verdict."""

    sequence: int = -1
    captured_at_s: float = 0.0
    masked_error: float | None = None
    latency_s: float = 0.0


class Announcer:
    """Tells everybody; decides nothing. Used by the station's loop only."""

    def __init__(self, outputs: Speaks, writer: EventWriter, sinks: Sequence[QueuedSink], config_version: str) -> None:
        self._outputs, self._writer, self._sinks = outputs, writer, sinks
        self._config_version = config_version
        self.ready: Ready | None = None
        self.alarms = self.faults = 0
        self.last_fault = 0  # number of the newest fault in the store
        self._records: dict[str, EventRecord] = {}
        self._open_faults: dict[FaultSource, str] = {}
        self._incomplete: dict[int, tuple[set[str], float]] = {}
        self._wanted: list[Acknowledge] = []
        self._said: list[int] = []  # alarms on the wire that were not cleared yet

    def tell(self, event: Event, state: OutputState, seen: Seen) -> str | None:
        """Tell one event. Returns the id of an event whose pictures should be kept, else None."""
        if isinstance(event, FaultEvent):
            return self._fault(event, state)
        if event.change is AlarmChange.RAISED:
            return self._raised(event, state, seen)
        self._changed(event, state, seen)
        return None

    def want_acknowledged(self, command: Acknowledge, newest: int) -> None:
        """Somebody acknowledges: noted until everything about these alarms is written."""
        up_to = newest if command.up_to is None else min(command.up_to, newest)
        self._wanted.append(replace(command, up_to=up_to))

    def acknowledgeable(self, now_s: float) -> list[Acknowledge]:
        """The wishes whose alarms are written, pictures included; the store has noted them as acknowledged."""
        self._refresh(now_s)
        good = [c for c in self._wanted if all(number > (c.up_to or 0) for number in self._incomplete)]
        self._wanted = [c for c in self._wanted if c not in good]
        for command in good:
            self._writer.acknowledge(command.up_to or 0, time.time(), command.who)
        return good

    def _refresh(self, now_s: float) -> None:
        """Strike off what was written; give up on pictures that did not come in time."""
        for token in self._writer.take_done():
            for waiting, _ in self._incomplete.values():
                waiting.discard(token)
        for number, (waiting, deadline_s) in list(self._incomplete.items()):
            if not waiting:
                del self._incomplete[number]
            elif now_s > deadline_s and waiting == {f"pictures A{number}"}:
                self._incomplete[number] = (waiting, float("inf"))
                self._writer.save_pictures(Pictures(f"A{number}", -1, b"", b"", "pictures did not arrive in time"))

    def _raised(self, event: AlarmEvent, state: OutputState, seen: Seen) -> str:
        self.alarms += 1
        if event.announced:
            self._say(event.occurrence, state, event.at_s - seen.captured_at_s)
        record = self._about_model(
            EventRecord(
                id=f"A{event.occurrence}",
                kind=ALARM,
                number=event.occurrence,
                began_at=_wall(event.at_s),
                score=state.score,
                masked_error=seen.masked_error,
                threshold=_known(state.threshold),
                frame=seen.sequence,
                latency_ms=round(1000 * seen.latency_s, 3),
                announced=event.announced,
            )
        )
        self._incomplete[event.occurrence] = ({record.id, f"pictures {record.id}"}, event.at_s + PICTURES_WITHIN_S)
        self._add(record, event.change.value)
        return record.id

    def _changed(self, event: AlarmEvent, state: OutputState, seen: Seen) -> None:
        record = self._records.get(f"A{event.occurrence}")
        values: dict[str, object] = {}
        if event.change is AlarmChange.REALARMED:
            self._say(event.occurrence, state, 0.0)
            values = {"realarms": (record.realarms if record else 0) + 1, "announced": True}
        elif event.change is AlarmChange.RETURNED:
            values = {"ended_at": time.time()}
            if not state.latched:
                self._clear(event.occurrence, state, reset=False)
        elif event.change is AlarmChange.RESET:
            self._clear(event.occurrence, state, reset=True)
        self._change(f"A{event.occurrence}", values, event.change.value)

    def _say(self, number: int, state: OutputState, age_s: float) -> None:
        self._outputs.alarm(number, state, age_s)
        if number not in self._said:
            self._said.append(number)

    def _clear(self, number: int, state: OutputState, *, reset: bool) -> None:
        """Each alarm that was said is cleared once; the end of a latched one ends those before it too."""
        for said in [n for n in self._said if n <= number]:
            self._outputs.cleared(said, state.frame, reset=reset)
            self._said.remove(said)

    def _fault(self, event: FaultEvent, state: OutputState) -> str | None:
        source = event.fault.source
        if not event.began:
            known = self._open_faults.pop(source, None)
            if known is not None:
                self._change(known, {"ended_at": time.time()}, "ended")
            return None
        self.faults += 1
        self.last_fault += 1
        record = self._about_model(
            EventRecord(
                id=f"F{self.last_fault}",
                kind=FAULT,
                number=self.last_fault,
                began_at=_wall(event.at_s),
                source=source.value,
                reason=f"{event.fault.kind.value}: {event.fault.reason}",
                threshold=_known(state.threshold),
            )
        )
        self._open_faults[source] = record.id
        self._add(record, "began")
        return record.id if source is FaultSource.HEALTH else None

    def _about_model(self, record: EventRecord) -> EventRecord:
        if self.ready is None:
            return replace(record, config_version=self._config_version)
        return replace(
            record,
            bundle=self.ready.bundle,
            bundle_identity=self.ready.bundle_identity,
            variant=self.ready.variant,
            model_hash=self.ready.model_hash,
            config_version=self._config_version,
        )

    def _add(self, record: EventRecord, change: str) -> None:
        self._remember(record)
        self._writer.add(record)
        self._tell_sinks(record, change)

    def _change(self, event: str, values: dict[str, object], change: str) -> None:
        self._writer.change(event, values, change)
        record = self._records.get(event)
        if record is not None:
            changed: EventRecord = replace(record, **values)  # type: ignore[arg-type]
            self._remember(changed)
            self._tell_sinks(changed, change)

    def _remember(self, record: EventRecord) -> None:
        self._records[record.id] = record
        while len(self._records) > RECENT:
            self._records.pop(next(iter(self._records)))

    def _tell_sinks(self, record: EventRecord, change: str) -> None:
        for sink in self._sinks:
            sink.event(record, change)


def _wall(at_s: float) -> float:
    """Unix time of a monotonic moment."""
    return time.time() - (time.monotonic() - at_s)


def _known(number: float) -> float | None:
    """None for what is not known yet: JSON has no word for infinity."""
    return number if math.isfinite(number) else None
