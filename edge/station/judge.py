"""The verdict: OK, ALARM or FAULT (and STARTING before the first scored frame). Pure: observations and time in.

FAULT means "I cannot see" and wins over everything else; a fault never ends an alarm, it only hides the view. A frame
votes once: a repeated, older or over-aged frame is refused and does not count as sight.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from edge.station.alarm import Alarm, AlarmEvent
from edge.station.decision import Vote


class Verdict(Enum):
    """What the outputs say."""

    STARTING = "starting"
    OK = "ok"
    ALARM = "alarm"
    FAULT = "fault"


class FaultSource(Enum):
    """Where blindness comes from; the word goes on the wire and into the event store."""

    BUNDLE = "bundle"
    CAMERA = "camera"  # lost, or it delivers another size
    HEALTH = "health"  # frozen, black, washed out, out of focus, moved
    ENGINE = "engine"
    PIPELINE = "pipeline"  # the child process died, hangs or eats memory
    STALE = "stale"  # no fresh scored frame in time
    DISK = "disk"
    OUTPUT = "output"  # a serial port or relay is lost
    TRIGGER = "trigger"  # a part was announced and not inspected in time


class FaultKind(Enum):
    """What exactly keeps the station from seeing. The names are those of the wire (docs/protocol.md)."""

    CAMERA_LOST = "camera lost"
    CAMERA_FROZEN = "camera frozen"
    PICTURE_BLACK = "picture black"
    PICTURE_SATURATED = "picture saturated"
    OUT_OF_FOCUS = "out of focus"
    CAMERA_MOVED = "camera moved"
    EXPOSURE_DRIFT = "exposure drift"
    FRAME_TOO_OLD = "frame too old"
    ENGINE_STUCK = "engine stuck"
    ENGINE_ERROR = "engine error"
    BUNDLE_REFUSED = "bundle refused"
    STORE_FAILED = "event store failed"
    DISK_FULL = "disk full"
    OUTPUT_NOT_PROVEN = "output not proven"
    TRIGGER_TIMEOUT = "trigger timeout"
    RESTART_BUDGET_SPENT = "restart budget spent"
    MEMORY_LIMIT = "memory limit"
    STOPPING = "stopping"
    OTHER = "other"


# Sight itself proves that these are over.
ENDED_BY_SIGHT = frozenset(
    {
        FaultSource.BUNDLE,
        FaultSource.CAMERA,
        FaultSource.HEALTH,
        FaultSource.ENGINE,
        FaultSource.PIPELINE,
        FaultSource.STALE,
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why the station cannot see. `reason` is one line for people."""

    source: FaultSource
    kind: FaultKind
    reason: str


@dataclass(frozen=True, slots=True)
class FaultEvent:
    """A fault began (`began`) or ended."""

    fault: Fault
    began: bool
    at_s: float


Event = AlarmEvent | FaultEvent
FrameKey = tuple[int, int]  # (which run of the pipeline, sequence in it); grows with every fresh frame


class Judge:
    """Vote, alarm and faults together. Not thread-safe: one loop owns it."""

    def __init__(self, vote: Vote, alarm: Alarm, max_age_s: float) -> None:
        self.vote, self.alarm, self.max_age_s = vote, alarm, max_age_s
        self.last_scored_s: float | None = None
        self.last_score: float | None = None
        self._last_key: FrameKey = (-1, -1)
        self._faults: dict[FaultSource, Fault] = {}

    @property
    def faults(self) -> list[Fault]:
        """The faults that hold now, in the order of FaultSource."""
        return [self._faults[source] for source in FaultSource if source in self._faults]

    @property
    def verdict(self) -> Verdict:
        """FAULT before ALARM before STARTING before OK."""
        if self._faults:
            return Verdict.FAULT
        if self.alarm.annunciated:
            return Verdict.ALARM
        return Verdict.STARTING if self.last_scored_s is None else Verdict.OK

    def is_fresh(self, key: FrameKey, captured_at_s: float, now_s: float) -> bool:
        """Whether a frame may vote: newer than all before it, and not older than `max_age_s`."""
        return key > self._last_key and now_s - captured_at_s <= self.max_age_s

    def observe(self, score: float, key: FrameKey, captured_at_s: float, now_s: float) -> list[Event]:
        """One frame was scored. A frame that is not fresh changes nothing, and staleness follows from `tick`."""
        if not self.is_fresh(key, captured_at_s, now_s):
            return []
        self._last_key = key
        self.last_scored_s, self.last_score = now_s, score
        events: list[Event] = self._end(ENDED_BY_SIGHT, now_s)
        return events + list(self.alarm.condition(self.vote.see(score, now_s), now_s))

    def glance(self, key: FrameKey, captured_at_s: float, now_s: float) -> list[Event]:
        """A fresh frame was scored only to prove sight (triggered mode, no part there): it does not vote."""
        if not self.is_fresh(key, captured_at_s, now_s):
            return []
        self._last_key, self.last_scored_s = key, now_s
        return self._end(ENDED_BY_SIGHT, now_s)

    def sight(self, now_s: float) -> list[Event]:
        """We see again, but nothing is judged (learning): faults of sight end, the verdict stays STARTING."""
        return self._end(ENDED_BY_SIGHT, now_s)

    def new_part(self, now_s: float) -> list[Event]:
        """Triggered mode: the next frame shows another part, so the condition of the last one is over."""
        self.vote.forget()
        self.vote.active = False
        return list(self.alarm.condition(False, now_s))

    def fault(self, fault: Fault, now_s: float) -> list[Event]:
        """A fault holds from now on. The same source may change its reason without a new event, not its kind."""
        known = self._faults.get(fault.source)
        self._faults[fault.source] = fault
        if fault.source in ENDED_BY_SIGHT:
            self.vote.forget()
        if known is not None and known.kind == fault.kind:
            return []
        ended: list[Event] = [] if known is None else [FaultEvent(known, False, now_s)]
        return [*ended, FaultEvent(fault, True, now_s)]

    def clear(self, source: FaultSource, now_s: float) -> list[Event]:
        """The fault of this source is over. What only a fresh frame can disprove (ENDED_BY_SIGHT) stays until then."""
        return [] if source in ENDED_BY_SIGHT else self._end((source,), now_s)

    def tick(self, now_s: float) -> list[Event]:
        """What time alone changes; call it often (every 50 ms)."""
        events: list[Event] = list(self.alarm.tick(now_s))
        age_s = 0.0 if self.last_scored_s is None else now_s - self.last_scored_s
        if age_s > self.max_age_s and not self._is_blind():
            reason = f"no fresh frame was scored for {self.max_age_s:g} s"
            return events + self.fault(Fault(FaultSource.STALE, FaultKind.FRAME_TOO_OLD, reason), now_s)
        return events

    def _is_blind(self) -> bool:
        """A fault that says why there is no sight makes "stale" superfluous."""
        return bool(self._faults.keys() & ENDED_BY_SIGHT)

    def _end(self, sources: Iterable[FaultSource], now_s: float) -> list[Event]:
        ended = [s for s in FaultSource if s in set(sources) and s in self._faults]
        return [FaultEvent(self._faults.pop(s), False, now_s) for s in ended]
