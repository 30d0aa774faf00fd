"""The alarm's state machine: latch, acknowledge, shelve, re-alarm, flood limit. Pure: condition, commands, time in.

States and words are those of OPC UA Part 9 and ISA-18.2. A shelved alarm keeps working; only its annunciation is
masked. Each time the condition begins is one *occurrence*, numbered for ever upwards, announced once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Latch = Literal["off", "acknowledge", "reset"]


class AlarmState(Enum):
    """One word for the alarm, as ISA-18.2 names the states."""

    NORMAL = "normal"
    UNACKNOWLEDGED_ACTIVE = "unacknowledged-active"
    ACKNOWLEDGED_ACTIVE = "acknowledged-active"
    RETURNED_UNACKNOWLEDGED = "returned-to-normal-unacknowledged"
    LATCHED_UNACKNOWLEDGED = "latched-unacknowledged"
    LATCHED_ACKNOWLEDGED = "latched-acknowledged"
    SHELVED = "shelved"


class AlarmChange(Enum):
    """What happened to the alarm in one step."""

    RAISED = "raised"
    REALARMED = "realarmed"
    RETURNED = "returned-to-normal"
    ACKNOWLEDGED = "acknowledged"
    RESET = "reset"
    SHELVED = "shelved"
    UNSHELVED = "unshelved"
    FLOOD_BEGAN = "flood-began"
    FLOOD_ENDED = "flood-ended"


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """One change. `announced` is false where shelving or the flood limit masked it; it is recorded all the same."""

    change: AlarmChange
    occurrence: int
    at_s: float
    announced: bool = True


@dataclass(frozen=True, slots=True)
class AlarmRules:
    """`latch`: "off" follows the condition; "acknowledge" holds the alarm until acknowledged; "reset" until reset too.

    `realarm_s`: announce an unacknowledged active alarm again after this long (0: never). `flood_limit` raised alarms
    within `flood_window_s`: beyond it single alarms are recorded but not announced. `max_shelve_s`: longest shelving.
    """

    latch: Latch = "off"
    realarm_s: float = 0.0
    flood_limit: int = 20
    flood_window_s: float = 60.0
    max_shelve_s: float = 3600.0


class Alarm:
    """One alarm. Commands return what they changed; an empty list means that there was nothing to change."""

    def __init__(self, rules: AlarmRules, last_occurrence: int = 0, *, unacknowledged: bool = False) -> None:
        """Start from what the event store knows: `unacknowledged` brings a latched alarm back after a restart."""
        self.rules = rules
        self.occurrence = last_occurrence
        self.active = False
        self.acknowledged = not unacknowledged
        self.latched = unacknowledged and rules.latch != "off"
        self.flooded = False
        self._shelved_until_s: float | None = None
        self._announced_s = 0.0
        self._raised_s: deque[float] = deque(maxlen=rules.flood_limit + 1)

    @property
    def shelved(self) -> bool:
        """Whether the operator masked the annunciation for a time."""
        return self._shelved_until_s is not None

    @property
    def annunciated(self) -> bool:
        """Whether outputs show ALARM: active or latched, and not shelved."""
        return (self.active or self.latched) and not self.shelved

    @property
    def state(self) -> AlarmState:
        """The alarm's state in one word."""
        if self.shelved:
            return AlarmState.SHELVED
        if self.active:
            return AlarmState.ACKNOWLEDGED_ACTIVE if self.acknowledged else AlarmState.UNACKNOWLEDGED_ACTIVE
        if self.latched:
            return AlarmState.LATCHED_ACKNOWLEDGED if self.acknowledged else AlarmState.LATCHED_UNACKNOWLEDGED
        return AlarmState.NORMAL if self.acknowledged else AlarmState.RETURNED_UNACKNOWLEDGED

    def condition(self, active: bool, now_s: float) -> list[AlarmEvent]:
        """Tell the alarm whether the condition holds now."""
        if active == self.active:
            return []
        self.active = active
        return self._raise(now_s) if active else [self._event(AlarmChange.RETURNED, now_s), *self._unlatch(now_s)]

    def acknowledge(self, now_s: float, up_to: int | None = None) -> list[AlarmEvent]:
        """The operator has seen the alarm, up to occurrence `up_to` (None: all). A newer one stays unacknowledged."""
        if self.acknowledged or (up_to is not None and up_to < self.occurrence):
            return []
        self.acknowledged = True
        return [self._event(AlarmChange.ACKNOWLEDGED, now_s), *self._unlatch(now_s)]

    def reset(self, now_s: float) -> list[AlarmEvent]:
        """Release a latched alarm; refused (empty) while it is active or unacknowledged."""
        if not self.latched or self.active or not self.acknowledged:
            return []
        self.latched = False
        return [self._event(AlarmChange.RESET, now_s)]

    def shelve(self, now_s: float, duration_s: float) -> list[AlarmEvent]:
        """Mask the annunciation for `duration_s`, cut to `max_shelve_s`; shelving again sets the time anew."""
        if not duration_s > 0.0:
            return []
        self._shelved_until_s = now_s + min(duration_s, self.rules.max_shelve_s)
        return [self._event(AlarmChange.SHELVED, now_s)]

    def unshelve(self, now_s: float) -> list[AlarmEvent]:
        """End shelving; an alarm that is still unacknowledged and showing is announced again."""
        if not self.shelved:
            return []
        self._shelved_until_s = None
        changed = [self._event(AlarmChange.UNSHELVED, now_s)]
        return changed + (self._announce_again(now_s) if self.annunciated and not self.acknowledged else [])

    def tick(self, now_s: float) -> list[AlarmEvent]:
        """What time alone changes: shelving runs out, re-alarm is due, a flood ends."""
        changed = self._end_flood(now_s)
        if self._shelved_until_s is not None and now_s >= self._shelved_until_s:
            return changed + self.unshelve(now_s)
        due = self.rules.realarm_s > 0.0 and now_s - self._announced_s >= self.rules.realarm_s
        if due and self.annunciated and not self.acknowledged and not self.flooded:
            return changed + self._announce_again(now_s)
        return changed

    def _raise(self, now_s: float) -> list[AlarmEvent]:
        self.occurrence += 1
        self.acknowledged, self.latched = False, self.rules.latch != "off"
        self._raised_s.append(now_s)
        flood = self._begin_flood(now_s)
        announced = not self.shelved and not self.flooded
        self._announced_s = now_s
        return [*flood, AlarmEvent(AlarmChange.RAISED, self.occurrence, now_s, announced)]

    def _unlatch(self, now_s: float) -> list[AlarmEvent]:
        if not self.latched or self.active or not self.acknowledged or self.rules.latch == "reset":
            return []
        return self.reset(now_s)

    def _announce_again(self, now_s: float) -> list[AlarmEvent]:
        self._announced_s = now_s
        return [self._event(AlarmChange.REALARMED, now_s)]

    def _begin_flood(self, now_s: float) -> list[AlarmEvent]:
        if self.flooded or not self._is_flood(now_s):
            return []
        self.flooded = True
        return [self._event(AlarmChange.FLOOD_BEGAN, now_s)]

    def _end_flood(self, now_s: float) -> list[AlarmEvent]:
        if not self.flooded or self._is_flood(now_s):
            return []
        self.flooded = False
        return [self._event(AlarmChange.FLOOD_ENDED, now_s)]

    def _is_flood(self, now_s: float) -> bool:
        """More than `flood_limit` raised within the window: the deque holds one more than the limit."""
        full = len(self._raised_s) > self.rules.flood_limit
        return full and now_s - self._raised_s[0] < self.rules.flood_window_s

    def _event(self, change: AlarmChange, now_s: float) -> AlarmEvent:
        return AlarmEvent(change, self.occurrence, now_s)
