from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.station.judge import FaultKind
from edge.station.parts_waiting import PartsWaiting
from edge.station.supervisor import Limits, RestartBudget, memory_mb
from edge.station.systemd import Notifier, Watchdog


def test_five_restarts_in_sixty_seconds_and_no_more() -> None:
    budget = RestartBudget(5, 60.0)
    for at_s in range(5):
        assert budget.allows(float(at_s))
        budget.spend(float(at_s))
    assert not budget.allows(5.0) and not budget.allows(59.9)
    assert budget.allows(60.0)


@given(st.lists(st.floats(0, 10), max_size=50), st.integers(0, 5), st.floats(0.1, 20))
def test_the_budget_holds_for_any_times(pauses: list[float], limit: int, window_s: float) -> None:
    budget, now_s, spent = RestartBudget(limit, window_s), 0.0, []
    for pause_s in pauses:
        now_s += pause_s
        if budget.allows(now_s):
            budget.spend(now_s)
            spent.append(now_s)
        assert sum(now_s - at_s < window_s for at_s in spent) <= limit


@pytest.mark.parametrize(
    ("silent_s", "is_ready", "memory", "kind"),
    [
        (2.9, True, 100.0, None),
        (3.1, True, 100.0, FaultKind.ENGINE_STUCK),
        (3.1, False, 100.0, None),
        (601.0, False, 100.0, FaultKind.ENGINE_STUCK),
        (0.0, True, 513.0, FaultKind.MEMORY_LIMIT),
    ],
)
def test_when_a_pipeline_must_go(silent_s: float, is_ready: bool, memory: float, kind: FaultKind | None) -> None:
    broken = Limits(3.0, 600.0, 512.0).broken(silent_s, is_ready, memory)
    assert (broken.kind if broken else None) == kind


def test_memory_of_a_process() -> None:
    import os

    assert memory_mb(os.getpid()) > 5 and memory_mb(2**30) == 0


def test_each_part_is_answered_once() -> None:
    parts = PartsWaiting(0.5)
    parts.announce(7, 1.0)
    assert 7 in parts and parts.late(1.4) == [] and parts.late(1.5) == [7]
    assert parts.answered(7, 1.6) == pytest.approx(0.6)
    assert parts.answered(7, 1.7) is None and parts.late(9.0) == []


@pytest.fixture
def systemd(tmp_path: Path):  # type: ignore[no-untyped-def]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)

        def said() -> list[str]:
            messages = []
            while True:
                try:
                    messages.append(listener.recv(4096).decode())
                except BlockingIOError:
                    return messages

        yield Notifier(str(tmp_path / "notify"), "10000000"), said


def test_systemd_hears_ready_and_watchdog_only_after_a_scored_frame(systemd) -> None:  # type: ignore[no-untyped-def]
    notifier, said = systemd
    watchdog = Watchdog(notifier, 600.0)
    watchdog.status("opening the engine")
    assert said() == ["STATUS=opening the engine"]
    watchdog.scored(0.0)
    assert said() == ["READY=1\nWATCHDOG=1\nSTATUS=scoring"]
    watchdog.scored(1.0)
    assert said() == []
    watchdog.scored(3.0)
    assert said() == ["WATCHDOG=1"]


def test_a_known_fault_asks_systemd_for_patience_and_sight_takes_it_back(systemd) -> None:  # type: ignore[no-untyped-def]
    notifier, said = systemd
    watchdog = Watchdog(notifier, 600.0)
    watchdog.scored(0.0)
    said()
    watchdog.blind("camera lost")
    watchdog.blind("camera lost")
    assert said() == ["WATCHDOG_USEC=600000000", "STATUS=FAULT: camera lost", "STATUS=FAULT: camera lost"]
    watchdog.scored(1.0)
    assert said() == ["WATCHDOG_USEC=10000000\nWATCHDOG=1\nSTATUS=scoring"]


def test_a_full_disk_is_told_though_frames_are_scored(systemd) -> None:  # type: ignore[no-untyped-def]
    notifier, said = systemd
    watchdog = Watchdog(notifier, 600.0)
    watchdog.scored(0.0)
    watchdog.blind("disk full: 1 MB free")
    said()
    watchdog.scored(0.1, "disk full: 1 MB free")
    assert said() == ["WATCHDOG_USEC=10000000\nWATCHDOG=1"]
    watchdog.scored(0.2)
    assert said() == ["WATCHDOG=1\nSTATUS=scoring"]


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    Notifier("", "").send("READY=1")
    Notifier(str(tmp_path / "nobody"), "").send("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0edge-test-notify")
        Notifier("@edge-test-notify", "x").send("READY=1", "STATUS=fine")
        assert listener.recv(100) == b"READY=1\nSTATUS=fine"


@pytest.mark.parametrize("module", ["decision", "alarm", "judge", "parts_waiting", "supervisor"])
def test_what_decides_reads_no_clock(module: str) -> None:
    """Time comes in as monotonic seconds, so that setting the wall clock changes no verdict."""
    import importlib

    loaded = importlib.import_module(f"edge.station.{module}")
    assert not {"time", "datetime"} & set(vars(loaded))
