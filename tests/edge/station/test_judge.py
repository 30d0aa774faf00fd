from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge.station.alarm import Alarm, AlarmChange, AlarmEvent, AlarmRules, Latch
from edge.station.decision import DecisionRules, Vote
from edge.station.judge import ENDED_BY_SIGHT, Event, Fault, FaultEvent, FaultKind, FaultSource, Judge, Verdict

LOST = Fault(FaultSource.CAMERA, FaultKind.CAMERA_LOST, "unplugged")
FULL = Fault(FaultSource.DISK, FaultKind.DISK_FULL, "no room")


def new_judge(latch: Latch = "off") -> Judge:
    return Judge(Vote(DecisionRules(10.0, 2.0, k=1, n=1)), Alarm(AlarmRules(latch=latch)), max_age_s=0.8)


def test_starting_until_the_first_scored_frame() -> None:
    judge = new_judge()
    assert judge.verdict is Verdict.STARTING
    judge.tick(100.0)
    assert judge.verdict is Verdict.STARTING
    judge.observe(1.0, (0, 0), 100.0, 100.0)
    assert judge.verdict is Verdict.OK


def test_no_fresh_frame_in_time_is_a_fault_and_sight_ends_it() -> None:
    judge = new_judge()
    judge.observe(1.0, (0, 0), 0.0, 0.0)
    assert judge.tick(0.79) == [] and judge.verdict is Verdict.OK
    assert [e.fault.kind for e in judge.tick(0.81) if isinstance(e, FaultEvent)] == [FaultKind.FRAME_TOO_OLD]
    assert judge.verdict is Verdict.FAULT
    ended = judge.observe(1.0, (0, 1), 2.0, 2.0)
    assert [e.began for e in ended if isinstance(e, FaultEvent)] == [False] and judge.verdict is Verdict.OK


def test_repeated_and_old_frames_do_not_count_as_sight() -> None:
    judge = new_judge()
    judge.observe(1.0, (0, 5), 0.0, 0.0)
    for key, captured_s in (((0, 5), 0.7), ((0, 4), 0.7), ((0, 6), -0.2)):
        assert judge.observe(99.0, key, captured_s, 0.7) == []
    assert judge.last_score == 1.0
    judge.tick(0.9)
    assert judge.verdict is Verdict.FAULT


def test_a_new_run_of_the_pipeline_counts_its_frames_from_nought() -> None:
    judge = new_judge()
    judge.observe(1.0, (0, 500), 0.0, 0.0)
    judge.observe(2.0, (1, 0), 0.1, 0.1)
    assert judge.last_score == 2.0


def test_a_fault_hides_the_alarm_and_does_not_end_it() -> None:
    judge = new_judge()
    judge.observe(11.0, (0, 0), 0.0, 0.0)
    judge.fault(LOST, 0.1)
    assert judge.verdict is Verdict.FAULT and judge.alarm.active
    judge.observe(11.0, (0, 1), 1.0, 1.0)
    assert judge.verdict is Verdict.ALARM


def test_the_same_fault_is_told_once_and_another_kind_anew() -> None:
    judge = new_judge()
    assert len(judge.fault(LOST, 0.0)) == 1
    assert judge.fault(Fault(FaultSource.CAMERA, FaultKind.CAMERA_LOST, "still gone"), 0.1) == []
    assert len(judge.fault(Fault(FaultSource.CAMERA, FaultKind.OTHER, "another size"), 0.2)) == 2


def test_sight_does_not_end_a_full_disk() -> None:
    judge = new_judge()
    judge.fault(FULL, 0.0)
    judge.observe(1.0, (0, 0), 0.1, 0.1)
    assert judge.verdict is Verdict.FAULT
    judge.clear(FaultSource.DISK, 0.2)
    assert judge.verdict is Verdict.OK


def test_two_bad_parts_in_a_row_are_two_alarms() -> None:
    judge = new_judge()
    events: list[Event] = []
    for i in range(2):
        events += judge.new_part(float(i))
        events += judge.observe(11.0, (0, i), float(i), float(i))
    raised = [e for e in events if isinstance(e, AlarmEvent) and e.change is AlarmChange.RAISED]
    assert [e.occurrence for e in raised] == [1, 2]


def test_a_glance_proves_sight_and_does_not_vote() -> None:
    judge = new_judge()
    judge.fault(LOST, 0.0)
    judge.glance((0, 0), 0.1, 0.1)
    assert judge.verdict is Verdict.OK and judge.last_score is None


def test_learning_never_says_ok() -> None:
    judge = new_judge()
    judge.fault(LOST, 0.0)
    judge.sight(0.1)
    assert judge.verdict is Verdict.STARTING


class StationMachine(RuleBasedStateMachine):
    """Any order of frames (fresh, repeated, old), faults, recoveries, acknowledgements and time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s, self.sequence, self.accepted = 0.0, 0, -1
        self.fresh_s: float | None = None
        self.faults: set[FaultSource] = set()
        self.unacknowledged = False

    @initialize(latch=st.sampled_from(["acknowledge", "reset"]))
    def begin(self, latch: Latch) -> None:
        self.judge = new_judge(latch)

    def take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, FaultEvent):
                (self.faults.add if event.began else self.faults.discard)(event.fault.source)
            elif event.change is AlarmChange.RAISED:
                self.unacknowledged = True
            elif event.change is AlarmChange.ACKNOWLEDGED:
                self.unacknowledged = False

    @rule(score=st.sampled_from([1.0, 9.5, 11.0]), age_s=st.sampled_from([0.0, 0.5, 2.0]), repeat=st.booleans())
    def frame(self, score: float, age_s: float, repeat: bool) -> None:
        self.sequence += not repeat
        fresh = self.sequence > self.accepted and age_s <= 0.8
        self.take(self.judge.observe(score, (0, self.sequence), self.now_s - age_s, self.now_s))
        if fresh:
            self.fresh_s, self.accepted = self.now_s, self.sequence
            assert not self.faults & ENDED_BY_SIGHT

    @rule(source=st.sampled_from(list(FaultSource)), kind=st.sampled_from(list(FaultKind)))
    def blind(self, source: FaultSource, kind: FaultKind) -> None:
        self.take(self.judge.fault(Fault(source, kind, "why"), self.now_s))

    @rule(source=st.sampled_from(list(FaultSource)))
    def recover(self, source: FaultSource) -> None:
        self.take(self.judge.clear(source, self.now_s))

    @rule()
    def acknowledge(self) -> None:
        self.take(list(self.judge.alarm.acknowledge(self.now_s)))

    @rule()
    def reset(self) -> None:
        self.take(list(self.judge.alarm.reset(self.now_s)))

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.take(self.judge.tick(self.now_s))

    @invariant()
    def a_fault_never_reads_as_ok(self) -> None:
        if self.faults:
            assert self.judge.verdict is Verdict.FAULT
        assert {fault.source for fault in self.judge.faults} == self.faults

    @invariant()
    def ok_means_seen_just_now(self) -> None:
        if self.judge.verdict is Verdict.OK:
            assert self.fresh_s is not None and self.now_s - self.fresh_s <= 0.8 + 1e-9

    @invariant()
    def an_unacknowledged_alarm_is_never_ok(self) -> None:
        if self.unacknowledged:
            assert self.judge.verdict in (Verdict.ALARM, Verdict.FAULT)


TestStationMachine = StationMachine.TestCase
TestStationMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
