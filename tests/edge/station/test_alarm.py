from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge.station.alarm import Alarm, AlarmChange, AlarmEvent, AlarmRules, AlarmState, Latch


def changes(events: list[AlarmEvent]) -> list[AlarmChange]:
    return [event.change for event in events]


def test_the_life_of_an_alarm_that_does_not_latch() -> None:
    alarm = Alarm(AlarmRules())
    assert alarm.state is AlarmState.NORMAL
    assert changes(alarm.condition(True, 1.0)) == [AlarmChange.RAISED]
    assert alarm.state is AlarmState.UNACKNOWLEDGED_ACTIVE
    assert changes(alarm.condition(False, 2.0)) == [AlarmChange.RETURNED]
    assert alarm.state is AlarmState.RETURNED_UNACKNOWLEDGED and not alarm.annunciated
    assert changes(alarm.acknowledge(3.0)) == [AlarmChange.ACKNOWLEDGED]
    assert alarm.state is AlarmState.NORMAL


def test_latched_until_acknowledged() -> None:
    alarm = Alarm(AlarmRules(latch="acknowledge"))
    alarm.condition(True, 1.0)
    alarm.condition(False, 2.0)
    assert alarm.state is AlarmState.LATCHED_UNACKNOWLEDGED and alarm.annunciated
    assert alarm.reset(2.5) == []
    assert changes(alarm.acknowledge(3.0)) == [AlarmChange.ACKNOWLEDGED, AlarmChange.RESET]
    assert alarm.state is AlarmState.NORMAL


def test_acknowledged_while_active_ends_with_the_condition() -> None:
    alarm = Alarm(AlarmRules(latch="acknowledge"))
    alarm.condition(True, 1.0)
    alarm.acknowledge(2.0)
    assert alarm.state is AlarmState.ACKNOWLEDGED_ACTIVE
    assert changes(alarm.condition(False, 3.0)) == [AlarmChange.RETURNED, AlarmChange.RESET]


def test_latched_until_reset() -> None:
    alarm = Alarm(AlarmRules(latch="reset"))
    alarm.condition(True, 1.0)
    alarm.acknowledge(2.0)
    alarm.condition(False, 3.0)
    assert alarm.state is AlarmState.LATCHED_ACKNOWLEDGED and alarm.annunciated
    assert changes(alarm.reset(4.0)) == [AlarmChange.RESET]
    assert not alarm.annunciated


def test_a_newer_alarm_is_not_acknowledged_by_an_older_wish() -> None:
    alarm = Alarm(AlarmRules())
    for at_s in (1.0, 2.0):
        alarm.condition(True, at_s)
        alarm.condition(False, at_s + 0.5)
    assert alarm.acknowledge(3.0, up_to=1) == [] and not alarm.acknowledged
    assert changes(alarm.acknowledge(3.0, up_to=2)) == [AlarmChange.ACKNOWLEDGED]


def test_shelving_masks_and_ends_by_time_with_a_new_announcement() -> None:
    alarm = Alarm(AlarmRules(max_shelve_s=5.0))
    alarm.shelve(0.0, 100.0)
    raised = alarm.condition(True, 1.0)
    assert [e.announced for e in raised] == [False] and alarm.state is AlarmState.SHELVED and not alarm.annunciated
    assert alarm.tick(4.9) == []
    assert changes(alarm.tick(5.0)) == [AlarmChange.UNSHELVED, AlarmChange.REALARMED]
    assert alarm.annunciated


def test_realarm_repeats_only_what_nobody_has_acknowledged() -> None:
    alarm = Alarm(AlarmRules(realarm_s=10.0))
    alarm.condition(True, 0.0)
    assert alarm.tick(9.0) == []
    assert changes(alarm.tick(10.0)) == [AlarmChange.REALARMED]
    assert alarm.tick(11.0) == []
    alarm.acknowledge(12.0)
    assert alarm.tick(30.0) == []


def test_a_flood_is_said_once_and_recorded_whole() -> None:
    alarm = Alarm(AlarmRules(flood_limit=3, flood_window_s=10.0))
    told: list[AlarmEvent] = []
    for i in range(6):
        told += alarm.condition(True, float(i))
        told += alarm.condition(False, i + 0.5)
    raised = [e for e in told if e.change is AlarmChange.RAISED]
    assert [e.announced for e in raised] == [True, True, True, False, False, False]
    assert changes(told).count(AlarmChange.FLOOD_BEGAN) == 1
    assert changes(alarm.tick(30.0)) == [AlarmChange.FLOOD_ENDED]


@pytest.mark.parametrize(
    ("latch", "state"),
    [("off", AlarmState.RETURNED_UNACKNOWLEDGED), ("acknowledge", AlarmState.LATCHED_UNACKNOWLEDGED)],
)
def test_a_restart_brings_an_unacknowledged_alarm_back(latch: Latch, state: AlarmState) -> None:
    alarm = Alarm(AlarmRules(latch=latch), 7, unacknowledged=True)
    assert alarm.state is state and alarm.annunciated is (latch != "off")
    assert [e.occurrence for e in alarm.condition(True, 1.0)] == [8]


class AlarmMachine(RuleBasedStateMachine):
    """Any order of conditions, acknowledgements, resets, shelvings and time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.condition = False
        self.seen_unacknowledged = False
        self.occurrences = 0
        self.announced_or_masked = 0

    @initialize(latch=st.sampled_from(["acknowledge", "reset"]), realarm_s=st.sampled_from([0.0, 5.0]))
    def begin(self, latch: Latch, realarm_s: float) -> None:
        self.alarm = Alarm(AlarmRules(latch=latch, realarm_s=realarm_s, flood_limit=3, max_shelve_s=30.0))

    def take(self, events: list[AlarmEvent]) -> None:
        for event in events:
            if event.change is AlarmChange.RAISED:
                self.occurrences += 1
                assert event.occurrence == self.occurrences
                self.seen_unacknowledged = True
            if event.change is AlarmChange.ACKNOWLEDGED:
                self.seen_unacknowledged = False

    @rule(active=st.booleans())
    def frames(self, active: bool) -> None:
        self.condition = active
        self.take(self.alarm.condition(active, self.now_s))

    @rule(up_to=st.one_of(st.none(), st.integers(0, 5)))
    def acknowledge(self, up_to: int | None) -> None:
        self.take(self.alarm.acknowledge(self.now_s, up_to))

    @rule()
    def reset(self) -> None:
        self.take(self.alarm.reset(self.now_s))

    @rule(seconds=st.floats(-1, 100))
    def shelve(self, seconds: float) -> None:
        self.take(self.alarm.shelve(self.now_s, seconds))

    @precondition(lambda self: self.alarm.shelved)
    @rule()
    def unshelve(self) -> None:
        self.take(self.alarm.unshelve(self.now_s))

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.take(self.alarm.tick(self.now_s))

    @invariant()
    def nothing_vanishes_unacknowledged(self) -> None:
        if self.condition or self.seen_unacknowledged:
            assert self.alarm.annunciated or self.alarm.shelved
            assert self.alarm.state is not AlarmState.NORMAL
        if self.seen_unacknowledged:
            assert not self.alarm.acknowledged


TestAlarmMachine = AlarmMachine.TestCase
TestAlarmMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
