from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.cli.base import run
from edge.cli.events import app
from edge.errors import InputError
from edge.images import read_image
from edge.station.channel import Pictures
from edge.station.event_writer import GONE_NOTE, Budget, EventWriter
from edge.station.events import EventRecord, EventStore
from edge.station.evidence import Kept, lossless, too_many
from edge.station.judge import FaultKind
from tests.edge.tiny_bundle import scene

NOW = 1_800_000_000.0
ROOMY = Budget(max_bytes=1e9, max_age_s=1e9, min_free_bytes=0.0)


def alarm(number: int, **more: object) -> EventRecord:
    return EventRecord(id=f"A{number}", kind="alarm", number=number, began_at=NOW + number, score=9.0, **more)  # type: ignore[arg-type]


def pictures(number: int) -> Pictures:
    return Pictures(f"A{number}", number, lossless(scene(number)), b"jpeg")


def until(true: Callable[[], bool], timeout_s: float = 60.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.005)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = EventStore(tmp_path / "events")
    yield opened
    opened.close()


def test_what_is_written_is_read_back_after_reopening(store: EventStore) -> None:
    store.add(alarm(1, threshold=6.0, model_hash="m", announced=False))
    store.change("A1", {"ended_at": 1005.0}, "returned-to-normal")
    store.acknowledge(1, 1006.0, "me")
    again = EventStore(store.folder, must_exist=True)
    assert again.get("a1") == alarm(
        1, threshold=6.0, model_hash="m", announced=False, ended_at=1005.0, acknowledged_at=1006.0, acknowledged_by="me"
    )
    assert [change for _, change, _ in again.journal("A1")] == ["began", "returned-to-normal", "acknowledged"]
    assert again.last_number("alarm") == 1 and again.last_number("fault") == 0 and not again.has_unacknowledged()
    again.close()


def test_writing_an_event_twice_keeps_the_first(store: EventStore) -> None:
    store.add(alarm(1, reason="first"))
    store.add(alarm(1, reason="second"))
    assert store.get("1").reason == "first"


def test_acknowledging_one_leaves_newer_ones(store: EventStore) -> None:
    for number in (1, 2, 3):
        store.add(alarm(number))
    store.acknowledge(2, 1.0, "me")
    assert [r.acknowledged_at for r in store.find()] == [None, 1.0, 1.0] and store.has_unacknowledged()


def test_a_false_alarm_joins_the_normal_set_and_leaves_it_again(store: EventStore) -> None:
    store.add(alarm(1))
    with pytest.raises(InputError, match="no picture"):
        store.mark("A1", "false-alarm", "me")
    store.save_pictures(pictures(1))
    copy = store.mark("A1", "false-alarm", "me")
    assert copy is not None and (read_image(copy) == scene(1)).all() and store.get("1").mark == "false-alarm"
    assert store.mark("A1", "true-alarm", "me") is None and not copy.exists()
    with pytest.raises(InputError, match="no mark"):
        store.mark("A1", "perhaps", "me")


def test_pictures_go_by_age_and_room_alarms_last(store: EventStore) -> None:
    store.add(EventRecord(id="F1", kind="fault", number=1, began_at=NOW + 9))
    for number in (1, 2, 3):
        store.add(alarm(number))
    for event in ("F1", "A1", "A2", "A3"):
        store.save_pictures(Pictures(event, 0, b"x" * 100, b"y" * 100))
    store.acknowledge(1, 1.0, "me")
    assert store.trim(500.0, 1e9, NOW + 10) == ["F1", "A1"]
    assert store.trim(1e9, 7.5, NOW + 10) == ["A2"]
    assert sorted(p.name for p in (store.folder / "pictures").iterdir()) == ["A3-frame.png", "A3-overlay.jpg"]
    assert store.get("A1").note.startswith("pictures removed") and store.get("A1").frame_picture == ""


@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 100), st.integers(1, 50)), max_size=20),
    st.floats(0, 300),
    st.floats(1, 100),
)
def test_the_budget_is_kept_and_no_alarm_goes_before_a_lesser_picture(
    rows: list[tuple[int, float, int]], room: float, age: float
) -> None:
    kept = [Kept(str(i), rank, NOW + at, size) for i, (rank, at, size) in enumerate(rows)]
    gone = set(too_many(kept, room, age, NOW + 100.0))
    left = [k for k in kept if k.event not in gone]
    assert sum(k.size_bytes for k in left) <= room or not left
    assert all(NOW + 100.0 - k.wall_s <= age for k in left)
    young_gone = [k for k in kept if k.event in gone and NOW + 100.0 - k.wall_s <= age]
    assert all(g.rank <= k.rank for g in young_gone for k in left)


