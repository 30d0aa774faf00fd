"""The conversation on a wire that loses, repeats and garbles; time is passed in."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.codec import Decoder, Received, encode, seal
from firmware_bridge.link import Delivered, Link, LinkDown, LinkSettings, LinkUp, Refused
from firmware_bridge.messages import (
    Ack,
    Acknowledge,
    AlarmCleared,
    AlarmRaised,
    Hello,
    Nak,
    NakReason,
    Role,
    StationState,
    Trigger,
    TriggerResult,
    Verdict,
)
from firmware_bridge.outbox import Heard, RetrySettings
from firmware_bridge.wire import WIRES

STATION_RUN, RECEIVER_RUN = 0xABCDEF, 0x123456


def station(wire: str = "cobs", **changes) -> Link:
    link = Link(WIRES[wire], LinkSettings(Role.STATION, "line 4", **changes), STATION_RUN)
    link.connected(0.0)
    return link


def receiver(wire: str = "cobs", **changes) -> Link:
    link = Link(WIRES[wire], LinkSettings(Role.RECEIVER, "plc", **changes), RECEIVER_RUN)
    link.connected(0.0)
    return link


def said(link: Link, now: float) -> list[Received]:
    return Decoder().feed(b"".join(link.poll(now)[0]))


def alarm(event: int) -> AlarmRaised:
    return AlarmRaised(event, 4.0, 2.5, 10 * event)


def test_the_first_words_are_hello_and_the_whole_state() -> None:
    link = station()
    link.publish(StationState(Verdict.OK, frame=8))
    hello, state = (item.message for item in said(link, 0.0))
    assert hello == Hello(Role.STATION, 1, 1, 1000, "line 4")
    assert (state.verdict, state.frame) == (Verdict.OK, 8)


def test_a_heartbeat_each_second_and_a_new_verdict_at_once() -> None:
    link = station()
    link.publish(StationState(Verdict.OK))
    beats = []
    for step in range(100):
        now = step * 0.05
        if step == 50:
            link.publish(StationState(Verdict.ALARM))
        beats += [
            (round(now, 2), i.message.verdict.name) for i in said(link, now) if isinstance(i.message, StationState)
        ]
    assert beats == [(0.0, "OK"), (1.0, "OK"), (2.0, "OK"), (2.5, "ALARM"), (3.5, "ALARM"), (4.5, "ALARM")]


def test_a_clock_that_jumps_gives_no_burst_and_no_silence() -> None:
    link = station()
    said(link, 0.0)
    assert len([i for i in said(link, 1e6) if isinstance(i.message, StationState)]) == 1
    assert said(link, 5.0) == []  # backwards: as if no time had passed
    assert len([i for i in said(link, 1e6 + 1.0) if isinstance(i.message, StationState)]) == 1


def test_unanswered_three_quick_retries_then_slower_for_ever_with_growing_age() -> None:
    link = station(heartbeat_s=1e9)
    link.offer(alarm(1), 0.0)
    times, ages = [], []
    for step in range(4000):
        for item in said(link, step * 0.01):
            if isinstance(item.message, AlarmRaised):
                times.append(round(step * 0.01, 2))
                ages.append(item.message.age_ms)
                assert item.sequence == 0
    assert times[:8] == pytest.approx([0.0, 0.15, 0.3, 0.45, 0.75, 1.35, 2.55, 4.95], abs=0.03)
    assert max(b - a for a, b in pairwise(times)) == pytest.approx(5.0, abs=0.02)
    assert times[-1] > 34
    assert ages == [round(1000 * t) for t in times]


def test_an_acknowledged_event_is_not_said_again_and_the_application_hears_of_it() -> None:
    link = station()
    link.offer(alarm(1), 0.0)
    said(link, 0.0)
    events = link.receive(encode(Ack(link.session, AlarmRaised.TYPE, 0), 1, RECEIVER_RUN << 8), 0.01)
    assert events == [LinkUp(), Delivered(alarm(1))]
    assert link.queued == 0
    assert not [i for i in said(link, 0.5) if isinstance(i.message, AlarmRaised)]


def test_silence_is_noticed_and_the_return_too() -> None:
    link = station()
    word = encode(Hello(Role.RECEIVER, 1, 1, 0), 1, RECEIVER_RUN << 8)
    assert link.receive(word, 1.0) == [LinkUp()]
    assert link.poll(3.9)[1] == []
    assert link.poll(4.1)[1] == [LinkDown()]
    assert link.receive(word, 9.0) == [LinkUp()]


def test_after_a_reconnection_new_session_same_numbers_state_and_alarms_again() -> None:
    link, plc = station(), receiver()
    link.offer(alarm(1), 0.0)
    first = b"".join(link.poll(0.0)[0])
    plc.receive(first, 0.0)  # heard, but the answer is lost with the port
    link.disconnected(0.1)
    assert link.poll(0.2)[0] == []
    session = link.session
    link.connected(2.0)
    assert link.session == session + 1
    again = said(link, 2.0)
    assert [type(i.message) for i in again] == [Hello, StationState, AlarmRaised]
    plc.receive(b"".join(encode(i.message, i.sequence, i.session) for i in again), 2.0)
    assert [m for m in plc.take() if isinstance(m, AlarmRaised)] == [alarm(1)]
    assert plc.counters.duplicates == 1


def test_a_restarted_station_starts_its_numbers_again_and_is_heard() -> None:
    plc = receiver()
    for run in (1, 2, 1):
        plc.receive(encode(alarm(run), 0, run << 8), 0.0)
    assert [m.event for m in plc.take()] == [1, 2, 1]


def test_our_own_echo_is_no_peer() -> None:
    link = station()
    assert link.receive(b"".join(link.poll(0.0)[0]), 0.0) == []
    assert link.counters.echoes == 2
    assert not link.is_up


def test_one_way_says_each_event_three_times_and_forgets_it() -> None:
    link = station(one_way=True, heartbeat_s=1e9)
    link.offer(alarm(1), 0.0)
    heard = [i for step in range(500) for i in said(link, step * 0.01) if isinstance(i.message, AlarmRaised)]
    assert len(heard) == 3
    assert link.queued == 0


def test_a_full_queue_drops_others_for_an_alarm_and_refuses_the_alarm_that_has_no_room() -> None:
    link = station(retry=RetrySettings(queue_limit=4))
    assert link.offer(TriggerResult(1, Verdict.OK), 0.0)
    assert all(link.offer(alarm(n), 0.0) for n in range(3))
    assert not link.offer(TriggerResult(2, Verdict.OK), 0.0)
    assert link.offer(alarm(3), 0.0)
    assert not link.offer(alarm(4), 0.0)
    beat = next(i.message for i in said(link, 0.0) if isinstance(i.message, StationState))
    assert beat.unsent == 2


def test_more_than_a_window_waits_for_the_oldest() -> None:
    link = station(heartbeat_s=1e9)
    for n in range(100):
        link.offer(alarm(n), 0.0)
    numbers = {
        i.sequence for step in range(3000) for i in said(link, step * 0.01) if isinstance(i.message, AlarmRaised)
    }
    assert numbers == set(range(32))


def test_a_busy_receiver_refuses_and_gets_it_later() -> None:
    link, plc = station(), receiver(inbox_limit=2)
    for n in range(3):
        link.offer(alarm(n), 0.0)
    got, events, now = [], [], 0.0
    for step in range(300):
        now = step * 0.01
        plc.receive(b"".join(link.poll(now)[0]), now)
        events += link.receive(b"".join(plc.poll(now)[0]), now)
        if step > 20:
            got += [m.event for m in plc.take() if isinstance(m, AlarmRaised)]
    assert sorted(got) == [0, 1, 2]
    assert Refused(alarm(2), NakReason.BUSY) in events
    assert link.queued == 0


def test_refused_for_good_an_alarm_stays_and_others_go() -> None:
    link = station()
    link.offer(TriggerResult(1, Verdict.OK), 0.0)
    link.offer(alarm(1), 0.0)
    said(link, 0.0)
    for number, kind in ((0, TriggerResult.TYPE), (1, AlarmRaised.TYPE)):
        link.receive(encode(Nak(link.session, kind, number, NakReason.UNKNOWN_TYPE), 1, RECEIVER_RUN << 8), 0.1)
    assert link.queued == 1


def test_another_version_is_refused_by_name_and_rubbish_is_not_answered() -> None:
    link = station()
    said(link, 0.0)
    link.receive(b"rubbish\0" * 100, 0.1)
    assert said(link, 0.1) == []
    header = bytes([2, 0x22]) + (RECEIVER_RUN << 8).to_bytes(4, "little") + (7).to_bytes(2, "little")
    link.receive(seal(header + b"whatever comes"), 0.2)
    (answer,) = said(link, 0.2)
    assert answer.message == Nak(RECEIVER_RUN << 8, 0x22, 7, NakReason.VERSION)
    assert sum(link.counters.bad.values()) == 101


def test_commands_reach_the_station_once() -> None:
    link, plc = station(), receiver()
    plc.offer(Acknowledge(7), 0.0)
    plc.offer(Trigger(1), 0.0)
    words = b"".join(plc.poll(0.0)[0])
    link.receive(words + words, 0.0)
    assert link.take() == [Acknowledge(7), Trigger(1)]


@given(st.lists(st.integers(-40, 40), max_size=60), st.integers(0, 65535))
def test_heard_tells_repetitions_within_the_window_across_the_wrap(steps, start) -> None:
    heard, known, newest = Heard(), set(), start
    for step in [0, *steps]:
        place = newest + step
        if newest - place >= 32:
            continue  # a sender never goes further back
        assert heard.knows(place & 0xFFFF) == (place in known)
        heard.note(place & 0xFFFF)
        known.add(place)
        newest = max(newest, place)


FATES = st.sampled_from(["pass", "pass", "pass", "lose", "twice", "flip", "cut", "noise"])


def through(data: bytes, fate: str) -> bytes:
    """What a bad wire makes of one frame."""
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]
    return {
        "pass": data,
        "lose": b"",
        "twice": data + data,
        "flip": flipped,
        "cut": data[:middle],
        "noise": b"\x5a\x00\xff$EA,*" + data,
    }[fate]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["cobs", "ascii"]),
    st.lists(st.tuples(st.sampled_from(["raise", "clear", "wait", "reconnect", "ask"]), FATES, FATES), max_size=60),
)
def test_no_wire_makes_an_alarm_vanish_or_be_told_twice(wire, steps) -> None:
    link, plc = station(wire), receiver(wire)
    told, asked, raised, cleared, wanted, now = [], [], 0, 0, 0, 0.0
    calm = [("wait", "pass", "pass")] * 400
    for action, there, back in steps + calm:
        now += 0.07
        if action == "raise":
            raised += 1
            assert link.offer(alarm(raised), now)
        elif action == "clear" and cleared < raised:
            cleared += 1
            assert link.offer(AlarmCleared(cleared), now)
        elif action == "ask":
            wanted += 1
            assert plc.offer(Acknowledge(wanted), now)
        elif action == "reconnect":
            link.disconnected(now)
            link.connected(now)
        plc.receive(b"".join(through(frame, there) for frame in link.poll(now)[0]), now)
        link.receive(b"".join(through(frame, back) for frame in plc.poll(now)[0]), now)
        told += [m for m in plc.take() if isinstance(m, AlarmRaised | AlarmCleared)]
        asked += [m.event for m in link.take()]
    alarms = [m.event for m in told if isinstance(m, AlarmRaised)]
    assert sorted(alarms) == list(range(1, raised + 1))
    assert sorted(m.event for m in told if isinstance(m, AlarmCleared)) == list(range(1, cleared + 1))
    for event in range(1, cleared + 1):
        kinds = [type(m) for m in told if m.event == event]
        assert kinds == [AlarmRaised, AlarmCleared]
    assert sorted(asked) == list(range(1, wanted + 1))
    assert link.queued == plc.queued == 0