def test_a_clock_that_jumps_deletes_nothing(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = EventWriter(store, Budget(1e9, 3600.0, 0.0))
    for number, began_at in ((1, time.time()), (2, 5.0)):  # the second was taken before the clock was ever set
        writer.add(EventRecord(id=f"A{number}", kind="alarm", number=number, began_at=began_at))
        writer.save_pictures(pictures(number))
    until(lambda: writer.waiting == 0)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 10 * 365 * 86_400)
    writer.add(alarm(3))
    writer.save_pictures(pictures(3))
    until(lambda: writer.waiting == 0)
    writer.close()
    again = EventStore(store.folder)
    assert all(record.frame_picture for record in again.find())
    again.close()


@pytest.mark.parametrize("content", [b"not a database at all, not even close" * 100, b""])
def test_a_damaged_store_is_refused_or_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "events.db").write_bytes(content)
    if content:
        with pytest.raises(InputError, match="cannot use event store"):
            EventStore(tmp_path)
    else:
        EventStore(tmp_path).close()


def test_a_store_of_another_version_is_refused(store: EventStore) -> None:
    store._db.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="schema 99"):
        EventStore(store.folder)


def test_a_full_disk_loses_no_event(store: EventStore) -> None:
    writer = EventWriter(store, ROOMY)
    writer.add(alarm(1))
    until(lambda: writer.take_done() == ["A1"])
    store.limit_pages(1)  # SQLite then says "database or disk is full"
    for number in range(2, 60):
        writer.add(alarm(number, reason="r" * 500))
    until(lambda: writer.trouble is not None)
    assert writer.trouble is not None and writer.trouble.kind is FaultKind.DISK_FULL
    assert writer.waiting > 0
    store.limit_pages(1_000_000)
    until(lambda: writer.waiting == 0 and writer.trouble is None)
    assert [r.number for r in store.find()] == list(range(59, 0, -1))
    assert writer.close() == 0


def test_pictures_are_given_up_where_events_are_not(store: EventStore) -> None:
    writer = EventWriter(store, ROOMY)
    writer.add(alarm(1))
    shutil.rmtree(store.folder / "pictures")
    (store.folder / "pictures").write_text("a file where the folder was")
    writer.save_pictures(pictures(1))
    until(lambda: "pictures A1" in writer.take_done())
    assert store.get("A1").note == GONE_NOTE
    writer.close()


def test_too_little_room_is_a_fault_and_ends_with_some_margin(store: EventStore) -> None:
    free = [200.0]
    writer = EventWriter(store, Budget(1e9, 1e9, min_free_bytes=100.0), lambda _: free[0])
    until(lambda: writer.trouble is None)
    free[0] = 99.0
    until(lambda: writer.trouble is not None)
    free[0] = 105.0
    time.sleep(0.6)
    assert writer.trouble is not None and writer.trouble.kind is FaultKind.DISK_FULL
    free[0] = 111.0
    until(lambda: writer.trouble is None)
    writer.close()


def test_commands_list_show_export_and_mark(
    store: EventStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.add(alarm(1, threshold=6.0))
    store.save_pictures(pictures(1))
    store.add(EventRecord(id="F1", kind="fault", number=1, began_at=1.0, source="camera", reason="camera lost: gone"))
    events = ["--events", str(store.folder)]
    assert run(app, ["list", *events]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "A1" in lines[0] and "UNACKNOWLEDGED" in lines[0] and "camera lost: gone" in lines[1]
    assert run(app, ["list", "--json", "--kind", "fault", *events]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "F1"
    assert run(app, ["mark", "1", "false-alarm", *events]) == 0
    assert "normal" in capsys.readouterr().out
    assert run(app, ["acknowledge", "A1", *events]) == 0
    assert run(app, ["show", "A1", *events]) == 0
    assert "marked false-alarm (operator)" in capsys.readouterr().out
    out = tmp_path / "out"
    assert run(app, ["export", str(out), *events]) == 0
    rows = list(csv.DictReader((out / "events.csv").read_text().splitlines()))
    assert [r["id"] for r in rows] == ["A1", "F1"] and (out / "A1-frame.png").is_file()
    assert run(app, ["export", str(out), *events]) == 3
    assert run(app, ["show", "A7", *events]) == 3
    assert run(app, ["list", "--events", str(tmp_path / "none")]) == 3
    assert run(app, ["list", "--kind", "odd", *events]) == 3
